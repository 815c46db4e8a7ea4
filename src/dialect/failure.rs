//! Errors that come with a 200: as an event of a stream, or as a JSON body. They are judged like a plain answer with the
//! status that their type stands for.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::json;

use crate::json::{Scanner, Value};
use crate::words::{Dialect, Operation};

/// An error found in an answer that says 2xx.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The status that its type stands for.
    pub status: u16,
    /// The provider's error type or code, for log and verdict; empty if it gave none.
    pub kind: String,
    /// The body of a plain answer that says the same, in the dialect.
    pub body: Bytes,
}

/// How much of a JSON answer is looked at. An error's body is shorter; a longer answer has its content in the way.
const HEAD_MAX: usize = 4096;

/// Members that an answer with a result has, whatever else it has.
const RESULTS: [&str; 9] = ["choices", "output", "content", "candidates", "data", "results", "embeddings", "predictions", "text"];

/// The error that the beginning of a 2xx JSON body tells of, if it does: a top-level `error`, DashScope's `code` and `message`
/// without a result, or MiniMax's `base_resp`. Blank lines may come first (DeepSeek). `head` may be cut off anywhere.
pub fn error_in_json(service_kind: &str, dialect: Dialect, operation: Operation, head: &[u8]) -> Option<Failure> {
    match operation {
        // Their answers are lists, counts, files and sound, in which such names may stand for something else.
        Operation::Files | Operation::Batches | Operation::Models => return None,
        Operation::Messages
        | Operation::Chat
        | Operation::Responses
        | Operation::Completions
        | Operation::Generate
        | Operation::Embeddings
        | Operation::Images
        | Operation::Audio
        | Operation::Moderations
        | Operation::Rerank
        | Operation::CountTokens => {}
    }
    let head = &head[..head.len().min(HEAD_MAX)];
    let mut scanner = Scanner::new(head);
    let mut first = true;
    let mut found = Found::default();
    // Gemini may wrap its error into an array.
    if dialect == Dialect::Gemini && scanner.peek() == Some(b'[') {
        scanner.enter(b'[').ok()?;
    }
    scanner.enter(b'{').ok()?;
    while let Ok(Some(name)) = scanner.member(&mut first) {
        let Some(name) = name.text() else { continue };
        found.result |= RESULTS.contains(&&*name);
        let Ok(value) = scanner.value(&mut ()) else {
            return None; // cut off inside a value: that is no short error
        };
        found.take(&name, value);
    }
    found.failure(service_kind, dialect)
}

/// The error that an event's data tells of, if it does.
pub(super) fn error_in_event(dialect: Dialect, data: &Value) -> Option<Failure> {
    let mut found = Found::default();
    for (name, value) in data.members() {
        found.result |= RESULTS.contains(&&*name) && !value.is_null() && !value.is_empty();
        found.take(&name, value);
    }
    match found.kind.as_deref() {
        // OpenAI's Responses: the error stands within the response, or flat in the event.
        Some("response.failed") => {
            let error = data.get("response").and_then(|response| response.get("error"));
            return Some(Failure::of(dialect, error.unwrap_or(*data)));
        }
        Some("error") if found.error.is_none() => return Some(Failure::of(dialect, *data)),
        _ => {}
    }
    found.failure("", dialect)
}

/// The members that may tell of an error.
#[derive(Default)]
struct Found<'a> {
    error: Option<Value<'a>>,
    code: Option<Value<'a>>,
    message: Option<Value<'a>>,
    base: Option<Value<'a>>,
    kind: Option<Cow<'a, str>>,
    result: bool,
}

impl<'a> Found<'a> {
    fn take(&mut self, name: &str, value: Value<'a>) {
        match name {
            "error" if !value.is_null() && !value.is_empty() && value.as_bool() != Some(false) => self.error = Some(value),
            "code" => self.code = Some(value),
            "message" => self.message = Some(value),
            "base_resp" => self.base = Some(value),
            "type" => self.kind = value.as_str(),
            _ => {}
        }
    }

    fn failure(self, service_kind: &str, dialect: Dialect) -> Option<Failure> {
        if let Some(error) = self.error {
            let mut failure = Failure::of(dialect, error);
            // xAI: `{"code": "…", "error": "…"}`.
            if let (false, Some(code)) = (error.is_object(), self.code.and_then(|code| code.as_str())) {
                failure = Failure::made(dialect, status_of(None, &[&code]), &code, &text(error));
            }
            return Some(failure);
        }
        if let Some(code) = self.base.and_then(|base| base.get("status_code")?.as_i64()).filter(|code| *code != 0) {
            let message = self.base.and_then(|base| base.get("status_msg")).map(text).unwrap_or_default();
            return Some(Failure::made(dialect, minimax_status(code), &code.to_string(), &message));
        }
        let code = self.code.filter(|code| !self.result && !says_fine(*code))?;
        let message = self.message.filter(|message| message.is_string())?;
        let code = text(code);
        let number = code.parse().ok();
        // Zhipu's numbers, 1000 and up, are no statuses; they are judged by the body.
        let number = number.filter(|_| !service_kind.starts_with("glm"));
        Some(Failure::made(dialect, status_of(number, &[&code]), &code, &text(message)))
    }
}

/// A `code` that says that all is well: some services send one with every answer.
fn says_fine(code: Value) -> bool {
    code.is_null() || code.is_empty() || matches!(&*text(code).to_ascii_lowercase(), "0" | "200" | "ok" | "success" | "true")
}

/// A string's text, or a number or whatever else as it is written.
fn text(value: Value) -> String {
    value.as_str().map_or_else(|| String::from_utf8_lossy(value.raw()).into_owned(), Cow::into_owned)
}

impl Failure {
    /// From an error object (or a text) as providers give it.
    pub(super) fn of(dialect: Dialect, error: Value) -> Failure {
        if !error.is_object() {
            return Failure::made(dialect, 500, "", &text(error));
        }
        let words: Vec<String> = ["code", "type", "status"]
            .into_iter()
            .filter_map(|name| error.get(name))
            .filter(|value| !value.is_null() && !value.is_empty())
            .map(text)
            .filter(|word| !matches!(&**word, "error" | "response.failed"))
            .collect();
        let numbers = words.iter().filter_map(|word| word.parse().ok());
        let number = numbers.into_iter().find(|number: &u16| (400..600).contains(number));
        let status = status_of(number, &words.iter().map(String::as_str).collect::<Vec<_>>());
        let mut named = words.iter().filter(|word| word.parse::<i64>().is_err());
        let kind = match dialect {
            Dialect::Anthropic => named.next_back().or(words.first()),
            Dialect::Openai | Dialect::Gemini => named.next().or(words.first()),
        };
        let kind = kind.cloned().unwrap_or_default();
        let message = error.get("message").map(text).unwrap_or_default();
        // Objects that clients can read as they are stay as they are.
        let complete = match dialect {
            Dialect::Anthropic | Dialect::Openai => {
                error.get("type").is_some_and(|kind| kind.is_string()) && !kind_is_event(&error)
            }
            Dialect::Gemini => true,
        };
        if !complete {
            return Failure::made(dialect, status, &kind, &message);
        }
        let raw = String::from_utf8_lossy(error.raw());
        let body = match dialect {
            Dialect::Anthropic => format!("{{\"type\":\"error\",\"error\":{raw}}}"),
            Dialect::Openai | Dialect::Gemini => format!("{{\"error\":{raw}}}"),
        };
        Failure { status, kind, body: Bytes::from(body) }
    }

    /// From its parts.
    fn made(dialect: Dialect, status: u16, kind: &str, message: &str) -> Failure {
        let (anthropic, openai, gemini) = words_of(status);
        let body = match dialect {
            Dialect::Anthropic => json!({"type": "error", "error": {"type": anthropic, "message": message}}),
            Dialect::Openai => json!({"error": {"message": message, "type": openai, "param": null, "code": kind}}),
            Dialect::Gemini => json!({"error": {"code": status, "message": message, "status": gemini}}),
        };
        Failure { status, kind: kind.to_string(), body: Bytes::from(body.to_string()) }
    }
}

/// Whether `type` is that of an event, and not of an error.
fn kind_is_event(error: &Value) -> bool {
    error.get("type").and_then(|kind| kind.as_str()).is_some_and(|kind| matches!(&*kind, "error" | "response.failed"))
}

/// The status that an error's words stand for: a number that is one, else the first word known, else 500.
fn status_of(number: Option<u16>, words: &[&str]) -> u16 {
    let by_number = number.filter(|number| (400..600).contains(number));
    by_number.or_else(|| words.iter().find_map(|word| status_of_word(word))).unwrap_or(500)
}

#[rustfmt::skip]
fn status_of_word(word: &str) -> Option<u16> {
    Some(match word {
        "overloaded_error" => 529,
        "rate_limit_error" | "rate_limit_exceeded" | "rate_limit_reached_error" | "rate_limited" | "too_many_requests"
        | "insufficient_quota" | "usage_limit_reached" | "exceeded_current_quota_error" | "credit_balance_exhausted" | "slow_down"
        | "Throttling" | "Throttling.RateQuota" | "Throttling.AllocationQuota" | "LimitRequests" | "RESOURCE_EXHAUSTED" => 429,
        "invalid_request_error" | "invalid_prompt" | "context_length_exceeded" | "content_filter" | "content_policy_violation"
        | "data_inspection_failed" | "DataInspectionFailed" | "InvalidParameter" | "moderation_blocked" | "invalid_image"
        | "INVALID_ARGUMENT" | "FAILED_PRECONDITION" | "BadRequestError" => 400,
        "authentication_error" | "invalid_api_key" | "InvalidApiKey" | "invalid_authentication_error" | "UNAUTHENTICATED" => 401,
        "billing_error" | "insufficient_balance" | "Arrearage" => 402,
        "permission_error" | "permission_denied" | "PERMISSION_DENIED" => 403,
        "not_found_error" | "model_not_found" | "ModelNotFound" | "NOT_FOUND" => 404,
        "timeout_error" | "DEADLINE_EXCEEDED" => 504,
        "request_too_large" => 413,
        "server_is_overloaded" | "server_overloaded" | "service_unavailable_error" | "service_unavailable" | "engine_overloaded_error"
        | "Throttling.ServiceOverloaded" | "UNAVAILABLE" => 503,
        "api_error" | "server_error" | "internal_error" | "INTERNAL" => 500,
        _ => return None,
    })
}

/// MiniMax's codes (`providers.md` section 14).
fn minimax_status(code: i64) -> u16 {
    match code {
        1002 | 1039 | 2056 => 429,
        1004 | 2049 => 401,
        1008 => 402,
        1026 | 1027 | 2013 => 400,
        _ => 500,
    }
}

/// The words that the dialects have for a status.
fn words_of(status: u16) -> (&'static str, &'static str, &'static str) {
    match status {
        400 | 413 | 422 => ("invalid_request_error", "invalid_request_error", "INVALID_ARGUMENT"),
        401 => ("authentication_error", "invalid_request_error", "UNAUTHENTICATED"),
        402 => ("billing_error", "insufficient_quota", "RESOURCE_EXHAUSTED"),
        403 => ("permission_error", "permission_error", "PERMISSION_DENIED"),
        404 => ("not_found_error", "invalid_request_error", "NOT_FOUND"),
        429 => ("rate_limit_error", "rate_limit_error", "RESOURCE_EXHAUSTED"),
        503 | 529 => ("overloaded_error", "server_error", "UNAVAILABLE"),
        504 => ("timeout_error", "server_error", "DEADLINE_EXCEEDED"),
        _ => ("api_error", "server_error", "INTERNAL"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(dialect: Dialect, head: &str, expected: Option<(u16, &str)>) {
        let operation = if dialect == Dialect::Gemini { Operation::Generate } else { Operation::Chat };
        let found = error_in_json("openai", dialect, operation, head.as_bytes());
        assert_eq!(found.as_ref().map(|failure| (failure.status, failure.kind.as_str())), expected, "{head}");
        if let Some(failure) = found {
            let body: serde_json::Value = serde_json::from_slice(&failure.body).unwrap();
            assert!(body["error"].is_object(), "{body}");
        }
    }

    #[test]
    fn errors_with_a_200() {
        let openai = |head: &str, expected| check(Dialect::Openai, head, expected);
        openai(r#"{"error":{"message":"m","type":"server_error","code":"server_overloaded"}}"#, Some((503, "server_overloaded")));
        openai("\n\n \r\n{\"error\":{\"message\":\"m\",\"type\":\"rate_limit_error\"}}", Some((429, "rate_limit_error")));
        openai(r#"{"error":{"code":429,"message":"m","metadata":{}}}"#, Some((429, "429")));
        openai(r#"{"error":{"code":"content_filter","status":400,"type":null}}"#, Some((400, "content_filter")));
        openai(r#"{"error":"no such thing"}"#, Some((500, "")));
        openai(r#"{"code":"invalid_api_key","error":"Incorrect API key"}"#, Some((401, "invalid_api_key")));
        openai(r#"{"code":"Throttling.RateQuota","message":"m","request_id":"r"}"#, Some((429, "Throttling.RateQuota")));
        openai(r#"{"base_resp":{"status_code":1002,"status_msg":"rate"},"choices":null}"#, Some((429, "1002")));
        openai(r#"{"base_resp":{"status_code":1008,"status_msg":"balance"}}"#, Some((402, "1008")));
        check(Dialect::Gemini, r#"[{"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}]"#, Some((503, "UNAVAILABLE")));
        check(
            Dialect::Anthropic,
            r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#,
            Some((529, "overloaded_error")),
        );
    }

    #[test]
    fn answers_that_are_none() {
        let openai = |head: &str| check(Dialect::Openai, head, None);
        openai(r#"{"id":"resp_1","error":null,"output":[]}"#);
        openai(r#"{"choices":[{"message":{"content":"\"error\":{}"}}],"code":"x","message":"y"}"#);
        openai(r#"{"code":200,"message":"ok"}"#);
        openai(r#"{"code":"","message":""}"#);
        openai(r#"{"base_resp":{"status_code":0,"status_msg":"success"},"choices":[]}"#);
        openai(r#"{"error":{}}"#);
        openai(r#"{"choices":[{"message":{"content":"cut off he"#);
        openai("not json");
        openai("");
        let long = format!(r#"{{"id":"{}","error":{{"code":500}}}}"#, "x".repeat(5000));
        openai(&long);
        assert!(error_in_json("openai", Dialect::Openai, Operation::Files, br#"{"error":{"code":500}}"#).is_none());
    }

    proptest! {
        #[test]
        fn nothing_panics(head: Vec<u8>, text in "[{}\\[\\]\":,a-z0-9 ]{0,60}") {
            for dialect in Dialect::ALL {
                let _failure = error_in_json("", dialect, Operation::Chat, &head);
                let _failure = error_in_json("", dialect, Operation::Chat, format!("{{\"error\":{{{text}").as_bytes());
            }
        }
    }
}
