use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use Dialect::{Anthropic, Gemini, Openai};

/// What `text` is answered with.
const SAID: &str = "This is the demo of AiCarpool: no provider was asked. You wrote: \"say pong\"";

fn ask<'a>(dialect: Dialect, operation: Operation, tail: &'a str, body: &'a Bytes) -> Ask<'a> {
    let (stream, array) = (false, false);
    let id = "0123456789abcdef0123456789abcdef";
    Ask { dialect, operation, tail, stream, array, model: "demo-1", body, id, now: UnixMs(1_795_593_600_123) }
}

fn bytes(body: &Value) -> Bytes {
    Bytes::from(body.to_string())
}

/// The one JSON body of an answer.
fn whole(dialect: Dialect, operation: Operation, tail: &str, body: Value) -> Value {
    let reply = answer(&ask(dialect, operation, tail, &bytes(&body))).expect("an answer");
    assert_eq!((reply.status, reply.content_type, reply.pieces.len()), (200, "application/json", 1));
    serde_json::from_slice(&reply.pieces[0]).expect("JSON")
}

/// The data of each event; `[DONE]` as null.
fn events(dialect: Dialect, operation: Operation, tail: &str, body: Value) -> Vec<Value> {
    let reply = answer(&Ask { stream: true, ..ask(dialect, operation, tail, &bytes(&body)) }).expect("an answer");
    assert_eq!((reply.status, reply.content_type), (200, "text/event-stream; charset=utf-8"));
    let data = |piece: &Bytes| {
        let text = std::str::from_utf8(piece).expect("text");
        let (name, rest) = match text.strip_prefix("event: ") {
            Some(rest) => rest.split_once('\n').expect("a line"),
            None => ("", text),
        };
        let data = rest.strip_prefix("data: ").expect("data").trim_end();
        assert!(rest.ends_with("\n\n") || rest.ends_with("\r\n\r\n"));
        let value: Value = if data == "[DONE]" { Value::Null } else { serde_json::from_str(data).expect("JSON") };
        assert!(name.is_empty() || value["type"] == name);
        value
    };
    reply.pieces.iter().map(data).collect()
}

fn joined(events: &[Value], pointer: &str) -> String {
    events.iter().filter_map(|event| event.pointer(pointer)?.as_str()).collect()
}

fn types(events: &[Value]) -> Vec<&str> {
    let mut types: Vec<_> = events.iter().filter_map(|event| event["type"].as_str()).collect();
    types.dedup();
    types
}

#[test]
fn messages_answer_as_a_whole_and_as_a_stream() {
    let body = json!({"model": "demo-1", "max_tokens": 100, "system": "Be brief.", "messages": [
        {"role": "user", "content": [{"type": "text", "text": "say pong"}, {"type": "text", "text": "<system-reminder>x</system-reminder>"}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "n", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "tool says"}]},
    ]});
    let message = whole(Anthropic, Operation::Messages, "/v1/messages", body.clone());
    assert_eq!(message["content"], json!([{"type": "text", "text": SAID}]));
    assert_eq!(
        (&message["stop_reason"], &message["id"], &message["model"]),
        (&"end_turn".into(), &"msg_010123456789abcdef012345".into(), &"demo-1".into())
    );
    let events = events(Anthropic, Operation::Messages, "/v1/messages", body);
    let expected = [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ];
    assert_eq!(types(&events), expected);
    assert_eq!(joined(&events, "/delta/text"), SAID);
    let end = &events[events.len() - 2];
    assert_eq!(end["usage"]["output_tokens"], message["usage"]["output_tokens"]);
    assert_eq!(events[0]["message"]["usage"]["input_tokens"], end["usage"]["input_tokens"]);
    assert_eq!(end["usage"]["output_tokens"], (SAID.len() as u64).div_ceil(4));
}

#[test]
fn a_maximum_cuts_the_answer() {
    let user = json!([{"role": "user", "content": "ü".repeat(100)}]);
    let message = whole(Anthropic, Operation::Messages, "/v1/messages", json!({"max_tokens": 1, "messages": user}));
    assert_eq!((&message["content"][0]["text"], &message["stop_reason"]), (&"This".into(), &"max_tokens".into()));
    assert_eq!(message["usage"]["output_tokens"], 1);
    let chat = whole(Openai, Operation::Chat, "/chat/completions", json!({"max_completion_tokens": 17, "messages": user}));
    assert_eq!((&chat["choices"][0]["finish_reason"], &chat["usage"]["completion_tokens"]), (&"length".into(), &17.into()));
    let input = json!({"max_output_tokens": 2, "input": "hi"});
    let response = whole(Openai, Operation::Responses, "/responses", input.clone());
    assert_eq!(
        (&response["status"], &response["incomplete_details"]["reason"]),
        (&"incomplete".into(), &"max_output_tokens".into())
    );
    let events = events(Openai, Operation::Responses, "/responses", input);
    assert_eq!(events.last().unwrap()["type"], "response.incomplete");
    let gemini = json!({"contents": [{"parts": [{"text": "hi"}]}], "generationConfig": {"maxOutputTokens": 2}});
    assert_eq!(
        whole(Gemini, Operation::Generate, "/v1beta/models/m:generateContent", gemini)["candidates"][0]["finishReason"],
        "MAX_TOKENS"
    );
}

#[test]
fn chat_answers_as_a_whole_and_as_a_stream() {
    let body =
        json!({"n": 2, "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "say  pong\n"}]});
    let chat = whole(Openai, Operation::Chat, "/chat/completions", body.clone());
    assert_eq!((&chat["object"], &chat["created"]), (&"chat.completion".into(), &1_795_593_600.into()));
    assert_eq!(chat["choices"][1]["message"]["content"], SAID);
    let usage = &chat["usage"];
    assert_eq!(usage["completion_tokens"], 2 * (SAID.len() as u64).div_ceil(4));
    assert_eq!(
        usage["total_tokens"].as_u64(),
        Some(usage["prompt_tokens"].as_u64().unwrap() + usage["completion_tokens"].as_u64().unwrap())
    );

    let without = events(Openai, Operation::Chat, "/chat/completions", body.clone());
    assert!(without.iter().all(|chunk| chunk.get("usage").is_none()) && without.last() == Some(&Value::Null));
    assert_eq!(joined(&without, "/choices/0/delta/content"), SAID.repeat(2));

    let mut asked = body;
    asked["stream_options"] = json!({"include_usage": true});
    let with = events(Openai, Operation::Chat, "/chat/completions", asked);
    let (last, rest) = with[..with.len() - 1].split_last().unwrap();
    assert_eq!((&last["choices"], &last["usage"]), (&json!([]), usage));
    assert!(rest.iter().all(|chunk| chunk["usage"].is_null() && chunk["object"] == "chat.completion.chunk"));
    assert_eq!(rest.iter().filter(|chunk| chunk["choices"][0]["finish_reason"] == "stop").count(), 2);
}

#[test]
fn completions_answer_as_a_whole_and_as_a_stream() {
    let body = json!({"prompt": ["x", "say pong"], "stream_options": {"include_usage": true}});
    let whole = whole(Openai, Operation::Completions, "/completions", body.clone());
    assert_eq!((&whole["choices"][0]["text"], &whole["object"]), (&SAID.into(), &"text_completion".into()));
    let events = events(Openai, Operation::Completions, "/completions", body);
    assert_eq!(joined(&events, "/choices/0/text"), SAID);
    assert_eq!(events[events.len() - 2]["usage"], whole["usage"]);
}

#[test]
fn responses_answer_as_a_whole_and_as_a_stream() {
    let body = json!({"instructions": "Be brief.", "input": [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "<environment_context>"}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "say pong"}]},
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"type": "function_call_output", "call_id": "c", "output": "tool says"},
    ]});
    let response = whole(Openai, Operation::Responses, "/responses", body.clone());
    assert_eq!(response["output"][0]["content"][0]["text"], SAID);
    assert_eq!((&response["status"], response["id"].as_str().map(str::len)), (&"completed".into(), Some(53)));
    let events = events(Openai, Operation::Responses, "/responses", body);
    let expected = [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ];
    assert_eq!(types(&events), expected);
    assert_eq!(joined(&events, "/delta"), SAID);
    assert!(events.iter().enumerate().all(|(i, event)| event["sequence_number"] == i));
    assert_eq!(events.last().unwrap()["response"], response);
    assert_eq!(events[0]["response"]["usage"], Value::Null);
}

#[test]
fn generate_answers_as_a_whole_a_stream_and_an_array() {
    let body = json!({"contents": [{"role": "user", "parts": [{"text": "<session_context>"}, {"text": "say pong"}]}]});
    let tail = "/v1beta/models/m:streamGenerateContent";
    let whole = whole(Gemini, Operation::Generate, tail, body.clone());
    assert_eq!(whole["candidates"][0]["content"]["parts"][0]["text"], SAID);
    let check = |chunks: &[Value]| {
        assert_eq!(joined(chunks, "/candidates/0/content/parts/0/text"), SAID);
        let (last, rest) = chunks.split_last().unwrap();
        assert_eq!((&last["usageMetadata"], &last["candidates"][0]["finishReason"]), (&whole["usageMetadata"], &"STOP".into()));
        assert!(rest.iter().all(|chunk| chunk["candidates"][0].get("finishReason").is_none()));
    };
    check(&events(Gemini, Operation::Generate, tail, body.clone()));
    let reply = answer(&Ask { stream: true, array: true, ..ask(Gemini, Operation::Generate, tail, &bytes(&body)) }).unwrap();
    assert_eq!(reply.content_type, "application/json; charset=UTF-8");
    let array: Vec<Value> = serde_json::from_slice(&reply.pieces.concat()).expect("an array");
    assert_eq!(array.len() + 1, reply.pieces.len());
    check(&array);
}

#[test]
fn json_that_is_asked_for_fits_its_schema() {
    let schema = json!({"type": "OBJECT", "required": ["why"], "properties": {
        "why": {"type": "STRING"}, "score": {"type": "INTEGER", "minimum": 3}, "kind": {"enum": ["a", "b"]},
        "tags": {"type": "array", "minItems": 2, "items": {"type": ["string", "null"]}}, "ok": {"type": "boolean"},
        "inner": {"anyOf": [{"type": "object", "properties": {"n": {"type": "number"}}}, {"type": "null"}]},
    }});
    let expected = json!({"why": "hi", "score": 3, "kind": "a", "tags": ["hi", "hi"], "ok": false, "inner": {"n": 1}});
    let parsed = |text: &Value| serde_json::from_str::<Value>(text.as_str().expect("text")).expect("JSON");
    let config = json!({"responseMimeType": "application/json", "responseJsonSchema": schema});
    let gemini = json!({"contents": [{"parts": [{"text": "hi"}]}], "generationConfig": config});
    let answer = whole(Gemini, Operation::Generate, "/v1beta/models/m:generateContent", gemini);
    assert_eq!(parsed(&answer["candidates"][0]["content"]["parts"][0]["text"]), expected);
    let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}});
    let chat = json!({"messages": [{"role": "user", "content": "hi"}], "response_format": format});
    assert_eq!(parsed(&whole(Openai, Operation::Chat, "/chat/completions", chat)["choices"][0]["message"]["content"]), expected);
    let responses = json!({"input": "hi", "text": {"format": {"type": "json_schema", "name": "x", "schema": schema}}});
    assert_eq!(
        parsed(&whole(Openai, Operation::Responses, "/responses", responses)["output"][0]["content"][0]["text"]),
        expected
    );
    let any = json!({"messages": [{"role": "user", "content": "hi"}], "response_format": {"type": "json_object"}});
    assert_eq!(
        parsed(&whole(Openai, Operation::Chat, "/chat/completions", any)["choices"][0]["message"]["content"]),
        json!({"demo": "hi"})
    );
}

#[test]
fn embeddings_are_near_where_words_are_shared() {
    let numbers = |value: &Value| value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect::<Vec<_>>();
    let body = json!({"input": ["the red car", "a red car", "winter in Norway"], "dimensions": 64});
    let answer = whole(Openai, Operation::Embeddings, "/embeddings", body);
    let vectors: Vec<_> = (0..3).map(|i| numbers(&answer["data"][i]["embedding"])).collect();
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    assert!(vectors.iter().all(|v| v.len() == 64 && (product(v, v) - 1.0).abs() < 1e-5));
    assert!(product(&vectors[0], &vectors[1]) > product(&vectors[0], &vectors[2]) + 0.2);
    assert_eq!(answer["usage"], json!({"prompt_tokens": 10, "total_tokens": 10}));

    let one = whole(Openai, Operation::Embeddings, "/embeddings", json!({"input": [1, 2, 3]}));
    assert_eq!((one["data"].as_array().map(Vec::len), numbers(&one["data"][0]["embedding"]).len()), (Some(1), 256));
    let text =
        whole(Openai, Operation::Embeddings, "/embeddings", json!({"input": "", "dimensions": 1, "encoding_format": "base64"}));
    assert_eq!(text["data"][0]["embedding"], "AACAPw=="); // 1.0

    let content = json!({"content": {"parts": [{"text": "the red car"}]}, "outputDimensionality": 64});
    let gemini = whole(Gemini, Operation::Embeddings, "/v1beta/models/m:embedContent", content.clone());
    assert_eq!(numbers(&gemini["embedding"]["values"]), vectors[0]);
    let batch = whole(Gemini, Operation::Embeddings, "/v1beta/models/m:batchEmbedContents", json!({"requests": [content, {}]}));
    assert_eq!(batch["embeddings"].as_array().map(Vec::len), Some(2));
}

#[test]
fn tokens_are_counted_and_texts_moderated() {
    let messages = json!({"messages": [{"role": "user", "content": "12345678"}], "model": "not counted"});
    let counted = whole(Anthropic, Operation::CountTokens, "/v1/messages/count_tokens", messages);
    assert_eq!(counted, json!({"input_tokens": 2}));
    let contents = json!({"contents": [{"parts": [{"text": "1234567"}]}]});
    let counted = whole(Gemini, Operation::CountTokens, "/v1beta/models/m:countTokens", contents);
    assert_eq!(counted["totalTokens"], 2);
    let results = |input: Value| {
        let answer = whole(Openai, Operation::Moderations, "/moderations", json!({"input": input}));
        assert_eq!(answer["results"][0]["flagged"], false);
        answer["results"].as_array().map(Vec::len)
    };
    assert_eq!(results(json!("a")), Some(1));
    assert_eq!(results(json!(["a", "b"])), Some(2));
    assert_eq!(results(json!([{"type": "text", "text": "a"}])), Some(1));
}

#[test]
fn what_the_demo_cannot_do_is_refused() {
    let check = |operation: Operation, tail: &str, body: &'static str, expected: Code| {
        let body = Bytes::from_static(body.as_bytes());
        let refusal = answer(&ask(Openai, operation, tail, &body)).expect_err(tail);
        assert_eq!(refusal.code, expected, "{tail}");
    };
    check(Operation::Images, "/images/generations", "{}", Code::OperationNotAllowed);
    check(Operation::Audio, "/audio/speech", "{}", Code::OperationNotAllowed);
    check(Operation::Rerank, "/rerank", "{}", Code::OperationNotAllowed);
    check(Operation::Files, "/files", "", Code::OperationNotAllowed);
    check(Operation::Batches, "/batches", "{}", Code::OperationNotAllowed);
    check(Operation::Responses, "/responses/resp_1", "", Code::OperationNotAllowed);
    check(Operation::Responses, "/responses", r#"{"background": true}"#, Code::OperationNotAllowed);
    check(Operation::Chat, "/chat/completions", "[]", Code::BadRequest);
    check(Operation::Chat, "/chat/completions", "{", Code::BadRequest);
    check(Operation::Embeddings, "/embeddings", r#"{"input": "a", "dimensions": 100000}"#, Code::BadRequest);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        "\\PC{0,30}".prop_map(Value::from),
        "user|object|string|array|json_schema|json_object|application/json".prop_map(Value::from),
    ];
    let name = "messages|input|contents|parts|content|text|role|type|n|max_tokens|generationConfig|response_format|json_schema|schema\
        |properties|items|minItems|anyOf|enum|format|prompt|requests|dimensions|candidateCount|responseMimeType|responseSchema";
    leaf.prop_recursive(6, 40, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::hash_map(name, inner, 0..5).prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Whatever the body: an answer or a refusal, never a panic.
    #[test]
    fn no_body_panics(body in any_json(), at in 0usize..Operation::ALL.len(), dialect in 0usize..3, stream: bool, array: bool) {
        let body = bytes(&body);
        let tail = ["/messages", "/responses", "/v1beta/models/m:batchEmbedContents"][dialect];
        let ask = Ask { stream, array, ..ask(Dialect::ALL[dialect], Operation::ALL[at], tail, &body) };
        if let Ok(reply) = answer(&ask) {
            prop_assert!(!reply.pieces.is_empty() && reply.pieces.iter().all(|piece| !piece.is_empty()));
        }
    }
}
