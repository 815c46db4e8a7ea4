//! `/v1/messages` of the demo.

use bytes::Bytes;
use serde_json::{Value, json};

use super::text::{Draft, last_words};
use super::{Ask, Reply, id, named};

pub(super) fn message(ask: &Ask<'_>, body: &Value) -> Reply {
    let format = [&body["output_config"]["format"], &body["output_format"]].into_iter().find(|f| f["type"] == "json_schema");
    let draft = Draft::new(body, last_words(&body["messages"]), format.map(|f| &f["schema"]), body["max_tokens"].as_u64());
    if ask.stream { Reply::events(events(ask, &draft)) } else { Reply::json(&whole(ask, &draft)) }
}

fn stop_reason(draft: &Draft) -> &'static str {
    if draft.cut { "max_tokens" } else { "end_turn" }
}

/// The message without content, as a stream begins with it.
fn head(ask: &Ask<'_>, draft: &Draft, output: u64) -> Value {
    json!({
        "id": id(ask, "msg_01", 22),
        "type": "message",
        "role": "assistant",
        "model": ask.model,
        "content": [],
        "stop_reason": null,
        "stop_sequence": null,
        "usage": {
            "input_tokens": draft.input,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
            "output_tokens": output,
            "service_tier": "standard",
        },
    })
}

fn whole(ask: &Ask<'_>, draft: &Draft) -> Value {
    let mut message = head(ask, draft, draft.output);
    message["content"] = json!([{"type": "text", "text": draft.text}]);
    message["stop_reason"] = stop_reason(draft).into();
    message
}

fn events(ask: &Ask<'_>, draft: &Draft) -> Vec<Bytes> {
    let mut events = vec![
        named("message_start", json!({"message": head(ask, draft, 1)})),
        named("content_block_start", json!({"index": 0, "content_block": {"type": "text", "text": ""}})),
        named("ping", json!({})),
    ];
    for delta in draft.deltas() {
        events.push(named("content_block_delta", json!({"index": 0, "delta": {"type": "text_delta", "text": delta}})));
    }
    let usage = json!({
        "input_tokens": draft.input,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": draft.output,
    });
    let end = json!({"delta": {"stop_reason": stop_reason(draft), "stop_sequence": null}, "usage": usage});
    events.extend([
        named("content_block_stop", json!({"index": 0})),
        named("message_delta", end),
        named("message_stop", json!({})),
    ]);
    events
}
