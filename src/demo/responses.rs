//! `/v1/responses` of the demo.

use bytes::Bytes;
use serde_json::{Value, json};

use super::text::{Draft, last_words};
use super::{Ask, Reply, id, named, not_here};
use crate::words::Refusal;

pub(super) fn response(ask: &Ask<'_>, body: &Value) -> Result<Reply, Refusal> {
    if body["background"] == true {
        return Err(not_here("background responses"));
    }
    let any = json!({});
    let format = &body["text"]["format"];
    let format = match format["type"].as_str() {
        Some("json_schema") => Some(&format["schema"]),
        Some("json_object") => Some(&any),
        _ => None,
    };
    let draft = Draft::new(body, last_words(&body["input"]), format, body["max_output_tokens"].as_u64());
    let form = Form { ask, body, draft: &draft };
    Ok(if ask.stream { Reply::events(form.events()) } else { Reply::json(&form.response(End::Complete)) })
}

/// How much of a response there is yet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    Complete,
}

struct Form<'a> {
    ask: &'a Ask<'a>,
    body: &'a Value,
    draft: &'a Draft,
}

impl Form<'_> {
    fn item_id(&self) -> String {
        id(self.ask, "msg_", 48)
    }

    fn item(&self, end: End) -> Value {
        let content = match end {
            End::Open => json!([]),
            End::Complete => json!([self.part(&self.draft.text)]),
        };
        json!({"id": self.item_id(), "type": "message", "status": self.status(end), "role": "assistant", "content": content})
    }

    fn part(&self, text: &str) -> Value {
        json!({"type": "output_text", "annotations": [], "logprobs": [], "text": text})
    }

    fn status(&self, end: End) -> &'static str {
        match end {
            End::Open => "in_progress",
            End::Complete if self.draft.cut => "incomplete",
            End::Complete => "completed",
        }
    }

    /// The response object: what was asked for, repeated, and what there is of the answer.
    fn response(&self, end: End) -> Value {
        let asked = |name: &str, default: Value| match &self.body[name] {
            Value::Null => default,
            value => value.clone(),
        };
        let done = end == End::Complete;
        let seconds = self.ask.now.0.div_euclid(1000);
        let cut = done && self.draft.cut;
        json!({
            "id": id(self.ask, "resp_", 48),
            "object": "response",
            "created_at": seconds,
            "status": self.status(end),
            "background": false,
            "completed_at": if done && !cut { json!(seconds) } else { Value::Null },
            "error": null,
            "incomplete_details": if cut { json!({"reason": "max_output_tokens"}) } else { Value::Null },
            "instructions": asked("instructions", Value::Null),
            "max_output_tokens": asked("max_output_tokens", Value::Null),
            "max_tool_calls": null,
            "model": self.ask.model,
            "output": if done { json!([self.item(end)]) } else { json!([]) },
            "parallel_tool_calls": asked("parallel_tool_calls", true.into()),
            "previous_response_id": asked("previous_response_id", Value::Null),
            "reasoning": {"effort": self.body["reasoning"]["effort"], "summary": null},
            "service_tier": if done { "default" } else { "auto" },
            "store": false,
            "temperature": asked("temperature", 1.0.into()),
            "text": asked("text", json!({"format": {"type": "text"}})),
            "tool_choice": asked("tool_choice", "auto".into()),
            "tools": asked("tools", json!([])),
            "top_logprobs": 0,
            "top_p": asked("top_p", 1.0.into()),
            "truncation": asked("truncation", "disabled".into()),
            "usage": if done { self.usage() } else { Value::Null },
            "user": asked("user", Value::Null),
            "metadata": asked("metadata", json!({})),
        })
    }

    fn usage(&self) -> Value {
        json!({
            "input_tokens": self.draft.input,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": self.draft.output,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": self.draft.input + self.draft.output,
        })
    }

    fn events(&self) -> Vec<Bytes> {
        let mut events = Vec::new();
        let mut push = |name: &str, mut data: Value| {
            data["sequence_number"] = events.len().into();
            events.push(named(name, data));
        };
        let at = |mut data: Value| {
            data["item_id"] = self.item_id().into();
            data["output_index"] = 0.into();
            data["content_index"] = 0.into();
            data
        };
        push("response.created", json!({"response": self.response(End::Open)}));
        push("response.in_progress", json!({"response": self.response(End::Open)}));
        push("response.output_item.added", json!({"output_index": 0, "item": self.item(End::Open)}));
        push("response.content_part.added", at(json!({"part": self.part("")})));
        for delta in self.draft.deltas() {
            push("response.output_text.delta", at(json!({"delta": delta, "logprobs": []})));
        }
        push("response.output_text.done", at(json!({"text": self.draft.text, "logprobs": []})));
        push("response.content_part.done", at(json!({"part": self.part(&self.draft.text)})));
        push("response.output_item.done", json!({"output_index": 0, "item": self.item(End::Complete)}));
        let last = if self.draft.cut { "response.incomplete" } else { "response.completed" };
        push(last, json!({"response": self.response(End::Complete)}));
        events
    }
}
