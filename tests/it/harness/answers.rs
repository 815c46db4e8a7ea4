//! What well-behaved providers answer, in the three dialects, and their errors.

use serde_json::{Value, json};

use super::provider::Received;
use super::script::{Framing, Script, Step, pairs};

/// What a provider would say to this request: "pong" in its dialect, 12 tokens in and 5 out.
pub fn plausible(request: &Received) -> Script {
    let body = request.json();
    let stream = body["stream"] == true;
    let path = request.path();
    let ends = |tail: &str| path.ends_with(tail);
    if ends("/messages") {
        return if stream { messages_stream(&["po", "ng"]) } else { messages("pong") };
    }
    if ends("/chat/completions") {
        let usage = body["stream_options"]["include_usage"] == true;
        return if stream { chat_stream(&["po", "ng"], usage) } else { chat("pong") };
    }
    if ends("/responses") {
        return if stream { responses_stream(&["po", "ng"]) } else { responses("pong") };
    }
    if ends(":streamGenerateContent") {
        let sse = request.query().is_some_and(|q| q.contains("alt=sse"));
        return if sse { generate_stream(&["po", "ng"]) } else { generate_array(&["po", "ng"]) };
    }
    if ends(":generateContent") {
        return generate("pong");
    }
    if ends("/completions") {
        return Script::json(
            200,
            json!({"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "gpt-4o", "choices":
            [{"text": "pong", "index": 0, "finish_reason": "stop"}], "usage": {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}}),
        );
    }
    if ends("/count_tokens") {
        return Script::json(200, json!({"input_tokens": 12}));
    }
    if ends(":countTokens") {
        return Script::json(200, json!({"totalTokens": 12}));
    }
    if ends("/embeddings") {
        return Script::json(
            200,
            json!({"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -0.5]}],
            "model": "text-embedding-3-small", "usage": {"prompt_tokens": 12, "total_tokens": 12}}),
        );
    }
    Script::json(200, json!({"path": path}))
}

// ------------------------------------------------------------------ anthropic

pub fn messages(text: &str) -> Script {
    Script::json(
        200,
        json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5",
        "content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "stop_sequence": null,
        "usage": {"input_tokens": 12, "output_tokens": 5}}),
    )
    .header("request-id", "req_provider_1")
}

fn named(event: &str, data: Value) -> String {
    format!("event: {event}\ndata: {data}\n\n")
}

/// What stands before the first event that means something.
pub fn messages_prelude() -> Vec<String> {
    vec![
        named(
            "message_start",
            json!({"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant",
            "model": "claude-sonnet-4-5", "content": [], "stop_reason": null, "stop_sequence": null,
            "usage": {"input_tokens": 12, "output_tokens": 1}}}),
        ),
        named("ping", json!({"type": "ping"})),
    ]
}

pub fn messages_delta(text: &str) -> String {
    named(
        "content_block_delta",
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}),
    )
}

pub fn messages_events(pieces: &[&str]) -> Vec<String> {
    let mut events = messages_prelude();
    events.push(named(
        "content_block_start",
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
    ));
    events.extend(pieces.iter().map(|piece| messages_delta(piece)));
    events.push(named("content_block_stop", json!({"type": "content_block_stop", "index": 0})));
    events.push(named(
        "message_delta",
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null},
        "usage": {"output_tokens": 5}}),
    ));
    events.push(named("message_stop", json!({"type": "message_stop"})));
    events
}

pub fn messages_stream(pieces: &[&str]) -> Script {
    Script::stream(messages_events(pieces)).header("request-id", "req_provider_1")
}

pub fn anthropic_error(kind: &str, message: &str) -> Value {
    json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_provider_1"})
}

pub fn error_event(kind: &str) -> String {
    named("error", json!({"type": "error", "error": {"type": kind, "message": "the provider says so"}}))
}

// ------------------------------------------------------------------ openai

pub fn chat(text: &str) -> Script {
    Script::json(
        200,
        json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o-2024-08-06", "choices":
        [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}}),
    )
}

fn chunk(delta: Value, finish: Value) -> String {
    let choices = json!([{"index": 0, "delta": delta, "finish_reason": finish}]);
    format!(
        "data: {}\n\n",
        json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-2024-08-06", "choices": choices})
    )
}

pub fn chat_delta(text: &str) -> String {
    chunk(json!({"content": text}), Value::Null)
}

pub fn chat_usage() -> String {
    format!(
        "data: {}\n\n",
        json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-2024-08-06",
        "choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}})
    )
}

pub fn chat_events(pieces: &[&str], usage: bool) -> Vec<String> {
    let mut events = vec![chunk(json!({"role": "assistant", "content": ""}), Value::Null)];
    events.extend(pieces.iter().map(|piece| chat_delta(piece)));
    events.push(chunk(json!({}), json!("stop")));
    if usage {
        events.push(chat_usage());
    }
    events.push("data: [DONE]\n\n".to_owned());
    events
}

pub fn chat_stream(pieces: &[&str], usage: bool) -> Script {
    Script::stream(chat_events(pieces, usage))
}

pub fn openai_error(code: &str, message: &str) -> Value {
    json!({"error": {"message": message, "type": code, "param": null, "code": code}})
}

pub fn responses(text: &str) -> Script {
    Script::json(200, response(text, "completed"))
}

fn response(text: &str, status: &str) -> Value {
    json!({"id": "resp_1", "object": "response", "created_at": 1, "status": status, "model": "gpt-5", "output": [{"id": "msg_1",
        "type": "message", "role": "assistant", "status": "completed", "content": [{"type": "output_text", "text": text, "annotations": []}]}],
        "usage": {"input_tokens": 12, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 17}})
}

pub fn responses_events(pieces: &[&str]) -> Vec<String> {
    let bare =
        json!({"id": "resp_1", "object": "response", "created_at": 1, "status": "in_progress", "model": "gpt-5", "output": []});
    let mut events = vec![named("response.created", json!({"type": "response.created", "sequence_number": 0, "response": bare}))];
    for piece in pieces {
        events.push(named(
            "response.output_text.delta",
            json!({"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0,
            "content_index": 0, "delta": piece, "sequence_number": events.len()}),
        ));
    }
    let done = response(&pieces.concat(), "completed");
    events.push(named(
        "response.completed",
        json!({"type": "response.completed", "sequence_number": events.len(), "response": done}),
    ));
    events
}

pub fn responses_stream(pieces: &[&str]) -> Script {
    Script::stream(responses_events(pieces))
}

// ------------------------------------------------------------------ gemini

fn generated(text: &str, last: bool) -> Value {
    let mut value = json!({"candidates": [{"content": {"role": "model", "parts": [{"text": text}]}, "index": 0}],
        "modelVersion": "gemini-2.5-pro", "responseId": "r1"});
    if last {
        value["candidates"][0]["finishReason"] = json!("STOP");
        value["usageMetadata"] = json!({"promptTokenCount": 12, "candidatesTokenCount": 5, "totalTokenCount": 17});
    }
    value
}

pub fn generate(text: &str) -> Script {
    Script::json(200, generated(text, true))
}

pub fn generate_events(pieces: &[&str]) -> Vec<String> {
    let last = pieces.len() - 1;
    pieces.iter().enumerate().map(|(at, piece)| format!("data: {}\r\n\r\n", generated(piece, at == last))).collect()
}

pub fn generate_stream(pieces: &[&str]) -> Script {
    Script::stream(generate_events(pieces))
}

/// The stream without `alt=sse`: one JSON array, element by element.
pub fn generate_array(pieces: &[&str]) -> Script {
    let last = pieces.len() - 1;
    let part = |(at, piece): (usize, &&str)| {
        let (before, after) = (if at == 0 { "[" } else { ",\r\n" }, if at == last { "]" } else { "" });
        Step::Body(format!("{before}{}{after}", generated(piece, at == last)).into())
    };
    let mut steps = vec![Step::Head(200, pairs(&[("content-type", "application/json; charset=UTF-8")]), Framing::Chunked)];
    steps.extend(pieces.iter().enumerate().map(part));
    steps.push(Step::End);
    Script::steps(steps)
}

pub fn gemini_error(code: u16, status: &str, message: &str) -> Value {
    json!({"error": {"code": code, "message": message, "status": status}})
}

/// A plausible refusal with this status in the dialect of `path`.
pub fn refusal(path: &str, status: u16) -> Script {
    let kind = match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        400 => "invalid_request_error",
        _ => "api_error",
    };
    let body = if path.contains("/models/") {
        gemini_error(status, "UNAVAILABLE", "the provider says so")
    } else if path.ends_with("/messages") {
        anthropic_error(kind, "the provider says so")
    } else {
        openai_error(kind, "the provider says so")
    };
    Script::json(status, body)
}
