//! What an answer says: the words, codes and the message of its body, wherever the provider puts them.
//!
//! Known shapes, all read by one walk (`providers.md` sections 3 to 15):
//!
//! - `{"error": {"type", "code", "status", "message", "details", "innererror", "metadata"}}`: Anthropic, OpenAI, Google, GLM …;
//!   also in an array (a Gemini stream without `alt=sse`), in `response` (`response.failed`), or in another `error` (relays);
//! - `{"error": "text", "code": "text"}`: xAI, Ollama;
//! - `{"code", "message"}`, `{"object": "error", …}`, `{"detail": "text"}` or an object there: DashScope's native form, vLLM, Mistral, FastAPI;
//! - `{"base_resp": {"status_code", "status_msg"}}`: MiniMax;
//! - a message that is itself one of these as JSON text, or `metadata.raw` that is: relays, OpenRouter;
//! - the `data:` line of an event stream; HTML; anything else.
//!
//! A body cut at 64 KiB is no JSON any more: then the first strings count that stand under the known names.

use std::sync::LazyLock;

use http::HeaderMap;
use serde_json::Value;

use super::Signal;

/// No message is compared further than this: bytes.
const MESSAGE_MAX: usize = 4096;
/// No provider has so many words, nor such long ones.
const WORDS_MAX: usize = 32;
const WORD_BYTES_MAX: usize = 128;
/// How many objects within objects an error may be wrapped in.
const WRAPPINGS_MAX: usize = 4;

static NO_HEADERS: LazyLock<HeaderMap> = LazyLock::new(HeaderMap::new);

/// What was read.
#[derive(Debug)]
pub(super) struct Said<'a> {
    pub(super) headers: &'a HeaderMap,
    /// Types, codes, statuses and reasons in lower case, in the order found.
    pub(super) words: Vec<String>,
    /// A code that is a number, or digits in a string (GLM, MiniMax, Mistral).
    pub(super) number: Option<u32>,
    /// Google's quota ids, in lower case.
    pub(super) quotas: Vec<String>,
    /// As it was sent, at most 4 KiB.
    pub(super) message: String,
    /// The message in lower case without what is quoted and without the model's name, with single spaces.
    pub(super) plain: String,
    /// The error object.
    pub(super) error: Option<Value>,
    pub(super) html: bool,
    name: Option<String>,
}

impl<'a> Said<'a> {
    pub(super) fn read(signal: &Signal<'a>) -> Said<'a> {
        let headers = if signal.stream_error { &NO_HEADERS } else { signal.headers };
        let mut said = Said {
            headers,
            words: Vec::new(),
            number: None,
            quotas: Vec::new(),
            message: String::new(),
            plain: String::new(),
            error: None,
            html: false,
            name: None,
        };
        // Bedrock names its exception in a header: `ThrottlingException:http://internal.amazon.com/…`.
        if let Some(kind) = headers.get("x-amzn-errortype").and_then(|value| value.to_str().ok()) {
            said.word(kind.split([':', '#']).next().unwrap_or(kind));
        }
        said.html = is_html(headers, signal.body);
        match value_of(signal.body) {
            Some(value) => said.read_value(value),
            None if !said.html => said.read_cut(&String::from_utf8_lossy(signal.body)),
            None => {}
        }
        said.number = said.number.or_else(|| bracketed(&said.message, signal.service_kind));
        said.plain = plain(&said.message, signal.model);
        said
    }

    /// Whether one of the words is among `known` (lower case).
    pub(super) fn has_word(&self, known: &[&str]) -> bool {
        self.words.iter().any(|word| known.contains(&word.as_str()))
    }

    /// Whether one of the words ends like this.
    pub(super) fn has_ending(&self, endings: &[&str]) -> bool {
        self.words.iter().any(|word| endings.iter().any(|ending| word.ends_with(ending)))
    }

    /// Whether the message holds one of these texts (lower case), beginning at most `within` bytes from its start.
    pub(super) fn has_text(&self, known: &[&str], within: usize) -> bool {
        known.iter().any(|text| self.plain.find(text).is_some_and(|at| at <= within))
    }

    /// The provider's name for the error, for the log: its code where that is a word, else its type, else its number.
    pub(super) fn name(&self) -> Option<String> {
        let fit = |name: &str| {
            let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
            // A key that a provider repeats where its code should be stays out of the log.
            (1..=64).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with("sk-") && !name.contains("aicp_")
        };
        let word = self.name.as_deref().filter(|name| fit(name)).map(str::to_owned);
        word.or_else(|| self.number.map(|n| n.to_string())).or_else(|| self.html.then(|| "html".to_owned()))
    }

    // -------------------------------------------------------------- the walk

    fn read_value(&mut self, value: Value) {
        let mut value = first_of(value);
        self.base_resp(&value);
        // All words count; the innermost names the error.
        let mut outer_name = None;
        for _ in 0..WRAPPINGS_MAX {
            let inner = ["error", "response", "errors", "detail"].iter().find_map(|name| {
                let inner = value.get(*name)?;
                let object = inner.is_object() && (*name != "response" || inner.get("error").is_some_and(Value::is_object));
                (object || inner.is_array()).then(|| first_of(inner.clone()))
            });
            let Some(inner) = inner.filter(Value::is_object) else { break };
            self.words_of(&value);
            outer_name = self.name.take().or(outer_name);
            value = inner;
        }
        self.words_of(&value);
        self.name = self.name.take().or(outer_name);
        self.message_of(&value);
        self.error = Some(value);
    }

    /// The words and codes of one object, and of what stands in it.
    fn words_of(&mut self, object: &Value) {
        // The code comes before the type: `rate_limit_exceeded` says more than `tokens`.
        for name in ["code", "status", "type", "reason", "error_code", "__type"] {
            match object.get(name) {
                Some(Value::String(text)) => self.word(text),
                Some(Value::Number(number)) => self.number(number.as_u64()),
                Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) | None => {}
            }
        }
        for name in ["details", "innererror", "metadata"] {
            match object.get(name) {
                Some(Value::Array(details)) => details.iter().take(WORDS_MAX).for_each(|detail| self.detail(detail)),
                Some(detail @ Value::Object(_)) => self.detail(detail),
                Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) | None => {}
            }
        }
    }

    /// Anthropic's `details.error_code`, Azure's `innererror.code`, Google's reasons and quota ids, OpenRouter's `error_type`.
    fn detail(&mut self, detail: &Value) {
        for name in ["error_code", "code", "reason", "error_type", "limit_source"] {
            if let Some(Value::String(text)) = detail.get(name) {
                self.word(text);
            }
        }
        let violations = detail.get("violations").and_then(Value::as_array);
        for violation in violations.into_iter().flatten().take(WORDS_MAX) {
            if let Some(id) = violation.get("quotaId").and_then(Value::as_str) {
                self.quotas.push(cut(id, WORD_BYTES_MAX).to_ascii_lowercase());
            }
            if violation.get("quotaValue").and_then(Value::as_str) == Some("0") {
                self.quotas.push("limit: 0".to_owned());
            }
        }
    }

    fn message_of(&mut self, object: &Value) {
        let names = ["message", "error", "detail", "msg", "status_msg", "errors"];
        let text = names.iter().find_map(|name| match object.get(*name)? {
            Value::String(text) => Some(text.clone()),
            Value::Object(inner) => inner.get("message").or_else(|| inner.get("detail"))?.as_str().map(str::to_owned),
            Value::Array(list) => list.first()?.as_str().map(str::to_owned),
            Value::Null | Value::Bool(_) | Value::Number(_) => None,
        });
        let text = text.or_else(|| object.as_str().map(str::to_owned)).unwrap_or_default();
        let raw = object.get("metadata").and_then(|metadata| metadata.get("raw")).and_then(Value::as_str);
        // An error in an error: its words count too, and its message says more.
        for nested in [Some(text.as_str()), raw].into_iter().flatten() {
            if let Some(inner) = nested.trim_start().starts_with('{').then(|| serde_json::from_str(nested).ok()).flatten() {
                let inner: Value = inner;
                let inner = inner.get("error").filter(|error| error.is_object()).unwrap_or(&inner).clone();
                self.words_of(&inner);
                if let Some(message) = inner.get("message").and_then(Value::as_str) {
                    self.add_message(message);
                }
            }
        }
        self.add_message(&text);
    }

    fn base_resp(&mut self, value: &Value) {
        let Some(base) = value.get("base_resp") else { return };
        if let Some(code) = base.get("status_code").and_then(Value::as_u64).filter(|code| *code != 0) {
            self.number(Some(code));
            self.add_message(base.get("status_msg").and_then(Value::as_str).unwrap_or_default());
        }
    }

    /// What can be had of a body that is no whole JSON: the first string under each name, and for a text its beginning.
    fn read_cut(&mut self, body: &str) {
        if !body.trim_start().starts_with(['{', '[']) {
            return self.add_message(body.trim());
        }
        for name in ["code", "type", "status", "reason"] {
            let strings = strings_under(body, name);
            strings.filter(|text| *text != "error").take(2).for_each(|text| self.word(text));
        }
        if let Some(message) = strings_under(body, "message").next() {
            self.add_message(message);
        }
    }

    fn word(&mut self, text: &str) {
        let text = text.trim();
        if let Ok(number) = text.parse() {
            return self.number(Some(number));
        }
        if text.is_empty() || text == "error" || text.len() > WORD_BYTES_MAX || self.words.len() >= WORDS_MAX {
            return;
        }
        // xAI's code is a sentence: it counts as part of the message.
        if text.contains(' ') {
            return self.add_message(text);
        }
        if self.name.is_none() {
            self.name = Some(text.to_owned());
        }
        self.words.push(text.to_ascii_lowercase());
    }

    /// The first number counts, unless it only repeats a status.
    fn number(&mut self, number: Option<u64>) {
        let number = number.and_then(|number| u32::try_from(number).ok()).filter(|number| *number > 0);
        self.number = match self.number {
            Some(first) if !(100..600).contains(&first) => Some(first),
            first => number.or(first),
        };
    }

    fn add_message(&mut self, text: &str) {
        if !text.is_empty() && self.message.len() < MESSAGE_MAX {
            if !self.message.is_empty() {
                self.message.push_str(" · ");
            }
            let room = MESSAGE_MAX - self.message.len().min(MESSAGE_MAX);
            self.message.push_str(cut(text, room));
        }
    }
}

/// The JSON value of a body, also where it stands in the `data:` line of an event.
fn value_of(body: &[u8]) -> Option<Value> {
    if let Ok(value) = serde_json::from_slice::<Value>(body) {
        return (!value.is_null()).then_some(value);
    }
    let text = std::str::from_utf8(body).ok()?;
    text.lines().take(64).find_map(|line| serde_json::from_str(line.strip_prefix("data:")?.trim()).ok())
}

/// The first of an array, or the value itself.
fn first_of(value: Value) -> Value {
    match value {
        Value::Array(list) => list.into_iter().next().unwrap_or(Value::Null),
        other => other,
    }
}

fn is_html(headers: &HeaderMap, body: &[u8]) -> bool {
    let typed = headers.get("content-type").and_then(|value| value.to_str().ok()).is_some_and(|t| t.starts_with("text/html"));
    let start = body.trim_ascii_start();
    let head = start.get(..14).unwrap_or(start).to_ascii_lowercase();
    headers.contains_key("cf-mitigated")
        || head.starts_with(b"<!doctype html")
        || head.starts_with(b"<html")
        || typed && head.starts_with(b"<")
}

/// GLM's `[1308][Usage limit reached …]` on its Anthropic path, MiniMax's `usage limit exceeded (2056)`.
fn bracketed(message: &str, service_kind: &str) -> Option<u32> {
    let (open, close) = match service_kind {
        "glm" | "glm-cn" => ('[', ']'),
        "minimax" => ('(', ')'),
        _ => return None,
    };
    message.split(open).skip(1).filter_map(|part| part.split_once(close)).find_map(|(inner, _)| {
        let digits = inner.len() == 4 && inner.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| inner.parse().ok())?
    })
}

/// The strings that stand under a name in JSON text that is not whole.
fn strings_under<'t>(text: &'t str, name: &str) -> impl Iterator<Item = &'t str> {
    let quoted = format!("\"{name}\"");
    let length = quoted.len();
    let starts: Vec<usize> = text.match_indices(&quoted).take(8).map(|(at, _)| at + length).collect();
    starts.into_iter().filter_map(move |at| {
        let value = text.get(at..)?.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
        value.split('"').next()
    })
}

/// A message as it is compared: see the head of `verdict`.
fn plain(message: &str, model: &str) -> String {
    let mut kept = String::with_capacity(message.len());
    let mut rest = message;
    let mut before = ' ';
    while let Some(first) = rest.chars().next() {
        let after = &rest[first.len_utf8()..];
        // An apostrophe within a word opens nothing.
        let opens = matches!(first, '"' | '`' | '“') || first == '\'' && !before.is_alphanumeric();
        let closing = if first == '“' { '”' } else { first };
        if let Some(end) = opens.then(|| after.find(closing)).flatten() {
            kept.push(' ');
            rest = &after[end + closing.len_utf8()..];
        } else {
            kept.push(first);
            rest = after;
        }
        before = first;
    }
    let mut lower = kept.to_lowercase();
    let model = model.to_lowercase();
    // A name of one or two letters would take words apart.
    if model.len() > 2 {
        lower = lower.replace(&model, " ");
    }
    lower.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The beginning of a text, at most `bytes` long.
fn cut(text: &str, bytes: usize) -> &str {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
