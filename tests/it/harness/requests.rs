//! What clients ask, in the three dialects.

use serde_json::json;

use super::client::Request;
use super::gateway::KEY;

pub fn messages() -> Request {
    anthropic(r#"{"model":"claude-sonnet-4-5","max_tokens":64,"messages":[{"role":"user","content":"ping"}]}"#)
}
pub fn messages_stream() -> Request {
    anthropic(r#"{"model":"claude-sonnet-4-5","max_tokens":64,"messages":[{"role":"user","content":"ping"}],"stream":true}"#)
}
pub fn anthropic(body: &str) -> Request {
    Request::post("/v1/messages", body.to_owned()).header("x-api-key", KEY).header("anthropic-version", "2023-06-01")
}
/// A `messages` request whose body has exactly `size` bytes.
pub fn messages_of(size: usize, stream: bool) -> Request {
    let head =
        format!(r#"{{"model":"claude-sonnet-4-5","max_tokens":64,"stream":{stream},"messages":[{{"role":"user","content":""#);
    let tail = r#""}]}"#;
    let fill = size.checked_sub(head.len() + tail.len()).expect("too small for a body");
    // Not all alike, so that a piece lost, doubled or moved shows.
    let text: String = (0..fill).map(|at| char::from(b'a' + u8::try_from((at / 7 + at / 1021) % 26).unwrap())).collect();
    anthropic(&format!("{head}{text}{tail}"))
}
pub fn chat() -> Request {
    openai("/v1/chat/completions", r#"{"model":"gpt-4o","messages":[{"role":"user","content":"ping"}]}"#)
}
pub fn chat_stream() -> Request {
    openai("/v1/chat/completions", r#"{"model":"gpt-4o","messages":[{"role":"user","content":"ping"}],"stream":true}"#)
}
pub fn responses() -> Request {
    openai("/v1/responses", r#"{"model":"gpt-5","input":"ping"}"#)
}
pub fn responses_stream() -> Request {
    openai("/v1/responses", r#"{"model":"gpt-5","input":"ping","stream":true}"#)
}
pub fn openai(target: &str, body: &str) -> Request {
    Request::post(target, body.to_owned()).key(KEY)
}
pub fn generate() -> Request {
    gemini("/v1beta/models/gemini-2.5-pro:generateContent")
}
pub fn generate_stream() -> Request {
    gemini("/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse")
}
pub fn gemini(target: &str) -> Request {
    let body = json!({"contents": [{"role": "user", "parts": [{"text": "ping"}]}]}).to_string();
    Request::post(target, body).header("x-goog-api-key", KEY)
}
