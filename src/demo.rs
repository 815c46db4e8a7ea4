//! The service `demo`: answers of all three dialects made inside the process, so that the gateway can be tried without a provider.
//!
//! What it says is short, names itself as the demo and repeats the caller's last words; asked for JSON, it gives an object that fits
//! the schema. The same request gets the same text. Its figures are what a provider's would be (one token for four bytes of text),
//! and its events come in the order and with the fields that the vendors' SDKs and agents wait for. It uses no tools, draws nothing
//! and keeps nothing: what would need that is refused.
//!
//! The answer goes the way of a provider's answer: metered, priced (by the asked-for model, wherever it is in the book), logged.

mod anthropic;
mod embed;
mod gemini;
mod openai;
mod responses;
mod text;

use bytes::Bytes;
use serde_json::Value;

use crate::words::{Code, Dialect, Operation, Refusal, UnixMs};

/// A request to the demo.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    pub dialect: Dialect,
    pub operation: Operation,
    /// The path as it would go upstream, without its query: `/v1/messages`, `/responses`, `/v1beta/models/m:embedContent`.
    pub tail: &'a str,
    pub stream: bool,
    /// A stream of Gemini's without `alt=sse`: one JSON array.
    pub array: bool,
    pub model: &'a str,
    /// As it would go upstream: decoded, with what the gateway puts in.
    pub body: &'a Bytes,
    /// Our request id; the ids in the answer are made of it.
    pub id: &'a str,
    pub now: UnixMs,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub content_type: &'static str,
    /// The body: in a stream one event (or element of the array) each, else one piece.
    pub pieces: Vec<Bytes>,
}

/// Answers, or refuses what the demo cannot do (`operation_not_allowed`) or understand (`bad_request`).
pub fn answer(ask: &Ask<'_>) -> Result<Reply, Refusal> {
    let body = || read(ask.body);
    match ask.operation {
        Operation::Messages if ask.tail.ends_with("/messages") => Ok(anthropic::message(ask, &body()?)),
        Operation::Chat => Ok(openai::chat(ask, &body()?)),
        Operation::Responses if ask.tail.ends_with("/responses") => responses::response(ask, &body()?),
        Operation::Completions => Ok(openai::completion(ask, &body()?)),
        Operation::Generate => Ok(gemini::generate(ask, &body()?)),
        Operation::Embeddings => embed::embeddings(ask, &body()?),
        Operation::CountTokens => Ok(count(ask, &body()?)),
        Operation::Moderations => Ok(openai::moderation(ask, &body()?)),
        Operation::Messages
        | Operation::Responses
        | Operation::Images
        | Operation::Audio
        | Operation::Rerank
        | Operation::Models
        | Operation::Files
        | Operation::Batches => Err(not_here("this")),
    }
}

fn count(ask: &Ask<'_>, body: &Value) -> Reply {
    let tokens = text::input_tokens(body);
    match ask.dialect {
        Dialect::Anthropic => Reply::json(&serde_json::json!({"input_tokens": tokens})),
        Dialect::Openai => Reply::json(&serde_json::json!({"object": "response.input_tokens", "input_tokens": tokens})),
        Dialect::Gemini => gemini::count(tokens),
    }
}

fn read(body: &Bytes) -> Result<Value, Refusal> {
    let body = serde_json::from_slice(body).ok().filter(Value::is_object);
    body.ok_or_else(|| Refusal::new(Code::BadRequest, "the body is not a JSON object"))
}

fn not_here(what: &str) -> Refusal {
    let message = format!("the demo cannot do {what}; bind the group to an account of a real service for it");
    Refusal::new(Code::OperationNotAllowed, message)
}

impl Reply {
    fn json(body: &Value) -> Reply {
        Reply { status: 200, content_type: "application/json", pieces: vec![Bytes::from(body.to_string())] }
    }

    fn events(pieces: Vec<Bytes>) -> Reply {
        Reply { status: 200, content_type: "text/event-stream; charset=utf-8", pieces }
    }
}

/// An event with its name, which it repeats as its `type`.
fn named(name: &str, mut data: Value) -> Bytes {
    data["type"] = name.into();
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}

/// `prefix` and `length` letters and digits made of the request's id.
fn id(ask: &Ask<'_>, prefix: &str, length: usize) -> String {
    let plain = |c: &char| c.is_ascii_alphanumeric();
    let letters = if ask.id.chars().any(|c| plain(&c)) { ask.id } else { "0" };
    prefix.chars().chain(letters.chars().filter(plain).cycle().take(length)).collect()
}

#[cfg(test)]
mod tests;
