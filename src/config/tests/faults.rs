//! Each kind of fault, as it is shown. `UPDATE_EXPECT=1 cargo test` rewrites them.

use expect_test::{Expect, expect};

use super::*;

/// A configuration with everything that others refer to; a test adds to it.
const BASE: &str = "\
enterprises: [{id: acme, departments: [{id: rnd}], projects: [{id: web}]}, {id: other}]
accounts:
  - {id: claude-1, enterprise: acme, service: claude, key: k}
  - {id: claude-2, enterprise: acme, service: claude, key: k}
  - {id: theirs, enterprise: other, service: openai, key: k}
pools: [{id: pool-1, enterprise: acme, accounts: [claude-2]}]
groups: [{id: front, enterprise: acme, binding: {accounts: [claude-1], pools: [pool-1]}}]
users: [{id: ann, groups: [front]}]
keys: [{key: aicp_front_ann_0123456789abcdef}]
";

/// The faults of a main file.
fn check(text: &str, expected: Expect) {
    let folder = Folder::new(&[("aicarpool.yaml", text)]).with("SET", "value").with("SECRET", "hush hush\n");
    expected.assert_eq(&folder.faults("aicarpool.yaml"));
}

/// The faults of what is included beside [`BASE`].
fn check_more(text: &str, expected: Expect) {
    let main = format!("{BASE}include: [more.yaml]\n");
    let folder =
        Folder::new(&[("aicarpool.yaml", &main), ("more.yaml", text)]).with("SET", "value").with("SECRET", "hush hush\n");
    expected.assert_eq(&folder.faults("aicarpool.yaml"));
}

/// The faults of the settings `text` beside [`BASE`].
fn check_settings(text: &str, expected: Expect) {
    check(&format!("{BASE}{text}"), expected);
}

#[test]
fn the_base_is_fine() {
    check(
        BASE,
        expect![[r#"
        none
    "#]],
    );
    check_more(
        "users: []\n",
        expect![[r#"
        none
    "#]],
    );
}

#[test]
fn no_yaml() {
    check(
        "",
        expect![[r#"
        aicarpool.yaml:1: holds no configuration; write one, or take the file away
    "#]],
    );
    check(
        "# only a comment\n",
        expect![[r#"
        aicarpool.yaml:1: holds no configuration; write one, or take the file away
    "#]],
    );
    check(
        "null\n",
        expect![[r#"
        aicarpool.yaml:1: holds no configuration; write one, or take the file away
    "#]],
    );
    check(
        "- a\n- b\n",
        expect![[r#"
        aicarpool.yaml:1: a list stands here; write a mapping such as {name: value}
    "#]],
    );
    check(
        "just words\n",
        expect![[r#"
        aicarpool.yaml:1: a single value stands here; write a mapping such as {name: value}
    "#]],
    );
    check(
        "listen: [\n",
        expect![[r#"
        aicarpool.yaml:2: no YAML: while parsing a node, did not find expected node content; mend it here or just above
    "#]],
    );
    check(
        "accounts:\n  - id: a\n   service: b\n",
        expect![[r#"
        aicarpool.yaml:3: no YAML: while parsing a block collection, did not find expected '-' indicator; mend it here or just above
    "#]],
    );
    check(
        "listen: \"127.0.0.1\n",
        expect![[r#"
        aicarpool.yaml:1: no YAML: while scanning a quoted scalar, found unexpected end of stream; mend it here or just above
    "#]],
    );
    check(
        "a: 1\n---\nb: 2\n",
        expect![[r#"
        aicarpool.yaml:2: a second document (---) begins; put it into a file of its own, named under include
    "#]],
    );
    check(
        "listen: !local 127.0.0.1:1\n",
        expect![[r#"
        aicarpool.yaml:1: listen: has a tag (!name); leave the tag out
    "#]],
    );
    check(
        "? [a, b]\n: c\n",
        expect![[r#"
        aicarpool.yaml:1: the name of a field is a list or mapping; write a plain name
    "#]],
    );
    check(
        "listen: *nowhere\n",
        expect![[r#"
        aicarpool.yaml:1: no YAML: while parsing node, found unknown anchor; mend it here or just above
    "#]],
    );
    check(
        "listen: &a [*a]\n",
        expect![[r#"
        aicarpool.yaml:1: listen[0]: an alias within its own anchor; it may only name one that is complete
    "#]],
    );
    check(
        "accounts:\n\t- id: a\n",
        expect![[r#"
        aicarpool.yaml:2: no YAML: tabs disallowed within this context (block indentation); mend it here or just above
    "#]],
    );
    check(
        &format!("listen: {}", "[".repeat(100)),
        expect![[r#"
        aicarpool.yaml:1: listen[0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0]: nested too deep; 64 levels are the most
    "#]],
    );
}

#[test]
fn no_text() {
    let folder = Folder::new(&[]);
    folder.write("aicarpool.yaml", b"listen: 127.0.0.1:4000\ninstance: \xff\n");
    expect![[r#"
        aicarpool.yaml:2: is no UTF-8 text; save it as UTF-8
    "#]]
    .assert_eq(&folder.faults("aicarpool.yaml"));
    expect![[r#"
        missing.yaml:1: cannot be read (No such file or directory); name another with -c, or make it
    "#]]
    .assert_eq(&folder.faults("missing.yaml"));
    expect![[r#"
        .:1: cannot be read (is a folder); name another with -c, or make it
    "#]]
    .assert_eq(&folder.faults("."));
}

#[test]
fn aliases_that_explode() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let before = format!("*a{}", level - 1);
        text.push_str(&format!("a{level}: &a{level} [{}]\n", [&*before; 10].join(", ")));
    }
    check(
        &text,
        expect![[r#"
        aicarpool.yaml:5: a4: its aliases (*name) expand to too much; write fewer of them
    "#]],
    );
}

#[test]
fn anchors_and_merges() {
    let text = "\
accounts: [&a {id: a, service: claude, key: k, weight: 2}, {<<: *a, id: b, weight: 3}]
groups: [{id: g, binding: {accounts: [a, b]}}]
";
    check(
        text,
        expect![[r#"
        none
    "#]],
    );
    check(
        "accounts: [{<<: 3, id: a, service: claude, key: k}]\n",
        expect![[r#"
        aicarpool.yaml:1: accounts[0]: << wants a mapping or a list of mappings; write <<: *name
    "#]],
    );
}

#[test]
fn shapes() {
    check_more(
        "accounts: {id: a}\n",
        expect![[r#"
        more.yaml:1: accounts: a mapping stands here; write a list such as [a, b]
    "#]],
    );
    check_more(
        "accounts: [a]\n",
        expect![[r#"
        more.yaml:1: accounts[0]: a single value stands here; write a mapping such as {name: value}
    "#]],
    );
    check_more(
        "accounts:\n",
        expect![[r#"
        more.yaml:1: accounts: nothing stands here; give a value, [] for an empty list, or leave the field out
    "#]],
    );
    check_more(
        "accounts: [{service: claude, key: k}]\n",
        expect![[r#"
        more.yaml:1: accounts[0].id: missing; give it an id, unique among its kind
    "#]],
    );
    check_more(
        "accounts: [{id: [a], service: claude, key: k}]\n",
        expect![[r#"
        more.yaml:1: accounts[0].id: a list stands here; write a single value
    "#]],
    );
    check_more(
        "accounts: [{id: A_1, service: claude, key: k}]\n",
        expect![[r#"
        more.yaml:1: accounts[0].id: "A_1" is no id; write 1 to 63 of a-z, 0-9 and -, beginning with a letter or digit
    "#]],
    );
    check_more(
        "accounts: [{id: a, key: k}]\n",
        expect![[r#"
        more.yaml:1: accounts[0].service: missing; name its service, such as claude, openai or gemini
    "#]],
    );
    check_more(
        "accounts: [{id: a, service: claude, key: k, weight: 1, weight: 2}]\n",
        expect![[r#"
        more.yaml:1: accounts[0].weight: given twice; it was first given at more.yaml:1: keep one
    "#]],
    );
    check_more(
        "accounts: [{id: a, servise: claude, key: k}]\n",
        expect![[r#"
            more.yaml:1: accounts[0].servise: unknown field; did you mean "service"?
        "#]],
    );
    check_more(
        "accounts: [{id: a, service: claude, key: k, colour: red}]\n",
        expect![[r#"
        more.yaml:1: accounts[0].colour: unknown field; known here: id, enterprise, service, key, endpoints, headers, models, model_map, weight, max_concurrency, price_factor, price_by, default_model, exclusive, tls, proxy, enabled, connect_timeout, first_byte_timeout, stream_start_timeout, idle_timeout, total_timeout
    "#]],
    );
    check_more(
        "accounts: [{id: a, service: claude, sk-ant-very-secret: }]\n",
        expect![[r#"
        more.yaml:1: accounts[0].sk-a…: unknown field; known here: id, enterprise, service, key, endpoints, headers, models, model_map, weight, max_concurrency, price_factor, price_by, default_model, exclusive, tls, proxy, enabled, connect_timeout, first_byte_timeout, stream_start_timeout, idle_timeout, total_timeout
        more.yaml:1: accounts[0].key: missing; service claude wants a credential: key: ${NAME} or key: {file: path}
    "#]],
    );
    check_more(
        "acounts: []\n",
        expect![[r#"
        more.yaml:1: acounts: unknown field; did you mean "accounts"?
    "#]],
    );
    check_more(
        "listen: 127.0.0.1:1\nthreads: 2\n",
        expect![[r#"
        more.yaml:1: listen: belongs into the main file; an included one holds services, enterprises, accounts, pools, groups, users and keys
        more.yaml:2: threads: belongs into the main file; an included one holds services, enterprises, accounts, pools, groups, users and keys
    "#]],
    );
}

#[test]
fn values_of_accounts() {
    let check =
        |fields: &str, expected| check_more(&format!("accounts: [{{id: a, service: claude, key: k, {fields}}}]\n"), expected);
    check(
        "enabled: yes",
        expect![[r#"
        more.yaml:1: accounts[0].enabled: "yes" is unknown; one of: true, false
    "#]],
    );
    check(
        "weight: 0",
        expect![[r#"
        more.yaml:1: accounts[0].weight: is 0; give 1 or more; to leave it out, take it from the list or set enabled: false
    "#]],
    );
    check(
        "weight: -3",
        expect![[r#"
            more.yaml:1: accounts[0].weight: "-3" is negative; give 1 or more
        "#]],
    );
    check(
        "weight: 1.5",
        expect![[r#"
        more.yaml:1: accounts[0].weight: "1.5" is no whole number such as 20 or 20_000
    "#]],
    );
    check(
        "weight: 99_999_999_999_999_999_999",
        expect![[r#"
        more.yaml:1: accounts[0].weight: "99_999_999_999_999_999_999" is out of range; give 1 to 1000000
    "#]],
    );
    check(
        "weight: 1_000, max_concurrency: 0",
        expect![[r#"
        more.yaml:1: accounts[0].max_concurrency: is 0; give 1 or more, or leave it out for no bound; to stop using the account set enabled: false
    "#]],
    );
    check(
        "price_factor: -1",
        expect![[r#"
        more.yaml:1: accounts[0].price_factor: "-1" is negative; give 0 or more
    "#]],
    );
    check(
        "price_factor: 1e3",
        expect![[r#"
        more.yaml:1: accounts[0].price_factor: "1e3" is no decimal number such as 12.50 (digits, at most nine of them after the point)
    "#]],
    );
    check(
        "price_factor: 2_000",
        expect![[r#"
        more.yaml:1: accounts[0].price_factor: "2_000" is out of range; give 0 to 1000
    "#]],
    );
    check(
        "price_by: asked",
        expect![[r#"
        more.yaml:1: accounts[0].price_by: "asked" is unknown; one of: answered, sent
    "#]],
    );
    check(
        "models: [\"\", \"a b\"]",
        expect![[r#"
        more.yaml:1: accounts[0].models[0]: "" is no pattern over model names such as claude-*
        more.yaml:1: accounts[0].models[1]: "a b" is no pattern over model names such as claude-*
    "#]],
    );
    check(
        "model_map: {\"claude-*\": \"kimi*\", \"\": b}",
        expect![[r#"
        more.yaml:1: accounts[0].model_map.claude-*: "kimi*" is no name of a model, without * or spaces
        more.yaml:1: accounts[0].model_map.: "" is no pattern over model names such as claude-*
    "#]],
    );
    check(
        "idle_timeout: 30",
        expect![[r#"
        more.yaml:1: accounts[0].idle_timeout: "30" is no time; write one such as 500ms, 30s, 5m or 1h (at most 8760h)
    "#]],
    );
    check(
        "idle_timeout: 0s",
        expect![[r#"
        more.yaml:1: accounts[0].idle_timeout: is 0; give a time such as 30s
    "#]],
    );
    check(
        "idle_timeout: 9000h",
        expect![[r#"
        more.yaml:1: accounts[0].idle_timeout: "9000h" is no time; write one such as 500ms, 30s, 5m or 1h (at most 8760h)
    "#]],
    );
    check(
        "tls: {sni: \"\", verify: maybe}",
        expect![[r#"
        more.yaml:1: accounts[0].tls.sni: is empty; name the host to ask for, or leave it out for the endpoint's own
        more.yaml:1: accounts[0].tls.verify: "maybe" is unknown; one of: true, false
    "#]],
    );
    check(
        "tls: {sni: 1.2.3.4}",
        expect![[r#"
        more.yaml:1: accounts[0].tls.sni: "1.2.3.4" is no name of a host such as api.example.com
    "#]],
    );
}

#[test]
fn values_of_groups_and_others() {
    let check = |fields: &str, expected| check_more(&format!("groups: [{{id: g, enterprise: acme, {fields}}}]\n"), expected);
    check(
        "binding: {pools: [{id: pool-1, max_usage: 120%}]}",
        expect![[r#"
        more.yaml:1: groups[0].binding.pools[0].max_usage: "120%" is no share; write one from 0 to all, such as 80% or 0.8
    "#]],
    );
    check(
        "binding: {pools: [{id: pool-1, max_usage: 0}]}",
        expect![[r#"
            more.yaml:1: groups[0].binding.pools[0].max_usage: is 0; give a share above it, such as 80%, or take it out of the list
        "#]],
    );
    check(
        "binding: {pools: [{id: pool-1, priority: 0}]}",
        expect![[r#"
        more.yaml:1: groups[0].binding.pools[0].priority: is 0; give 1 (first) or more
    "#]],
    );
    check(
        "strategy: wieghted, binding: {pools: [pool-1]}",
        expect![[r#"
        more.yaml:1: groups[0].strategy: "wieghted" is unknown; did you mean "weighted"?
    "#]],
    );
    check(
        "operations: [chats], wishes: [all], binding: {pools: [pool-1]}",
        expect![[r#"
        more.yaml:1: groups[0].operations[0]: "chats" is unknown; did you mean "chat"?
        more.yaml:1: groups[0].wishes[0]: "all" is unknown; one of: service, strategy, tag
    "#]],
    );
    check(
        "operations: any, binding: {pools: [pool-1]}",
        expect![[r#"
            more.yaml:1: groups[0].operations: a single value stands here; write a list such as [messages, chat], or all
        "#]],
    );
    check(
        "failover: {max_attempts: 0, deadlin: 3s}, binding: {pools: [pool-1]}",
        expect![[r#"
        more.yaml:1: groups[0].failover.deadlin: unknown field; did you mean "deadline"?
        more.yaml:1: groups[0].failover.max_attempts: is 0; give 1 for no failover, or more
    "#]],
    );
    check(
        "max_members: 0, priority_level: highest, binding: {pools: [pool-1]}",
        expect![[r#"
        more.yaml:1: groups[0].priority_level: "highest" is unknown; one of: high, medium, low
        more.yaml:1: groups[0].max_members: is 0; give 1 or more, or leave it out for no bound; to close the group set enabled: false
    "#]],
    );
    check(
        "model_fallbacks: {\"a*\": b}, binding: {pools: [pool-1]}",
        expect![[r#"
        more.yaml:1: groups[0].model_fallbacks.a*: a single value stands here; write a list such as [a, b]
    "#]],
    );
    check_more(
        "enterprises: [{id: e, charge_factor: ten, fixed_cost: 0.0000000001}]\n",
        expect![[r#"
        more.yaml:1: enterprises[0].charge_factor: "ten" is no decimal number such as 12.50 (digits, at most nine of them after the point)
        more.yaml:1: enterprises[0].fixed_cost: "0.0000000001" is no decimal number such as 12.50 (digits, at most nine of them after the point)
    "#]],
    );
    check_more(
        "users: [{id: u, groups: [front], role: admin}]\n",
        expect![[r#"
        more.yaml:1: users[0].role: "admin" is unknown; one of: member, group_admin, enterprise_admin
    "#]],
    );
}

#[test]
fn settings() {
    check_settings(
        "listen: 4000\nadmin: here\n",
        expect![[r#"
        aicarpool.yaml:10: listen: "4000" is no address to listen on; write one such as 127.0.0.1:4000 or [::]:4000
        aicarpool.yaml:11: admin: "here" is no address to listen on; write one such as 127.0.0.1:4000 or [::]:4000
    "#]],
    );
    check_settings(
        "listen: []\n",
        expect![[r#"
        aicarpool.yaml:10: listen: lists no address; give at least one, such as 127.0.0.1:4000
    "#]],
    );
    check_settings(
        "listen: [127.0.0.1:4001, 127.0.0.1:4001]\nmetrics: {listen: 127.0.0.1:4001}\n",
        expect![[r#"
        aicarpool.yaml:1: admin: the same address as listen[0]; give each its own
        aicarpool.yaml:10: listen[1]: the same address as listen[0]; give each its own
        aicarpool.yaml:11: metrics.listen: the same address as listen[0]; give each its own
    "#]],
    );
    check_settings(
        "max_body: 0\nmax_buffered: 1XB\n",
        expect![[r#"
        aicarpool.yaml:10: max_body: is 0; give the most that a request may send
        aicarpool.yaml:11: max_buffered: "1XB" is no size; write one such as 64KB, 32MB or 1GB
    "#]],
    );
    check_settings(
        "timezone: Mars/Olympus\nweek_start: mon\n",
        expect![[r#"
        aicarpool.yaml:10: timezone: "Mars/Olympus" is no time zone; write one such as UTC or Asia/Shanghai
        aicarpool.yaml:11: week_start: "mon" is unknown; one of: monday, tuesday, wednesday, thursday, friday, saturday, sunday
    "#]],
    );
    check_settings(
        "client: {max_connections: 0, body_idle: -1s}\n",
        expect![[r#"
        aicarpool.yaml:10: client.max_connections: is 0; give 1 or more
        aicarpool.yaml:10: client.body_idle: "-1s" is no time; write one such as 500ms, 30s, 5m or 1h (at most 8760h)
    "#]],
    );
    check_settings(
        "trusted_proxies: [10.0.0.0/33, nowhere]\n",
        expect![[r#"
        aicarpool.yaml:10: trusted_proxies[0]: "10.0.0.0/33" is no network; write one such as 192.168.0.0/16 or a single address
        aicarpool.yaml:10: trusted_proxies[1]: "nowhere" is no network; write one such as 192.168.0.0/16 or a single address
    "#]],
    );
    check_settings(
        "access_log: {path: \"\", fields: [ts, statos]}\n",
        expect![[r#"
        aicarpool.yaml:10: access_log.path: is empty; give a path
        aicarpool.yaml:10: access_log.fields[1]: "statos" is unknown; did you mean "status"?
    "#]],
    );
    check_settings(
        "access_log: {fields: some}\nheartbeat: 5s\nunpriced: maybe\n",
        expect![[r#"
            aicarpool.yaml:10: access_log.fields: a single value stands here; write a list such as [ts, id, status], or all
            aicarpool.yaml:11: heartbeat: "5s" is no heartbeat; write a time from 15s, or off
            aicarpool.yaml:12: unpriced: "maybe" is unknown; one of: auto, reject, allow
        "#]],
    );
    check_settings(
        "metering: {on_disconnect: stop}\nhealth: {interval: 0s}\n",
        expect![[r#"
        aicarpool.yaml:10: metering.on_disconnect: "stop" is unknown; one of: finish, estimate
        aicarpool.yaml:11: health.interval: is 0; give a time such as 30s
    "#]],
    );
    check_settings(
        "failover: {max_attempts: 0, connect_timeout: soon}\n",
        expect![[r#"
        aicarpool.yaml:10: failover.max_attempts: is 0; give 1 for no failover, or more
        aicarpool.yaml:10: failover.connect_timeout: "soon" is no time; write one such as 500ms, 30s, 5m or 1h (at most 8760h)
    "#]],
    );
}

#[test]
fn later_versions() {
    let later = "\
queue: {max_wait: 30s}
counters: {store: redis, url: rediss://user:hush@redis-1:6380/0, prefix: aicp}
ledger: {url: postgres://user:hush@db/aicarpool}
plans: [{id: basic}]
admin_tokens: []
alerts: {webhooks: []}
";
    check_settings(
        later,
        expect![[r#"
        aicarpool.yaml:10: queue: not yet in this version: comes with quotas and rate limits; leave it out until then
        aicarpool.yaml:11: counters.url: not yet in this version: comes with shared counters in Redis; leave it out until then
        aicarpool.yaml:11: counters.prefix: not yet in this version: comes with shared counters in Redis; leave it out until then
        aicarpool.yaml:11: counters.store: not yet in this version: comes with shared counters in Redis; leave it out until then
        aicarpool.yaml:12: ledger.url: not yet in this version: comes with the ledger; leave it out until then
        aicarpool.yaml:13: plans: not yet in this version: comes with quotas and plans; leave it out until then
        aicarpool.yaml:14: admin_tokens: not yet in this version: comes with the admin API; leave it out until then
        aicarpool.yaml:15: alerts: not yet in this version: comes with alerts; leave it out until then
    "#]],
    );
    check_settings(
        "counters: {store: memory}\nledger: {url: off}\n",
        expect![[r#"
        none
    "#]],
    );
    let more = "\
enterprises: [{id: e, plan: p, user_plan: p, quotas: [], departments: [{id: d, quotas: []}]}]
accounts: [{id: a, service: claude, oauth: {refresh_token: hush}, quotas: [], limits: {rpm: 1}}]
groups: [{id: g, binding: {accounts: []}, quotas: [], limits: {}, per_member: {}}]
users: [{id: u, groups: [], plan: p, quotas: []}]
keys: [{key: aicp_front_ann_0123456789abcdeg, quotas: [], limits: {rpm: 1}}]
";
    check_more(
        more,
        expect![[r#"
            more.yaml:1: enterprises[0].plan: not yet in this version: comes with quotas and plans; leave it out until then
            more.yaml:1: enterprises[0].user_plan: not yet in this version: comes with quotas and plans; leave it out until then
            more.yaml:1: enterprises[0].quotas: not yet in this version: comes with quotas and rate limits; leave it out until then
            more.yaml:1: enterprises[0].departments[0].quotas: not yet in this version: comes with quotas and rate limits; leave it out until then
            more.yaml:2: accounts[0].oauth: not yet in this version: comes with OAuth accounts; leave it out until then
            more.yaml:2: accounts[0].quotas: not yet in this version: comes with quotas and rate limits; leave it out until then
            more.yaml:2: accounts[0].limits: not yet in this version: comes with quotas and rate limits; leave it out until then
            more.yaml:3: groups[0].quotas: not yet in this version: comes with quotas and rate limits; leave it out until then
            more.yaml:3: groups[0].limits: not yet in this version: comes with quotas and rate limits; leave it out until then
            more.yaml:3: groups[0].per_member: not yet in this version: comes with quotas and rate limits; leave it out until then
            more.yaml:4: users[0].plan: not yet in this version: comes with quotas and plans; leave it out until then
            more.yaml:4: users[0].quotas: not yet in this version: comes with quotas and rate limits; leave it out until then
            more.yaml:5: keys[0].quotas: not yet in this version: comes with quotas and rate limits; leave it out until then
            more.yaml:5: keys[0].limits: not yet in this version: comes with quotas and rate limits; leave it out until then
        "#]],
    );
}

#[test]
fn variables() {
    let check = |key: &str, expected| check_more(&format!("accounts: [{{id: a, service: claude, key: \"{key}\"}}]\n"), expected);
    check(
        "${UNSET}",
        expect![[r#"
        more.yaml:1: accounts[0].key: ${UNSET} is not set; set it, or write ${UNSET:-} to leave it empty
    "#]],
    );
    check(
        "${UNSET:-}",
        expect![[r#"
        more.yaml:1: accounts[0].key: is empty; give the credential, or set enabled: false at the account
    "#]],
    );
    check(
        "${UNSET:-k}",
        expect![[r#"
        none
    "#]],
    );
    check(
        "${SECRET}",
        expect![[r#"
        more.yaml:1: accounts[0].key: cannot be a credential; it may hold printable ASCII in one line, without blanks around it
    "#]],
    );
    check_more(
        "users: [{id: \"${SECRET}\", groups: [front]}]\n",
        expect![[r#"
        more.yaml:1: users[0].id: "${SECRET}" is no id; write 1 to 63 of a-z, 0-9 and -, beginning with a letter or digit
    "#]],
    );
    check_more(
        "accounts: [{id: a, service: claude, key: k, price_factor: \"${SECRET}\", weight: \"${SET}\"}]\n",
        expect![[r#"
        more.yaml:1: accounts[0].weight: "${SET}" is no whole number such as 20 or 20_000
        more.yaml:1: accounts[0].price_factor: "${SECRET}" is no decimal number such as 12.50 (digits, at most nine of them after the point)
    "#]],
    );
    check_more(
        "users: [{id: u, name: \"$${UNSET} $HOME ${SET}\", groups: [front]}]\n",
        expect![[r#"
        none
    "#]],
    );
    let names = ["${", "${}", "${A B}", "${1A}", "${A:-${B}}", "${A:=b}"]
        .map(|bad| format!("{{id: u, name: \"{bad}\", groups: [front]}}"));
    check_more(
        &format!("users:\n  - {}\n", names.join("\n  - ")),
        expect![[r#"
        more.yaml:2: users[0].name: ${ begins no variable; write ${NAME} or ${NAME:-default} in letters, digits and _, or $${ for a plain ${
        more.yaml:3: users[1].name: ${ begins no variable; write ${NAME} or ${NAME:-default} in letters, digits and _, or $${ for a plain ${
        more.yaml:3: users[1].id: "u" is taken; it was first given at more.yaml:2
        more.yaml:4: users[2].name: ${ begins no variable; write ${NAME} or ${NAME:-default} in letters, digits and _, or $${ for a plain ${
        more.yaml:4: users[2].id: "u" is taken; it was first given at more.yaml:2
        more.yaml:5: users[3].name: ${ begins no variable; write ${NAME} or ${NAME:-default} in letters, digits and _, or $${ for a plain ${
        more.yaml:5: users[3].id: "u" is taken; it was first given at more.yaml:2
        more.yaml:6: users[4].name: ${ begins no variable; write ${NAME} or ${NAME:-default} in letters, digits and _, or $${ for a plain ${
        more.yaml:6: users[4].id: "u" is taken; it was first given at more.yaml:2
        more.yaml:7: users[5].name: ${ begins no variable; write ${NAME} or ${NAME:-default} in letters, digits and _, or $${ for a plain ${
        more.yaml:7: users[5].id: "u" is taken; it was first given at more.yaml:2
    "#]],
    );
}

#[test]
fn secrets() {
    let check = |fields: &str, expected| check_more(&format!("accounts: [{{id: a, service: claude{fields}}}]\n"), expected);
    check(
        "",
        expect![[r#"
        more.yaml:1: accounts[0].key: missing; service claude wants a credential: key: ${NAME} or key: {file: path}
    "#]],
    );
    check(
        ", key: \"\"",
        expect![[r#"
        more.yaml:1: accounts[0].key: is empty; give the credential, or set enabled: false at the account
    "#]],
    );
    check(
        ", key: \"two\\nlines\"",
        expect![[r#"
        more.yaml:1: accounts[0].key: cannot be a credential; it may hold printable ASCII in one line, without blanks around it
    "#]],
    );
    check(
        ", key: {file: nowhere}",
        expect![[r#"
        more.yaml:1: accounts[0].key.file: nowhere: No such file or directory; make the file, or mend the path (it is relative to this file)
    "#]],
    );
    check(
        ", key: {file: .}",
        expect![[r#"
        more.yaml:1: accounts[0].key.file: .: is a folder; make the file, or mend the path (it is relative to this file)
    "#]],
    );
    check(
        ", key: {fiel: x}",
        expect![[r#"
        more.yaml:1: accounts[0].key: cannot be a credential; write key: ${NAME} or key: {file: path}
    "#]],
    );
    check(
        ", key: {sk-ant-hush: }",
        expect![[r#"
        more.yaml:1: accounts[0].key: cannot be a credential; write key: ${NAME} or key: {file: path}
    "#]],
    );
    check(
        ", key: [sk-ant-hush]",
        expect![[r#"
        more.yaml:1: accounts[0].key: a list stands here; write the credential, as ${NAME} or {file: path}
    "#]],
    );
    check(
        ", enabled: false",
        expect![[r#"
        none
    "#]],
    );
    let free = "services: [{id: s, auth: none, endpoints: {openai: \"http://h/v1\"}}]\naccounts: [{id: a, service: s, key: k}]\n";
    check_more(
        free,
        expect![[r#"
        more.yaml:2: accounts[0].key: the service sends no credential (auth: none); leave the key out
    "#]],
    );
}

#[test]
fn addresses() {
    let check =
        |fields: &str, expected| check_more(&format!("accounts: [{{id: a, service: claude, key: k, {fields}}}]\n"), expected);
    check(
        "endpoints: {anthropic: relay.example, openia: x}",
        expect![[r#"
        more.yaml:1: accounts[0].endpoints.openia: unknown field; did you mean "openai"?
        more.yaml:1: accounts[0].endpoints.anthropic: no usable URL; it begins with https:// or http://
    "#]],
    );
    check(
        "endpoints: {anthropic: \"https://user:hush@relay.example\"}",
        expect![[r#"
        more.yaml:1: accounts[0].endpoints.anthropic: no usable URL; it holds no user or password: give the credential under key
    "#]],
    );
    check(
        "endpoints: {anthropic: \"https://relay.example/v1?key=hush\"}",
        expect![[r#"
        more.yaml:1: accounts[0].endpoints.anthropic: no usable URL; it ends with a path: no ? and no # may stand in it
    "#]],
    );
    check(
        "proxy: \"socks5://user:hush@h:1\"",
        expect![[r#"
        more.yaml:1: accounts[0].proxy: no usable URL; a proxy is asked by CONNECT over http://: write http://host:port
    "#]],
    );
    check(
        "proxy: \"http://user:hush@h\"",
        expect![[r#"
        more.yaml:1: accounts[0].proxy: no usable URL; the port is missing: write http://host:port
    "#]],
    );
    check(
        "headers: {connection: close, Authorization: hush, \"x y\": z}",
        expect![[r#"
        more.yaml:1: accounts[0].headers.connection: no header that may stand here; this one belongs to the connection or the body, which the gateway makes itself: leave it out
        more.yaml:1: accounts[0].headers.Authorization: no header that may stand here; this one carries a credential: give that under key, and the way it travels under auth of the service
        more.yaml:1: accounts[0].headers.x y: no header that may stand here; a header's name is letters, digits and -, such as x-team
    "#]],
    );
    check_more(
        "accounts: [{id: a, service: azure, key: k}]\n",
        expect![[r#"
        more.yaml:1: accounts[0].endpoints: missing; service azure has no address of its own: give one, as {openai: "https://…/v1"}
    "#]],
    );
    check_more(
        "accounts: [{id: a, service: mine, key: k}]\nservices: [{id: mine}]\n",
        expect![[r#"
        more.yaml:1: accounts[0].endpoints: missing; service mine has no address of its own: give one, as {openai: "https://…/v1"}
    "#]],
    );
    check_more(
        "services: [{id: s, auth: {header: cookie, prefix: \"\"}}, {id: t, auth: {prefix: a}}, {id: u, auth: basic}]\n",
        expect![[r#"
            more.yaml:1: services[0].auth.header: no header that may stand here; cookies never reach a provider: name another
            more.yaml:1: services[1].auth.header: missing; name the header that carries the credential
            more.yaml:1: services[2].auth: "basic" is unknown; one of: bearer, x-api-key, x-goog-api-key, api-key, none
        "#]],
    );
    check_more(
        "services: [{id: demo, auth: none}]\naccounts: [{id: a, service: demo, endpoints: {}}]\n",
        expect![[r#"
        more.yaml:1: services[0].id: service demo answers inside the process and cannot be overridden; give yours another id
        more.yaml:2: accounts[0].endpoints: service demo answers inside the process; leave the endpoints out
    "#]],
    );
}

#[test]
fn tls() {
    let pair = |name: &str| {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    };
    let ((cert, key), (_, other)) = (pair("a.example"), pair("b.example"));
    let check = |text: &str, expected: Expect| {
        let folder = Folder::new(&[
            ("aicarpool.yaml", &format!("{BASE}include: [more.yaml]\n")),
            ("more.yaml", "users: []\n"),
            ("cert.pem", &cert),
            ("key.pem", &key),
            ("other.pem", &other),
            ("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            ("text.pem", "hello\n"),
        ]);
        match text.starts_with("accounts") {
            true => folder.write("more.yaml", text),
            false => folder.write("aicarpool.yaml", format!("{BASE}{text}")),
        }
        expected.assert_eq(&folder.faults("aicarpool.yaml"));
    };
    check(
        "listen: {address: 127.0.0.1:4000, tls: {cert: cert.pem, key: key.pem}}\n",
        expect![[r#"
        none
    "#]],
    );
    check(
        "listen: {address: 127.0.0.1:4000, tls: {cert: cert.pem, key: other.pem}}\n",
        expect![[r#"
        aicarpool.yaml:10: listen.tls.key: other.pem: is not the key of that certificate; give certificate and key of the same pair
    "#]],
    );
    check(
        "listen: {address: 127.0.0.1:4000, tls: {cert: text.pem, key: nowhere.pem}}\n",
        expect![[r#"
        aicarpool.yaml:10: listen.tls.cert: text.pem: holds no certificate in PEM; give a PEM file with the certificate first, then its issuers
        aicarpool.yaml:10: listen.tls.key: nowhere.pem: No such file or directory; give a PEM file with the certificate's private key, without a password
    "#]],
    );
    check(
        "listen: {address: 127.0.0.1:4000, tls: {cert: broken.pem, key: key.pem}}\n",
        expect![[r#"
            aicarpool.yaml:10: listen.tls.cert: broken.pem: holds a certificate that cannot be read; give a PEM file with the certificate first, then its issuers
        "#]],
    );
    check(
        "listen: {tls: {cert: cert.pem}}\n",
        expect![[r#"
        aicarpool.yaml:10: listen.address: missing; give one such as 127.0.0.1:4000
        aicarpool.yaml:10: listen.tls.key: missing; give the file of its private key (PEM)
    "#]],
    );
    check(
        "admin: {address: 127.0.0.1:4001, tls: {cert: key.pem, key: cert.pem}}\n",
        expect![[r#"
        aicarpool.yaml:10: admin.tls.cert: key.pem: holds no certificate in PEM; give a PEM file with the certificate first, then its issuers
        aicarpool.yaml:10: admin.tls.key: cert.pem: holds no private key in PEM; give a PEM file with the certificate's private key, without a password
    "#]],
    );
    check(
        "accounts: [{id: a, service: claude, key: k, tls: {ca: cert.pem}}]\n",
        expect![[r#"
        none
    "#]],
    );
    check(
        "accounts: [{id: a, service: claude, key: k, tls: {ca: key.pem}}]\n",
        expect![[r#"
        more.yaml:1: accounts[0].tls.ca: key.pem: holds no certificate in PEM; give a PEM file with at least one CA certificate
    "#]],
    );
    check(
        "accounts: [{id: a, service: claude, key: k, tls: {ca: broken.pem}}]\n",
        expect![[r#"
        more.yaml:1: accounts[0].tls.ca: broken.pem: holds a certificate that cannot be read; give a PEM file with at least one CA certificate
    "#]],
    );
    check(
        "accounts: [{id: a, service: claude, key: k, tls: {ca: nowhere.pem}}]\n",
        expect![[r#"
        more.yaml:1: accounts[0].tls.ca: nowhere.pem: No such file or directory; give a PEM file with at least one CA certificate
    "#]],
    );
}

#[test]
fn includes() {
    let check = |include: &str, more: &[(&str, &str)], expected: Expect| {
        let folder = Folder::new(&[("aicarpool.yaml", &format!("{BASE}include: {include}\n"))]);
        more.iter().for_each(|(name, text)| folder.write(name, text));
        expected.assert_eq(&folder.faults("aicarpool.yaml"));
    };
    check(
        "[nowhere.yaml]",
        &[],
        expect![[r#"
            aicarpool.yaml:10: include[0]: no file "nowhere.yaml"; make it, or mend the path (it is relative to this file)
        "#]],
    );
    check(
        "[conf.d/*.yaml, aicarpool.yaml, \"*.yaml\"]",
        &[("conf.d/.hidden.yaml", "[")],
        expect![[r#"
        none
    "#]],
    );
    check(
        "conf.d/*.yaml",
        &[],
        expect![[r#"
        aicarpool.yaml:10: include: a single value stands here; write a list such as [a, b]
    "#]],
    );
    check(
        "[\"conf.d/***.yaml\"]",
        &[],
        expect![[r#"
        aicarpool.yaml:10: include[0]: no pattern for files (wildcards are either regular `*` or recursive `**`); write one such as conf.d/*.yaml
    "#]],
    );
    let twice = "accounts: [{id: claude-1, service: claude, key: k}]\n";
    check(
        "[conf.d/*.yaml]",
        &[("conf.d/a.yaml", ""), ("conf.d/b.yaml", twice)],
        expect![[r#"
        conf.d/a.yaml:1: holds no configuration; write one, or take the file away
        conf.d/b.yaml:1: accounts[0].id: "claude-1" is taken; it was first given at aicarpool.yaml:3
    "#]],
    );
    let elsewhere = "users: [{id: x, groups: [elsewhere]}]\n";
    check(
        "[conf.d/*.yaml]",
        &[("conf.d/a.yaml", elsewhere), ("conf.d/b.yaml", "groups: [\n")],
        expect![[r#"
        conf.d/b.yaml:2: no YAML: while parsing a node, did not find expected node content; mend it here or just above
    "#]],
    );
    check(
        "[conf.d/*.yaml]",
        &[("conf.d/a.yaml", "include: [b.yaml]\n")],
        expect![[r#"
        conf.d/a.yaml:1: include: belongs into the main file; an included one holds services, enterprises, accounts, pools, groups, users and keys
    "#]],
    );
}

#[test]
fn ids_twice() {
    let more = "\
services: [{id: s}, {id: s}]
enterprises: [{id: acme, departments: [{id: d}, {id: d}], projects: [{id: d}]}, {id: e, departments: [{id: d}, {id: d}]}]
accounts: [{id: claude-1, service: claude, key: k}]
pools: [{id: pool-1, accounts: []}]
groups: [{id: front, binding: {accounts: []}}]
users: [{id: ann, groups: [front]}]
keys: [{key: aicp_front_ann_0123456789abcdef}]
";
    check_more(
        more,
        expect![[r#"
        more.yaml:1: services[1].id: "s" is taken; it was first given at more.yaml:1
        more.yaml:2: enterprises[0].id: "acme" is taken; it was first given at aicarpool.yaml:1
        more.yaml:2: enterprises[1].departments[1].id: "d" is taken; it was first given at more.yaml:2
        more.yaml:3: accounts[0].id: "claude-1" is taken; it was first given at aicarpool.yaml:3
        more.yaml:4: pools[0].id: "pool-1" is taken; it was first given at aicarpool.yaml:6
        more.yaml:5: groups[0].id: "front" is taken; it was first given at aicarpool.yaml:7
        more.yaml:6: users[0].id: "ann" is taken; it was first given at aicarpool.yaml:8
        more.yaml:7: keys[0].key: the same key again; it was first given at aicarpool.yaml:9: keep one
    "#]],
    );
}

#[test]
fn references() {
    check_more(
        "accounts: [{id: a, enterprise: acne, service: cloude, key: k}]\n",
        expect![[r#"
        more.yaml:1: accounts[0].enterprise: no enterprise "acne"; did you mean "acme"?
        more.yaml:1: accounts[0].service: no service "cloude"; did you mean "claude"?
    "#]],
    );
    check_more(
        "pools: [{id: p, enterprise: acme, accounts: [claude-9, theirs, {id: claude-2}, claude-2, {weight: 1}]}]\n",
        expect![[r#"
            more.yaml:1: pools[0].accounts[3]: "claude-2" stands here twice; keep one
            more.yaml:1: pools[0].accounts[4].id: missing; name what is meant
            more.yaml:1: pools[0].accounts[0]: no account "claude-9" in enterprise acme; did you mean "claude-1"?
            more.yaml:1: pools[0].accounts[1]: account "theirs" belongs to enterprise other; name one of enterprise acme
        "#]],
    );
    check_more(
        "pools: [{id: p, enterprise: acme, accounts: [{id: claude-2, max_usage: 3}]}, {id: q}]\n",
        expect![[r#"
        more.yaml:1: pools[0].accounts[0].max_usage: unknown field; known here: id, weight, priority
        more.yaml:1: pools[1].accounts: missing; list its accounts
    "#]],
    );
    let group = "groups: [{id: g, enterprise: acme, department: rnb, project: nothing, binding: {accounts: [claude-9], pools: [pool-2]}}]\n";
    check_more(
        group,
        expect![[r#"
        more.yaml:1: groups[0].department: no department "rnb" in enterprise acme; did you mean "rnd"?
        more.yaml:1: groups[0].project: no project "nothing" in enterprise acme; add it, or name one that is there
        more.yaml:1: groups[0].binding.accounts[0]: no account "claude-9" in enterprise acme; did you mean "claude-1"?
        more.yaml:1: groups[0].binding.pools[0]: no pool "pool-2" in enterprise acme; did you mean "pool-1"?
    "#]],
    );
    check_more(
        "groups: [{id: g, enterprise: other, binding: {accounts: [claude-2], pools: [pool-1]}}]\n",
        expect![[r#"
        more.yaml:1: groups[0].binding.accounts[0]: account "claude-2" is bound here alone, but stands in pool "pool-1" too; take it out of one, or set exclusive: false at the account
        more.yaml:1: groups[0].binding.accounts[0]: account "claude-2" belongs to enterprise acme; name one of enterprise other
        more.yaml:1: groups[0].binding.pools[0]: pool "pool-1" belongs to enterprise acme; name one of enterprise other
    "#]],
    );
    check_more(
        "groups: [{id: g, binding: {accounts: [claude-9]}}]\n",
        expect![[r#"
        more.yaml:1: groups[0].binding.accounts[0]: no account "claude-9" in enterprise default; add it, or name one that is there
    "#]],
    );
    check_more(
        "groups: [{id: g}, {id: h, binding: {}}]\n",
        expect![[r#"
        more.yaml:1: groups[0].binding: missing; bind accounts or pools: binding: {accounts: [claude-1]}
        more.yaml:1: groups[1].binding: binds nothing; list accounts, pools or both ([] for none)
    "#]],
    );
    check_more(
        "users: [{id: u, groups: [frnt]}, {id: v}]\n",
        expect![[r#"
        more.yaml:1: users[1].groups: missing; list the groups that the user belongs to ([] for none)
        more.yaml:1: users[0].groups[0]: no group "frnt"; did you mean "front"?
    "#]],
    );
    let two = "groups: [{id: g, enterprise: other, binding: {accounts: []}}]\nusers: [{id: u, groups: [front, g, front]}]\n";
    check_more(
        two,
        expect![[r#"
        more.yaml:2: users[0].groups[2]: "front" stands here twice; keep one
        more.yaml:2: users[0].groups[1]: group "g" belongs to enterprise other; name one of enterprise acme
    "#]],
    );
    let own = "users: [{id: u, groups: [front], preference: [gemni], own_keys: {claud: k, azure: k, demo: k, openai: \"\"}}]\n";
    check_more(
        own,
        expect![[r#"
        more.yaml:1: users[0].own_keys.openai: is empty; give the user's own credential, or leave it out
        more.yaml:1: users[0].own_keys.claud: no service "claud"; did you mean "claude"?
        more.yaml:1: users[0].own_keys.azure: the service has no address of its own; give it endpoints under services, or leave the key out
        more.yaml:1: users[0].own_keys.demo: the service sends no credential (auth: none); leave the key out
        more.yaml:1: users[0].preference[0]: no service "gemni"; did you mean "gemini"?
    "#]],
    );
}

#[test]
fn modes() {
    let more = "\
groups:
  - {id: d, enterprise: acme, binding: {mode: dedicated, pools: [pool-1]}}
  - {id: s, enterprise: acme, binding: {mode: shared, accounts: []}}
  - {id: h, enterprise: acme, binding: {mode: hybrid, pools: [pool-1]}}
  - {id: i, enterprise: acme, binding: {mode: hybrid, accounts: []}}
  - {id: j, enterprise: acme, binding: {mode: mixed, accounts: []}}
";
    check_more(
        more,
        expect![[r#"
        more.yaml:2: groups[0].binding.mode: mode dedicated does not fit; it has accounts only: take the pools out, or write hybrid
        more.yaml:3: groups[1].binding.mode: mode shared does not fit; it has pools only: take the accounts out, or write hybrid
        more.yaml:4: groups[2].binding.mode: mode hybrid does not fit; it wants accounts and pools: add accounts, or write shared
        more.yaml:5: groups[3].binding.mode: mode hybrid does not fit; it wants accounts and pools: add pools, or write dedicated
        more.yaml:6: groups[4].binding.mode: "mixed" is unknown; one of: dedicated, shared, hybrid
    "#]],
    );
}

#[test]
fn exclusive_accounts() {
    check_more(
        "groups: [{id: g, enterprise: acme, binding: {accounts: [claude-1]}}]\n",
        expect![[r#"
        more.yaml:1: groups[0].binding.accounts[0]: account "claude-1" is bound here alone, but stands in group "front" too; take it out of one, or set exclusive: false at the account
    "#]],
    );
    check_more(
        "pools: [{id: p, enterprise: acme, accounts: [claude-1]}]\n",
        expect![[r#"
        aicarpool.yaml:7: groups[0].binding.accounts[0]: account "claude-1" is bound here alone, but stands in pool "p" too; take it out of one, or set exclusive: false at the account
    "#]],
    );
    check_more(
        "groups: [{id: g, enterprise: acme, binding: {accounts: [claude-2]}}]\n",
        expect![[r#"
        more.yaml:1: groups[0].binding.accounts[0]: account "claude-2" is bound here alone, but stands in pool "pool-1" too; take it out of one, or set exclusive: false at the account
    "#]],
    );
    let lifted = "\
accounts: [{id: shared, enterprise: acme, service: claude, key: k, exclusive: false}]
pools: [{id: p, enterprise: acme, accounts: [shared]}]
groups:
  - {id: g, enterprise: acme, binding: {accounts: [shared], pools: [p]}}
  - {id: h, enterprise: acme, binding: {accounts: [shared]}}
";
    check_more(
        lifted,
        expect![[r#"
        none
    "#]],
    );
}

#[test]
fn strategies_of_pools() {
    let check = |group: &str, expected| {
        let pools = "pools: [{id: p, enterprise: acme, strategy: cost, accounts: [claude-2]}]";
        check_more(&format!("{pools}\ngroups: [{{id: g, enterprise: acme, {group}}}]\n"), expected);
    };
    check(
        "binding: {pools: [pool-1, p]}",
        expect![[r#"
        more.yaml:2: groups[0].binding.pools[1]: pools "pool-1" (weighted) and "p" (cost) stand at the same priority with different strategies; give the group a strategy, or the pools priorities
    "#]],
    );
    check(
        "strategy: cost, binding: {pools: [pool-1, p]}",
        expect![[r#"
        none
    "#]],
    );
    check(
        "binding: {pools: [pool-1, {id: p, priority: 2}]}",
        expect![[r#"
        none
    "#]],
    );
}

#[test]
fn members() {
    let more =
        "groups: [{id: g, binding: {accounts: []}, max_members: 1}]\nusers: [{id: u, groups: [g]}, {id: v, groups: [g]}]\n";
    check_more(
        more,
        expect![[r#"
        more.yaml:1: groups[0].max_members: 2 users are members and 1 may be; raise it, or take the group from some users
    "#]],
    );
}

#[test]
fn keys() {
    let hash = "\"sha256:640b9937285908fa640b9937285908fa640b9937285908fa640b9937285908fa\"";
    let check = |keys: &str, expected| check_more(&format!("keys: [{}]\n", keys.replace("HASH", hash)), expected);
    check(
        "{key: aicp_front_ann_tooshort}, {key: sk-ant-hush}, {key: aicp_Front_ann_0123456789abcdef}",
        expect![[r#"
        more.yaml:1: keys[0].key: no key of the form aicp_<group>_<user>_<16 to 64 letters or digits>; make one with `aicarpool key new`, or give hash, group and user
        more.yaml:1: keys[1].key: no key of the form aicp_<group>_<user>_<16 to 64 letters or digits>; make one with `aicarpool key new`, or give hash, group and user
        more.yaml:1: keys[2].key: no key of the form aicp_<group>_<user>_<16 to 64 letters or digits>; make one with `aicarpool key new`, or give hash, group and user
    "#]],
    );
    check(
        "{key: aicp_frnt_ann_0123456789abcdef}, {key: aicp_front_anne_0123456789abcdef}, {key: \"\"}",
        expect![[r#"
        more.yaml:1: keys[2].key: no key of the form aicp_<group>_<user>_<16 to 64 letters or digits>; make one with `aicarpool key new`, or give hash, group and user
        more.yaml:1: keys[0].key: no group "frnt"; did you mean "front"?
        more.yaml:1: keys[1].key: no user "anne"; did you mean "ann"?
    "#]],
    );
    check(
        "{name: laptop}, {hash: \"sha256:12\", group: front, user: ann}",
        expect![[r#"
        more.yaml:1: keys[0].hash: missing; give key: aicp_…, or hash, group and user (printed by `aicarpool key new`)
        more.yaml:1: keys[0].group: missing; name the group that the key belongs to
        more.yaml:1: keys[0].user: missing; name the user that the key belongs to
        more.yaml:1: keys[1].hash: "sha256:12" is no hash; write sha256: and 64 hex digits, as `aicarpool key hash` prints them
    "#]],
    );
    check(
        "{hash: HASH}",
        expect![[r#"
        more.yaml:1: keys[0].group: missing; name the group that the key belongs to
        more.yaml:1: keys[0].user: missing; name the user that the key belongs to
    "#]],
    );
    check(
        "{hash: HASH, group: frnt, user: anna}",
        expect![[r#"
        more.yaml:1: keys[0].group: no group "frnt"; did you mean "front"?
        more.yaml:1: keys[0].user: no user "anna"; did you mean "ann"?
    "#]],
    );
    check(
        "{hash: HASH, group: front, user: ann}, {hash: HASH, group: front, user: ann, name: \"\"}",
        expect![[r#"
        more.yaml:1: keys[1].name: is empty; name the key, or leave it out
        more.yaml:1: keys[1].hash: the same key again; it was first given at more.yaml:1: keep one
    "#]],
    );
    check(
        "{key: aicp_front_ann_0123456789abcdeg, hash: HASH, group: back, user: ann}",
        expect![[r#"
        more.yaml:1: keys[0].hash: stands beside key; give either the key or its hash
        more.yaml:1: keys[0].group: differs from what the key says; leave it out: the key names it
    "#]],
    );
    let values =
        "{key: aicp_front_ann_0123456789abcdeg, services: [cluade], expires: tomorrow, allow_from: [home], models: [\"\"]}";
    check(
        values,
        expect![[r#"
        more.yaml:1: keys[0].models[0]: "" is no pattern over model names such as claude-*
        more.yaml:1: keys[0].allow_from[0]: "home" is no network; write one such as 192.168.0.0/16 or a single address
        more.yaml:1: keys[0].expires: "tomorrow" is no date; write one such as 2027-01-01 or 2027-01-01T18:00
        more.yaml:1: keys[0].services[0]: no service "cluade"; did you mean "claude"?
    "#]],
    );
    let stranger = format!("users: [{{id: bob, groups: []}}]\nkeys: [{{hash: {hash}, group: front, user: bob}}]\n");
    check_more(
        &stranger,
        expect![[r#"
        more.yaml:2: keys[0].group: user "bob" is no member of group "front"; add the group to the user's groups, or name one of them
    "#]],
    );
}

#[test]
fn the_demo_key() {
    let check = |listen: &str, bound: &str, own: &str, expected| {
        let text = format!(
            "listen: {listen}\naccounts: [{{id: demo, service: demo}}, {{id: real, service: claude, key: k}}]\n\
             groups: [{{id: demo, binding: {{accounts: {bound}}}}}]\nusers: [{{id: you, groups: [demo]{own}}}]\n\
             keys: [{{key: aicp_demo_you_00000000000000000000000000000000}}]\n"
        );
        check(&text, expected);
    };
    check(
        "127.0.0.1:4000",
        "[demo]",
        "",
        expect![[r#"
        none
    "#]],
    );
    check(
        "\"[::1]:4000\"",
        "[demo]",
        "",
        expect![[r#"
        none
    "#]],
    );
    check(
        "[127.0.0.1:4000, 0.0.0.0:4001]",
        "[demo]",
        "",
        expect![[r#"
        aicarpool.yaml:5: keys[0].key: the demo key, which everybody knows, would be served on 0.0.0.0:4001; listen on 127.0.0.1 only, or make a key of your own with `aicarpool key new`
    "#]],
    );
    check(
        "127.0.0.1:4000",
        "[demo, real]",
        "",
        expect![[r#"
        aicarpool.yaml:5: keys[0].key: the demo key, which everybody knows, would reach account "real"; make a key of your own with `aicarpool key new`
    "#]],
    );
    check(
        "127.0.0.1:4000",
        "[demo]",
        ", own_keys: {claude: k}",
        expect![[r#"
        aicarpool.yaml:5: keys[0].key: the demo key, which everybody knows, would reach account "own/you/claude"; make a key of your own with `aicarpool key new`
    "#]],
    );
}

#[test]
fn price_files() {
    let check = |prices: &str, expected: Expect| {
        let folder = Folder::new(&[("aicarpool.yaml", &format!("{BASE}prices: [our-prices.yaml]\n"))]);
        folder.write("our-prices.yaml", prices);
        expected.assert_eq(&folder.faults("aicarpool.yaml"));
    };
    check(
        "models: [{account: claude-1, model: claude-sonnet-4-5, price: {input: \"3\", output: \"15\"}}]\n",
        expect![[r#"
        none
    "#]],
    );
    check(
        "models: [{account: claude-9, model: m, price: {input: \"3\", output: \"15\"}}]\n",
        expect![[r#"
        our-prices.yaml:1: models[0].account: no account "claude-9"; did you mean "claude-1"?
    "#]],
    );
    check(
        "models: [{service: claud, model: m, price: {input: \"-3\", output: \"15\"}}]\n",
        expect![[r#"
        our-prices.yaml:1: models[0].price.input: -3 is negative; a price is 0 or more
    "#]],
    );
    check_more(
        "prices: []\n",
        expect![[r#"
        more.yaml:1: prices: belongs into the main file; an included one holds services, enterprises, accounts, pools, groups, users and keys
    "#]],
    );
    check_settings(
        "prices: [nowhere.yaml]\n",
        expect![[r#"
        aicarpool.yaml:10: prices[0]: nowhere.yaml: No such file or directory; make the file, or mend the path (it is relative to this file)
    "#]],
    );
}

#[test]
fn all_faults_in_order_of_file_and_line() {
    let main = "\
include: [b.yaml]
accounts:
  - id: claude-8
    service: claude
    key: ${NOT_SET}
    weight: 0
groups:
  - id: g
    binding:
      accounts:
        - claude-9
    sticy: true
";
    let folder = Folder::new(&[("aicarpool.yaml", main), ("b.yaml", "accounts:\n  - {id: claude-8, service: claude, key: k}\n")]);
    expect![[r#"
        aicarpool.yaml:5: accounts[0].key: ${NOT_SET} is not set; set it, or write ${NOT_SET:-} to leave it empty
        aicarpool.yaml:6: accounts[0].weight: is 0; give 1 or more; to leave it out, take it from the list or set enabled: false
        aicarpool.yaml:11: groups[0].binding.accounts[0]: no account "claude-9" in enterprise default; did you mean "claude-8"?
        aicarpool.yaml:12: groups[0].sticy: unknown field; did you mean "sticky"?
        b.yaml:2: accounts[0].id: "claude-8" is taken; it was first given at aicarpool.yaml:3
    "#]]
    .assert_eq(&folder.faults("aicarpool.yaml"));
}
