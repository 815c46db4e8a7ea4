//! Which paths lead where, and that no other path reaches a provider.

use serde_json::{Value, json};

use crate::harness::requests::{messages, openai as openai_request};
use crate::harness::setups::{claude, gemini, openai, us_with};
use crate::harness::*;

fn three(provider: &Provider) -> String {
    let origin = provider.origin();
    us_with(&[claude("c", &origin), openai("o", &origin), gemini("g", &origin)], "    operations: all\n")
}

#[tokio::test]
async fn every_prefix_leads_to_the_same_place() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(three(&provider)).start().await;
    let claude = r#"{"model":"claude-sonnet-4-5","max_tokens":1,"messages":[]}"#;
    let chat = r#"{"model":"gpt-4o","messages":[]}"#;
    let generate = r#"{"contents":[{"parts":[{"text":"x"}]}]}"#;
    let gemini = "/models/gemini-2.5-pro:generateContent";
    let mut cases: Vec<(String, &str, String)> = Vec::new();
    for mount in ["", "/api/v1", "/api/ai-proxy", "/api"] {
        for name in ["", "/anthropic"] {
            for version in ["", "/v1", "/v1/v1"] {
                cases.push((format!("{mount}{name}{version}/messages?beta=true"), claude, "/v1/messages?beta=true".into()));
                cases.push((format!("{mount}{name}{version}/messages/count_tokens"), claude, "/v1/messages/count_tokens".into()));
            }
        }
        for name in ["", "/openai"] {
            for version in ["", "/v1", "/openai/v1"] {
                cases.push((format!("{mount}{name}{version}/chat/completions"), chat, "/v1/chat/completions".into()));
            }
        }
        for name in ["", "/gemini"] {
            for version in ["/v1beta", "/v1"] {
                cases.push((format!("{mount}{name}{version}{gemini}"), generate, format!("{version}{gemini}")));
            }
            cases.push((format!("{mount}{name}{gemini}"), generate, format!("/v1beta{gemini}")));
        }
    }
    for (target, body, expected) in cases {
        let request = Request::post(&target, body).key(KEY);
        let answer = gateway.ask(&request).await;
        assert_eq!(answer.status, 200, "{target}: {answer:?}");
        let got = provider.last().target;
        // Of a mount that reads like a version, either reading is a version.
        assert!(
            got == expected || target.starts_with("/api/v1/models") && got == format!("/v1beta{gemini}"),
            "{target} went to {got}"
        );
    }
}

#[tokio::test]
async fn every_path_of_the_table_reaches_its_provider() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(three(&provider)).start().await;
    let openai = [
        ("/completions", r#"{"model":"gpt-3.5-turbo-instruct","prompt":"x"}"#),
        ("/responses", r#"{"model":"gpt-5","input":"x"}"#),
        ("/embeddings", r#"{"model":"text-embedding-3-small","input":"x"}"#),
        ("/images/generations", r#"{"model":"gpt-image-1","prompt":"x"}"#),
        ("/audio/speech", r#"{"model":"gpt-4o-mini-tts","input":"x","voice":"alloy"}"#),
        ("/moderations", r#"{"model":"omni-moderation-latest","input":"x"}"#),
    ];
    for (path, body) in openai {
        let answer = gateway.ask(&openai_request(&format!("/api/v1{path}"), body)).await;
        assert_eq!((answer.status, provider.last().target), (200, format!("/v1{path}")), "{path}: {answer:?}");
    }
    let gemini = [
        "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse",
        "/v1beta/models/gemini-2.5-pro:countTokens",
        "/v1beta/models/gemini-embedding-001:embedContent",
        "/v1beta/models/gemini-embedding-001:batchEmbedContents",
    ];
    for target in gemini {
        let request = Request::post(target, r#"{"contents":[{"parts":[{"text":"x"}]}],"requests":[]}"#).key(KEY);
        let answer = gateway.ask(&request).await;
        assert_eq!((answer.status, provider.last().target.as_str()), (200, target), "{answer:?}");
    }
    for target in
        ["/v1beta/models/gemini-2.5-pro%3AgenerateContent", "/v1beta1/publishers/google/models/gemini-2.5-pro:generateContent"]
    {
        let request = Request::post(target, r#"{"contents":[]}"#).key(KEY);
        gateway.ask(&request).await.expect(200);
        assert!(provider.last().target.contains("models/gemini-2.5-pro"), "{}", provider.last().target);
    }
}

#[tokio::test]
async fn other_paths_reach_no_provider() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(three(&provider)).start().await;
    let paths = [
        "/v1/nothing",
        "/v1/messages/",
        "/v1/messages/extra",
        "/v1/organizations/api_keys",
        "/v1/messages/../organizations",
        "/v1/./messages",
        "/v1/x/../messages",
        "/v1/%2e%2e/messages",
        "/v1%2Fmessages",
        "/v1/messages%2F..%2Fadmin",
        "/v1/responses/..%2f..%2fadmin",
        "/v1/responses/%2e%2e",
        "/v1/files/../models",
        "/v1\\messages",
        "//v1/messages",
        "/api/api/v1/messages",
        "/V1/Messages",
        "/v1beta/models/gemini-2.5-pro:deleteModel",
        "/v1beta/models/..:generateContent",
        "/v1beta/models/a/b:generateContent",
        "/v1beta/tunedModels/x:generateContent",
        "/v1/messages%00",
        "/v1/messages;x=1",
    ];
    for path in paths {
        let answer = gateway.ask(&Request::post(path, r#"{"model":"claude-sonnet-4-5","messages":[]}"#).key(KEY)).await;
        assert!([400, 404].contains(&answer.status), "{path}: {answer:?}");
        assert!(answer.whole, "{path}: {answer:?}");
    }
    let evil = messages();
    let absolute = Request { target: "http://evil.example/v1/organizations".to_owned(), ..evil };
    let answer = gateway.ask(&absolute).await;
    assert!([400, 404].contains(&answer.status), "{answer:?}");
    assert_eq!(provider.requests().len(), 0, "{:?}", provider.requests());
}

#[tokio::test]
async fn methods_are_checked() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(three(&provider)).start().await;
    for (method, path) in [
        ("GET", "/v1/messages"),
        ("PUT", "/v1/chat/completions"),
        ("DELETE", "/v1beta/models/gemini-2.5-pro:generateContent"),
        ("POST", "/v1/models"),
    ] {
        let request = Request { method: method.to_owned(), ..Request::get(path).key(KEY) };
        gateway.ask(&request).await.refused(405, "method_not_allowed");
    }
    assert_eq!(provider.requests().len(), 0);
}

#[tokio::test]
async fn hello_and_health_want_no_key() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(three(&provider)).start().await;
    let mut client = gateway.connect().await;
    assert!(!client.ask(&Request::get("/")).await.expect(200).body.is_empty());
    assert!(client.ask(&Request::new("HEAD", "/")).await.expect(200).body.is_empty());
    for path in ["/healthz", "/readyz"] {
        client.ask(&Request::get(path)).await.expect(200);
        gateway.admin(path).await.expect(200);
    }
}

#[tokio::test]
async fn a_websocket_on_responses_is_sent_to_post() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(three(&provider)).start().await;
    let upgrade = Request::get("/v1/responses")
        .key(KEY)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let mut client = gateway.connect().await;
    client.send(&upgrade).await;
    let answer = client.head().await;
    assert_eq!(answer.status, 426, "{answer:?}");
    // Codex comes back with POST on the same or another connection.
    gateway.ask(&requests::responses()).await.expect(200);
    assert_eq!(provider.requests().len(), 1);
}

#[tokio::test]
async fn model_lists_come_in_the_callers_dialect() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(three(&provider)).start().await;
    let ids = |value: &Value, list: &str, field: &str| -> Vec<String> {
        let list = value[list].as_array().unwrap_or_else(|| panic!("{value}"));
        list.iter().map(|m| m[field].as_str().unwrap().to_owned()).collect()
    };
    let list = gateway.ask(&Request::get("/v1/models").key(KEY)).await.expect(200).json();
    assert_eq!(list["object"], "list");
    assert_eq!(list["data"][0]["object"], "model");
    let openai = ids(&list, "data", "id");
    assert!(openai.iter().any(|id| id == "gpt-4o"), "{openai:?}");
    let list = gateway
        .ask(&Request::get("/v1/models?limit=1000").key(KEY).header("anthropic-version", "2023-06-01"))
        .await
        .expect(200)
        .json();
    assert_eq!((&list["has_more"], &list["data"][0]["type"]), (&json!(false), &json!("model")), "{list}");
    assert!(ids(&list, "data", "id").iter().any(|id| id == "claude-sonnet-4-5"), "{list}");
    for target in ["/v1beta/models", "/v1/models"] {
        let list = gateway.ask(&Request::get(target).header("x-goog-api-key", KEY)).await.expect(200).json();
        assert!(ids(&list, "models", "name").iter().any(|id| id == "models/gemini-2.5-pro"), "{list}");
    }
    let one = gateway.ask(&Request::get("/v1/models/gpt-4o").key(KEY)).await.expect(200).json();
    assert_eq!(one["id"], "gpt-4o");
    let one = gateway.ask(&Request::get("/v1beta/models/gemini-2.5-pro").header("x-goog-api-key", KEY)).await.expect(200).json();
    assert_eq!(one["name"], "models/gemini-2.5-pro");
    let one = gateway
        .ask(&Request::get("/v1/models/claude-sonnet-4-5").key(KEY).header("anthropic-version", "2023-06-01"))
        .await
        .expect(200);
    assert_eq!(one.json()["id"], "claude-sonnet-4-5");
    gateway.ask(&Request::get("/v1/models/none-such").key(KEY)).await.refused(404, "unknown_model");
    assert_eq!(provider.requests().len(), 0, "model lists are the gateway's own");
}

#[tokio::test]
async fn model_lists_show_what_the_key_may_use() {
    let provider = Provider::plain().await;
    let yaml = three(&provider).replace("name: laptop}", "name: laptop, models: [\"gpt-4o*\"]}");
    let gateway = Gateway::with(yaml).start().await;
    let list = gateway.ask(&Request::get("/v1/models").key(KEY)).await.expect(200).json();
    let ids: Vec<&str> = list["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
    assert!(!ids.is_empty() && ids.iter().all(|id| id.starts_with("gpt-4o")), "{ids:?}");
    gateway
        .ask(&Request::get("/v1/models").header("x-api-key", "aicp_us_ann_ffffffffffffffff"))
        .await
        .refused(401, "unknown_key");
}
