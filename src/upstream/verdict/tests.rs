//! Every row of the decision table, every row of the providers' tables, and the corpus's errors.

use proptest::prelude::*;

use super::*;

/// 2026-11-21T08:00:00Z.
const NOW_MS: i64 = 1_795_248_000_000;

fn now() -> Now {
    Now { wall: UnixMs(NOW_MS), steady: crate::clock::steady() }
}

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let header =
        |(name, value): &(&str, &str)| (name.parse::<http::HeaderName>().unwrap(), value.parse::<http::HeaderValue>().unwrap());
    lines.iter().map(header).collect()
}

/// An answer: service, status, headers, body, and the model it was for.
#[derive(Clone, Copy)]
struct Answer<'a> {
    service: &'a str,
    status: u16,
    headers: &'a [(&'a str, &'a str)],
    body: &'a str,
    model: &'a str,
}

fn judged(answer: Answer<'_>) -> Judgement {
    let dialect = match answer.service {
        "claude" => Dialect::Anthropic,
        "gemini" => Dialect::Gemini,
        _ => Dialect::Openai,
    };
    judge(&Signal {
        service_kind: answer.service,
        dialect,
        status: answer.status,
        headers: &headers(answer.headers),
        body: answer.body.as_bytes(),
        stream_error: false,
        now: now(),
        model: answer.model,
    })
}

/// Verdict, scope and moment in a line: `rate_limit model +20s`, `money account 2026-12-01T00:00:00Z`, `credential account ban`.
fn in_words(judgement: &Judgement) -> String {
    let scope = match &judgement.scope {
        Scope::Account => "account".to_owned(),
        Scope::Model => "model".to_owned(),
        Scope::Family(name) => name.to_string(),
    };
    let until = match judgement.until {
        Until::Named(at) => format!(" {}", jiff::Timestamp::from_millisecond(at.0).unwrap()),
        Until::Hint(after) => format!(" +{}s", after.as_secs_f64()),
        Until::Growing => String::new(),
    };
    let ban = if judgement.ban { " ban" } else { "" };
    let unknown = if judgement.unknown_403 { " unknown" } else { "" };
    match judgement.verdict {
        Verdict::Request => "request".to_owned(),
        verdict => format!("{} {scope}{until}{ban}{unknown}", verdict.name()),
    }
}

fn check(service: &str, status: u16, body: &str, expected: &str) {
    check_with(service, status, &[], body, expected);
}

fn check_with(service: &str, status: u16, headers: &[(&str, &str)], body: &str, expected: &str) {
    let judgement = judged(Answer { service, status, headers, body, model: "test-model" });
    assert_eq!(in_words(&judgement), expected, "{service} {status} {body} (row {})", judgement.row);
}

/// The bodies of the providers' shapes.
fn anthropic(kind: &str, message: &str) -> String {
    serde_json::json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}).to_string()
}
fn openai(code: &str, message: &str) -> String {
    serde_json::json!({"error": {"message": message, "type": "some_type", "param": null, "code": code}}).to_string()
}
fn google(code: u16, status: &str, message: &str) -> String {
    serde_json::json!({"error": {"code": code, "message": message, "status": status}}).to_string()
}

#[test]
fn anthropic_api() {
    let says = |status, kind, message: &str, expected| check("claude", status, &anthropic(kind, message), expected);
    says(400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum", "request");
    says(400, "invalid_request_error", "messages.0: Input does not match the expected shape.", "request");
    says(
        400,
        "invalid_request_error",
        "Your credit balance is too low to access the Anthropic API. Please go to Plans",
        "money account",
    );
    says(
        400,
        "invalid_request_error",
        "You have reached your specified workspace API usage limits. You will regain access on 2026-12-01 at 00:00 UTC.",
        "money account 2026-12-01T00:00:00Z",
    );
    says(
        400,
        "invalid_request_error",
        "You have reached your specified API usage limits. You will regain access on 2026-11-25 at 12:30 UTC.",
        "money account 2026-11-25T12:30:00Z",
    );
    says(400, "invalid_request_error", "This organization has been disabled.", "credential account ban");
    says(403, "permission_error", "This organization has been disabled.", "credential account ban");
    says(
        403,
        "permission_error",
        "OAuth authentication is currently not allowed for this organization.",
        "credential account ban",
    );
    says(401, "authentication_error", "invalid x-api-key", "credential account");
    says(402, "billing_error", "Your organization has run out of credits.", "money account");
    says(403, "permission_error", "Your API key does not have permission to use the specified resource.", "model model");
    says(403, "permission_error", "Your organization does not have access.", "credential account");
    says(404, "not_found_error", "model: claude-sonnet-4-5", "model model");
    says(404, "not_found_error", "Not found", "request");
    says(409, "conflict_error", "Conflict", "request");
    says(413, "request_too_large", "Request exceeds the maximum size", "request");
    says(429, "rate_limit_error", "Number of requests has exceeded your rate limit", "rate_limit model");
    says(429, "rate_limit_error", "Fast mode requires usage credits", "request");
    says(429, "rate_limit_error", "Fast request rejected: …", "request");
    says(429, "rate_limit_error", "Extra usage is required for long context requests.", "request");
    says(500, "api_error", "Internal server error", "server account");
    says(504, "timeout_error", "Request timed out", "server account");
    says(529, "overloaded_error", "Overloaded", "overloaded model");
    says(
        400,
        "invalid_request_error",
        "This credential is only authorized for use with Claude Code and cannot be used for other API requests",
        "request",
    );
    says(401, "authentication_error", "OAuth token has expired", "credential account");
    says(403, "permission_error", "OAuth token has been revoked", "credential account");
    let spend = r#"{"type":"error","error":{"type":"rate_limit_error","message":"x","details":{"error_code":"enforced_spend_limit_reached"}}}"#;
    check("claude", 429, spend, "money account 2026-12-01T00:00:00Z");
}

#[test]
fn anthropic_limits_are_of_a_family_or_of_the_account() {
    let body = anthropic("rate_limit_error", "This request would exceed your account's rate limit. Please try again later.");
    let limited = |lines: &[(&str, &str)], expected: &str| {
        let lines: Vec<(String, &str)> =
            lines.iter().map(|(name, value)| (name.replace("unified", "anthropic-ratelimit-unified"), *value)).collect();
        let lines: Vec<(&str, &str)> = lines.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let model = "claude-opus-4-1-20250805";
        let judgement = judged(Answer { service: "claude", status: 429, headers: &lines, body: &body, model });
        assert_eq!(in_words(&judgement), expected, "{lines:?}");
    };
    limited(&[], "rate_limit claude-opus");
    limited(&[("retry-after", "20")], "rate_limit claude-opus +20s");
    limited(&[("unified-status", "allowed"), ("retry-after", "20")], "rate_limit claude-opus +20s");
    limited(&[("unified-status", "rejected"), ("unified-reset", "1795251600")], "rate_limit account 2026-11-21T09:00:00Z");
    limited(
        &[
            ("unified-status", "rejected"),
            ("unified-5h-status", "rejected"),
            ("unified-5h-reset", "1795251600"),
            ("retry-after", "7200"),
        ],
        "rate_limit account +7200s",
    );
    limited(
        &[
            ("unified-status", "rejected"),
            ("unified-5h-status", "allowed"),
            ("unified-7d-status", "allowed"),
            ("unified-7d_oi-status", "rejected"),
            ("unified-7d_oi-reset", "1795600000"),
        ],
        "rate_limit claude-opus 2026-11-25T09:46:40Z",
    );
    limited(
        &[
            ("anthropic-ratelimit-input-tokens-remaining", "0"),
            ("anthropic-ratelimit-input-tokens-reset", "2026-11-21T08:00:59Z"),
        ],
        "rate_limit claude-opus 2026-11-21T08:00:59Z",
    );
    // The overage's header is no rejection.
    limited(&[("unified-status", "allowed"), ("unified-overage-status", "rejected")], "rate_limit claude-opus");
}

#[test]
fn openai_api() {
    let says = |status, code, message: &str, expected| check("openai", status, &openai(code, message), expected);
    for code in ["context_length_exceeded", "invalid_request_error", "content_policy_violation", "moderation_blocked"] {
        says(400, code, "…", "request");
        says(422, code, "…", "request");
    }
    says(400, "previous_response_not_found", "Previous response with id 'resp_1' not found.", "request");
    says(404, "previous_response_not_found", "…", "request");
    says(404, "", "Response with id 'resp_1' not found.", "request");
    says(401, "invalid_api_key", "Incorrect API key provided: sk-xxxx.", "credential account");
    says(401, "", "You must be a member of an organization to use the API", "credential account");
    says(401, "account_deactivated", "…", "credential account ban");
    says(401, "", "Your OpenAI account has been deactivated", "credential account ban");
    says(401, "ip_not_authorized", "Your IP is not authorized", "credential account");
    says(403, "unsupported_country_region_territory", "Country, region, or territory not supported", "credential account");
    says(403, "model_not_found", "Project `p` does not have access to model `m`", "model model");
    says(403, "", "Project `proj_x` does not have access to model `gpt-5`", "model model");
    says(404, "model_not_found", "The model `gpt-9` does not exist or you do not have access to it.", "model model");
    says(400, "model_not_found", "The requested model 'gpt-9' does not exist.", "model model");
    says(403, "", "Your organization must be verified to use the model `gpt-5`", "model model");
    says(404, "", "Your organization must be verified to stream this model.", "model model");
    says(429, "rate_limit_exceeded", "Rate limit reached. Please try again in 1.242s.", "rate_limit model +1.242s");
    says(429, "rate_limit_exceeded", "Rate limit reached", "rate_limit model");
    says(429, "slow_down", "…", "rate_limit model");
    says(503, "slow_down", "…", "overloaded model");
    says(
        429,
        "rate_limit_exceeded",
        "Request too large for gpt-4.1 in organization org-x on tokens per min (TPM): Limit 30000, Requested 31000",
        "request",
    );
    for code in ["insufficient_quota", "credit_balance_exhausted"] {
        says(429, code, "You exceeded your current quota", "money account");
    }
    for code in ["organization_spend_limit_exceeded", "project_spend_limit_exceeded", "organization_usage_limit_exceeded"] {
        says(429, code, "…", "money account 2026-12-01T00:00:00Z");
    }
    let kind = r#"{"error":{"message":"quota","type":"insufficient_quota","param":null,"code":null}}"#;
    check("openai", 429, kind, "money account");
    for status in [500, 502, 504] {
        says(status, "server_error", "…", "server account");
    }
    says(503, "server_is_overloaded", "…", "overloaded model");
    check("openai", 503, r#"{"error":{"type":"service_unavailable_error","message":"x"}}"#, "overloaded model");
    says(500, "", "Selected model is at capacity. Please try a different model.", "overloaded model");
    says(429, "", "Selected model is at capacity. Please try a different model.", "overloaded model");
}

#[test]
fn openai_limits() {
    let body = openai("rate_limit_exceeded", "Rate limit reached for gpt-4.1-mini on tokens per min (TPM)");
    let limited = |lines: &[(&str, &str)], model, expected: &str| {
        let judgement = judged(Answer { service: "openai", status: 429, headers: lines, body: &body, model });
        assert_eq!(in_words(&judgement), expected, "{lines:?}");
    };
    limited(&[("retry-after-ms", "300"), ("retry-after", "1")], "gpt-4.1-mini", "rate_limit model +0.3s");
    // A dated snapshot shares its family's limit.
    limited(&[("retry-after", "2")], "gpt-4.1-mini-2025-04-14", "rate_limit gpt-4.1-mini +2s");
    limited(
        &[
            ("x-ratelimit-remaining-requests", "10"),
            ("x-ratelimit-reset-requests", "8.64s"),
            ("x-ratelimit-remaining-tokens", "0"),
            ("x-ratelimit-reset-tokens", "6m0s"),
        ],
        "gpt-4.1-mini",
        "rate_limit model +360s",
    );
    let daily = openai("rate_limit_exceeded", "Rate limit reached for gpt-4o on requests per day (RPD): Limit 200, Used 200.");
    check("openai", 429, &daily, "rate_limit model 2026-11-22T00:00:00Z");
    check_with("openai", 429, &[("retry-after", "432")], &daily, "rate_limit model +432s");
}

#[test]
fn codex() {
    let says = |status, body: &str, expected| check("openai", status, body, expected);
    says(
        429,
        r#"{"error":{"type":"usage_limit_reached","plan_type":"plus","resets_at":1795251600}}"#,
        "rate_limit account 2026-11-21T09:00:00Z",
    );
    says(429, r#"{"error":{"type":"usage_limit_reached","resets_in_seconds":77}}"#, "rate_limit account +77s");
    says(402, r#"{"detail":{"code":"deactivated_workspace"}}"#, "credential account ban");
    says(402, &openai("deactivated_workspace", "…"), "credential account ban");
    says(403, "<html><head><title>Just a moment...</title></head></html>", "server account");
    says(400, r#"{"detail":"The 'gpt-5' model is not supported when using Codex with a ChatGPT account."}"#, "model model");
    check_with(
        "openai",
        429,
        &[("x-codex-primary-used-percent", "100"), ("x-codex-primary-reset-after-seconds", "600")],
        r#"{"error":{"type":"usage_limit_reached"}}"#,
        "rate_limit account +600s",
    );
}

#[test]
fn azure() {
    let filtered = r#"{"error":{"message":"The response was filtered","type":null,"param":"prompt","code":"content_filter","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation"}}}"#;
    check("azure", 400, filtered, "request");
    check("azure", 404, &openai("DeploymentNotFound", "The API deployment for this resource does not exist."), "model model");
    check(
        "azure",
        401,
        r#"{"error":{"code":"401","message":"Access denied due to invalid subscription key"}}"#,
        "credential account",
    );
    check(
        "azure",
        403,
        r#"{"error":{"code":"403","message":"Access denied due to Virtual Network/Firewall rules."}}"#,
        "credential account",
    );
    check(
        "azure",
        403,
        r#"{"error":{"code":"403","message":"Your resource has been temporarily blocked"}}"#,
        "credential account",
    );
    let limited = r#"{"error":{"code":"RateLimitReached","message":"Your requests to gpt-5 have exceeded rate limit."}}"#;
    check_with("azure", 429, &[("retry-after-ms", "0"), ("retry-after", "1")], limited, "rate_limit model +1s");
    check(
        "azure",
        429,
        &openai("429", "Requests are temporarily limited due to high demand. Please retry after 37 seconds."),
        "rate_limit model +37s",
    );
}

#[test]
fn gemini_api() {
    let says = |status, name, message: &str, expected| check("gemini", status, &google(status, name, message), expected);
    says(400, "INVALID_ARGUMENT", "Invalid value at 'contents[0].role'", "request");
    says(
        400,
        "INVALID_ARGUMENT",
        "The input token count (2000000) exceeds the maximum number of tokens allowed (1048576).",
        "request",
    );
    says(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", "credential account");
    says(400, "INVALID_ARGUMENT", "API key expired. Please renew the API key.", "credential account");
    says(400, "FAILED_PRECONDITION", "User location is not supported for the API use.", "credential account");
    says(
        400,
        "FAILED_PRECONDITION",
        "Gemini API free tier is not available in your country. Please enable billing",
        "credential account",
    );
    says(400, "FAILED_PRECONDITION", "The File abc is not in an ACTIVE state and usage is not allowed.", "request");
    says(402, "RESOURCE_EXHAUSTED", "Your prepayment credits are depleted.", "money account");
    says(429, "RESOURCE_EXHAUSTED", "Your prepayment credits are depleted. Please go to AI Studio", "money account");
    says(403, "PERMISSION_DENIED", "Your API key was reported as leaked. Please use another API key.", "credential account ban");
    says(403, "PERMISSION_DENIED", "Requests to this API are blocked.", "credential account");
    says(
        403,
        "PERMISSION_DENIED",
        "Generative Language API has not been used in project 1 before or it is disabled.",
        "credential account",
    );
    says(403, "PERMISSION_DENIED", "The caller does not have permission", "credential account unknown");
    says(403, "PERMISSION_DENIED", "You do not have permission to access the File abc or it may not exist.", "request");
    says(403, "PERMISSION_DENIED", "CachedContent not found (or permission denied)", "request");
    says(404, "NOT_FOUND", "models/test-model is not found for API version v1beta", "model model");
    says(429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota).", "rate_limit model");
    says(499, "CANCELLED", "The operation was cancelled.", "server account");
    says(500, "INTERNAL", "An internal error has occurred.", "server account");
    says(503, "UNAVAILABLE", "The model is overloaded. Please try again later.", "overloaded model");
    says(503, "UNAVAILABLE", "This model is currently experiencing high demand.", "overloaded model");
    says(504, "DEADLINE_EXCEEDED", "Deadline expired", "server account");
}

#[test]
fn gemini_quotas() {
    let quota = |id: &str, value: &str, message: &str| {
        serde_json::json!([{"error": {"code": 429, "message": message, "status": "RESOURCE_EXHAUSTED", "details": [
            {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": id, "quotaValue": value}]},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.4s"}]}}])
        .to_string()
    };
    let minute = quota("GenerateRequestsPerMinutePerProjectPerModel-FreeTier", "15", "limit: 15\nPlease retry in 34.4s.");
    check("gemini", 429, &minute, "rate_limit model +34.4s");
    // RetryInfo lies about a day.
    let day = quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "250", "limit: 250");
    check("gemini", 429, &day, "rate_limit model 2026-11-22T08:00:00Z");
    check("gemini", 429, &quota("x", "0", ""), "model model");
    check("gemini", 429, &quota("x", "1", "Quota exceeded for metric: m, limit: 0, model: gemini-3-pro"), "model model");
    // A self-made service that speaks Gemini's dialect has Gemini's rules.
    let answer = judge(&Signal {
        service_kind: "corp-gemini",
        dialect: Dialect::Gemini,
        status: 429,
        headers: &HeaderMap::new(),
        body: day.as_bytes(),
        stream_error: false,
        now: now(),
        model: "gemini-3-pro",
    });
    assert_eq!(in_words(&answer), "rate_limit model 2026-11-22T08:00:00Z");
}

#[test]
fn bedrock_and_vertex() {
    let says = |status, kind: &str, message: &str, expected| {
        let body = serde_json::json!({"message": message}).to_string();
        check_with(
            "my-bedrock",
            status,
            &[("x-amzn-errortype", &format!("{kind}:http://internal.amazon.com/"))],
            &body,
            expected,
        );
    };
    says(400, "ValidationException", "Malformed input request", "request");
    says(400, "ServiceQuotaExceededException", "…", "money account");
    says(403, "AccessDeniedException", "You don't have access to the model with the specified model ID.", "model model");
    says(403, "AccessDeniedException", "The bearer token is expired", "credential account");
    says(403, "ExpiredTokenException", "The security token included in the request is expired", "credential account");
    says(404, "ResourceNotFoundException", "…", "model model");
    says(404, "FTUFormNotFilled", "…", "model model");
    says(408, "ModelTimeoutException", "…", "server account");
    says(424, "ModelErrorException", "…", "server account");
    says(429, "ThrottlingException", "Too many requests, please wait before trying again.", "rate_limit model");
    says(429, "ModelNotReadyException", "…", "overloaded model");
    says(500, "InternalServerException", "…", "server account");
    says(503, "ServiceUnavailableException", "…", "server account");
    says(529, "", "…", "overloaded model");
    check(
        "vertex",
        401,
        &google(401, "UNAUTHENTICATED", "Request had invalid authentication credentials."),
        "credential account",
    );
    check("vertex", 429, &google(429, "RESOURCE_EXHAUSTED", "Resource exhausted"), "rate_limit model");
}

#[test]
fn deepseek() {
    check("deepseek", 400, &openai("invalid_request_error", "No tool output found for tool call call-a."), "request");
    check("deepseek", 400, &openai("invalid_request_error", "Model Not Exist"), "model model");
    check("deepseek", 422, &openai("invalid_request_error", "…"), "request");
    check("deepseek", 401, &openai("invalid_request_error", "Authentication Fails"), "credential account");
    check("deepseek", 402, &openai("invalid_request_error", "Insufficient Balance"), "money account");
    check("deepseek", 429, &openai("rate_limit", "…"), "rate_limit model");
    check("deepseek", 500, "", "server account");
    check("deepseek", 503, "", "server account");
}

#[test]
fn kimi() {
    let says = |status, kind: &str, message: &str, expected| {
        check("kimi", status, &serde_json::json!({"error": {"type": kind, "message": message}}).to_string(), expected);
    };
    says(400, "content_filter", "The request was rejected because it was considered high risk", "request");
    says(400, "invalid_request_error", "…", "request");
    says(401, "invalid_authentication_error", "Invalid Authentication", "credential account");
    says(401, "incorrect_api_key_error", "Incorrect API key provided", "credential account");
    says(403, "permission_denied_error", "The API you are accessing is not open", "credential account");
    says(403, "permission_denied_error", "Permission denied on this model", "model model");
    says(403, "x", "insufficient balance", "money account");
    says(404, "resource_not_found_error", "Not found the model kimi-x or Permission denied", "model model");
    says(
        429,
        "exceeded_current_quota_error",
        "Your account is suspended, please check your plan and billing details",
        "money account",
    );
    says(
        429,
        "rate_limit_reached_error",
        "Your account org-xxxx request reached organization max RPM: 3, please try again after 1 seconds",
        "rate_limit model +1s",
    );
    says(
        429,
        "rate_limit_reached_error",
        "Your account request reached organization TPD rate limit, current: 1526210, limit: 1500000",
        "rate_limit model 2026-11-21T16:00:00Z",
    );
    says(429, "engine_overloaded_error", "The engine is currently overloaded, please try again later", "overloaded model");
    says(500, "server_error", "…", "server account");
    says(402, "x", "Your membership has expired", "money account");
    says(403, "access_terminated_error", "Kimi For Coding is currently only available for Coding Agents such as …", "request");
    says(403, "access_terminated_error", "You've reached your usage limit for this billing cycle.", "rate_limit account");
    says(429, "x", "You've reached the usage limit for this period", "rate_limit account");
}

#[test]
fn glm() {
    let says = |status, code: &str, message: &str, expected: &str| {
        let text = serde_json::json!({"error": {"code": code, "message": message}}).to_string();
        let number = serde_json::json!({"error": {"code": code.parse::<u32>().unwrap(), "message": message}}).to_string();
        let bracketed = anthropic("some_error", &format!("[{code}][{message}][202611210800abcdef]"));
        for body in [text, number, bracketed] {
            check("glm", status, &body, expected);
            check("glm-cn", status, &body, expected);
        }
    };
    for code in ["1000", "1001", "1002", "1003", "1004", "1110", "1111", "1309", "1313"] {
        says(401, code, "…", "credential account");
        says(429, code, "…", "credential account");
    }
    for code in ["1112", "1121"] {
        says(401, code, "…", "credential account ban");
    }
    says(429, "1113", "Insufficient balance or no resource package. Please recharge.", "money account");
    for code in ["1210", "1212", "1213", "1214", "1215", "1231", "1261", "1300", "1301"] {
        says(400, code, "…", "request");
    }
    for code in ["1211", "1220", "1221", "1222", "1311"] {
        says(400, code, "…", "model model");
    }
    for code in ["1302", "1303"] {
        says(429, code, "High concurrency usage of this API", "rate_limit model");
        says(400, code, "High concurrency usage of this API", "rate_limit model");
    }
    says(429, "1304", "Daily call limit reached", "rate_limit model 2026-11-21T16:00:00Z");
    for code in ["1308", "1310"] {
        says(
            429,
            code,
            "Usage limit reached for 5 hour. Your limit will reset at 2026-11-21 23:10:05",
            "rate_limit account 2026-11-21T15:10:05Z",
        );
        says(429, code, "Usage limit reached", "rate_limit account");
    }
    for code in ["1305", "1312"] {
        says(429, code, "…", "overloaded model");
    }
    for code in ["500", "1120", "1200", "1230", "1234"] {
        says(500, code, "…", "server account");
    }
}

#[test]
fn qwen() {
    let says = |status, code: &str, message: &str, expected| {
        let compatible =
            serde_json::json!({"error": {"code": code, "message": message, "type": code}, "request_id": "x"}).to_string();
        let native = serde_json::json!({"code": code, "message": message, "request_id": "x"}).to_string();
        check("qwen", status, &compatible, expected);
        check("qwen", status, &native, expected);
    };
    says(400, "Arrearage", "Access denied, please make sure your account is in good standing.", "money account");
    says(400, "x", "Access denied, please make sure your account is in good standing.", "money account");
    for code in ["PrepaidBillOverdue", "PostpaidBillOverdue", "BudgetLimitExceeded"] {
        says(429, code, "…", "money account");
    }
    says(403, "AllocationQuota.FreeTierOnly", "The free tier of the model has been exhausted.", "model model");
    says(403, "AccessDenied.Unpurchased", "…", "model model");
    says(401, "InvalidApiKey", "Invalid API-key provided.", "credential account");
    says(404, "ModelNotFound", "…", "model model");
    says(400, "DataInspectionFailed", "…", "request");
    says(400, "data_inspection_failed", "…", "request");
    says(400, "InvalidParameter", "…", "request");
    says(400, "InvalidParameter.DataInspection", "…", "request");
    for code in [
        "Throttling",
        "Throttling.RateQuota",
        "LimitRequests",
        "limit_requests",
        "Throttling.AllocationQuota",
        "insufficient_quota",
    ] {
        says(429, code, "…", "rate_limit model");
    }
    says(429, "x", "Request rate increased too quickly.", "rate_limit model");
    says(429, "Throttling.ServiceOverloaded", "…", "overloaded model");
    says(500, "InternalError.Timeout", "…", "server account");
}

#[test]
fn minimax() {
    let says = |status, code: u32, expected| {
        let body = serde_json::json!({"choices": null, "base_resp": {"status_code": code, "status_msg": "…"}}).to_string();
        check("minimax", status, &body, expected);
    };
    for code in [1002, 1039] {
        says(200, code, "rate_limit model");
    }
    for code in [1004, 2049] {
        says(200, code, "credential account");
    }
    says(200, 1008, "money account");
    for code in [1026, 1027, 2013] {
        says(200, code, "request");
    }
    for code in [1000, 1001, 1024, 1033] {
        says(200, code, "server account");
    }
    says(200, 2056, "rate_limit account");
    check("minimax", 429, &anthropic("rate_limit_error", "usage limit exceeded (2056)"), "rate_limit account");
}

#[test]
fn xai() {
    let says = |status, code: &str, error: &str, expected| {
        check("xai", status, &serde_json::json!({"code": code, "error": error}).to_string(), expected);
    };
    says(
        400,
        "Client specified an invalid argument",
        "Incorrect API key provided: xa***. You can obtain one",
        "credential account",
    );
    let spent = "Your team has either used all available credits or reached its monthly spending limit.";
    says(403, "The caller does not have permission to execute the specified operation", spent, "money account");
    says(429, "Some resource has been exhausted", spent, "money account");
    says(403, "The caller does not have permission", "Your API key is currently blocked", "credential account");
    says(403, "The caller does not have permission", "Content violates usage guidelines.", "request");
    says(404, "Some requested entity was not found", "The model test-model does not exist", "model model");
    says(429, "Some resource has been exhausted", "Too many requests for team", "rate_limit model");
    says(503, "The service is currently unavailable", "…", "server account");
}

#[test]
fn mistral() {
    let flat = |code: &str, message: &str| {
        serde_json::json!({"object": "error", "message": message, "type": "x", "param": null, "code": code}).to_string()
    };
    check("mistral", 402, r#"{"message":"…"}"#, "money account");
    check("mistral", 401, r#"{"message":"Unauthorized"}"#, "credential account");
    check("mistral", 403, r#"{"message":"Forbidden"}"#, "model model");
    check("mistral", 422, r#"{"detail":[{"type":"missing","loc":["body","messages"],"msg":"Field required"}]}"#, "request");
    check("mistral", 400, &flat("1500", "Invalid model: x"), "request");
    check(
        "mistral",
        400,
        r#"{"object":"error","message":"Invalid model: x","type":"invalid_model","code":"1500"}"#,
        "model model",
    );
    check_with("mistral", 429, &[("retry-after", "3")], r#"{"message":"Requests rate limit exceeded"}"#, "rate_limit model +3s");
    check("mistral", 429, r#"{"message":"Requests rate limit exceeded"}"#, "rate_limit model");
    check("mistral", 429, &flat("3505", "Service tier capacity exceeded for this model."), "overloaded model");
    check("mistral", 429, r#"{"object":"error","message":"x","type":"service_tier_capacity_exceeded"}"#, "overloaded model");
}

#[test]
fn groq() {
    check("groq", 413, &openai("rate_limit_exceeded", "Request too large for model `m` on tokens per minute (TPM)"), "request");
    check("groq", 413, &openai("rate_limit_exceeded", "…"), "request");
    check("groq", 498, "", "rate_limit model");
    check("groq", 499, "", "request");
    check("groq", 400, &openai("tool_use_failed", "…"), "request");
    check("groq", 424, "", "server account");
    check_with("groq", 429, &[("retry-after", "2")], &openai("rate_limit_exceeded", "…"), "rate_limit model +2s");
}

#[test]
fn openrouter() {
    let says = |status, lines: &[(&str, &str)], message: &str, expected| {
        let body = serde_json::json!({"error": {"code": status, "message": message, "metadata": {}}}).to_string();
        check_with("openrouter", status, lines, &body, expected);
    };
    says(402, &[("retry-after", "4")], "…", "rate_limit model +4s");
    says(402, &[], "Insufficient credits", "money account");
    says(403, &[], "Your input was flagged", "request");
    says(403, &[], "Key limit exceeded (total limit)", "money account");
    let flagged = r#"{"error":{"code":403,"message":"Forbidden","metadata":{"reasons":["violence"],"flagged_input":"…"}}}"#;
    check("openrouter", 403, flagged, "request");
    says(400, &[], "test-model is not a valid model ID", "model model");
    says(408, &[], "…", "server model");
    says(502, &[], "…", "server model");
    says(503, &[], "No allowed providers are available for the selected model.", "overloaded model");
    says(
        429,
        &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1795248060000")],
        "Rate limit exceeded",
        "rate_limit model 2026-11-21T08:01:00Z",
    );
    // The provider's own error, as text.
    let raw = r#"{"error":{"code":429,"message":"Provider returned error","metadata":{"raw":"{\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}"}}}"#;
    check("openrouter", 429, raw, "overloaded model");
}

#[test]
fn own_servers() {
    check(
        "corp-vllm",
        404,
        r#"{"object":"error","message":"The model `x` does not exist.","type":"NotFoundError","param":null,"code":404}"#,
        "model model",
    );
    check("corp-vllm", 404, r#"{"detail":"Not Found"}"#, "request");
    check("corp-vllm", 500, r#"{"detail":"Prefill server is overloaded"}"#, "overloaded model");
    check("corp-vllm", 503, "", "server account");
    check("ollama", 404, r#"{"error":"model 'x' not found"}"#, "model model");
    check("ollama", 404, r#"{"error":"model \"x\" not found, try pulling it first"}"#, "model model");
    check("ollama", 503, r#"{"error":"server busy, please try again.  maximum pending requests exceeded"}"#, "overloaded model");
    // Relays wrap and rephrase.
    check(
        "relay",
        400,
        &anthropic("invalid_request_error", "upstream error: Your credit balance is too low to access"),
        "money account",
    );
    check(
        "relay",
        500,
        &openai("x", r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#),
        "overloaded model",
    );
    check("relay", 429, r#"{"error":{"error":{"type":"insufficient_quota"}}}"#, "money account");
    check("relay", 403, &openai("insufficient_user_quota", "…"), "money account");
    check("relay", 503, &openai("model_not_found", "No available channel for model x"), "server account");
    check(
        "relay",
        429,
        r#"{"type":"response.failed","response":{"status":"failed","error":{"code":"rate_limit_exceeded","message":"Please try again in 2s"}}}"#,
        "rate_limit model +2s",
    );
    check("relay", 500, "event: error\ndata: {\"error\":{\"type\":\"overloaded_error\"}}\n\n", "overloaded model");
}

/// Bodies met in the wild, beyond the providers' own tables.
#[test]
fn from_the_wild() {
    check(
        "openai",
        429,
        r#"{"error":{"message":"Your account is not active, please check your billing details on our website.","type":"billing_not_active","param":null,"code":"billing_not_active"}}"#,
        "money account",
    );
    check("openai", 400, &openai("billing_hard_limit_reached", "Billing hard limit has been reached"), "money account");
    check("openai", 403, &openai("", "Your access was terminated due to violation of our policies"), "credential account ban");
    check(
        "openai",
        403,
        &openai("", "You have insufficient permissions for this operation. Missing scopes: model.request"),
        "credential account",
    );
    check("groq", 400, &openai("organization_restricted", "Organization has been restricted."), "credential account ban");
    check(
        "claude",
        400,
        &anthropic("invalid_request_error", "Third-party apps now draw from your extra usage, not your plan limits."),
        "request",
    );
    check(
        "xai",
        403,
        r#"{"code":"The caller does not have permission","error":"Your newly created team doesn't have any credits or licenses yet."}"#,
        "money account",
    );
    let free = r#"{"error":{"message":"Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day","code":429,"metadata":{"headers":{"X-RateLimit-Limit":"50","X-RateLimit-Remaining":"0","X-RateLimit-Reset":"1795305600000"}}}}"#;
    check("openrouter", 429, free, "rate_limit model 2026-11-22T00:00:00Z");
    check("openrouter", 404, r#"{"error":{"message":"No endpoints found for test-model.","code":404}}"#, "model model");
    check(
        "litellm",
        400,
        r#"{"error":{"message":"Budget has been exceeded! Current cost: 20, Max budget: 10","type":"budget_exceeded","param":null,"code":"400"}}"#,
        "money account",
    );
    check(
        "litellm",
        400,
        r#"{"error":{"message":"{'error': '/chat/completions: Invalid model name passed in model=test-model'}","code":"400"}}"#,
        "request",
    );
    check(
        "litellm",
        429,
        r#"{"error":{"message":"No deployments available for selected model, Try again in 60 seconds.","code":"429"}}"#,
        "rate_limit model +60s",
    );
    check(
        "cerebras",
        429,
        r#"{"message":"Requests per minute limit exceeded","type":"too_many_requests_error","param":"quota","code":"request_quota_exceeded"}"#,
        "rate_limit model",
    );
    check(
        "siliconflow",
        403,
        r#"{"code":30001,"message":"Sorry, your account balance is insufficient","data":null}"#,
        "money account",
    );
    check("any", 403, "error code: 1020", "server account");
    check("any", 429, "error code: 1015", "rate_limit model");
}

#[test]
fn what_only_the_status_says() {
    for status in [400, 404, 405, 406, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 422, 425, 426, 428, 431, 451] {
        check("any", status, "", "request");
        check("any", status, r#"{"error":{"message":"no"}}"#, "request");
    }
    check("any", 401, "", "credential account");
    check("any", 402, "", "money account");
    check("any", 403, "", "credential account unknown");
    check("any", 403, r#"{"error":{"message":"Forbidden"}}"#, "credential account unknown");
    check("any", 429, "", "rate_limit model");
    check("any", 529, "", "overloaded model");
    for status in [408, 424, 500, 501, 502, 503, 504, 505, 520, 522, 524, 527, 530, 599, 301, 302, 307, 308, 200, 101, 999] {
        check("any", status, "", "server account");
    }
    check_with("any", 503, &[("retry-after", "30")], "", "server account +30s");
    check_with("any", 529, &[("retry-after", "30")], "", "overloaded model +30s");
    // Pages of walls and proxies.
    let page = "<!DOCTYPE html><html>…</html>";
    check("any", 403, page, "server account");
    check_with("any", 403, &[("cf-mitigated", "challenge")], "…", "server account");
    check("any", 404, page, "request");
    check("any", 413, page, "request");
    check("any", 502, page, "server account");
    check("any", 429, page, "rate_limit model");
}

#[test]
fn what_a_client_wrote_decides_nothing() {
    check("openai", 404, &openai("", "The model `credit balance is too low` does not exist"), "model model");
    check("openai", 400, &openai("invalid_value", "Invalid value: 'This organization has been disabled'."), "request");
    check("any", 400, &openai("", "Unknown field \"insufficient balance\" in the request"), "request");
    check("any", 400, &openai("", "Something about the tool that you have named, api key not valid, is wrong"), "request");
    let model = "your credit balance is too low";
    let body = openai("", "your credit balance is too low is not a model");
    let judgement = judged(Answer { service: "openai", status: 400, headers: &[], body: &body, model });
    assert_eq!(judgement.verdict, Verdict::Request);
    // An apostrophe opens no quotation.
    check("claude", 400, &anthropic("x", "We're sorry, your credit balance is too low, it's sad"), "money account");
}

#[test]
fn without_a_model_no_model_is_lacking() {
    let says = |status, body: &str| in_words(&judged(Answer { service: "claude", status, headers: &[], body, model: "" }));
    assert_eq!(says(404, &anthropic("not_found_error", "model: x")), "request");
    assert_eq!(says(403, &anthropic("permission_error", "This file is not yours.")), "credential account unknown");
}

#[test]
fn errors_as_events_have_no_headers() {
    let until = |stream_error| {
        let signal = Signal {
            service_kind: "openai",
            dialect: Dialect::Openai,
            status: 429,
            headers: &headers(&[("retry-after", "600")]),
            body: br#"{"error":{"code":"rate_limit_exceeded","message":"Please try again in 2s"}}"#,
            stream_error,
            now: now(),
            model: "gpt-5",
        };
        judge(&signal).until
    };
    assert_eq!(until(true), Until::Hint(Duration::from_secs(2)));
    assert_eq!(until(false), Until::Hint(Duration::from_secs(600)));
}

#[test]
fn names_for_the_log() {
    let name = |body: &str| judged(Answer { service: "any", status: 500, headers: &[], body, model: "m" }).error;
    let check = |body: &str, expected: Option<&str>| assert_eq!(name(body).as_deref(), expected, "{body}");
    check(&anthropic("overloaded_error", "Overloaded"), Some("overloaded_error"));
    check(&openai("rate_limit_exceeded", "…"), Some("rate_limit_exceeded"));
    check(&openai("", "…"), Some("some_type"));
    check(&google(503, "UNAVAILABLE", "…"), Some("UNAVAILABLE"));
    check(r#"{"error":{"code":"1113","message":"x"}}"#, Some("1113"));
    check(r#"{"base_resp":{"status_code":1008,"status_msg":"x"}}"#, Some("1008"));
    check(r#"{"type":"response.failed","response":{"error":{"code":"server_error","message":"x"}}}"#, Some("server_error"));
    check("<html></html>", Some("html"));
    check("", None);
    check("Bad gateway", None);
    // Text, keys and what is too long stay out.
    check(r#"{"code":"The service is currently unavailable","error":"x"}"#, None);
    check(r#"{"error":{"code":"sk-ant-api03-secret"}}"#, None);
    check(r#"{"error":{"code":"aicp_us_ann_0123456789abcdef"}}"#, None);
    check(&openai(&"x".repeat(65), "…"), None);
    check("{\"error\":{\"code\":\"a\\nb\"}}", None);
}

#[test]
fn what_may_be_shown_at_the_end() {
    let shown = |service, status, body: &str| {
        let judgement = judged(Answer { service, status, headers: &[], body, model: "m" });
        judgement.verdict.passes_on() || judgement.passable(status)
    };
    for (status, expected) in [
        (400, true),
        (401, false),
        (402, false),
        (403, false),
        (404, true),
        (408, true),
        (413, true),
        (422, true),
        (424, false),
        (429, true),
        (500, true),
        (503, true),
        (529, true),
        (302, false),
    ] {
        assert_eq!(shown("any", status, ""), expected, "{status}");
    }
    assert!(shown("any", 404, &openai("model_not_found", "x")));
    assert!(!shown("any", 403, &openai("model_not_found", "x")));
    assert!(!shown("openai", 429, &openai("insufficient_quota", "x")));
    assert!(!shown("gemini", 400, &google(400, "INVALID_ARGUMENT", "API key not valid.")));
    assert!(!shown("claude", 400, &anthropic("invalid_request_error", "Your credit balance is too low")));
    assert!(!judge_transport(Transport::Connect).passable(0));
}

#[test]
fn transport() {
    let check = |kind, expected: &str| assert_eq!(in_words(&judge_transport(kind)), expected);
    for kind in [Transport::Connect, Transport::Tls, Transport::Dns, Transport::Reset, Transport::Closed] {
        check(kind, "connect account");
    }
    check(Transport::Timeout { first_byte: true }, "server model");
    check(Transport::Timeout { first_byte: false }, "server account");
    check(Transport::Broken, "server account");
    check(Transport::Reused, "reused account");
}

#[test]
fn families() {
    for (model, expected) in [
        ("claude-opus-4-1-20250805", "claude-opus"),
        ("claude-opus-4-6", "claude-opus"),
        ("claude-3-5-sonnet-latest", "claude-sonnet"),
        ("claude-3-haiku-20240307", "claude-haiku"),
        ("claude-sonnet-4-5@20250929", "claude-sonnet"),
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", "claude-haiku"),
        ("anthropic/claude-opus-4.5", "claude-opus"),
        ("Claude-Sonnet-4-5", "claude-sonnet"),
        ("claude-2.1", "claude-2.1"),
        ("claude-opus", "claude-opus"),
        ("gpt-4.1-mini-2025-04-14", "gpt-4.1-mini"),
        ("gpt-4.1-mini", "gpt-4.1-mini"),
        ("-2025-04-14", "-2025-04-14"),
        ("模型模型模型模型", "模型模型模型模型"),
        ("", ""),
    ] {
        assert_eq!(family(model), expected);
    }
}

/// The corpus, where it is there: what the client must get decides what the judge must say.
#[test]
fn corpus() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["../shared/corpus/cases", "../../shared/corpus/cases"];
    let Some(cases) = folders.iter().find_map(|folder| std::fs::read_dir(root.join(folder)).ok()) else { return };
    let mut seen = 0;
    for case in cases {
        let folder = case.unwrap().path();
        let case: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.join("case.json")).unwrap()).unwrap();
        let class = case["class"].as_str().unwrap();
        if !class.contains("/error/") {
            continue;
        }
        seen += 1;
        let provider = case["provider"].as_str().unwrap();
        let lines = case["response"]["headers"].as_object().unwrap();
        let lines: Vec<(&str, &str)> = lines.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap())).collect();
        let status = u16::try_from(case["response"]["status"].as_u64().unwrap()).unwrap();
        let judgement = judged(Answer {
            service: if provider == "anthropic" { "claude" } else { provider },
            status,
            headers: &lines,
            body: &String::from_utf8_lossy(&std::fs::read(folder.join("response.body")).unwrap()),
            model: case["expect"]["model"].as_str().unwrap(),
        });
        let shown = judgement.verdict.passes_on() || judgement.passable(status);
        let ours = case["expect"]["status"] == 503;
        assert_eq!(shown, !ours, "{}: {judgement:?}", folder.display());
        let verdicts: &[Verdict] = match class.rsplit('/').next().unwrap() {
            "400" | "404" | "413" | "422" => &[Verdict::Request, Verdict::Model],
            "404-model" => &[Verdict::Model],
            "401" | "bad-key" => &[Verdict::Credential],
            "403" => &[Verdict::Credential, Verdict::Model],
            "no-money" => &[Verdict::Money],
            "429" => &[Verdict::RateLimit],
            "529" => &[Verdict::Overloaded],
            _ => &[Verdict::Server, Verdict::Overloaded],
        };
        assert!(verdicts.contains(&judgement.verdict), "{}: {judgement:?}", folder.display());
    }
    assert!(seen > 20, "{seen} cases");
}

/// The corpus's errors that are no plain 4xx, for where the folder is not there.
#[test]
fn corpus_bodies() {
    // corpus gemini-error-429-03
    let minute = r#"{"error":{"code":429,"message":"You exceeded your current quota, please check your plan and billing details. * Quota exceeded for metric: generativelanguage.googleapis.com/generate_content_paid_tier_input_token_count, limit: 1000000, model: gemini-2.5-flash\nPlease retry in 48.939935699s.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.Help","links":[]},{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaId":"GenerateContentPaidTierInputTokensPerModelPerMinute","quotaValue":"1000000"}]},{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"48s"}]}}"#;
    check("gemini", 429, minute, "rate_limit model +48s");
    // corpus openai-error-503-01
    let busy = r#"{"error":{"message":"The engine is currently overloaded, please try again later","type":"server_error","param":null,"code":null}}"#;
    check("openai", 503, busy, "overloaded model");
    // corpus openai-chat-sse-error-first-01
    check("openai", 503, &openai("server_overloaded", "The server is currently overloaded."), "overloaded model");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn no_bytes_panic(
        body in prop::collection::vec(any::<u8>(), 0..600),
        status in 0u16..1200,
        service in "[a-z]{0,8}|glm|claude|minimax|gemini|openrouter|qwen",
        model in ".{0,20}",
    ) {
        let judgement = judge(&Signal {
            service_kind: &service, dialect: Dialect::Gemini, status, headers: &HeaderMap::new(), body: &body,
            stream_error: false, now: now(), model: &model,
        });
        prop_assert!(judgement.verdict != Verdict::Accept);
    }

    /// A body that is cut anywhere is read as far as it goes.
    #[test]
    fn no_cut_panics(at in 0usize..400, depth in 0usize..200) {
        let body = r#"[{"error":{"code":429,"message":"a “b” `c` 'd' 余额不足","status":"RESOURCE_EXHAUSTED","details":[{"violations":[{"quotaId":"PerDay"}]}],"error":{"code":"1113"}}}]"#;
        let nested = format!("{}{}", "[{\"error\":".repeat(depth), "}]".repeat(depth));
        for service in ["glm", "gemini", "any"] {
            let cut = &body.as_bytes()[..at.min(body.len())];
            for body in [cut, nested.as_bytes()] {
                judge(&Signal {
                    service_kind: service, dialect: Dialect::Openai, status: 429, headers: &HeaderMap::new(), body,
                    stream_error: false, now: now(), model: "m",
                });
            }
        }
    }

    #[test]
    fn families_do_not_panic(model in ".{0,60}") {
        family(&model);
        family(&format!("{model}claude-{model}"));
    }
}

#[test]
fn a_body_that_was_cut_still_says_what_it_is() {
    let long = anthropic("overloaded_error", &"x".repeat(70_000));
    check("claude", 529, &long[..65_536], "overloaded model");
    let money = openai("insufficient_quota", &"x".repeat(70_000));
    let money = money.replace("\"message\"", "\"zzz\"");
    check("openai", 429, &money[..65_536.min(money.len())], "money account");
    // serde_json sorts names here: `code` and `type` stand before `message` as providers write it.
    let deep = "[".repeat(65_536);
    check("any", 400, &deep, "request");
}
