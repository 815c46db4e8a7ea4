//! Embeddings of the demo: texts that share words lie near each other.

use serde_json::{Value, json};

use super::text::{input_tokens, tokens};
use super::{Ask, Reply};
use crate::words::{Code, Dialect, Refusal};

/// Numbers in a vector, unless the caller says how many.
const DIMENSIONS: u64 = 256;
const DIMENSIONS_MAX: u64 = 4096;
/// Numbers in one answer.
const NUMBERS_MAX: u64 = 1 << 20;

pub(super) fn embeddings(ask: &Ask<'_>, body: &Value) -> Result<Reply, Refusal> {
    match ask.dialect {
        Dialect::Anthropic | Dialect::Openai => openai(ask, body),
        Dialect::Gemini => gemini(ask, body),
    }
}

/// `input` is a text, a list of texts, a list of token numbers, or a list of such lists; `encoding_format` is float or base64.
fn openai(ask: &Ask<'_>, body: &Value) -> Result<Reply, Refusal> {
    let inputs: Vec<&Value> = match &body["input"] {
        Value::Array(items) if items.iter().any(|item| !item.is_number()) => items.iter().collect(),
        other => vec![other],
    };
    let size = size(&body["dimensions"], inputs.len())?;
    let texts: Vec<String> = inputs.into_iter().map(words).collect();
    let base64 = body["encoding_format"] == "base64";
    let entry = |(index, text): (usize, &String)| {
        let vector = vector(text, size);
        let embedding = if base64 { base64_of(&vector).into() } else { json!(vector) };
        json!({"object": "embedding", "index": index, "embedding": embedding})
    };
    let data: Vec<Value> = texts.iter().enumerate().map(entry).collect();
    let used = texts.iter().map(|text| tokens(text)).sum::<u64>().max(1);
    let usage = json!({"prompt_tokens": used, "total_tokens": used});
    Ok(Reply::json(&json!({"object": "list", "data": data, "model": ask.model, "usage": usage})))
}

/// `embedContent`, or `batchEmbedContents` with a list of the same.
fn gemini(ask: &Ask<'_>, body: &Value) -> Result<Reply, Refusal> {
    let used = input_tokens(body);
    let usage = json!({"promptTokenCount": used, "promptTokenDetails": [{"modality": "TEXT", "tokenCount": used}]});
    let one = |request: &Value, count: usize| {
        let size = size(&request["outputDimensionality"], count)?;
        Ok(json!({"values": vector(&words(&request["content"]), size)}))
    };
    if ask.tail.ends_with(":batchEmbedContents") {
        let requests = body["requests"].as_array().map(Vec::as_slice).unwrap_or_default();
        let all: Result<Vec<Value>, Refusal> = requests.iter().map(|request| one(request, requests.len())).collect();
        return Ok(Reply::json(&json!({"embeddings": all?, "usageMetadata": usage})));
    }
    Ok(Reply::json(&json!({"embedding": one(body, 1)?, "usageMetadata": usage})))
}

/// How many numbers each of `count` vectors has.
fn size(asked: &Value, count: usize) -> Result<usize, Refusal> {
    let size = asked.as_u64().unwrap_or(DIMENSIONS);
    let refuse = |what: String| Err(Refusal::new(Code::BadRequest, what));
    if !(1..=DIMENSIONS_MAX).contains(&size) {
        return refuse(format!("the demo gives 1 to {DIMENSIONS_MAX} dimensions"));
    }
    if size.saturating_mul(count as u64) > NUMBERS_MAX {
        return refuse(format!("the demo gives at most {NUMBERS_MAX} numbers in one answer; send fewer texts at once"));
    }
    usize::try_from(size).or_else(|_| refuse("too many dimensions".to_owned()))
}

/// All words (or token numbers) of an input.
fn words(input: &Value) -> String {
    match input {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Array(items) => items.iter().map(words).collect::<Vec<_>>().join(" "),
        Value::Object(fields) => fields.values().map(words).collect::<Vec<_>>().join(" "),
        Value::Null | Value::Bool(_) => String::new(),
    }
}

/// A vector of length 1: each word adds its own direction.
fn vector(text: &str, size: usize) -> Vec<f32> {
    const DIRECTIONS: u64 = 8;
    let mut vector = vec![0f32; size];
    vector[0] = 0.1; // even for a text without words
    for word in text.split_whitespace() {
        let mut hash = word.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
            (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0000_01b3)
        });
        for _ in 0..DIRECTIONS {
            hash ^= hash << 13;
            hash ^= hash >> 7;
            hash ^= hash << 17;
            let at = usize::try_from(hash % size as u64).unwrap_or(0);
            vector[at] += if hash >> 63 == 1 { 1.0 } else { -1.0 };
        }
    }
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|x| *x /= length);
    }
    vector
}

/// The little-endian bytes of `vector` in base64, as the OpenAI SDKs ask for them.
fn base64_of(vector: &[f32]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().chain([0, 0].iter()).take(3).fold(0u32, |group, byte| group << 8 | u32::from(*byte));
        for place in 0..4 {
            let letter = LETTERS[(group >> (18 - 6 * place) & 63) as usize];
            text.push(if place > chunk.len() { '=' } else { char::from(letter) });
        }
    }
    text
}
