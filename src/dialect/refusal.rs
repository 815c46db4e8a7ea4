//! What a refusal of the gateway's own looks like.
//!
//! The status and the words stand in one table, [`row`]. When to try again is told so that the clients' habits do no harm:
//!
//! 1. `retry-after` goes with 429 and 503 only, in whole seconds, and only up to 60 s: several clients sleep a longer one out
//!    in silence.
//! 2. Beyond that the message names the moment (who refuses puts it there), and `x-should-retry: false` stops those that listen
//!    to it. So it does where trying again is useless at all.
//! 3. `x-aicarpool-retry-after` always tells the seconds, for programs that know it.
//! 4. Codex answers each 5xx with thirty requests, so on `responses` a pool that is busy or empty is 429; and where the moment
//!    is far or never comes, `usage_limit_reached`, which it shows to its user and does not repeat.
//! 5. Gemini's clients read no header: the moment goes into `RetryInfo`.

use bytes::Bytes;
use serde_json::{Value, json};

use super::Answer;
use crate::words::{Again, Code, Dialect, Refusal, UnixMs};

/// The longest `retry-after` that clients wait out and then try again.
const RETRY_AFTER_MAX_S: i64 = 60;

/// How one code looks in the three dialects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The code's name, in `x-aicarpool-error`, log and metrics.
    pub name: &'static str,
    pub status: u16,
    /// `error.type`.
    pub anthropic: &'static str,
    /// `error.type` and `error.code`.
    pub openai: (&'static str, &'static str),
    /// `error.status`.
    pub gemini: &'static str,
}

/// The table of refusals, a row for each code.
#[rustfmt::skip]
pub fn row(code: Code) -> Row {
    let row = |name, status, anthropic, openai, gemini| Row { name, status, anthropic, openai, gemini };
    let key = |name| row(name, 401, "authentication_error", ("invalid_request_error", "invalid_api_key"), "UNAUTHENTICATED");
    let denied = |name| row(name, 403, "permission_error", ("permission_error", name), "PERMISSION_DENIED");
    let unavailable = |name| row(name, 503, "overloaded_error", ("server_error", name), "UNAVAILABLE");
    let limited = |name| row(name, 429, "rate_limit_error", ("rate_limit_error", name), "RESOURCE_EXHAUSTED");
    match code {
        Code::MissingKey => key("missing_key"),
        Code::UnknownKey => key("unknown_key"),
        Code::KeyDisabled => key("key_disabled"),
        Code::KeyExpired => key("key_expired"),
        Code::AddressNotAllowed => denied("address_not_allowed"),
        Code::UserDisabled => denied("user_disabled"),
        Code::GroupDisabled => denied("group_disabled"),
        Code::ServiceNotAllowed => denied("service_not_allowed"),
        Code::ModelNotAllowed => denied("model_not_allowed"),
        Code::OperationNotAllowed => denied("operation_not_allowed"),
        Code::UnpricedModel => denied("unpriced_model"),
        Code::UnknownPath => row("unknown_path", 404, "not_found_error", ("invalid_request_error", "unknown_url"), "NOT_FOUND"),
        Code::UnknownModel => row("unknown_model", 404, "not_found_error", ("invalid_request_error", "model_not_found"), "NOT_FOUND"),
        Code::MethodNotAllowed => row("method_not_allowed", 405, "invalid_request_error", ("invalid_request_error", "method_not_allowed"), "INVALID_ARGUMENT"),
        Code::BadRequest => row("bad_request", 400, "invalid_request_error", ("invalid_request_error", "bad_request"), "INVALID_ARGUMENT"),
        Code::BodyTooLarge => row("body_too_large", 413, "request_too_large", ("invalid_request_error", "body_too_large"), "INVALID_ARGUMENT"),
        Code::RateLimited => limited("rate_limited"),
        Code::AccountsRateLimited => limited("accounts_rate_limited"),
        Code::NoAccount => unavailable("no_account"),
        Code::Overloaded => unavailable("overloaded"),
        Code::ShuttingDown => unavailable("shutting_down"),
        Code::UpstreamFailed => row("upstream_failed", 502, "api_error", ("server_error", "upstream_failed"), "UNAVAILABLE"),
        Code::UpstreamTimeout => row("upstream_timeout", 504, "timeout_error", ("server_error", "upstream_timeout"), "DEADLINE_EXCEEDED"),
        Code::UpgradeRequired => row("upgrade_required", 426, "invalid_request_error", ("invalid_request_error", "upgrade_required"), "INVALID_ARGUMENT"),
    }
}

/// When a refused request may be sent again.
struct Retry {
    /// Seconds from now, at least 1.
    wait_s: Option<i64>,
    moment: Option<UnixMs>,
    /// Within a minute it is useless.
    useless: bool,
}

impl Retry {
    fn of(refusal: &Refusal, status: u16, now: UnixMs) -> Retry {
        let moment = match refusal.again {
            Again::At(moment) => Some(moment),
            Again::Unknown | Again::Never => None,
        };
        let wait_s = moment.map(|moment| (moment.since_ms(now).saturating_add(999) / 1000).max(1));
        // These pass by themselves, whatever was said.
        let passing =
            matches!(refusal.code, Code::UpstreamFailed | Code::UpstreamTimeout | Code::Overloaded | Code::ShuttingDown);
        let useless = matches!(status, 401 | 403 | 404)
            || wait_s.is_some_and(|wait_s| wait_s > RETRY_AFTER_MAX_S)
            || refusal.again == Again::Never && !passing;
        Retry { wait_s, moment, useless }
    }
}

/// The answer that tells of a refusal in this dialect. `responses`: the request is for OpenAI's Responses API.
pub fn refusal(dialect: Dialect, responses: bool, refusal: &Refusal, request_id: &str, now: UnixMs) -> Answer {
    let row = row(refusal.code);
    let status = if responses && row.status == 503 { 429 } else { row.status };
    let retry = Retry::of(refusal, status, now);
    let message = &refusal.message;
    let body = match dialect {
        Dialect::Anthropic => {
            json!({"type": "error", "error": {"type": row.anthropic, "message": message}, "request_id": request_id})
        }
        Dialect::Openai => openai_body(&row, responses && status == 429, &retry, message),
        Dialect::Gemini => gemini_body(&row, status, &retry, message),
    };
    let mut headers = vec![
        ("content-type", "application/json".to_string()),
        ("x-aicarpool-error", row.name.to_string()),
        ("x-request-id", request_id.to_string()),
    ];
    if dialect == Dialect::Anthropic {
        headers.push(("request-id", request_id.to_string())); // where the official SDKs look
    }
    if let Some(wait_s) = retry.wait_s {
        headers.push(("x-aicarpool-retry-after", wait_s.to_string()));
        if matches!(status, 429 | 503) && wait_s <= RETRY_AFTER_MAX_S {
            headers.push(("retry-after", wait_s.to_string()));
        }
    }
    if let Some(methods) = &refusal.allow {
        headers.push(("allow", methods.clone()));
    }
    if retry.useless {
        headers.push(("x-should-retry", "false".to_string()));
    }
    Answer { status, headers, body: Bytes::from(body.to_string()) }
}

fn openai_body(row: &Row, busy: bool, retry: &Retry, message: &str) -> Value {
    let kind = match (busy, retry.useless) {
        (true, true) => "usage_limit_reached",
        (true, false) => "rate_limit_error",
        (false, _) => row.openai.0,
    };
    let mut body = json!({"error": {"message": message, "type": kind, "param": null, "code": row.openai.1}});
    if let (true, true, Some(moment)) = (busy, retry.useless, retry.moment) {
        body["error"]["resets_at"] = (moment.0.saturating_add(999) / 1000).into();
    }
    body
}

fn gemini_body(row: &Row, status: u16, retry: &Retry, message: &str) -> Value {
    let mut body = json!({"error": {"code": status, "message": message, "status": row.gemini}});
    if let Some(wait_s) = retry.wait_s {
        let info = json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": format!("{wait_s}s")});
        body["error"]["details"] = json!([info]);
    }
    body
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    const NOW: UnixMs = UnixMs(1_800_000_000_000);

    const CODES: [Code; 24] = [
        Code::MissingKey,
        Code::UnknownKey,
        Code::KeyDisabled,
        Code::KeyExpired,
        Code::AddressNotAllowed,
        Code::UserDisabled,
        Code::GroupDisabled,
        Code::ServiceNotAllowed,
        Code::ModelNotAllowed,
        Code::OperationNotAllowed,
        Code::UnpricedModel,
        Code::UnknownPath,
        Code::UnknownModel,
        Code::MethodNotAllowed,
        Code::BadRequest,
        Code::BodyTooLarge,
        Code::RateLimited,
        Code::AccountsRateLimited,
        Code::NoAccount,
        Code::Overloaded,
        Code::ShuttingDown,
        Code::UpstreamFailed,
        Code::UpstreamTimeout,
        Code::UpgradeRequired,
    ];

    /// Status, headers worth a look, body.
    fn told(dialect: Dialect, responses: bool, code: Code, again: Again) -> String {
        let answer = refusal(dialect, responses, &Refusal::new(code, "words").again(again), "id1", NOW);
        let worth = |name: &&str| !matches!(*name, "content-type" | "x-request-id" | "request-id");
        let headers: String =
            answer.headers.iter().filter(|(name, _)| worth(name)).map(|(name, value)| format!(" {name}={value}")).collect();
        format!("{}{headers} {}\n", answer.status, String::from_utf8_lossy(&answer.body))
    }

    #[test]
    fn row_by_row() {
        let again = |code| if row(code).status == 503 { Again::Unknown } else { Again::Never };
        let all = |dialect, responses| CODES.map(|code| told(dialect, responses, code, again(code))).concat();
        expect![[r#"
            401 x-aicarpool-error=missing_key x-should-retry=false {"error":{"message":"words","type":"authentication_error"},"request_id":"id1","type":"error"}
            401 x-aicarpool-error=unknown_key x-should-retry=false {"error":{"message":"words","type":"authentication_error"},"request_id":"id1","type":"error"}
            401 x-aicarpool-error=key_disabled x-should-retry=false {"error":{"message":"words","type":"authentication_error"},"request_id":"id1","type":"error"}
            401 x-aicarpool-error=key_expired x-should-retry=false {"error":{"message":"words","type":"authentication_error"},"request_id":"id1","type":"error"}
            403 x-aicarpool-error=address_not_allowed x-should-retry=false {"error":{"message":"words","type":"permission_error"},"request_id":"id1","type":"error"}
            403 x-aicarpool-error=user_disabled x-should-retry=false {"error":{"message":"words","type":"permission_error"},"request_id":"id1","type":"error"}
            403 x-aicarpool-error=group_disabled x-should-retry=false {"error":{"message":"words","type":"permission_error"},"request_id":"id1","type":"error"}
            403 x-aicarpool-error=service_not_allowed x-should-retry=false {"error":{"message":"words","type":"permission_error"},"request_id":"id1","type":"error"}
            403 x-aicarpool-error=model_not_allowed x-should-retry=false {"error":{"message":"words","type":"permission_error"},"request_id":"id1","type":"error"}
            403 x-aicarpool-error=operation_not_allowed x-should-retry=false {"error":{"message":"words","type":"permission_error"},"request_id":"id1","type":"error"}
            403 x-aicarpool-error=unpriced_model x-should-retry=false {"error":{"message":"words","type":"permission_error"},"request_id":"id1","type":"error"}
            404 x-aicarpool-error=unknown_path x-should-retry=false {"error":{"message":"words","type":"not_found_error"},"request_id":"id1","type":"error"}
            404 x-aicarpool-error=unknown_model x-should-retry=false {"error":{"message":"words","type":"not_found_error"},"request_id":"id1","type":"error"}
            405 x-aicarpool-error=method_not_allowed x-should-retry=false {"error":{"message":"words","type":"invalid_request_error"},"request_id":"id1","type":"error"}
            400 x-aicarpool-error=bad_request x-should-retry=false {"error":{"message":"words","type":"invalid_request_error"},"request_id":"id1","type":"error"}
            413 x-aicarpool-error=body_too_large x-should-retry=false {"error":{"message":"words","type":"request_too_large"},"request_id":"id1","type":"error"}
            429 x-aicarpool-error=rate_limited x-should-retry=false {"error":{"message":"words","type":"rate_limit_error"},"request_id":"id1","type":"error"}
            429 x-aicarpool-error=accounts_rate_limited x-should-retry=false {"error":{"message":"words","type":"rate_limit_error"},"request_id":"id1","type":"error"}
            503 x-aicarpool-error=no_account {"error":{"message":"words","type":"overloaded_error"},"request_id":"id1","type":"error"}
            503 x-aicarpool-error=overloaded {"error":{"message":"words","type":"overloaded_error"},"request_id":"id1","type":"error"}
            503 x-aicarpool-error=shutting_down {"error":{"message":"words","type":"overloaded_error"},"request_id":"id1","type":"error"}
            502 x-aicarpool-error=upstream_failed {"error":{"message":"words","type":"api_error"},"request_id":"id1","type":"error"}
            504 x-aicarpool-error=upstream_timeout {"error":{"message":"words","type":"timeout_error"},"request_id":"id1","type":"error"}
            426 x-aicarpool-error=upgrade_required x-should-retry=false {"error":{"message":"words","type":"invalid_request_error"},"request_id":"id1","type":"error"}
        "#]].assert_eq(&all(Dialect::Anthropic, false));
        expect![[r#"
            401 x-aicarpool-error=missing_key x-should-retry=false {"error":{"code":"invalid_api_key","message":"words","param":null,"type":"invalid_request_error"}}
            401 x-aicarpool-error=unknown_key x-should-retry=false {"error":{"code":"invalid_api_key","message":"words","param":null,"type":"invalid_request_error"}}
            401 x-aicarpool-error=key_disabled x-should-retry=false {"error":{"code":"invalid_api_key","message":"words","param":null,"type":"invalid_request_error"}}
            401 x-aicarpool-error=key_expired x-should-retry=false {"error":{"code":"invalid_api_key","message":"words","param":null,"type":"invalid_request_error"}}
            403 x-aicarpool-error=address_not_allowed x-should-retry=false {"error":{"code":"address_not_allowed","message":"words","param":null,"type":"permission_error"}}
            403 x-aicarpool-error=user_disabled x-should-retry=false {"error":{"code":"user_disabled","message":"words","param":null,"type":"permission_error"}}
            403 x-aicarpool-error=group_disabled x-should-retry=false {"error":{"code":"group_disabled","message":"words","param":null,"type":"permission_error"}}
            403 x-aicarpool-error=service_not_allowed x-should-retry=false {"error":{"code":"service_not_allowed","message":"words","param":null,"type":"permission_error"}}
            403 x-aicarpool-error=model_not_allowed x-should-retry=false {"error":{"code":"model_not_allowed","message":"words","param":null,"type":"permission_error"}}
            403 x-aicarpool-error=operation_not_allowed x-should-retry=false {"error":{"code":"operation_not_allowed","message":"words","param":null,"type":"permission_error"}}
            403 x-aicarpool-error=unpriced_model x-should-retry=false {"error":{"code":"unpriced_model","message":"words","param":null,"type":"permission_error"}}
            404 x-aicarpool-error=unknown_path x-should-retry=false {"error":{"code":"unknown_url","message":"words","param":null,"type":"invalid_request_error"}}
            404 x-aicarpool-error=unknown_model x-should-retry=false {"error":{"code":"model_not_found","message":"words","param":null,"type":"invalid_request_error"}}
            405 x-aicarpool-error=method_not_allowed x-should-retry=false {"error":{"code":"method_not_allowed","message":"words","param":null,"type":"invalid_request_error"}}
            400 x-aicarpool-error=bad_request x-should-retry=false {"error":{"code":"bad_request","message":"words","param":null,"type":"invalid_request_error"}}
            413 x-aicarpool-error=body_too_large x-should-retry=false {"error":{"code":"body_too_large","message":"words","param":null,"type":"invalid_request_error"}}
            429 x-aicarpool-error=rate_limited x-should-retry=false {"error":{"code":"rate_limited","message":"words","param":null,"type":"rate_limit_error"}}
            429 x-aicarpool-error=accounts_rate_limited x-should-retry=false {"error":{"code":"accounts_rate_limited","message":"words","param":null,"type":"rate_limit_error"}}
            503 x-aicarpool-error=no_account {"error":{"code":"no_account","message":"words","param":null,"type":"server_error"}}
            503 x-aicarpool-error=overloaded {"error":{"code":"overloaded","message":"words","param":null,"type":"server_error"}}
            503 x-aicarpool-error=shutting_down {"error":{"code":"shutting_down","message":"words","param":null,"type":"server_error"}}
            502 x-aicarpool-error=upstream_failed {"error":{"code":"upstream_failed","message":"words","param":null,"type":"server_error"}}
            504 x-aicarpool-error=upstream_timeout {"error":{"code":"upstream_timeout","message":"words","param":null,"type":"server_error"}}
            426 x-aicarpool-error=upgrade_required x-should-retry=false {"error":{"code":"upgrade_required","message":"words","param":null,"type":"invalid_request_error"}}
        "#]].assert_eq(&all(Dialect::Openai, false));
        expect![[r#"
            401 x-aicarpool-error=missing_key x-should-retry=false {"error":{"code":401,"message":"words","status":"UNAUTHENTICATED"}}
            401 x-aicarpool-error=unknown_key x-should-retry=false {"error":{"code":401,"message":"words","status":"UNAUTHENTICATED"}}
            401 x-aicarpool-error=key_disabled x-should-retry=false {"error":{"code":401,"message":"words","status":"UNAUTHENTICATED"}}
            401 x-aicarpool-error=key_expired x-should-retry=false {"error":{"code":401,"message":"words","status":"UNAUTHENTICATED"}}
            403 x-aicarpool-error=address_not_allowed x-should-retry=false {"error":{"code":403,"message":"words","status":"PERMISSION_DENIED"}}
            403 x-aicarpool-error=user_disabled x-should-retry=false {"error":{"code":403,"message":"words","status":"PERMISSION_DENIED"}}
            403 x-aicarpool-error=group_disabled x-should-retry=false {"error":{"code":403,"message":"words","status":"PERMISSION_DENIED"}}
            403 x-aicarpool-error=service_not_allowed x-should-retry=false {"error":{"code":403,"message":"words","status":"PERMISSION_DENIED"}}
            403 x-aicarpool-error=model_not_allowed x-should-retry=false {"error":{"code":403,"message":"words","status":"PERMISSION_DENIED"}}
            403 x-aicarpool-error=operation_not_allowed x-should-retry=false {"error":{"code":403,"message":"words","status":"PERMISSION_DENIED"}}
            403 x-aicarpool-error=unpriced_model x-should-retry=false {"error":{"code":403,"message":"words","status":"PERMISSION_DENIED"}}
            404 x-aicarpool-error=unknown_path x-should-retry=false {"error":{"code":404,"message":"words","status":"NOT_FOUND"}}
            404 x-aicarpool-error=unknown_model x-should-retry=false {"error":{"code":404,"message":"words","status":"NOT_FOUND"}}
            405 x-aicarpool-error=method_not_allowed x-should-retry=false {"error":{"code":405,"message":"words","status":"INVALID_ARGUMENT"}}
            400 x-aicarpool-error=bad_request x-should-retry=false {"error":{"code":400,"message":"words","status":"INVALID_ARGUMENT"}}
            413 x-aicarpool-error=body_too_large x-should-retry=false {"error":{"code":413,"message":"words","status":"INVALID_ARGUMENT"}}
            429 x-aicarpool-error=rate_limited x-should-retry=false {"error":{"code":429,"message":"words","status":"RESOURCE_EXHAUSTED"}}
            429 x-aicarpool-error=accounts_rate_limited x-should-retry=false {"error":{"code":429,"message":"words","status":"RESOURCE_EXHAUSTED"}}
            503 x-aicarpool-error=no_account {"error":{"code":503,"message":"words","status":"UNAVAILABLE"}}
            503 x-aicarpool-error=overloaded {"error":{"code":503,"message":"words","status":"UNAVAILABLE"}}
            503 x-aicarpool-error=shutting_down {"error":{"code":503,"message":"words","status":"UNAVAILABLE"}}
            502 x-aicarpool-error=upstream_failed {"error":{"code":502,"message":"words","status":"UNAVAILABLE"}}
            504 x-aicarpool-error=upstream_timeout {"error":{"code":504,"message":"words","status":"DEADLINE_EXCEEDED"}}
            426 x-aicarpool-error=upgrade_required x-should-retry=false {"error":{"code":426,"message":"words","status":"INVALID_ARGUMENT"}}
        "#]].assert_eq(&all(Dialect::Gemini, false));
    }

    #[track_caller]
    fn check(dialect: Dialect, responses: bool, code: Code, again: Again, expected: Expect) {
        expected.assert_eq(&told(dialect, responses, code, again));
    }

    #[test]
    fn when_to_try_again() {
        let at = |ms| Again::At(NOW.plus_ms(ms));
        let (anthropic, openai, gemini) = (Dialect::Anthropic, Dialect::Openai, Dialect::Gemini);
        check(
            anthropic,
            false,
            Code::AccountsRateLimited,
            at(1),
            expect![[r#"
            429 x-aicarpool-error=accounts_rate_limited x-aicarpool-retry-after=1 retry-after=1 {"error":{"message":"words","type":"rate_limit_error"},"request_id":"id1","type":"error"}
        "#]],
        );
        check(
            anthropic,
            false,
            Code::AccountsRateLimited,
            at(-5_000),
            expect![[r#"
            429 x-aicarpool-error=accounts_rate_limited x-aicarpool-retry-after=1 retry-after=1 {"error":{"message":"words","type":"rate_limit_error"},"request_id":"id1","type":"error"}
        "#]],
        );
        check(
            anthropic,
            false,
            Code::NoAccount,
            at(60_000),
            expect![[r#"
            503 x-aicarpool-error=no_account x-aicarpool-retry-after=60 retry-after=60 {"error":{"message":"words","type":"overloaded_error"},"request_id":"id1","type":"error"}
        "#]],
        );
        check(
            anthropic,
            false,
            Code::NoAccount,
            at(60_001),
            expect![[r#"
            503 x-aicarpool-error=no_account x-aicarpool-retry-after=61 x-should-retry=false {"error":{"message":"words","type":"overloaded_error"},"request_id":"id1","type":"error"}
        "#]],
        );
        check(
            anthropic,
            false,
            Code::UpstreamFailed,
            Again::Never,
            expect![[r#"
            502 x-aicarpool-error=upstream_failed {"error":{"message":"words","type":"api_error"},"request_id":"id1","type":"error"}
        "#]],
        );
        check(
            openai,
            false,
            Code::AccountsRateLimited,
            at(30_500),
            expect![[r#"
            429 x-aicarpool-error=accounts_rate_limited x-aicarpool-retry-after=31 retry-after=31 {"error":{"code":"accounts_rate_limited","message":"words","param":null,"type":"rate_limit_error"}}
        "#]],
        );
        check(
            openai,
            false,
            Code::NoAccount,
            at(3_600_000),
            expect![[r#"
            503 x-aicarpool-error=no_account x-aicarpool-retry-after=3600 x-should-retry=false {"error":{"code":"no_account","message":"words","param":null,"type":"server_error"}}
        "#]],
        );
        check(
            gemini,
            false,
            Code::AccountsRateLimited,
            at(30_000),
            expect![[r#"
            429 x-aicarpool-error=accounts_rate_limited x-aicarpool-retry-after=30 retry-after=30 {"error":{"code":429,"details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"30s"}],"message":"words","status":"RESOURCE_EXHAUSTED"}}
        "#]],
        );
        check(
            gemini,
            false,
            Code::NoAccount,
            at(900_000),
            expect![[r#"
            503 x-aicarpool-error=no_account x-aicarpool-retry-after=900 x-should-retry=false {"error":{"code":503,"details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"900s"}],"message":"words","status":"UNAVAILABLE"}}
        "#]],
        );
    }

    #[test]
    fn responses_are_told_no_5xx_of_a_busy_pool() {
        let at = |ms| Again::At(NOW.plus_ms(ms));
        check(
            Dialect::Openai,
            true,
            Code::NoAccount,
            at(5_000),
            expect![[r#"
            429 x-aicarpool-error=no_account x-aicarpool-retry-after=5 retry-after=5 {"error":{"code":"no_account","message":"words","param":null,"type":"rate_limit_error"}}
        "#]],
        );
        check(
            Dialect::Openai,
            true,
            Code::NoAccount,
            at(600_001),
            expect![[r#"
            429 x-aicarpool-error=no_account x-aicarpool-retry-after=601 x-should-retry=false {"error":{"code":"no_account","message":"words","param":null,"resets_at":1800000601,"type":"usage_limit_reached"}}
        "#]],
        );
        check(
            Dialect::Openai,
            true,
            Code::NoAccount,
            Again::Never,
            expect![[r#"
            429 x-aicarpool-error=no_account x-should-retry=false {"error":{"code":"no_account","message":"words","param":null,"type":"usage_limit_reached"}}
        "#]],
        );
        check(
            Dialect::Openai,
            true,
            Code::AccountsRateLimited,
            at(600_000),
            expect![[r#"
            429 x-aicarpool-error=accounts_rate_limited x-aicarpool-retry-after=600 x-should-retry=false {"error":{"code":"accounts_rate_limited","message":"words","param":null,"resets_at":1800000600,"type":"usage_limit_reached"}}
        "#]],
        );
        check(
            Dialect::Openai,
            true,
            Code::ShuttingDown,
            Again::Unknown,
            expect![[r#"
            429 x-aicarpool-error=shutting_down {"error":{"code":"shutting_down","message":"words","param":null,"type":"rate_limit_error"}}
        "#]],
        );
        check(
            Dialect::Openai,
            true,
            Code::UpstreamFailed,
            Again::Unknown,
            expect![[r#"
            502 x-aicarpool-error=upstream_failed {"error":{"code":"upstream_failed","message":"words","param":null,"type":"server_error"}}
        "#]],
        );
        check(
            Dialect::Openai,
            true,
            Code::UnknownKey,
            Again::Never,
            expect![[r#"
            401 x-aicarpool-error=unknown_key x-should-retry=false {"error":{"code":"invalid_api_key","message":"words","param":null,"type":"invalid_request_error"}}
        "#]],
        );
        check(
            Dialect::Openai,
            true,
            Code::UpgradeRequired,
            Again::Never,
            expect![[r#"
            426 x-aicarpool-error=upgrade_required x-should-retry=false {"error":{"code":"upgrade_required","message":"words","param":null,"type":"invalid_request_error"}}
        "#]],
        );
    }

    #[test]
    fn a_wrong_method_tells_the_right_ones() {
        let wrong = Refusal { allow: Some("GET, DELETE".into()), ..Refusal::new(Code::MethodNotAllowed, "words") };
        let answer = refusal(Dialect::Openai, false, &wrong, "id1", NOW);
        assert!(answer.headers.contains(&("allow", "GET, DELETE".to_string())));
    }

    #[test]
    fn every_answer_is_json() {
        for dialect in Dialect::ALL {
            let odd = Refusal::new(Code::BadRequest, "a \"quote\"\n and \u{1}").again(Again::At(UnixMs(i64::MAX)));
            let answer = refusal(dialect, false, &odd, "id", UnixMs(i64::MIN));
            assert!(serde_json::from_slice::<Value>(&answer.body).is_ok());
        }
    }
}
