//! `/v1/chat/completions`, `/v1/completions` and `/v1/moderations` of the demo.

use bytes::Bytes;
use serde_json::{Value, json};

use super::text::{Draft, last_words};
use super::{Ask, Reply, id};

/// The most answers to one prompt.
const CHOICES: u64 = 128;

pub(super) fn chat(ask: &Ask<'_>, body: &Value) -> Reply {
    let any = json!({});
    let format = match body["response_format"]["type"].as_str() {
        Some("json_schema") => Some(&body["response_format"]["json_schema"]["schema"]),
        Some("json_object") => Some(&any),
        _ => None,
    };
    let limit = body["max_completion_tokens"].as_u64().or_else(|| body["max_tokens"].as_u64());
    let draft = Draft::new(body, last_words(&body["messages"]), format, limit);
    let form = Form { ask, body, draft: &draft, id: id(ask, "chatcmpl-", 29), object: "chat.completion" };
    let delta =
        |index: u64, text: &str| json!({"index": index, "delta": {"content": text}, "logprobs": null, "finish_reason": null});
    if ask.stream {
        return form.stream(
            Some(|index| {
                let delta = json!({"role": "assistant", "content": "", "refusal": null});
                json!({"index": index, "delta": delta, "logprobs": null, "finish_reason": null})
            }),
            delta,
            |index, reason| json!({"index": index, "delta": {}, "logprobs": null, "finish_reason": reason}),
        );
    }
    form.whole(|index, reason| {
        let message = json!({"role": "assistant", "content": draft.text, "refusal": null, "annotations": []});
        json!({"index": index, "message": message, "logprobs": null, "finish_reason": reason})
    })
}

pub(super) fn completion(ask: &Ask<'_>, body: &Value) -> Reply {
    let prompt = match &body["prompt"] {
        Value::Array(prompts) => prompts.last().and_then(Value::as_str),
        other => other.as_str(),
    };
    let draft = Draft::new(body, prompt, None, body["max_tokens"].as_u64());
    let form = Form { ask, body, draft: &draft, id: id(ask, "cmpl-", 29), object: "text_completion" };
    let choice = |index: u64, text: &str, reason: Option<&str>| json!({"index": index, "text": text, "logprobs": null, "finish_reason": reason});
    if ask.stream {
        let head: Option<fn(u64) -> Value> = None;
        return form.stream(head, |index, text| choice(index, text, None), |index, reason| choice(index, "", Some(reason)));
    }
    form.whole(|index, reason| choice(index, &draft.text, Some(reason)))
}

/// What chat and completions have in common.
struct Form<'a> {
    ask: &'a Ask<'a>,
    body: &'a Value,
    draft: &'a Draft,
    id: String,
    object: &'static str,
}

impl Form<'_> {
    fn choices(&self) -> u64 {
        self.body["n"].as_u64().unwrap_or(1).clamp(1, CHOICES)
    }

    fn reason(&self) -> &'static str {
        if self.draft.cut { "length" } else { "stop" }
    }

    fn usage(&self) -> Value {
        let output = self.draft.output * self.choices();
        json!({
            "prompt_tokens": self.draft.input,
            "completion_tokens": output,
            "total_tokens": self.draft.input + output,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details":
                {"reasoning_tokens": 0, "audio_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0},
        })
    }

    fn frame(&self, object: &str, choices: Vec<Value>) -> Value {
        json!({
            "id": self.id,
            "object": object,
            "created": self.ask.now.0.div_euclid(1000),
            "model": self.ask.model,
            "service_tier": "default",
            "system_fingerprint": "fp_demo",
            "choices": choices,
        })
    }

    fn whole(&self, choice: impl Fn(u64, &str) -> Value) -> Reply {
        let choices = (0..self.choices()).map(|index| choice(index, self.reason())).collect();
        let mut whole = self.frame(self.object, choices);
        whole["usage"] = self.usage();
        Reply::json(&whole)
    }

    /// Chunks: the choice's head (where it has one), its text, its end; then the usage, where it was asked for.
    fn stream(
        &self,
        head: Option<impl Fn(u64) -> Value>,
        delta: impl Fn(u64, &str) -> Value,
        end: impl Fn(u64, &str) -> Value,
    ) -> Reply {
        let with_usage = self.body["stream_options"]["include_usage"] == true;
        let object = if self.object == "chat.completion" { "chat.completion.chunk" } else { self.object };
        let mut events = Vec::new();
        let mut push = |choices: Vec<Value>, usage: Value| {
            let mut chunk = self.frame(object, choices);
            if with_usage {
                chunk["usage"] = usage;
            }
            events.push(Bytes::from(format!("data: {chunk}\n\n")));
        };
        for index in 0..self.choices() {
            if let Some(head) = &head {
                push(vec![head(index)], Value::Null);
            }
            for text in self.draft.deltas() {
                push(vec![delta(index, text)], Value::Null);
            }
            push(vec![end(index, self.reason())], Value::Null);
        }
        if with_usage {
            push(Vec::new(), self.usage());
        }
        events.push(Bytes::from_static(b"data: [DONE]\n\n"));
        Reply::events(events)
    }
}

/// Finds nothing wrong with any text.
pub(super) fn moderation(ask: &Ask<'_>, body: &Value) -> Reply {
    const CATEGORIES: [&str; 13] = [
        "harassment",
        "harassment/threatening",
        "hate",
        "hate/threatening",
        "illicit",
        "illicit/violent",
        "self-harm",
        "self-harm/instructions",
        "self-harm/intent",
        "sexual",
        "sexual/minors",
        "violence",
        "violence/graphic",
    ];
    fn each(value: Value) -> Value {
        CATEGORIES.iter().map(|category| (category.to_string(), value.clone())).collect::<serde_json::Map<_, _>>().into()
    }
    let result = json!({
        "flagged": false,
        "categories": each(false.into()),
        "category_scores": each(0.0.into()),
        "category_applied_input_types": each(json!(["text"])),
    });
    // A list of texts gets a result each; a text, or one input made of parts, gets one.
    let inputs = body["input"].as_array().filter(|inputs| inputs.iter().all(Value::is_string)).map_or(1, Vec::len);
    Reply::json(&json!({"id": id(ask, "modr-", 29), "model": ask.model, "results": vec![result; inputs]}))
}
