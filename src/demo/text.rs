//! What the demo says, and how many tokens that is.

use serde_json::{Map, Value, json};

/// What is repeated of the caller's words, in characters.
const ECHO: usize = 160;
/// A JSON schema is followed to this depth, and to this many values in all.
const DEPTH: usize = 16;
const VALUES: usize = 1000;

/// What goes into an answer.
pub(super) struct Draft {
    pub text: String,
    /// The caller's maximum ended it.
    pub cut: bool,
    pub input: u64,
    pub output: u64,
}

impl Draft {
    /// The answer to `prompt`: plain text, or JSON where `format` is a schema (`{}` for any object); at most `limit` tokens.
    pub(super) fn new(body: &Value, prompt: Option<&str>, format: Option<&Value>, limit: Option<u64>) -> Draft {
        let mut text = match format {
            Some(schema) => sample(schema, prompt.unwrap_or_default()).to_string(),
            None => reply(prompt),
        };
        let most = limit.map_or(usize::MAX, |tokens| usize::try_from(tokens.max(1)).unwrap_or(usize::MAX).saturating_mul(4));
        let cut = text.len() > most;
        if cut {
            let end = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            text.truncate(end);
        }
        Draft { output: tokens(&text), input: input_tokens(body), cut, text }
    }

    /// The text in the pieces that a stream gives: a word or two each.
    pub(super) fn deltas(&self) -> Vec<&str> {
        let mut deltas = Vec::new();
        let (mut from, mut words) = (0, 0);
        for (at, _) in self.text.match_indices(' ') {
            words += 1;
            if words % 2 == 0 {
                deltas.push(&self.text[from..at]);
                from = at;
            }
        }
        deltas.push(&self.text[from..]);
        deltas
    }
}

fn reply(prompt: Option<&str>) -> String {
    match prompt.map(echo).filter(|echo| !echo.is_empty()) {
        Some(echo) => format!("This is the demo of AiCarpool: no provider was asked. You wrote: \"{echo}\""),
        None => "This is the demo of AiCarpool: no provider was asked, and you wrote nothing that I can repeat.".to_owned(),
    }
}

/// The beginning of `prompt` in one line.
fn echo(prompt: &str) -> String {
    let mut line = String::new();
    for word in prompt.split_whitespace().take(ECHO) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if line.len() > 4 * ECHO {
            break;
        }
    }
    match line.char_indices().nth(ECHO) {
        Some((end, _)) => format!("{}…", line[..end].trim_end()),
        None => line,
    }
}

/// Tokens of a text: one for four bytes.
pub(super) fn tokens(text: &str) -> u64 {
    (text.len() as u64).div_ceil(4)
}

/// Tokens of all that a request says: its texts, not its names, ids, pictures and settings.
pub(super) fn input_tokens(body: &Value) -> u64 {
    const SETTINGS: [&str; 16] = [
        "model",
        "type",
        "role",
        "id",
        "call_id",
        "tool_use_id",
        "data",
        "url",
        "image_url",
        "file_data",
        "encrypted_content",
        "signature",
        "thoughtSignature",
        "thought_signature",
        "prompt_cache_key",
        "metadata",
    ];
    fn bytes(value: &Value) -> u64 {
        match value {
            Value::String(text) => text.len() as u64,
            Value::Array(items) => items.iter().map(bytes).sum(),
            Value::Object(fields) => {
                fields.iter().filter(|(name, _)| !SETTINGS.contains(&name.as_str())).map(|(_, v)| bytes(v)).sum()
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        }
    }
    bytes(body).div_ceil(4).max(1)
}

/// The user's last words in a list of messages (or in a text that stands instead). Blocks that agents put before them
/// (`<system-reminder>`, `<environment_context>` …) count only where there is nothing else.
pub(super) fn last_words(messages: &Value) -> Option<&str> {
    let mut texts = Vec::new();
    match messages {
        Value::Array(items) => {
            let said = |item: &&Value| match item["role"].as_str() {
                Some(role) => role == "user",
                None => item["type"].as_str().is_none_or(|kind| kind == "message"),
            };
            items.iter().filter(said).for_each(|item| collect(item, &mut texts));
        }
        other => collect(other, &mut texts),
    }
    let own = texts.iter().rev().find(|text| !text.trim_start().starts_with('<'));
    own.or(texts.last()).copied()
}

/// The texts of a message, of its parts, or a text itself.
fn collect<'v>(value: &'v Value, texts: &mut Vec<&'v str>) {
    match value {
        Value::String(text) => texts.push(text),
        Value::Array(items) => items.iter().for_each(|item| collect(item, texts)),
        Value::Object(fields)
            if fields.get("type").is_some_and(|kind| kind == "tool_result" || kind == "function_call_output") => {}
        Value::Object(fields) => {
            texts.extend(fields.get("text").and_then(Value::as_str));
            ["content", "parts"].iter().filter_map(|name| fields.get(*name)).for_each(|inner| collect(inner, texts));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A value that fits a JSON schema, with the caller's words where it wants a text.
fn sample(schema: &Value, prompt: &str) -> Value {
    let mut left = VALUES;
    let value = of(schema, &echo(prompt), DEPTH, &mut left);
    if value.is_null() { json!({"demo": echo(prompt)}) } else { value }
}

fn of(schema: &Value, text: &str, depth: usize, left: &mut usize) -> Value {
    if depth == 0 || *left == 0 {
        return Value::Null;
    }
    *left -= 1;
    if let Some(value) = schema.get("const").or_else(|| schema["enum"].get(0)) {
        return value.clone();
    }
    if let Some(first) = ["anyOf", "oneOf", "allOf"].iter().find_map(|name| schema[*name].get(0)) {
        return of(first, text, depth - 1, left);
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str()).unwrap_or_default().to_ascii_lowercase();
    match (kind.as_str(), schema["properties"].as_object()) {
        ("string", _) => text.into(),
        ("integer" | "number", _) => schema["minimum"].as_i64().unwrap_or(1).into(),
        ("boolean", _) => false.into(),
        ("array", _) => {
            let fewest = schema["minItems"].as_u64().unwrap_or(0).min(10);
            (0..fewest).map(|_| of(&schema["items"], text, depth - 1, left)).collect()
        }
        ("object" | "", Some(properties)) => {
            let mut fields = Map::new();
            for (name, schema) in properties {
                fields.insert(name.clone(), of(schema, text, depth - 1, left));
            }
            fields.into()
        }
        ("object", None) => json!({}),
        _ => Value::Null,
    }
}
