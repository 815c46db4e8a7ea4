//! The decision table: `providers.md` section 17, with the words and texts of its sections 3 to 15. The first row that matches
//! decides. The number of a row is that of section 17; the words of the body stand before the rows that look at nothing but
//! the status, so that a code decides whatever status it came with.
//!
//! Words are types, codes and reasons, compared whole and in lower case; texts are parts of the message (see `said`).

use super::Signal;
use super::hints;
use super::said::Said;
use crate::words::Dialect;

/// The services that have rules of their own, or none because they are known to need none. All other kinds are made by the
/// operator, and may be relays of anything.
pub(super) const BUILT_IN: [&str; 15] = [
    "claude",
    "openai",
    "gemini",
    "qwen",
    "kimi",
    "glm",
    "glm-cn",
    "deepseek",
    "minimax",
    "mistral",
    "xai",
    "groq",
    "openrouter",
    "azure",
    "demo",
];

/// What an answer means, before scope and moment are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Means {
    /// The request's own fault.
    Request,
    /// The account is shut: only the operator can mend it.
    Ban,
    /// A budget is used up until a date, or until the month ends.
    SpendLimit,
    Money,
    Credential,
    /// A 403 that says nothing we know.
    UnknownForbidden,
    /// This account lacks this model.
    Model,
    /// A subscription's window is used up.
    Window,
    /// A day's quota is used up.
    Daily,
    /// Too many requests or tokens for now.
    Limit,
    Overloaded,
    Server,
    /// The same, but of this model only.
    ServerOfModel,
}

/// One row.
pub(super) struct Row {
    pub(super) number: u8,
    /// Empty: all.
    services: &'static [&'static str],
    /// First and last.
    statuses: (u16, u16),
    says: Says,
    pub(super) means: Means,
}

/// What the body must say.
enum Says {
    Anything,
    Word(&'static [&'static str]),
    Ending(&'static [&'static str]),
    Text(&'static [&'static str]),
    /// One of the first and one of the second.
    Texts(&'static [&'static str], &'static [&'static str]),
    WordAndText(&'static [&'static str], &'static [&'static str]),
    Number(&'static [u32]),
    /// What words and texts cannot say.
    That(fn(&Signal<'_>, &Said<'_>) -> bool),
}

impl Row {
    fn matches(&self, signal: &Signal<'_>, said: &Said<'_>) -> bool {
        let status = if signal.status < 300 { 500 } else { signal.status };
        // In a plain 4xx the message may repeat what the client wrote: there an account's fault stands at the beginning.
        let within = match (self.means, status) {
            (Means::Request | Means::Model, _) => usize::MAX,
            (_, 400 | 404..=407 | 409..=428) => 40,
            (_, _) => usize::MAX,
        };
        (self.services.is_empty() || self.services.contains(&signal.service_kind))
            && (self.statuses.0..=self.statuses.1).contains(&status)
            && match self.says {
                Says::Anything => true,
                Says::Word(words) => said.has_word(words),
                Says::Ending(endings) => said.has_ending(endings),
                Says::Text(texts) => said.has_text(texts, within),
                Says::Texts(one, other) => said.has_text(one, within) && said.has_text(other, usize::MAX),
                Says::WordAndText(words, texts) => said.has_word(words) && said.has_text(texts, usize::MAX),
                Says::Number(numbers) => said.number.is_some_and(|number| numbers.contains(&number)),
                Says::That(holds) => holds(signal, said),
            }
    }
}

/// The row that decides; the last one matches everything.
pub(super) fn first_match(signal: &Signal<'_>, said: &Said<'_>) -> &'static Row {
    ROWS.iter().find(|row| row.matches(signal, said)).unwrap_or(&OTHERWISE)
}

const ANY: (u16, u16) = (300, 999);
const FAULT: (u16, u16) = (400, 499);
const fn only(status: u16) -> (u16, u16) {
    (status, status)
}
const fn row(number: u8, services: &'static [&'static str], statuses: (u16, u16), says: Says, means: Means) -> Row {
    Row { number, services, statuses, says, means }
}

use Says::{Anything, Ending, Number, Text, Texts, That, Word, WordAndText};

const ALL: &[&str] = &[];
const GLM: &[&str] = &["glm", "glm-cn"];
const MINIMAX: &[&str] = &["minimax"];
const QWEN: &[&str] = &["qwen"];
const KIMI: &[&str] = &["kimi"];
const XAI: &[&str] = &["xai"];
const OPENROUTER: &[&str] = &["openrouter"];

static OTHERWISE: Row = row(17, ALL, ANY, Anything, Means::Server);

static ROWS: &[Row] = &[
    // ---- 3: entitlements of this request (section 4, section 11, claude-relay-service); parking would empty the pool
    row(3, ALL, FAULT, Text(&["only authorized for use with claude code"]), Means::Request),
    row(3, ALL, FAULT, Text(&["only available for coding agents"]), Means::Request),
    row(3, ALL, FAULT, Text(&["fast request rejected", "extra usage"]), Means::Request),
    row(3, ALL, FAULT, Texts(&["usage credits"], &["fast mode"]), Means::Request),
    // ---- GLM's numbers (section 12), with whatever status
    row(3, GLM, ANY, Number(&[1210, 1212, 1213, 1214, 1215, 1231, 1261, 1300, 1301]), Means::Request),
    row(4, GLM, ANY, Number(&[1112, 1121]), Means::Ban),
    row(6, GLM, ANY, Number(&[1113]), Means::Money),
    row(8, GLM, ANY, Number(&[1000, 1001, 1002, 1003, 1004, 1110, 1111, 1309, 1313]), Means::Credential),
    row(9, GLM, ANY, Number(&[1211, 1220, 1221, 1222, 1311]), Means::Model),
    row(12, GLM, ANY, Number(&[1308, 1310]), Means::Window),
    row(13, GLM, ANY, Number(&[1304]), Means::Daily),
    row(15, GLM, ANY, Number(&[1302, 1303]), Means::Limit),
    row(16, GLM, ANY, Number(&[1305, 1312]), Means::Overloaded),
    row(17, GLM, ANY, Number(&[500, 1120, 1200, 1230, 1234]), Means::Server),
    // ---- MiniMax's numbers (section 14), also in a 200 with base_resp
    row(3, MINIMAX, ANY, Number(&[1026, 1027, 2013]), Means::Request),
    row(6, MINIMAX, ANY, Number(&[1008]), Means::Money),
    row(8, MINIMAX, ANY, Number(&[1004, 2049]), Means::Credential),
    row(12, MINIMAX, ANY, Number(&[2056]), Means::Window),
    row(15, MINIMAX, ANY, Number(&[1002, 1039]), Means::Limit),
    row(17, MINIMAX, ANY, Number(&[1000, 1001, 1024, 1033]), Means::Server),
    // ---- Qwen (section 13): what is money elsewhere is tokens per minute here (corpus qwen-error-no-money-01 is money)
    row(16, QWEN, ANY, Word(&["throttling.serviceoverloaded"]), Means::Overloaded),
    row(15, QWEN, ANY, Word(&["insufficient_quota", "limitrequests", "limit_requests", "throttling"]), Means::Limit),
    row(15, QWEN, ANY, That(|_, said| said.words.iter().any(|word| word.starts_with("throttling."))), Means::Limit),
    row(15, QWEN, ANY, Text(&["request rate increased too quickly"]), Means::Limit),
    row(9, QWEN, FAULT, Word(&["allocationquota.freetieronly", "accessdenied.unpurchased", "model.accessdenied"]), Means::Model),
    row(17, QWEN, ANY, Word(&["internalerror", "internalerror.timeout", "internal_error"]), Means::Server),
    // ---- Kimi (section 11); a plan's period that is used up
    row(12, KIMI, FAULT, Text(&["usage limit for this period", "usage limit for this billing cycle"]), Means::Window),
    // ---- Mistral (section 14)
    row(16, &["mistral"], ANY, Number(&[3505]), Means::Overloaded),
    // ---- 3: what is wrong with the request, by code
    row(3, ALL, ANY, Word(REQUEST_CODES), Means::Request),
    row(3, QWEN, FAULT, That(|_, said| said.words.iter().any(|word| word.starts_with("invalidparameter"))), Means::Request),
    row(3, ALL, FAULT, Text(REQUEST_TEXTS), Means::Request),
    row(3, ALL, FAULT, Texts(&["input token count"], &["exceeds the maximum"]), Means::Request),
    // A file or cache of another account (Gemini answers 403): the same request would bench every account.
    row(
        3,
        ALL,
        only(403),
        Text(&["permission to access the file", "cachedcontent not found", "access the cached"]),
        Means::Request,
    ),
    row(3, OPENROUTER, only(403), Text(&["moderation", "flagged", "guardrail"]), Means::Request),
    row(3, OPENROUTER, only(403), That(flagged), Means::Request),
    // ---- 4: bans
    row(
        4,
        ALL,
        ANY,
        Word(&["account_deactivated", "deactivated_workspace", "organization_disabled", "organization_restricted"]),
        Means::Ban,
    ),
    row(4, ALL, FAULT, Text(BAN_TEXTS), Means::Ban),
    // ---- 5: a budget's end
    row(5, ALL, ANY, Ending(&["_spend_limit_reached", "_spend_limit_exceeded", "_usage_limit_exceeded"]), Means::SpendLimit),
    row(5, ALL, FAULT, Text(&["you have reached your specified", "api usage limits", "regain access on "]), Means::SpendLimit),
    // ---- 6: money
    row(6, ALL, ANY, Word(MONEY_CODES), Means::Money),
    row(6, ALL, (400, 403), Text(MONEY_TEXTS), Means::Money),
    row(6, ALL, only(429), Text(MONEY_TEXTS), Means::Money),
    row(6, OPENROUTER, only(403), Text(&["key limit exceeded"]), Means::Money),
    row(6, ALL, only(402), That(|signal, said| hints::retry_after(said.headers, signal.now.wall).is_none()), Means::Money),
    row(14, ALL, only(402), Anything, Means::Limit),
    // ---- 8: the key
    row(8, ALL, ANY, Word(CREDENTIAL_CODES), Means::Credential),
    row(8, ALL, (400, 403), Text(CREDENTIAL_TEXTS), Means::Credential),
    row(
        8,
        ALL,
        only(400),
        WordAndText(&["failed_precondition"], &["billing", "location", "region", "free tier"]),
        Means::Credential,
    ),
    row(8, XAI, only(403), Text(&["blocked"]), Means::Credential),
    row(8, ALL, only(401), Anything, Means::Credential),
    // ---- 9: this account lacks this model
    row(9, ALL, (400, 404), Word(MODEL_CODES), Means::Model),
    row(9, ALL, only(404), Text(&["model", "deployment"]), Means::Model),
    row(9, OPENROUTER, only(404), Text(&["no endpoints found for"]), Means::Model),
    row(9, ALL, only(400), Text(MODEL_TEXTS), Means::Model),
    row(8, ALL, only(403), WordAndText(&["accessdeniedexception"], &["expired", "token"]), Means::Credential),
    row(9, ALL, only(403), Word(&["accessdeniedexception"]), Means::Model),
    row(9, ALL, only(403), Text(&["model", "must be verified", "deployment"]), Means::Model),
    row(8, ALL, only(403), WordAndText(&["permission_error"], &["organization", "organisation", "account"]), Means::Credential),
    // corpus anthropic-error-403-01
    row(9, ALL, only(403), Word(&["permission_error"]), Means::Model),
    row(9, &["mistral"], only(403), That(|_, said| !said.html), Means::Model),
    // ---- 10: other 403; a page instead of an answer is a wall before the provider (section 5), not the provider
    row(10, ALL, only(403), That(|_, said| said.html), Means::Server),
    row(10, ALL, only(403), Text(&["error code: 1"]), Means::Server),
    row(
        10,
        ALL,
        only(403),
        WordAndText(&["permission_denied"], &["the caller does not have permission"]),
        Means::UnknownForbidden,
    ),
    row(8, &["gemini", "kimi"], only(403), Word(&["permission_denied", "permission_denied_error"]), Means::Credential),
    row(10, ALL, only(403), Anything, Means::UnknownForbidden),
    // ---- 11: too large stays too large, also where Groq gives it a rate limit's code (section 14)
    row(11, ALL, only(413), Anything, Means::Request),
    // ---- 16: overload, by code (429 at Mistral, Kimi and Bedrock; 503 elsewhere)
    row(16, ALL, ANY, Word(OVERLOAD_CODES), Means::Overloaded),
    row(16, ALL, (500, 599), Text(OVERLOAD_TEXTS), Means::Overloaded),
    row(16, ALL, only(503), Word(&["unavailable", "slow_down", "service_unavailable_error"]), Means::Overloaded),
    row(16, OPENROUTER, only(503), Anything, Means::Overloaded),
    row(16, ALL, only(529), Anything, Means::Overloaded),
    row(16, ALL, only(429), Text(&["selected model is at capacity", "engine is currently overloaded"]), Means::Overloaded),
    // ---- 12: windows of a subscription
    row(12, ALL, only(429), That(|signal, said| hints::unified(said.headers, signal.now.wall).is_some()), Means::Window),
    row(12, ALL, ANY, Word(&["usage_limit_reached"]), Means::Window),
    // ---- 13: a day's quota; Gemini's `limit: 0` is no quota at all (section 7)
    row(9, ALL, only(429), That(no_quota), Means::Model),
    row(
        13,
        ALL,
        only(429),
        That(|_, said| said.quotas.iter().any(|id| id.contains("perday") || id.contains("daily"))),
        Means::Daily,
    ),
    row(13, ALL, only(429), Text(DAILY_TEXTS), Means::Daily),
    // ---- 14 and 15: other limits; with a hint or without
    row(14, ALL, ANY, Word(LIMIT_CODES), Means::Limit),
    row(14, ALL, only(429), Anything, Means::Limit),
    row(14, ALL, only(498), Anything, Means::Limit),
    // ---- 17: the provider's faults
    row(17, OPENROUTER, only(408), Anything, Means::ServerOfModel),
    row(17, OPENROUTER, only(502), Anything, Means::ServerOfModel),
    row(17, ALL, only(408), Anything, Means::Server),
    row(17, ALL, only(424), Anything, Means::Server),
    row(
        17,
        ALL,
        only(499),
        That(|signal, _| signal.service_kind == "gemini" || signal.dialect == Dialect::Gemini),
        Means::Server,
    ),
    row(17, ALL, (500, 999), Anything, Means::Server),
    // Never followed, never passed on.
    row(17, ALL, (300, 399), Anything, Means::Server),
    // ---- 11: anything else is the request's fault
    row(11, ALL, FAULT, Anything, Means::Request),
];

const REQUEST_CODES: &[&str] = &[
    "context_length_exceeded",
    "string_above_max_length",
    "content_policy_violation",
    "content_filter",
    "moderation_blocked",
    "responsibleaipolicyviolation",
    "datainspectionfailed",
    "data_inspection_failed",
    "previous_response_not_found",
    "invalid_encrypted_content",
    "tool_use_failed",
    "request_too_large",
    "invalid_type",
    "invalid_value",
    "unsupported_value",
    "unsupported_parameter",
    "unknown_parameter",
    "missing_required_parameter",
    "invalid_prompt",
    "validationexception",
];

const REQUEST_TEXTS: &[&str] = &[
    "prompt is too long",
    "exceed context limit",
    "maximum context length",
    "exceeds the context window",
    "context window of this model",
    "request too large for",
    "considered high risk",
    "violates usage guidelines",
    "content management policy",
];

const BAN_TEXTS: &[&str] = &[
    "organization has been disabled",
    "oauth authentication is currently not allowed",
    "account has been deactivated",
    "access was terminated due to violation",
    "reported as leaked",
];

const MONEY_CODES: &[&str] = &[
    "insufficient_quota",
    "credit_balance_exhausted",
    "billing_error",
    "billing_hard_limit_reached",
    "billing_not_active",
    "insufficient_balance",
    "insufficient_credits",
    "insufficient_funds",
    "insufficient_user_quota",
    "pre_consume_token_quota_failed",
    "budget_exceeded",
    "accountoverdueerror",
    "exceeded_current_quota_error",
    "arrearage",
    "prepaidbilloverdue",
    "postpaidbilloverdue",
    "budgetlimitexceeded",
    "servicequotaexceededexception",
];

const MONEY_TEXTS: &[&str] = &[
    "credit balance is too low",
    "used all available credits",
    "monthly spending limit",
    "prepayment credits are depleted",
    "insufficient balance",
    "balance is insufficient",
    "insufficient account balance",
    "insufficient credits",
    "have any credits",
    "your account is in good standing",
    "余额不足",
    "欠费",
];

const CREDENTIAL_CODES: &[&str] = &[
    "api_key_invalid",
    "api_key_expired",
    "api_key_service_blocked",
    "api_key_http_referrer_blocked",
    "api_key_ip_address_blocked",
    "access_token_expired",
    "access_token_scope_insufficient",
    "authentication_error",
    "consumer_invalid",
    "consumer_suspended",
    "expiredtokenexception",
    "incorrect_api_key",
    "incorrect_api_key_error",
    "invalid_api_key",
    "invalid_authentication",
    "invalid_authentication_error",
    "invalid_grant",
    "invalidapikey",
    "ip_not_authorized",
    "refresh_token_expired",
    "refresh_token_invalidated",
    "refresh_token_reused",
    "service_disabled",
    "token_expired",
    "token_invalidated",
    "unauthenticated",
    "unrecognizedclientexception",
    "unsupported_country_region_territory",
];

const CREDENTIAL_TEXTS: &[&str] = &[
    "api key not valid",
    "api key expired",
    "incorrect api key",
    "invalid api key",
    "invalid x-api-key",
    "oauth token has been revoked",
    "oauth token has expired",
    "must be a member of an organization",
    "ip address is not authorized",
    "your ip is not authorized",
    "country, region, or territory not supported",
    "user location is not supported",
    "missing scopes",
    "temporarily blocked",
    "virtual network",
    "public access is disabled",
    "has been denied access",
    "api has not been used in project",
];

const MODEL_CODES: &[&str] = &[
    "model_not_found",
    "modelnotfound",
    "model_not_available",
    "model_not_supported",
    "model_access_denied",
    "unsupported_model",
    "invalid_model",
    "deploymentnotfound",
    "resource_not_found_error",
    "resourcenotfoundexception",
    "ftuformnotfilled",
    "model_not_allowed",
    "unknown_model",
];

/// Of a 400: said of a model that is not there for this account.
const MODEL_TEXTS: &[&str] = &[
    "model not exist",
    "model does not exist",
    "is not a valid model id",
    "invalid model name",
    "unknown model",
    "model is not supported when using codex",
    "does not exist or you do not have access",
];

const OVERLOAD_CODES: &[&str] = &[
    "overloaded_error",
    "overloaded",
    "server_is_overloaded",
    "server_overloaded",
    "engine_overloaded",
    "engine_overloaded_error",
    "model_capacity_exhausted",
    "service_tier_capacity_exceeded",
    "modelnotreadyexception",
];

const OVERLOAD_TEXTS: &[&str] =
    &["overloaded", "at capacity", "high demand", "server busy", "no allowed providers", "no available provider"];

const DAILY_TEXTS: &[&str] = &[
    "requests per day",
    "tokens per day",
    "tpd rate limit",
    "rpd rate limit",
    "max tpd",
    "max rpd",
    "(tpd)",
    "(rpd)",
    "perday",
    "daily limit",
];

const LIMIT_CODES: &[&str] = &[
    "rate_limit_error",
    "rate_limit_exceeded",
    "rate_limit_reached_error",
    "rate_limited",
    "ratelimitreached",
    "too_many_requests",
    "throttlingexception",
    "resource_exhausted",
    "slow_down",
];

/// Gemini: `limit: 0` in message or quota: this project has no quota for this model.
fn no_quota(_: &Signal<'_>, said: &Said<'_>) -> bool {
    let zero = said.plain.match_indices("limit: 0").any(|(at, text)| {
        let next = said.plain.as_bytes().get(at + text.len());
        next.is_none_or(|byte| !byte.is_ascii_digit() && *byte != b'.')
    });
    zero || said.quotas.iter().any(|quota| quota == "limit: 0")
}

/// OpenRouter says what its moderation found in the metadata.
fn flagged(_: &Signal<'_>, said: &Said<'_>) -> bool {
    let metadata = said.error.as_ref().and_then(|error| error.get("metadata"));
    metadata.is_some_and(|metadata| metadata.get("flagged_input").is_some() || metadata.get("reasons").is_some())
}
