//! What loads, and what it becomes.

use super::*;
use crate::config::snapshot::*;

fn loaded(folder: &Folder) -> Snapshot {
    let attempt = folder.attempt("aicarpool.yaml");
    attempt.result.unwrap_or_else(|faults| panic!("{}", faults.iter().map(|fault| format!("{fault}\n")).collect::<String>()))
}

#[test]
fn the_smallest_useful_file() {
    let text = r#"
accounts:
  - {id: claude-1, service: claude, key: "${CLAUDE_KEY_1}"}
  - {id: claude-2, service: claude, key: {file: secrets/claude-2}}
groups:
  - id: us
    binding: {accounts: [claude-1, claude-2]}
users: [{id: ann, groups: [us]}, {id: bob, groups: [us]}]
keys: [{hash: "sha256:640b9937285908fa640b9937285908fa640b9937285908fa640b9937285908fa", group: us, user: ann, name: laptop}]
"#;
    let folder = Folder::new(&[("aicarpool.yaml", text), ("secrets/claude-2", "sk-ant-2\n")]).with("CLAUDE_KEY_1", "sk-ant-1");
    let snapshot = loaded(&folder);
    let credentials: Vec<_> =
        ["claude-1", "claude-2"].map(|id| snapshot.accounts[id].credential.as_ref().unwrap().expose().to_owned()).into();
    assert_eq!(credentials, ["sk-ant-1", "sk-ant-2"]);
    let group = &snapshot.groups["us"];
    assert_eq!((group.mode, group.tiers.len(), group.tiers[0].members.len()), (Mode::Dedicated, 1, 2));
    assert!(group.tiers[0].members.iter().all(|member| member.sole));
    let key = snapshot.keys.values().next().unwrap();
    assert_eq!((&*key.name, key.user.id.as_str(), key.group.enterprise.id.as_str()), ("laptop", "ann", "default"));
}

#[test]
fn the_corpus_configuration() {
    let text = r#"{
 "listen": "127.0.0.1:4100", "admin": "off", "access_log": {"path": "/tmp/access.log", "fields": "all"}, "counters": {"store": "memory"},
 "services": [{"id": "x-relay", "endpoints": {"openai": "http://127.0.0.1:5000/v1", "anthropic": "http://127.0.0.1:5000/v1"}}],
 "accounts": [
  {"id": "azure-chat", "service": "azure", "key": "upstream-key", "endpoints": {"openai": "http://127.0.0.1:5000/c/azure-chat/v1"}, "models": ["*"]},
  {"id": "relay", "service": "x-relay", "key": "upstream-key", "endpoints": {"anthropic": "http://127.0.0.1:5000/c/relay"}, "models": ["*"]}
 ],
 "groups": [{"id": "g0", "binding": {"mode": "dedicated", "accounts": ["azure-chat"]}, "operations": "all"},
            {"id": "g1", "binding": {"mode": "dedicated", "accounts": ["relay"]}, "operations": "all"}],
 "users": [{"id": "u", "groups": ["g0", "g1"]}], "keys": [{"key": "aicp_g0_u_0000000000000000"}, {"key": "aicp_g1_u_0000000000000001"}]}"#;
    let snapshot = loaded(&Folder::new(&[("aicarpool.yaml", text)]));
    assert!(snapshot.settings.admin.is_none());
    assert_eq!(snapshot.keys.len(), 2);
    assert_eq!(snapshot.accounts["relay"].endpoints.anthropic.as_ref().unwrap().path, "/c/relay");
}

/// Section 3 of the design with every field, less what comes with later versions.
const FULLEST: &str = r#"
listen: [127.0.0.1:4000, {address: "[::1]:4000", tls: {cert: cert.pem, key: key.pem}}]
admin: {address: 127.0.0.1:4001, tls: {cert: cert.pem, key: key.pem}, allow_from: [10.0.0.0/8, 127.0.0.1], hosts: [gate.example]}
threads: 4
timezone: Asia/Shanghai
week_start: sunday
include: [conf.d/*.yaml]
instance: ${HOSTNAME:-}
max_body: 32MB
max_buffered: 1GB
client: {header_timeout: 11s, body_idle: 31s, write_idle: 61s, keep_alive: 76s, max_connections: 20_001, h2_streams: 129}
drain: 5s
grace: 11m
run_dir: run
data_dir: /var/lib/aicarpool
trusted_proxies: [10.0.0.0/8]
access_log: {path: log/access.log, fields: [ts, id, status]}
counters: {store: memory}
ledger: {url: "off"}
failover:
  max_attempts: 4
  connect_timeout: 6s
  first_byte_timeout: 601s
  stream_start_timeout: 8s
  idle_timeout: 301s
  deadline: 61s
  total_timeout: 2h
metering: {on_disconnect: estimate, disconnect_read: 500ms}
health: {interval: 30s}
prices: [our-prices.yaml]
unpriced: reject
metrics: {users: true, listen: 127.0.0.1:9100}
heartbeat: 15s
services:
  - id: corp-vllm
    endpoints: {openai: "http://10.1.2.3:8000/v1"}
    auth: {header: x-token, prefix: "Key "}
    prices: openai
    idle_timeout: 10m
  - {id: claude, connect_timeout: 3s}
enterprises:
  - id: acme
    name: Acme Ltd
    charge_factor: 0.9
    fixed_cost: 0.0001
    departments: [{id: rnd, name: R&D}]
    projects: [{id: web}]
accounts:
  - id: claude-1
    enterprise: acme
    service: claude
    key: ${CLAUDE_KEY_1}
    endpoints: {anthropic: "https://relay.example/anthropic/"}
    headers: {X-Team: acme, x-secret: {file: secrets/alice-claude}}
    models: ["claude-*"]
    model_map: {"claude-sonnet-4-5": "kimi-k2", "claude-*": "kimi-k3"}
    weight: 2
    max_concurrency: 20
    price_factor: 1.25
    price_by: sent
    default_model: claude-sonnet-4-5
    exclusive: true
    tls: {ca: cert.pem, sni: relay.example, verify: false}
    proxy: http://user:pass@127.0.0.1:3128
    enabled: true
    total_timeout: 30m
  - {id: claude-2, enterprise: acme, service: claude, key: sk-ant-oat01-x, max_concurrency: 10}
  - {id: claude-3, enterprise: acme, service: claude, key: k, weight: 5}
  - {id: gemini-1, enterprise: acme, service: gemini, key: k}
  - {id: vllm, enterprise: acme, service: corp-vllm, key: k}
pools:
  - id: claude-pool
    enterprise: acme
    strategy: round_robin
    accounts: [{id: claude-2, weight: 3, priority: 2}, claude-3]
  - {id: other-pool, enterprise: acme, strategy: round_robin, accounts: [claude-2, vllm]}
groups:
  - id: frontend
    enterprise: acme
    department: rnd
    project: web
    binding:
      mode: hybrid
      accounts: [claude-1, {id: gemini-1, priority: 2, weight: 7}]
      pools: [{id: claude-pool, max_usage: 80%, priority: 1}, {id: other-pool, weight: 2, max_usage: 0.5}]
    sticky: false
    priority_level: high
    models: ["*"]
    operations: [messages, chat, responses, embeddings]
    wishes: [service, tag]
    model_fallbacks: {"claude-opus-*": [claude-sonnet-4-5]}
    failover: {max_attempts: 5, deadline: 10s, connect_timeout: 1s, first_byte_timeout: 2s, stream_start_timeout: 3s, idle_timeout: 4s, total_timeout: 5s}
    max_members: 5
    enabled: true
users:
  - id: alice
    name: Alice
    email: alice@acme.example
    groups: [frontend]
    role: group_admin
    enabled: true
    preference: [gemini, claude]
    own_keys: {claude: {file: secrets/alice-claude}}
keys:
  - key: aicp_frontend_alice_640b9937285908fa640b9937285908fa
    name: laptop
    services: [claude, gemini]
    models: ["claude-*"]
    operations: all
    expires: 2027-01-01
    allow_from: [192.168.0.0/16]
    enabled: false
"#;

fn fullest() -> Folder {
    let made = rcgen::generate_simple_self_signed(["gate.example".to_owned()]).unwrap();
    let folder = Folder::new(&[
        ("aicarpool.yaml", FULLEST),
        ("cert.pem", &made.cert.pem()),
        ("key.pem", &made.signing_key.serialize_pem()),
        ("secrets/alice-claude", "sk-alice\r\n"),
        ("conf.d/b.yaml", "users: [{id: bob, groups: [frontend]}]\nkeys: [{key: aicp_frontend_bob_0123456789abcdef}]\n"),
        ("our-prices.yaml", "models: [{account: claude-1, model: kimi-k2, price: {input: \"1\", output: \"2\"}}]\n"),
    ]);
    folder.with("CLAUDE_KEY_1", "sk-1")
}

#[test]
fn every_field() {
    let folder = fullest();
    let snapshot = loaded(&folder);
    let settings = &snapshot.settings;
    let seconds = std::time::Duration::from_secs;
    assert_eq!(
        settings.listen.iter().map(|one| (one.address.port(), one.tls.is_some())).collect::<Vec<_>>(),
        [(4000, false), (4000, true)]
    );
    let admin = settings.admin.as_ref().unwrap();
    assert_eq!((admin.allow_from.as_ref().unwrap().len(), admin.hosts.as_slice()), (2, ["gate.example".to_owned()].as_slice()));
    assert_eq!(
        (settings.threads, settings.timezone.iana_name(), settings.week_start),
        (4, Some("Asia/Shanghai"), jiff::civil::Weekday::Sunday)
    );
    assert!(settings.instance.ends_with(&format!("-{}", std::process::id())));
    assert_eq!((settings.max_body, settings.max_buffered), (32 << 20, 1 << 30));
    assert_eq!(
        (settings.client.max_connections, settings.client.h2_streams, settings.client.keep_alive),
        (20_001, 129, seconds(76))
    );
    assert_eq!((settings.drain, settings.grace), (seconds(5), seconds(660)));
    assert_eq!((&settings.run_dir, settings.data_dir.to_str()), (&folder.path("run"), Some("/var/lib/aicarpool")));
    assert_eq!(settings.access_log.path, LogPath::File(folder.path("log/access.log")));
    assert_eq!(settings.access_log.fields.as_ref().unwrap().len(), 3);
    assert_eq!((settings.failover.max_attempts, settings.failover.timeouts.stream_start), (4, seconds(8)));
    assert_eq!(
        (settings.health, settings.heartbeat, settings.unpriced),
        (Some(seconds(30)), Some(seconds(15)), Unpriced::Reject)
    );
    assert_eq!(settings.metering.on_disconnect, OnDisconnect::Estimate);

    let account = &snapshot.accounts["claude-1"];
    let endpoint = account.endpoints.anthropic.as_ref().unwrap();
    assert_eq!(
        (endpoint.tls, endpoint.host.as_str(), endpoint.port, endpoint.path.as_str()),
        (true, "relay.example", 443, "/anthropic")
    );
    assert_eq!(
        account.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect::<Vec<_>>(),
        [("x-team", "acme"), ("x-secret", "sk-alice")]
    );
    assert_eq!(
        (account.price_factor.0, account.price_by, account.weight, account.max_concurrency),
        (1_250_000_000, PriceBy::Sent, 2, Some(20))
    );
    assert_eq!(
        (account.timeouts.connect, account.timeouts.total),
        (Some(seconds(3)), Some(seconds(1800))),
        "the service's and its own"
    );
    assert_eq!(account.tls.ca.as_ref().unwrap().len(), 1);
    assert_eq!(account.proxy.as_ref().unwrap().authorization.as_ref().unwrap().expose(), "Basic dXNlcjpwYXNz");
    assert_eq!(account.model_map.iter().find(|(glob, _)| glob.is_match("claude-opus-5")).unwrap().1.as_ref(), "kimi-k3");
    let auth = snapshot.accounts["vllm"].auth.clone();
    assert_eq!(auth, Some(Auth::Header { name: "x-token".parse().unwrap(), prefix: "Key ".into() }));
    assert_eq!(snapshot.services["corp-vllm"].kind.as_str(), "corp-vllm");

    let group = &snapshot.groups["frontend"];
    assert_eq!((group.mode, group.sticky, group.priority_level), (Mode::Hybrid, false, PriorityLevel::High));
    assert_eq!((group.wishes.service, group.wishes.strategy, group.wishes.tag), (true, false, true));
    assert_eq!((group.failover.max_attempts, group.failover.timeouts.total), (5, seconds(5)));
    assert_eq!((group.enterprise.charge_factor.0, group.enterprise.fixed_cost.0), (900_000_000, 100_000));
    let user = &snapshot.users["alice"];
    assert_eq!(
        (user.role, user.own_keys[0].id.as_str(), user.own_keys[0].credential.as_ref().unwrap().expose()),
        (Role::GroupAdmin, "own/alice/claude", "sk-alice")
    );
    let key = snapshot.keys.values().find(|key| &*key.name == "laptop").unwrap();
    assert_eq!(key.expires.unwrap().0, 1_798_732_800_000, "2027-01-01 00:00 in Shanghai");
    assert!(!key.enabled && key.allows("192.168.7.7".parse().unwrap()) && !key.allows("10.0.0.1".parse().unwrap()));
    assert_eq!(snapshot.keys.len(), 2);
}

#[test]
fn tiers() {
    let snapshot = loaded(&fullest());
    let shown: String = snapshot.groups["frontend"].tiers.iter().map(shown_tier).collect();
    expect_test::expect![[r#"
        Dedicated 1 weighted
          claude-1 weight 2 priority 1 pool None max_usage None sole true
        Dedicated 2 weighted
          gemini-1 weight 7 priority 2 pool None max_usage None sole true
        Pools 1 round_robin
          claude-2 weight 3 priority 2 pool Some("claude-pool") max_usage Some(800000) sole true
          claude-3 weight 5 priority 1 pool Some("claude-pool") max_usage Some(800000) sole true
          vllm weight 2 priority 1 pool Some("other-pool") max_usage Some(500000) sole true
    "#]]
    .assert_eq(&shown);
}

fn shown_tier(tier: &Tier) -> String {
    let members = tier.members.iter().map(|member| {
        let Member { account, weight, priority, pool, max_usage, sole } = member;
        format!("  {} weight {weight} priority {priority} pool {pool:?} max_usage {max_usage:?} sole {sole}\n", account.id)
    });
    format!("{:?} {} {}\n{}", tier.source, tier.priority, tier.strategy.name(), members.collect::<String>())
}

#[test]
fn what_check_says_of_it() {
    let folder = fullest();
    let (text, code) = crate::config::report::report(&folder.path("aicarpool.yaml"), &folder.attempt("aicarpool.yaml"));
    assert_eq!(code, 0);
    expect_test::expect![[r#"
        aicarpool.yaml is fine: 5 accounts, 2 pools, 1 group, 2 users, 2 keys in 3 files
        note: aicarpool.yaml:42: enterprises[0]: acme pays 90 % of cost and fixed cost (charge_factor)
        note: aicarpool.yaml:42: enterprises[0]: each charged request of acme costs 0.0001 USD more (fixed_cost)
        note: aicarpool.yaml:63: accounts[0].tls: verify: false: whoever stands between here and claude-1 can read its credential
        note: aicarpool.yaml:67: accounts[1]: claude-2 is a Claude subscription (sk-ant-oat…): Anthropic's terms allow it for Claude Code alone, other clients are answered 400 or 403, and whether several members may share it is between you and Anthropic
    "#]].assert_eq(&folder.shown(&text));
}

#[test]
fn the_committed_files() {
    let environment = |name: &str| name.contains("_KEY_").then(|| format!("value-of-{name}"));
    for (name, expected) in [
        (
            "conf/aicarpool.yaml",
            expect_test::expect![[r#"
            conf/aicarpool.yaml is fine: 1 account, 0 pools, 1 group, 1 user, 1 key in 1 file
        "#]],
        ),
        (
            "conf/enterprise.example.yaml",
            expect_test::expect![[r#"
            conf/enterprise.example.yaml is fine: 6 accounts, 2 pools, 3 groups, 3 users, 4 keys in 1 file
            note: conf/enterprise.example.yaml:23: enterprises[0]: acme pays 90 % of cost (charge_factor)
        "#]],
        ),
    ] {
        let path = project(name);
        let attempt = crate::config::load::attempt(&path, &Lives::default(), &environment);
        let (text, _) = crate::config::report::report(&path, &attempt);
        expected.assert_eq(&text.replace(&format!("{}/", env!("CARGO_MANIFEST_DIR")), ""));
    }
}

/// What is commented out in the committed file is right too: with all of it uncommented, nothing is wrong but what names things that
/// only its reader has.
#[test]
fn the_committed_file_uncommented() {
    let text = std::fs::read_to_string(project("conf/aicarpool.yaml")).unwrap();
    let is_option = |rest: &str| {
        let rest = rest.trim_start().strip_prefix("- ").unwrap_or(rest.trim_start());
        let name = rest.split(':').next().unwrap_or_default();
        rest.starts_with('{')
            || rest.contains(": ") && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
            || rest.ends_with(':') && !name.contains(' ')
    };
    let uncommented = |line: &str| match line.split_once("# ") {
        Some((indent, rest)) if indent.trim().is_empty() && is_option(rest) => format!("{indent}{rest}\n"),
        _ => format!("{line}\n"),
    };
    let folder = Folder::new(&[("aicarpool.yaml", &text.lines().map(uncommented).collect::<String>())]);
    expect_test::expect![[r#"
        aicarpool.yaml:101: no YAML: simple key expect ':'; mend it here or just above
    "#]]
    .assert_eq(&folder.faults("aicarpool.yaml"));
}

#[test]
fn every_option_is_in_the_committed_file() {
    use crate::config::{settings, written};
    let text = std::fs::read_to_string(project("conf/aicarpool.yaml")).unwrap();
    let shapes = [
        &settings::TOP,
        &written::SERVICE,
        &written::ENTERPRISE,
        &written::PART,
        &written::ACCOUNT,
        &written::POOL,
        &written::GROUP,
        &written::FAILOVER,
        &written::USER,
        &written::KEY,
    ];
    let options: std::collections::BTreeSet<&str> = shapes.iter().flat_map(|shape| shape.known).copied().collect();
    let missing: Vec<_> = options.into_iter().filter(|option| !text.contains(&format!("{option}:"))).collect();
    assert_eq!(missing, Vec::<&str>::new());
}

#[test]
fn yaml_is_read_as_serde_yaml_reads_it() {
    for text in [FULLEST.to_owned(), std::fs::read_to_string(project("conf/enterprise.example.yaml")).unwrap()] {
        let theirs: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
        let (ours, faults) = crate::config::yaml::parse(&text);
        assert!(faults.is_empty());
        assert_same(&ours.unwrap(), &theirs);
    }
}

fn assert_same(ours: &crate::config::yaml::Node<'_>, theirs: &serde_yaml::Value) {
    use crate::config::yaml::Data;
    match (&ours.data, theirs) {
        (Data::Map(entries), serde_yaml::Value::Mapping(map)) => {
            assert_eq!(entries.len(), map.len());
            entries.iter().for_each(|entry| assert_same(&entry.value, &map[&*entry.name]));
        }
        (Data::List(items), serde_yaml::Value::Sequence(list)) => {
            assert_eq!(items.len(), list.len());
            items.iter().zip(list).for_each(|(item, theirs)| assert_same(item, theirs));
        }
        (Data::Scalar { text, .. }, serde_yaml::Value::String(theirs)) => assert_eq!(text, theirs),
        (Data::Scalar { text, .. }, serde_yaml::Value::Bool(theirs)) => assert_eq!(&**text, theirs.to_string()),
        (Data::Scalar { text, .. }, serde_yaml::Value::Number(theirs)) => {
            assert_eq!(text.replace('_', "").parse::<f64>().unwrap(), theirs.as_f64().unwrap());
        }
        (ours, theirs) => panic!("{ours:?} is not {theirs:?}"),
    }
}
