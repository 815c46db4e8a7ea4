//! Whose key is in a request: where it may stand, what is refused, and that it goes no further.

use serde_json::json;

use crate::harness::log::has;
use crate::harness::requests::{anthropic, chat, generate, messages};
use crate::harness::setups::{claude, gemini, openai, us};
use crate::harness::*;

fn three(provider: &Provider) -> String {
    let origin = provider.origin();
    us(&[claude("c", &origin), openai("o", &origin), gemini("g", &origin)])
}

/// That nothing of the caller's credentials is in what the provider got.
#[track_caller]
fn clean(received: &provider::Received) {
    let all = format!("{} {:?}", received.target, received.headers);
    assert!(!all.contains("aicp_"), "the caller's key reached the provider: {all}");
    assert!(!all.contains("foreign"), "a credential of the caller reached the provider: {all}");
}

#[tokio::test]
async fn a_key_may_stand_in_every_place_and_goes_no_further() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(three(&provider)).start().await;
    let bare = messages().without("x-api-key");
    let places = [
        bare.clone().key(KEY),
        bare.clone().header("Authorization", &format!("bearer {KEY}")),
        bare.clone().header("x-api-key", KEY),
        bare.clone().header("X-Goog-Api-Key", KEY),
        bare.clone().header("api-key", KEY),
        bare.clone().header("sec-websocket-protocol", &format!("realtime, openai-insecure-api-key.{KEY}")),
        // Two at once: the first that is one of ours counts, whatever stands before it.
        bare.clone().key("foreign-1").header("x-api-key", KEY),
        bare.clone().key(KEY).header("x-api-key", "foreign-2"),
        bare.clone().header("x-goog-api-key", "foreign-3").header("api-key", KEY).header("cookie", "session=foreign"),
    ];
    for (number, request) in places.iter().enumerate() {
        let answer = gateway.ask(request).await.expect(200);
        let received = &provider.received(number + 1).await[number];
        clean(received);
        assert_eq!(received.credential(), "sk-c");
        assert_eq!(received.header("sec-websocket-protocol"), None);
        has(&gateway.line_of(&answer).await, json!({"enterprise": "default", "group": "us", "user": "ann", "key": "laptop"}));
    }
}

#[tokio::test]
async fn a_key_in_the_query_is_taken_out() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(three(&provider)).start().await;
    let cases = [
        (format!("?key={KEY}"), None),
        (format!("?alt=json&key={KEY}"), Some("alt=json")),
        (format!("?a=1&key={KEY}&b=%20x%2B&b=2"), Some("a=1&b=%20x%2B&b=2")),
        (format!("?k%65y={KEY}&x=1"), Some("x=1")),
        (format!("?key={KEY}&access_token=foreign&oauth_token=foreign&o%61uth_token=foreign&z"), Some("z")),
    ];
    for (number, (query, left)) in cases.into_iter().enumerate() {
        let target = format!("/v1beta/models/gemini-2.5-pro:generateContent{query}");
        let mut request = generate().without("x-goog-api-key");
        request.target = target;
        gateway.ask(&request).await.expect(200);
        let received = provider.last();
        clean(&received);
        assert_eq!((number, received.query()), (number, left));
        assert_eq!(received.header("x-goog-api-key"), Some("sk-g"));
    }
}

#[tokio::test]
async fn keys_are_refused_each_for_its_reason() {
    let provider = Provider::plain().await;
    let origin = provider.origin();
    let hash = "sha256:5ad1b9d34fa5f3bb4d9ae1d6b1ee0f4cb44ba3cbd06ba5f0fba80d53c4d9b1d5";
    let yaml = format!(
        "accounts: [{}, {}]
groups:
  - {{id: us, binding: {{accounts: [c, o]}}}}
  - {{id: off, binding: {{accounts: [c]}}, enabled: false}}
  - {{id: small, binding: {{accounts: [c]}}, models: [claude-haiku-*], operations: [messages]}}
users:
  - {{id: ann, groups: [us, off, small]}}
  - {{id: bob, groups: [us], enabled: false}}
keys:
  - {{key: {KEY}}}
  - {{hash: \"{hash}\", group: us, user: ann, name: nobody-has-it}}
  - {{key: aicp_us_ann_0000000000000001}}
  - {{key: aicp_us_ann_0000000000000002, enabled: false}}
  - {{key: aicp_us_ann_0000000000000003, expires: 2020-01-01}}
  - {{key: aicp_us_bob_0000000000000004}}
  - {{key: aicp_off_ann_0000000000000005}}
  - {{key: aicp_us_ann_0000000000000006, allow_from: [192.168.0.0/16]}}
  - {{key: aicp_us_ann_0000000000000007, services: [openai]}}
  - {{key: aicp_us_ann_0000000000000008, models: [claude-haiku-*]}}
  - {{key: aicp_small_ann_0000000000000009}}
  - {{key: aicp_us_ann_0000000000000010, expires: 2999-01-01, allow_from: [127.0.0.0/8]}}
",
        claude("c", &origin).replace("key: sk-c", "key: sk-c, exclusive: false"),
        openai("o", &origin),
    );
    let gateway = Gateway::with(yaml).start().await;
    let cases = [
        ("", 401, "missing_key"),
        ("sk-ant-something-else", 401, "unknown_key"),
        ("aicp_us_ann_ffffffffffffffff", 401, "unknown_key"),
        ("aicp_us_ann_short", 401, "unknown_key"),
        ("aicp_", 401, "unknown_key"),
        ("aicp_us_ann_0000000000000002", 401, "key_disabled"),
        ("aicp_us_ann_0000000000000003", 401, "key_expired"),
        ("aicp_us_bob_0000000000000004", 403, "user_disabled"),
        ("aicp_off_ann_0000000000000005", 403, "group_disabled"),
        ("aicp_us_ann_0000000000000006", 403, "address_not_allowed"),
        ("aicp_us_ann_0000000000000007", 403, "service_not_allowed"),
        ("aicp_us_ann_0000000000000008", 403, "model_not_allowed"),
        ("aicp_small_ann_0000000000000009", 403, "model_not_allowed"),
    ];
    for (key, status, code) in cases {
        let request = messages().without("x-api-key").header("x-api-key", key);
        let answer = gateway.ask(&request).await.refused(status, code);
        assert_eq!(answer.header("x-should-retry"), Some("false"), "{code}");
        assert_eq!(answer.header("retry-after"), None, "{code}");
        assert_eq!(answer.json()["type"], "error", "{answer:?}");
        has(&gateway.line_of(&answer).await, json!({"status": status, "outcome": "refused", "error": code, "account": null}));
    }
    let haiku = anthropic(r#"{"model":"claude-haiku-4-5","max_tokens":1,"messages":[]}"#).without("x-api-key");
    gateway.ask(&haiku.clone().key("aicp_us_ann_0000000000000008")).await.expect(200);
    gateway.ask(&haiku.key("aicp_small_ann_0000000000000009")).await.expect(200);
    gateway.ask(&messages().without("x-api-key").key("aicp_us_ann_0000000000000010")).await.expect(200);
    gateway.ask(&messages().without("x-api-key").key("aicp_us_ann_0000000000000001")).await.expect(200);
    let small = chat().without("authorization").key("aicp_small_ann_0000000000000009");
    gateway.ask(&small).await.refused(403, "operation_not_allowed");
    assert_eq!(provider.requests().len(), 4);
}

#[tokio::test]
async fn an_unknown_key_is_told_before_an_unknown_path() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(three(&provider)).start().await;
    let unknown = "aicp_us_ann_ffffffffffffffff";
    gateway.ask(&Request::post("/v1/nothing", "{}").key(unknown)).await.refused(401, "unknown_key");
    gateway.ask(&Request::post("/v1/messages", "not json").key(unknown)).await.refused(401, "unknown_key");
    gateway.ask(&Request::post("/v1/nothing", "{}")).await.refused(401, "missing_key");
    gateway.ask(&Request::post("/v1/nothing", "{}").key(KEY)).await.refused(404, "unknown_path");
}

#[tokio::test]
async fn no_secret_shows_in_logs_and_metrics() {
    let provider = Provider::plain().await;
    let yaml = three(&provider).replace(", name: laptop", "");
    let gateway = Gateway::with(yaml).start().await;
    let mut request = generate().without("x-goog-api-key");
    request.target += &format!("?key={KEY}");
    let answer = gateway.ask(&request).await.expect(200);
    // Provoke the program's own words too: a path that does not exist, a provider that breaks off.
    gateway.ask(&Request::get(&format!("/v1/none?key={KEY}"))).await.refused(404, "unknown_path");
    provider.then(script::reset_before_answer());
    gateway.ask(&request).await;
    let line = gateway.line_of(&answer).await;
    // Without a name a key is known by the first eight hex digits of its hash.
    let name = line["key"].as_str().unwrap();
    assert!(name.len() == 8 && name.bytes().all(|b| b.is_ascii_hexdigit()), "{name}");
    assert_eq!(line["path"], "/v1beta/models/gemini-2.5-pro:generateContent");
    gateway.log(3).await;
    let log = std::fs::read_to_string(gateway.path("access.log")).unwrap();
    let everything = [log, gateway.said(), gateway.metrics().await.text].concat();
    for secret in [KEY, "0123456789abcdef0123456789abcdef", "sk-c", "sk-o", "sk-g"] {
        assert!(!everything.contains(secret), "{secret} shows:\n{everything}");
    }
}
