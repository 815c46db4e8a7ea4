//! Gemini's `generateContent`, `streamGenerateContent` and `countTokens` of the demo.

use bytes::Bytes;
use serde_json::{Value, json};

use super::text::{Draft, last_words, tokens};
use super::{Ask, Reply, id};

/// The most answers to one prompt.
const CANDIDATES: u64 = 8;

/// A setting by its name in either spelling.
fn setting<'v>(object: &'v Value, camel: &str, snake: &str) -> &'v Value {
    match &object[camel] {
        Value::Null => &object[snake],
        value => value,
    }
}

pub(super) fn generate(ask: &Ask<'_>, body: &Value) -> Reply {
    let config = setting(body, "generationConfig", "generation_config");
    let json_asked = setting(config, "responseMimeType", "response_mime_type") == "application/json";
    let schemas =
        [setting(config, "responseJsonSchema", "response_json_schema"), setting(config, "responseSchema", "response_schema")];
    let any = json!({});
    let schema = schemas.into_iter().find(|schema| schema.is_object()).unwrap_or(&any);
    let limit = setting(config, "maxOutputTokens", "max_output_tokens").as_u64();
    let draft = Draft::new(body, last_words(&body["contents"]), json_asked.then_some(schema), limit);
    let candidates = setting(config, "candidateCount", "candidate_count").as_u64().unwrap_or(1).clamp(1, CANDIDATES);
    let form = Form { ask, draft: &draft, candidates };
    match (ask.stream, ask.array) {
        (false, _) => Reply::json(&form.answer(&draft.text, draft.output, true)),
        (true, false) => Reply::events(form.chunks().iter().map(|c| Bytes::from(format!("data: {c}\r\n\r\n"))).collect()),
        (true, true) => Reply { status: 200, content_type: "application/json; charset=UTF-8", pieces: array(&form.chunks()) },
    }
}

/// One JSON array, an element a piece, as Google sends a stream without `alt=sse`.
fn array(chunks: &[Value]) -> Vec<Bytes> {
    let begin = |i: usize| if i == 0 { "[" } else { ",\r\n" };
    let mut pieces: Vec<_> = chunks.iter().enumerate().map(|(i, chunk)| Bytes::from(format!("{}{chunk}", begin(i)))).collect();
    pieces.push(Bytes::from_static(b"]"));
    pieces
}

pub(super) fn count(tokens: u64) -> Reply {
    Reply::json(&json!({"totalTokens": tokens, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": tokens}]}))
}

struct Form<'a> {
    ask: &'a Ask<'a>,
    draft: &'a Draft,
    candidates: u64,
}

impl Form<'_> {
    /// An answer or a chunk of one: `text`, and how many tokens each candidate has come to.
    fn answer(&self, text: &str, output: u64, last: bool) -> Value {
        let candidate = |index: u64| {
            let mut candidate = json!({"content": {"parts": [{"text": text}], "role": "model"}, "index": index});
            if last {
                candidate["finishReason"] = if self.draft.cut { "MAX_TOKENS" } else { "STOP" }.into();
            }
            candidate
        };
        let (input, output) = (self.draft.input, output * self.candidates);
        json!({
            "candidates": (0..self.candidates).map(candidate).collect::<Vec<_>>(),
            "usageMetadata": {
                "promptTokenCount": input,
                "candidatesTokenCount": output,
                "totalTokenCount": input + output,
                "promptTokensDetails": [{"modality": "TEXT", "tokenCount": input}],
                "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": output}],
            },
            "modelVersion": self.ask.model,
            "responseId": id(self.ask, "", 23),
        })
    }

    /// Cumulative figures, the last with the reason of the end.
    fn chunks(&self) -> Vec<Value> {
        let deltas = self.draft.deltas();
        let mut said = String::new();
        let last = deltas.len() - 1;
        let chunk = |(i, delta): (usize, &&str)| {
            said.push_str(delta);
            self.answer(delta, tokens(&said), i == last)
        };
        deltas.iter().enumerate().map(chunk).collect()
    }
}
