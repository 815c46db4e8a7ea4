//! Which account serves: bindings, tiers, strategies, stickiness, wishes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::log::{attempts, has};
use crate::harness::requests::{anthropic, chat, messages, messages_stream, openai as openai_request};
use crate::harness::setups::{account, claude, openai, us, us_with};
use crate::harness::*;

/// Group `us` with these accounts in its binding, and `group` more lines.
fn bound(accounts: &[String], binding: &str, group: &str) -> String {
    let listed: String = accounts.iter().map(|account| format!("  - {account}\n")).collect();
    format!(
        "accounts:\n{listed}groups:\n  - id: us\n    binding: {binding}\n{group}users: [{{id: ann, groups: [us]}}]\nkeys: [{{key: {KEY}, name: laptop}}]\n"
    )
}

fn of_session(session: &str) -> Request {
    messages().header("x-claude-code-session-id", session)
}

/// Which account each session lands on.
async fn map(gateway: &Gateway, provider: &Provider, sessions: usize) -> BTreeMap<String, String> {
    let mut map = BTreeMap::new();
    let mut client = gateway.connect().await;
    for number in 0..sessions {
        let session = format!("5e551017-0000-0000-0000-{number:012}");
        client.ask(&of_session(&session)).await.expect(200);
        map.insert(session, provider.last().credential().to_owned());
    }
    map
}

fn share(map: &BTreeMap<String, String>, credential: &str) -> f64 {
    map.values().filter(|c| *c == credential).count() as f64 / map.len() as f64
}

#[tokio::test]
async fn dedicated_means_dedicated() {
    let (mine, other) = (Provider::plain().await, Provider::plain().await);
    let yaml =
        bound(&[claude("a", &mine.origin()), claude("b", &other.origin()), claude("c", &other.origin())], "{accounts: [a]}", "")
            + "pools: [{id: p, accounts: [c]}]\n";
    let yaml = yaml.replace("groups:\n  - id: us", "groups:\n  - {id: them, binding: {accounts: [b], pools: [p]}}\n  - id: us");
    let faults = [
        answers::refusal("/v1/messages", 401),
        answers::refusal("/v1/messages", 402),
        answers::refusal("/v1/messages", 429),
        answers::refusal("/v1/messages", 500),
        answers::refusal("/v1/messages", 529),
        script::reset_before_answer(),
        script::close_before_reading(),
        Script::stream([answers::error_event("overloaded_error")]),
    ];
    for fault in faults {
        let gateway = Gateway::with(yaml.clone()).start().await;
        mine.always(fault);
        for _ in 0..3 {
            let answer = gateway.ask(&messages_stream()).await;
            assert_ne!(answer.status, 200, "{answer:?}");
        }
        let wish = messages().header("x-aicarpool-service", "claude").header("x-aicarpool-strategy", "round_robin");
        assert_ne!(gateway.ask(&wish).await.status, 200);
    }
    assert_eq!(other.requests().len(), 0);
}

#[tokio::test]
async fn hybrid_uses_the_pools_only_when_its_accounts_cannot() {
    let provider = Provider::plain().await;
    let origin = provider.origin();
    let accounts: Vec<String> = ["a", "b", "p1", "p2"].iter().map(|id| claude(id, &origin)).collect();
    let yaml = bound(
        &accounts,
        "{accounts: [a, {id: b, priority: 2}], pools: [{id: late, priority: 2}, {id: soon, priority: 1}]}",
        "    failover: {max_attempts: 4}\n",
    ) + "pools: [{id: late, accounts: [p2]}, {id: soon, accounts: [p1]}]\n";
    let gateway = Gateway::with(yaml).start().await;
    for number in 0..20 {
        let answer = gateway.ask(&of_session(&format!("s{number}"))).await.expect(200);
        assert_eq!(provider.last().credential(), "sk-a");
        has(&gateway.line_of(&answer).await, json!({"account": "a", "service": "claude", "via": "dedicated", "attempts": null}));
    }
    provider.answers(|request| {
        if request.credential() == "sk-p2" { answers::messages("pong") } else { answers::refusal(request.path(), 500) }
    });
    let answer = gateway.ask(&messages()).await.expect(200);
    let line = gateway.line_of(&answer).await;
    assert_eq!(attempts(&line), ["a server", "b server", "p1 server", "p2 accept"]);
    has(&line, json!({"account": "p2", "via": "pool"}));
}

#[tokio::test]
async fn conversations_stay_and_spread_by_weight() {
    let provider = Provider::plain().await;
    let origin = provider.origin();
    let accounts: Vec<String> = ["a", "b", "c"].iter().map(|id| claude(id, &origin)).collect();
    let yaml = |binding: &str| bound(&accounts, binding, "");
    let all = yaml("{accounts: [{id: a, weight: 1}, {id: b, weight: 2}, {id: c, weight: 3}]}");
    let gateway = Gateway::with(&*all).start().await;
    let before = map(&gateway, &provider, 300).await;
    for (credential, expected) in [("sk-a", 1.0 / 6.0), ("sk-b", 2.0 / 6.0), ("sk-c", 3.0 / 6.0)] {
        let share = share(&before, credential);
        assert!((share - expected).abs() < 0.1, "{credential} has {share} of the conversations, not {expected}");
    }
    assert_eq!(map(&gateway, &provider, 300).await, before, "the same sessions, asked again");
    // Taking an account away moves only its sessions, and they come back with it.
    gateway
        .reload(
            &yaml("{accounts: [{id: a, weight: 1}, {id: c, weight: 3}]}").replace("  - {id: b,", "  - {enabled: false, id: b,"),
        )
        .await;
    let without = map(&gateway, &provider, 300).await;
    for (session, credential) in &before {
        assert!(
            credential == "sk-b" || without[session] == *credential,
            "{session} moved from {credential} to {}",
            without[session]
        );
    }
    gateway.reload(&all).await;
    assert_eq!(map(&gateway, &provider, 300).await, before, "after the account came back");
}

#[tokio::test]
async fn a_hundred_turns_stay_on_one_account() {
    let provider = Provider::plain().await;
    let origin = provider.origin();
    let accounts: Vec<String> = ["a", "b", "c", "d"].iter().map(|id| claude(id, &origin)).collect();
    for strategy in ["weighted", "round_robin", "least_connections"] {
        let gateway =
            Gateway::with(bound(&accounts, "{accounts: [a, b, c, d]}", &format!("    strategy: {strategy}\n"))).start().await;
        let mut used = Vec::new();
        for conversation in 0..6 {
            let mut turns = vec![json!({"role": "user", "content": format!("the beginning of conversation {conversation}")})];
            let mut accounts = Vec::new();
            let mut client = gateway.connect().await;
            for turn in 0..17 {
                let body =
                    json!({"model": "claude-sonnet-4-5", "max_tokens": 64, "system": "You are helpful.", "messages": turns});
                let mut request = anthropic(&body.to_string());
                // What clients really send, or nothing but the conversation itself.
                if conversation == 1 {
                    request = request.header("x-claude-code-session-id", "0b0f6d7c-1111-4222-8333-444455556666");
                } else if conversation == 2 {
                    let mut body = body;
                    body["metadata"] = json!({"user_id": "{\"device_id\":\"d\",\"account_uuid\":\"\",\"session_id\":\"77777777-1111-4222-8333-444455556666\"}"});
                    request.body = body.to_string().into();
                }
                client.ask(&request).await.expect(200);
                accounts.push(provider.last().credential().to_owned());
                turns.push(json!({"role": "assistant", "content": format!("answer {turn}")}));
                turns.push(json!({"role": "user", "content": format!("turn {turn}")}));
            }
            accounts.dedup();
            assert_eq!(accounts.len(), 1, "{strategy}: conversation {conversation} wandered over {accounts:?}");
            used.extend(accounts);
        }
        used.sort();
        used.dedup();
        assert!(used.len() > 1, "{strategy}: all conversations on one account");
    }
}

#[tokio::test]
async fn round_robin_goes_in_turn_by_weight() {
    let provider = Provider::plain().await;
    let origin = provider.origin();
    let accounts: Vec<String> = ["a", "b"].iter().map(|id| claude(id, &origin)).collect();
    let gateway =
        Gateway::with(bound(&accounts, "{accounts: [{id: a, weight: 2}, b]}", "    strategy: round_robin\n    sticky: false\n"))
            .start()
            .await;
    let mut client = gateway.connect().await;
    for _ in 0..30 {
        client.ask(&messages()).await.expect(200);
    }
    let order: Vec<bool> = provider.requests().iter().map(|r| r.credential() == "sk-a").collect();
    for round in order.chunks(3) {
        assert_eq!(round.iter().filter(|a| **a).count(), 2, "{order:?}");
    }
}

#[tokio::test]
async fn least_connections_counts_what_runs() {
    let provider = Provider::plain().await;
    let origin = provider.origin();
    let accounts: Vec<String> = ["a", "b", "c"].iter().map(|id| claude(id, &origin)).collect();
    let gateway =
        Gateway::with(bound(&accounts, "{accounts: [a, b, c]}", "    strategy: least_connections\n    sticky: false\n"))
            .start()
            .await;
    let gate = Gate::new();
    provider.always(Script::gated_stream(answers::messages_events(&["po", "ng"]), &gate));
    let mut clients = Vec::new();
    for number in 0..6 {
        let mut client = gateway.connect().await;
        client.send(&messages_stream()).await;
        provider.received(number + 1).await;
        clients.push(client);
    }
    let mut counts = BTreeMap::new();
    for request in provider.requests() {
        *counts.entry(request.credential().to_owned()).or_insert(0) += 1;
    }
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [2, 2, 2]);
    assert_eq!(gateway.metrics().await.sum("account_in_flight", &[]), 6.0);
    gate.open_wide();
    for mut client in clients {
        client.head().await.expect(200);
        assert!(client.rest().await.1);
    }
    gateway.metric("no request in flight", |m| m.sum("account_in_flight", &[]) == 0.0).await;
}

#[tokio::test]
async fn cost_takes_the_cheapest_and_preference_the_users() {
    let provider = Provider::plain().await;
    let origin = provider.origin();
    let accounts = [
        account("dear", "claude", "anthropic", &origin, ", price_factor: 2.0"),
        account("cheap", "claude", "anthropic", &origin, ", price_factor: 0.5"),
        account("plain", "kimi", "anthropic", &origin, ", models: [\"claude-*\"], model_map: {\"claude-*\": kimi-k2}"),
    ];
    let gateway = Gateway::with(bound(&accounts[..2], "{accounts: [dear, cheap]}", "    strategy: cost\n    sticky: false\n"))
        .start()
        .await;
    for _ in 0..10 {
        gateway.ask(&messages()).await.expect(200);
        assert_eq!(provider.last().credential(), "sk-cheap");
    }
    let yaml = bound(&accounts, "{accounts: [dear, cheap, plain]}", "    strategy: user_preference\n    sticky: false\n");
    for (preference, expected) in [("[kimi, claude]", vec!["sk-plain"]), ("[claude]", vec!["sk-dear", "sk-cheap"])] {
        let gateway = Gateway::with(yaml.replace("{id: ann,", &format!("{{id: ann, preference: {preference},"))).start().await;
        for _ in 0..6 {
            gateway.ask(&messages()).await.expect(200);
            assert!(expected.contains(&provider.last().credential()), "{preference}: {}", provider.last().credential());
        }
    }
}

#[tokio::test]
async fn a_mapped_model_is_sent_in_place() {
    let provider = Provider::plain().await;
    let accounts = [account(
        "a",
        "claude",
        "anthropic",
        &provider.origin(),
        ", models: [\"*\"], model_map: {\"claude-sonnet-*\": kimi-k2, fast: claude-haiku-4-5}",
    )];
    let gateway = Gateway::with(us(&accounts)).start().await;
    let body = "{ \"max_tokens\":64,\n\t\"messages\":[{\"role\":\"user\",\"content\":\"the \\\"model\\\":\\\"claude-sonnet-4-5\\\" \\u00e9\"}] , \"model\" : \"claude-sonnet-4-5\", \"big\": 12345678901234567890 }";
    let answer = gateway.ask(&anthropic(body)).await.expect(200);
    let sent = body.replace("\"model\" : \"claude-sonnet-4-5\"", "\"model\" : \"kimi-k2\"");
    assert_eq!(provider.last().body, sent);
    has(&gateway.line_of(&answer).await, json!({"model": "claude-sonnet-4-5", "model_sent": "kimi-k2"}));
    gateway.ask(&anthropic("{\"model\":\"fast\",\"max_tokens\":1,\"messages\":[]}")).await.expect(200);
    assert_eq!(provider.last().json()["model"], "claude-haiku-4-5");
    gateway.ask(&anthropic("{\"model\":\"other\",\"max_tokens\":1,\"messages\":[]}")).await.expect(200);
    assert_eq!(provider.last().body, "{\"model\":\"other\",\"max_tokens\":1,\"messages\":[]}");
}

#[tokio::test]
async fn a_mapped_model_of_a_path() {
    let provider = Provider::plain().await;
    let accounts = [account(
        "g",
        "gemini",
        "gemini",
        &provider.origin(),
        ", model_map: {\"gemini-2.5-*\": gemini-3-pro}, models: [\"gemini-*\"]",
    )];
    let gateway = Gateway::with(us(&accounts)).start().await;
    gateway.ask(&requests::generate()).await.expect(200);
    assert_eq!(provider.last().target, "/v1beta/models/gemini-3-pro:generateContent");
}

#[tokio::test]
async fn a_users_own_key_comes_first() {
    let provider = Provider::plain().await;
    let yaml = us(&[claude("a", &provider.origin())])
        .replace(
            "users: [{id: ann, groups: [us]}]",
            "users: [{id: ann, groups: [us], own_keys: {claude: {file: secrets/ann}}}, {id: bob, groups: [us]}]",
        )
        .replace("keys: [", "keys: [{key: aicp_us_bob_0000000000000001}, ")
        + &format!("services: [{{id: claude, endpoints: {{anthropic: \"{}\"}}}}]\n", provider.origin());
    let gateway = Gateway::with(yaml).file("secrets/ann", "sk-anns-own\n").start().await;
    let answer = gateway.ask(&messages()).await.expect(200);
    assert_eq!(provider.last().credential(), "sk-anns-own");
    let line = gateway.line_of(&answer).await;
    has(&line, json!({"via": "own", "account": "own/ann/claude", "charged": 0}));
    assert!(line["cost"].as_u64().unwrap() > 0, "{line:#}");
    let answer = gateway.ask(&messages().without("x-api-key").key("aicp_us_bob_0000000000000001")).await.expect(200);
    assert_eq!(provider.last().credential(), "sk-a");
    has(&gateway.line_of(&answer).await, json!({"via": "dedicated", "account": "a"}));
    // When her own fails, the binding is tried.
    provider.answers(|request| {
        if request.credential() == "sk-a" { answers::messages("pong") } else { answers::refusal(request.path(), 401) }
    });
    let answer = gateway.ask(&messages()).await.expect(200);
    assert_eq!(attempts(&gateway.line_of(&answer).await), ["own/ann/claude credential", "a accept"]);
}

#[tokio::test]
async fn another_model_when_the_first_is_out() {
    let provider = Provider::plain().await;
    let yaml = us_with(&[claude("a", &provider.origin())], "    model_fallbacks: {\"claude-opus-*\": [claude-sonnet-4-5]}\n");
    let gateway = Gateway::with(yaml).start().await;
    let opus = anthropic(r#"{"model":"claude-opus-4-5","max_tokens":1,"messages":[]}"#);
    gateway.ask(&opus).await.expect(200);
    assert_eq!(provider.last().json()["model"], "claude-opus-4-5");
    provider.answers(|request| match request.json()["model"].as_str() {
        Some("claude-opus-4-5") => answers::refusal(request.path(), 429).header("retry-after", "30"),
        _ => answers::messages("pong"),
    });
    gateway.ask(&opus).await;
    let answer = gateway.ask(&opus).await.expect(200);
    assert_eq!(answer.header("x-aicarpool-model"), Some("claude-sonnet-4-5"));
    assert_eq!(provider.last().json()["model"], "claude-sonnet-4-5");
    has(&gateway.line_of(&answer).await, json!({"model": "claude-opus-4-5", "model_sent": "claude-sonnet-4-5"}));
}

#[tokio::test]
async fn wishes_count_and_go_no_further() {
    let (first, second) = (Provider::plain().await, Provider::plain().await);
    let accounts =
        [claude("a", &first.origin()), account("k", "kimi", "anthropic", &second.origin(), ", models: [\"claude-*\"]")];
    let gateway = Gateway::with(us(&accounts)).start().await;
    let wish = messages()
        .header("x-aicarpool-service", "kimi")
        .header("X-AiCarpool-Tag", "feature=search")
        .header("x-aicarpool-tag", "team=web");
    let answer = gateway.ask(&wish).await.expect(200);
    let received = second.last();
    assert!(!received.headers.iter().any(|(name, _)| name.to_lowercase().starts_with("x-aicarpool")), "{received:?}");
    has(&gateway.line_of(&answer).await, json!({"account": "k", "tags": {"feature": "search", "team": "web"}}));
    assert_eq!(first.requests().len(), 0);
    let gateway = Gateway::with(us_with(&accounts, "    wishes: [tag]\n")).start().await;
    let answer = gateway.ask(&wish).await;
    assert!([400, 403].contains(&answer.status) && answer.code().is_some(), "{answer:?}");
    gateway.ask(&messages().header("x-aicarpool-tag", "feature=search")).await.expect(200);
}

#[tokio::test]
async fn full_accounts_are_passed_over() {
    let provider = Provider::plain().await;
    let origin = provider.origin();
    let accounts = [
        account("a", "claude", "anthropic", &origin, ", max_concurrency: 2"),
        account("b", "claude", "anthropic", &origin, ", max_concurrency: 1"),
    ];
    let gateway = Gateway::with(us(&accounts)).start().await;
    let gate = Gate::new();
    provider.always(Script::gated_stream(answers::messages_events(&["pong"]), &gate));
    let mut clients = Vec::new();
    for number in 0..3 {
        let mut client = gateway.connect().await;
        client.send(&messages_stream()).await;
        provider.received(number + 1).await;
        clients.push(client);
    }
    let order: Vec<String> = provider.requests().iter().map(|r| r.credential().to_owned()).collect();
    assert_eq!(order, ["sk-a", "sk-a", "sk-b"]);
    gateway.ask(&messages()).await.refused(503, "no_account");
    // A client that leaves frees its place at once.
    provider.always(answers::messages("pong"));
    clients.pop().unwrap().reset();
    gateway.metric("a free place", |m| m.sum("account_in_flight", &[("account", "b")]) == 0.0).await;
    gateway.ask(&messages()).await.expect(200);
    assert_eq!(provider.last().credential(), "sk-b");
    gate.open_wide();
}

#[tokio::test]
async fn a_pools_accounts_are_left_alone_beyond_max_usage() {
    let provider = Provider::plain().await;
    let accounts = [account("p", "claude", "anthropic", &provider.origin(), ", max_concurrency: 4")];
    let yaml = bound(&accounts, "{pools: [{id: pool, max_usage: 50%}]}", "") + "pools: [{id: pool, accounts: [p]}]\n";
    let gateway = Gateway::with(yaml).start().await;
    let gate = Gate::new();
    provider.always(Script::gated_stream(answers::messages_events(&["pong"]), &gate));
    let mut clients = Vec::new();
    for number in 0..2 {
        let mut client = gateway.connect().await;
        client.send(&messages_stream()).await;
        provider.received(number + 1).await;
        clients.push(client);
    }
    gateway.ask(&messages()).await.refused(503, "no_account");
    gate.open_wide();
}

/// What an account has made can only be found there.
#[tokio::test]
async fn responses_go_back_to_the_account_that_made_them() {
    let provider = Provider::plain().await;
    let origin = provider.origin();
    let accounts: Vec<String> = ["a", "b", "c"].iter().map(|id| openai(id, &origin)).collect();
    let yaml = bound(&accounts, "{accounts: [a, b, c]}", "    strategy: round_robin\n    sticky: false\n")
        .replace("groups:\n", "groups:\n  - {id: them, binding: {accounts: [d]}}\n")
        .replace("accounts:\n  - {id: a", &format!("accounts:\n  - {}\n  - {{id: a", openai("d", &origin)))
        .replace("groups: [us]", "groups: [us, them]")
        .replace("keys: [", "keys: [{key: aicp_them_ann_0000000000000001}, ");
    provider.answers(|request| {
        let text = String::from_utf8(answers::responses("pong").body()).unwrap();
        Script::answer(200, "application/json", text.replace("resp_1", &format!("resp_{}", request.credential())))
    });
    let gateway = Gateway::with(yaml).start().await;
    for _ in 0..3 {
        let made = gateway.ask(&requests::responses()).await.expect(200).json()["id"].as_str().unwrap().to_owned();
        let owner = made.trim_start_matches("resp_").to_owned();
        for _ in 0..4 {
            let body = json!({"model": "gpt-5", "input": "more", "previous_response_id": made}).to_string();
            gateway.ask(&openai_request("/v1/responses", &body)).await.expect(200);
            assert_eq!(provider.last().credential(), owner);
            gateway.ask(&Request::get(&format!("/v1/responses/{made}")).key(KEY)).await.expect(200);
            assert_eq!((provider.last().credential(), provider.last().path()), (&*owner, &*format!("/v1/responses/{made}")));
        }
        // Another group's id does not exist.
        let asked = provider.requests().len();
        let them = Request::get(&format!("/v1/responses/{made}")).key("aicp_them_ann_0000000000000001");
        gateway.ask(&them).await.expect(404);
        assert_eq!(provider.requests().len(), asked);
    }
}

#[tokio::test]
async fn explain_tells_the_order_and_the_reasons() {
    let provider = Provider::plain().await;
    let origin = provider.origin();
    let accounts =
        [claude("a", &origin), claude("b", &origin).replace("key: sk-b", "key: sk-b, enabled: false"), openai("o", &origin)];
    let gateway = Gateway::with(us(&accounts)).start().await;
    let output =
        gateway.run(&["explain", "-c", "aicarpool.yaml", "--group", "us", "--user", "ann", "--model", "claude-sonnet-4-5"]).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    for word in ["a (claude", "b (claude", "disabled", "o (openai", "does not serve"] {
        assert!(text.contains(word), "{word} is missing in:\n{text}");
    }
    assert!(!text.contains("sk-"), "a credential in:\n{text}");
}

#[tokio::test]
async fn a_group_without_an_account_for_the_dialect() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(us(&[claude("a", &provider.origin())])).start().await;
    let answer = gateway.ask(&chat()).await.refused(404, "unknown_model");
    assert_eq!(answer.json()["error"]["code"], Value::from("model_not_found"));
}

/// The bound holds at every moment, whatever happens to the requests.
#[tokio::test]
async fn concurrency_is_never_exceeded() {
    let provider = Provider::plain().await;
    let origin = provider.origin();
    let accounts = [
        account("a", "claude", "anthropic", &origin, ", max_concurrency: 4"),
        account("b", "claude", "anthropic", &origin, ", max_concurrency: 2"),
    ];
    let gateway = Gateway::with(bound(&accounts, "{accounts: [a, b]}", "    sticky: false\n")).start().await;
    let most: std::sync::Arc<std::sync::Mutex<BTreeMap<String, usize>>> = Default::default();
    let running = |provider: &Provider| {
        let mut running = BTreeMap::<String, usize>::new();
        for request in provider.requests().iter().filter(|r| !r.done && !r.left) {
            *running.entry(request.credential().to_owned()).or_default() += 1;
        }
        running
    };
    provider.answers(|request| {
        let pause = Step::Pause(std::time::Duration::from_millis(20));
        Script::steps([pause]).then_all(answers::plausible(request))
    });
    let address = gateway.address;
    let local = tokio::task::LocalSet::new();
    let (served, refused) = local
        .run_until(async {
            let tasks: Vec<_> = (0..24)
                .map(|number| {
                    tokio::task::spawn_local(async move {
                        let (mut served, mut refused) = (0, 0);
                        for turn in 0..8 {
                            let mut client = Client::connect(address).await;
                            if (number + turn) % 5 == 0 {
                                client.send(&messages_stream()).await;
                                client.reset();
                                continue;
                            }
                            match client.ask(&messages_stream()).await.status {
                                200 => served += 1,
                                503 => refused += 1,
                                other => panic!("{other}"),
                            }
                        }
                        (served, refused)
                    })
                })
                .collect();
            while !tasks.iter().all(tokio::task::JoinHandle::is_finished) {
                for (credential, count) in running(&provider) {
                    let mut most = most.lock().unwrap();
                    let seen = most.entry(credential).or_default();
                    *seen = (*seen).max(count);
                }
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            let mut sums = (0, 0);
            for task in tasks {
                let (served, refused) = task.await.unwrap();
                sums = (sums.0 + served, sums.1 + refused);
            }
            sums
        })
        .await;
    assert!(served > 0 && refused > 0, "{served} served, {refused} refused: no load");
    let most = most.lock().unwrap().clone();
    // A client that left frees its place while its provider is still being read (or told to stop).
    assert!(most["sk-a"] <= 4 + 3 && most["sk-b"] <= 2 + 3, "{most:?}");
    gateway.metric("nothing in flight", |m| m.sum("account_in_flight", &[]) == 0.0).await;
    provider.answers(answers::plausible);
    gateway.ask(&messages()).await.expect(200);
}

#[tokio::test]
async fn an_empty_list_means_none() {
    let provider = Provider::plain().await;
    let yaml = us(&[claude("a", &provider.origin())]);
    for (from, to, status, code) in [
        ("name: laptop}", "name: laptop, models: []}", 403, "model_not_allowed"),
        ("name: laptop}", "name: laptop, services: []}", 403, "service_not_allowed"),
        ("    sticky: false\n", "    sticky: false\n    operations: []\n", 403, "operation_not_allowed"),
        ("    sticky: false\n", "    sticky: false\n    models: []\n", 403, "model_not_allowed"),
    ] {
        let gateway = Gateway::with(yaml.replace(from, to)).start().await;
        gateway.ask(&messages()).await.refused(status, code);
    }
    assert_eq!(provider.requests().len(), 0);
}

/// What was made is found again after a restart.
#[tokio::test]
async fn who_made_a_response_is_remembered_over_a_restart() {
    let provider = Provider::plain().await;
    let origin = provider.origin();
    let accounts: Vec<String> = ["a", "b", "c"].iter().map(|id| openai(id, &origin)).collect();
    let yaml = bound(&accounts, "{accounts: [a, b, c]}", "    strategy: round_robin\n    sticky: false\n");
    provider.answers(|request| {
        let text = String::from_utf8(answers::responses("pong").body()).unwrap();
        Script::answer(200, "application/json", text.replace("resp_1", &format!("resp_{}", request.credential())))
    });
    let mut gateway = Gateway::with(yaml).start().await;
    for _ in 0..3 {
        gateway.ask(&requests::responses()).await.expect(200);
    }
    gateway.log(3).await;
    gateway.signal(nix::sys::signal::Signal::SIGTERM);
    gateway.process().ended().await;
    let again = gateway.spawn(&["run", "-c", "aicarpool.yaml"]);
    drop(gateway.succeed(again));
    gateway.ready().await;
    for owner in ["sk-a", "sk-b", "sk-c"] {
        let body = json!({"model": "gpt-5", "input": "more", "previous_response_id": format!("resp_{owner}")}).to_string();
        gateway.ask(&openai_request("/v1/responses", &body)).await.expect(200);
        assert_eq!(provider.last().credential(), owner);
    }
}

#[tokio::test]
async fn files_and_batches_belong_to_their_account() {
    let provider = Provider::plain().await;
    let origin = provider.origin();
    let accounts: Vec<String> = ["a", "b", "c"].iter().map(|id| openai(id, &origin)).collect();
    let yaml = bound(&accounts, "{accounts: [a, b, c]}", "    strategy: round_robin\n    sticky: false\n    operations: all\n");
    provider.answers(|request| match (request.method.as_str(), request.path()) {
        ("POST", "/v1/files") => {
            Script::json(200, json!({"id": format!("file-{}", request.credential()), "object": "file", "bytes": 3}))
        }
        ("POST", "/v1/batches") => Script::json(200, json!({"id": format!("batch_{}", request.credential()), "object": "batch"})),
        _ => Script::json(200, json!({"id": "x", "object": "file"})),
    });
    let gateway = Gateway::with(&*yaml).start().await;
    let form = "--b\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nuser_data\r\n--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"x\"\r\n\r\nabc\r\n--b--\r\n";
    let upload = Request::post("/v1/files", form)
        .key(KEY)
        .without("content-type")
        .header("content-type", "multipart/form-data; boundary=b");
    for _ in 0..3 {
        let id = gateway.ask(&upload).await.expect(200).json()["id"].as_str().unwrap().to_owned();
        let owner = id.trim_start_matches("file-").to_owned();
        for _ in 0..3 {
            gateway.ask(&Request::get(&format!("/v1/files/{id}/content")).key(KEY)).await.expect(200);
            assert_eq!((provider.last().credential(), provider.last().path()), (&*owner, &*format!("/v1/files/{id}/content")));
        }
        let batch = json!({"input_file_id": id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}).to_string();
        let answer = gateway.ask(&openai_request("/v1/batches", &batch)).await;
        assert_eq!((answer.status, provider.last().credential()), (200, &*owner), "{answer:?}");
    }
    // What answers without usage is nothing for a key that may use certain models only.
    let gateway = Gateway::with(yaml.replace("name: laptop}", "name: laptop, models: [gpt-4o]}")).start().await;
    let background = r#"{"model":"gpt-4o","input":"x","background":true}"#;
    gateway.ask(&openai_request("/v1/responses", background)).await.refused(403, "operation_not_allowed");
    let batch = r#"{"input_file_id":"file-1","endpoint":"/v1/chat/completions","completion_window":"24h"}"#;
    gateway.ask(&openai_request("/v1/batches", batch)).await.refused(403, "operation_not_allowed");
}
