//! What a refusal looks like in each dialect: the table of the design's section 4.

use serde_json::{Value, json};

use crate::harness::requests::{
    anthropic, chat, gemini as gemini_request, generate, messages, openai as openai_request, responses,
};
use crate::harness::setups::{claude, gemini, openai, us};
use crate::harness::*;

fn three(provider: &Provider) -> String {
    let origin = provider.origin();
    us(&[claude("c", &origin), openai("o", &origin), gemini("g", &origin)])
}

/// That the body is a refusal as this dialect's official SDKs parse it; hands out its message.
#[track_caller]
fn shape(dialect: &str, answer: &Answer, kind: &str, code: Option<&str>) -> String {
    let body = answer.json();
    let error = &body["error"];
    assert!(answer.header("content-type").is_some_and(|t| t.starts_with("application/json")), "{answer:?}");
    match dialect {
        "anthropic" => {
            assert_eq!((&body["type"], &error["type"]), (&json!("error"), &json!(kind)), "{answer:?}");
            assert_eq!(body["request_id"], answer.id(), "{answer:?}");
        }
        "openai" => {
            assert_eq!((&error["type"], &error["code"]), (&json!(kind), &code.map_or(Value::Null, |c| json!(c))), "{answer:?}");
            assert!(error.as_object().unwrap().contains_key("param"), "{answer:?}");
        }
        _ => {
            assert_eq!((&error["code"], &error["status"]), (&json!(answer.status), &json!(kind)), "{answer:?}");
        }
    }
    let message = error["message"].as_str().unwrap_or_default().to_owned();
    assert!(!message.is_empty(), "{answer:?}");
    message
}

#[tokio::test]
async fn an_unknown_key_in_each_dialect() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(three(&provider)).start().await;
    let bad = "aicp_us_ann_ffffffffffffffff";
    let answer = gateway.ask(&messages().without("x-api-key").key(bad)).await.refused(401, "unknown_key");
    shape("anthropic", &answer, "authentication_error", None);
    for request in [chat(), responses()] {
        let answer = gateway.ask(&request.without("authorization").key(bad)).await.refused(401, "unknown_key");
        shape("openai", &answer, "invalid_request_error", Some("invalid_api_key"));
    }
    let answer =
        gateway.ask(&generate().without("x-goog-api-key").header("x-goog-api-key", bad)).await.refused(401, "unknown_key");
    shape("gemini", &answer, "UNAUTHENTICATED", None);
    assert_eq!(answer.header("x-should-retry"), Some("false"));
}

#[tokio::test]
async fn an_unknown_path_and_model_in_each_dialect() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(three(&provider)).start().await;
    let unknown = [
        ("anthropic", Request::post("/v1/nothing", "{}").key(KEY).header("anthropic-version", "2023-06-01"), "not_found_error"),
        ("openai", Request::post("/v1/nothing", "{}").key(KEY), "invalid_request_error"),
        ("gemini", Request::post("/v1beta/nothing", "{}").header("x-goog-api-key", KEY), "NOT_FOUND"),
    ];
    for (dialect, request, kind) in unknown {
        let answer = gateway.ask(&request).await.refused(404, "unknown_path");
        shape(dialect, &answer, kind, Some("unknown_url"));
    }
    let unknown = [
        ("anthropic", anthropic(r#"{"model":"none-such","max_tokens":1,"messages":[]}"#), "not_found_error"),
        ("openai", openai_request("/v1/chat/completions", r#"{"model":"none-such","messages":[]}"#), "invalid_request_error"),
        ("gemini", gemini_request("/v1beta/models/none-such:generateContent"), "NOT_FOUND"),
    ];
    for (dialect, request, kind) in unknown {
        let answer = gateway.ask(&request).await.refused(404, "unknown_model");
        let message = shape(dialect, &answer, kind, Some("model_not_found"));
        assert!(message.contains("none-such"), "{message}");
        assert_eq!(answer.header("x-should-retry"), Some("false"));
    }
    assert_eq!(provider.requests().len(), 0);
}

#[tokio::test]
async fn bodies_that_cannot_be_read() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(three(&provider)).start().await;
    let bodies = [
        "",
        "not json",
        "{",
        "[]",
        "null",
        r#"{"model":"gpt-4o","messages":[]"#,
        r#"{"model":"gpt-4o","messages":[]} trailing"#,
        r#"{"messages":[]}"#,
        r#"{"model":17,"messages":[]}"#,
        r#"{"model":"","messages":[]}"#,
        // A member that differs from one that counts by its case only: providers disagree about it.
        r#"{"model":"gpt-4o","Model":"o1-pro","messages":[]}"#,
        r#"{"model":"gpt-4o","STREAM":true,"messages":[]}"#,
    ];
    for body in bodies {
        let answer = gateway.ask(&openai_request("/v1/chat/completions", body)).await.refused(400, "bad_request");
        shape("openai", &answer, "invalid_request_error", answer.json()["error"]["code"].as_str());
    }
    let answer = gateway.ask(&anthropic("{")).await.refused(400, "bad_request");
    shape("anthropic", &answer, "invalid_request_error", None);
    let answer = gateway.ask(&Request { body: "{".into(), ..generate() }).await.refused(400, "bad_request");
    shape("gemini", &answer, "INVALID_ARGUMENT", None);
    assert_eq!(provider.requests().len(), 0);
}

#[tokio::test]
async fn the_last_of_a_repeated_member_counts() {
    let provider = Provider::plain().await;
    let yaml = three(&provider).replace("name: laptop}", "name: laptop, models: [gpt-4o]}");
    let gateway = Gateway::with(yaml).start().await;
    let allowed = r#"{"model":"o1-pro","messages":[{"role":"user","content":"x","model":"o1"}],"model":"gpt-4o"}"#;
    gateway.ask(&openai_request("/v1/chat/completions", allowed)).await.expect(200);
    for refused in
        [r#"{"model":"gpt-4o","messages":[],"model":"o1-pro"}"#, r#"{"model":"gpt-4o","messages":[],"mod\u0065l":"o1-pro"}"#]
    {
        gateway.ask(&openai_request("/v1/chat/completions", refused)).await.refused(403, "model_not_allowed");
    }
    assert_eq!(provider.requests().len(), 1);
}

#[tokio::test]
async fn all_accounts_limited_says_when_to_come_back() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(three(&provider)).start().await;
    provider.answers(|request| answers::refusal(request.path(), 429).header("retry-after", "20"));
    // The provider's own answer is shown to the one who met it …
    for request in [messages(), chat(), generate()] {
        let answer = gateway.ask(&request).await.expect(429);
        assert!(answer.text().contains("the provider says so"), "{answer:?}");
    }
    let asked = provider.requests().len();
    // … and the next ones do not even try.
    let kinds = [
        (messages(), "anthropic", "rate_limit_error"),
        (chat(), "openai", "rate_limit_error"),
        (generate(), "gemini", "RESOURCE_EXHAUSTED"),
    ];
    for (request, dialect, kind) in kinds {
        let answer = gateway.ask(&request).await.refused(429, "accounts_rate_limited");
        shape(dialect, &answer, kind, answer.json()["error"]["code"].as_str());
        let seconds: u32 = answer.header("retry-after").expect("retry-after").parse().unwrap();
        assert!((15..=25).contains(&seconds), "{seconds}");
        assert_ne!(answer.header("x-should-retry"), Some("false"));
        assert!(answer.header("x-aicarpool-retry-after").is_some(), "{answer:?}");
        if dialect == "gemini" {
            assert!(answer.text().contains("google.rpc.RetryInfo"), "{answer:?}");
        }
    }
    assert_eq!(provider.requests().len(), asked);
}

#[tokio::test]
async fn a_long_wait_is_said_in_words_not_as_an_order_to_sleep() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(three(&provider)).start().await;
    provider.answers(|request| answers::refusal(request.path(), 429).header("retry-after", "3600"));
    for request in [messages(), chat(), generate()] {
        gateway.ask(&request).await.expect(429);
    }
    for request in [messages(), chat(), generate()] {
        let answer = gateway.ask(&request).await.refused(429, "accounts_rate_limited");
        assert_eq!((answer.header("retry-after"), answer.header("x-should-retry")), (None, Some("false")), "{answer:?}");
        let seconds: u32 = answer.header("x-aicarpool-retry-after").expect("x-aicarpool-retry-after").parse().unwrap();
        // At the latest then; a long parking is tried with a real request every quarter of an hour.
        assert!((850..=3800).contains(&seconds), "{seconds}");
    }
}

/// Codex answers each 5xx with thirty requests: on `responses` a pool that is busy or empty is 429.
#[tokio::test]
async fn codex_is_never_told_5xx_about_an_empty_pool() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(three(&provider)).start().await;
    provider.always(Script::json(401, answers::openai_error("invalid_api_key", "the provider says so")));
    let first = gateway.ask(&responses()).await;
    for answer in [first, gateway.ask(&responses()).await] {
        let answer = answer.refused(429, "no_account");
        let error = &answer.json()["error"];
        assert_eq!(error["type"], "usage_limit_reached", "{answer:?}");
        assert!(error["resets_at"].as_u64().is_some_and(|at| at > 1_700_000_000), "{answer:?}");
        assert_eq!(answer.header("retry-after"), None);
    }
    let answer = gateway.ask(&chat()).await.refused(503, "no_account");
    shape("openai", &answer, "server_error", Some("no_account"));
}

#[tokio::test]
async fn nobody_there_is_told_in_each_dialect() {
    let nobody = NobodyThere::new();
    let origin = nobody.origin();
    let yaml = us(&[claude("c", &origin), openai("o", &origin), gemini("g", &origin)]);
    let gateway = Gateway::with(yaml).start().await;
    let cases =
        [(messages(), "anthropic", "api_error"), (chat(), "openai", "server_error"), (generate(), "gemini", "UNAVAILABLE")];
    for (request, dialect, kind) in cases {
        let answer = gateway.ask(&request).await.refused(502, "upstream_failed");
        shape(dialect, &answer, kind, answer.json()["error"]["code"].as_str());
        assert!(!answer.text().contains(&nobody.address.port().to_string()), "names the account's endpoint: {answer:?}");
    }
}

#[tokio::test]
async fn a_provider_that_never_answers_is_a_timeout() {
    let provider = Provider::plain().await;
    provider.always(script::silence());
    let yaml = three(&provider) + setups::QUICK;
    let gateway = Gateway::with(yaml).start().await;
    let cases =
        [(messages(), "anthropic"), (chat(), "openai"), (generate(), "gemini"), (requests::messages_stream(), "anthropic")];
    for (request, dialect) in cases {
        let answer = gateway.ask(&request).await.refused(504, "upstream_timeout");
        let kind = answer.json()["error"]["type"].as_str().unwrap_or("DEADLINE_EXCEEDED").to_owned();
        assert!(["api_error", "timeout_error", "server_error", "DEADLINE_EXCEEDED"].contains(&kind.as_str()), "{answer:?}");
        shape(dialect, &answer, &kind, answer.json()["error"]["code"].as_str());
    }
}
