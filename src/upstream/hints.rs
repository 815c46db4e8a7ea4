//! How long a provider asks to be left alone: every form in which one says so (`providers.md` section 2), and which of them counts.
//!
//! In this order, the first that says anything:
//!
//! 1. `retry-after-ms`: milliseconds, perhaps with a fraction (both big SDKs let it win);
//! 2. `retry-after`: seconds, perhaps with a fraction, or an HTTP date;
//! 3. a time in the body: `resets_at`, `resets_in_seconds` (Codex), `RetryInfo.retryDelay`, `quotaResetDelay` (Google),
//!    GLM's message, which is China's time without saying so;
//! 4. the reset header of the dimension that is used up (`remaining` 0), never of one that has something left;
//! 5. the message's words: `Please try again in 1.242s`.
//!
//! Zero, a moment that is past, and what cannot be read are no information. More than eight days is nonsense and counts as eight.

use std::time::Duration;

use http::HeaderMap;
use jiff::civil::{Date, DateTime};
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, ToSpan};
use serde_json::Value;

use super::verdict::Until;
use crate::words::UnixMs;

/// The longest that a hint is believed: longer than the longest window any provider has (a week).
pub const LONGEST: Duration = Duration::from_secs(8 * 24 * 3600);

/// What an answer says of when to come back.
pub fn find(headers: &HeaderMap, error: Option<&Value>, message: &str, now: UnixMs) -> Option<Until> {
    retry_after(headers, now)
        .or_else(|| error.and_then(|error| in_body(error, now)))
        .or_else(|| exhausted(headers, now))
        .or_else(|| in_message(message))
}

// ------------------------------------------------------------------ headers

/// `retry-after-ms`, else `retry-after`.
pub fn retry_after(headers: &HeaderMap, now: UnixMs) -> Option<Until> {
    let ms = text(headers, "retry-after-ms").and_then(number).and_then(|ms| bounded(ms / 1e3));
    ms.map(Until::Hint).or_else(|| {
        let value = text(headers, "retry-after")?;
        match number(value) {
            Some(seconds) => bounded(seconds).map(Until::Hint),
            None => named(http_date(value)?, now),
        }
    })
}

/// The reset of the dimensions that are used up; the latest, where there are several.
pub fn exhausted(headers: &HeaderMap, now: UnixMs) -> Option<Until> {
    let mut latest: Option<Until> = None;
    for (name, value) in headers {
        let Ok(value) = value.to_str() else { continue };
        let reset = reset_header(headers, name.as_str(), value.trim(), now);
        latest = match (latest, reset) {
            (Some(one), Some(other)) if other.at(now) > one.at(now) => Some(other),
            (one, other) => one.or(other),
        };
    }
    latest
}

/// What the header `name` says, if it is the reset of a dimension that is used up.
fn reset_header(headers: &HeaderMap, name: &str, value: &str, now: UnixMs) -> Option<Until> {
    let remaining = |name: String| text(headers, &name).and_then(number);
    // x-ratelimit-reset-tokens, and -requests-day and the like (OpenAI, Groq, Azure, Cerebras): a duration. With the limit
    // -1 (Azure's Responses API) nothing is known.
    if let Some(dimension) = name.strip_prefix("x-ratelimit-reset-") {
        let used_up = remaining(format!("x-ratelimit-remaining-{dimension}")) == Some(0.0);
        let unknown = text(headers, &format!("x-ratelimit-limit-{dimension}")).is_some_and(|limit| limit.starts_with('-'));
        return (used_up && !unknown).then(|| duration(value).map(Until::Hint))?;
    }
    // anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-reset: RFC 3339. The unified ones are read by `unified`.
    if let Some(dimension) = name.strip_prefix("anthropic-ratelimit-").and_then(|rest| rest.strip_suffix("-reset")) {
        let used_up = remaining(format!("anthropic-ratelimit-{dimension}-remaining")) == Some(0.0);
        return (used_up && !dimension.starts_with("unified")).then(|| named(moment(value)?, now))?;
    }
    // x-codex-primary-reset-at, x-codex-<name>-secondary-reset-after-seconds …: only a window that is used up counts.
    if name.starts_with("x-codex-") {
        let (window, at) = match name.strip_suffix("-reset-at") {
            Some(window) => (window, true),
            None => (name.strip_suffix("-reset-after-seconds")?, false),
        };
        let used_up = remaining(format!("{window}-used-percent")).is_some_and(|percent| percent >= 100.0);
        return used_up.then(|| if at { named(moment(value)?, now) } else { bounded(number(value)?).map(Until::Hint) })?;
    }
    // One dimension for all (OpenRouter: epoch milliseconds; Moonshot and others: seconds).
    if let Some(family) =
        ["x-ratelimit-", "ratelimit-", "msh-ratelimit-"].into_iter().find(|f| name.strip_prefix(f) == Some("reset"))
    {
        let left = remaining(format!("{family}remaining"));
        let far = number(value).is_none_or(|value| value > 1e9);
        return (left.is_none() || left == Some(0.0))
            .then(|| if far { named(moment(value)?, now) } else { bounded(number(value)?).map(Until::Hint) })?;
    }
    None
}

/// What the headers of an Anthropic subscription say of a rejection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unified {
    /// The latest reset of the rejected windows, if any is named.
    pub until: Option<Until>,
    /// Whether a window of the whole account is rejected (5 hours, 7 days), not only one of a model family.
    pub account: bool,
}

/// Reads `anthropic-ratelimit-unified-*` (`providers.md` section 4); `None` unless they say `rejected`. The overage headers
/// say `rejected` on answers that are fine, and are never read.
pub fn unified(headers: &HeaderMap, now: UnixMs) -> Option<Unified> {
    const PREFIX: &str = "anthropic-ratelimit-unified-";
    let rejected = |name: &str| text(headers, name).is_some_and(|value| value.eq_ignore_ascii_case("rejected"));
    let reset = |name: &str| text(headers, name).and_then(moment).and_then(|at| named(at, now));
    let windows: Vec<&str> = headers
        .keys()
        .filter_map(|name| name.as_str().strip_prefix(PREFIX)?.strip_suffix("-status"))
        .filter(|window| *window != "overage" && rejected(&format!("{PREFIX}{window}-status")))
        .collect();
    if windows.is_empty() && !rejected(&format!("{PREFIX}status")) {
        return None;
    }
    let resets = windows.iter().filter_map(|window| reset(&format!("{PREFIX}{window}-reset")));
    let until = resets.max_by_key(|until| until.at(now)).or_else(|| reset(&format!("{PREFIX}reset")));
    let claim = text(headers, &format!("{PREFIX}representative-claim"));
    let account = match windows.is_empty() {
        true => claim.is_none_or(|claim| matches!(claim, "five_hour" | "seven_day")),
        false => windows.iter().any(|window| matches!(*window, "5h" | "7d")),
    };
    Some(Unified { until, account })
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

// ------------------------------------------------------------------ the body

/// A time in the error object of a body.
fn in_body(error: &Value, now: UnixMs) -> Option<Until> {
    let scalar = |value: &Value| match value {
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.trim().to_owned()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    // Codex: {"type":"usage_limit_reached","resets_at":1789805965}
    let at = error.get("resets_at").and_then(scalar).and_then(|at| named(moment(&at)?, now));
    let after = || error.get("resets_in_seconds").and_then(scalar).and_then(|s| bounded(number(&s)?)).map(Until::Hint);
    // OpenRouter: {"metadata":{"headers":{"X-RateLimit-Remaining":"0","X-RateLimit-Reset":"1741305600000"}}}
    let headers = || {
        let headers = error.get("metadata")?.get("headers")?;
        let left = headers.get("X-RateLimit-Remaining").and_then(scalar);
        let reset = scalar(headers.get("X-RateLimit-Reset")?)?;
        left.is_none_or(|left| left == "0").then(|| named(moment(&reset)?, now))?
    };
    at.or_else(after).or_else(headers).or_else(|| {
        // Google: RetryInfo {"retryDelay":"34.07s"}, ErrorInfo {"metadata":{"quotaResetDelay":"1h2m3s"}}
        let details = error.get("details")?.as_array()?;
        let delay = |detail: &Value| {
            let delay = detail.get("retryDelay").or_else(|| detail.get("metadata")?.get("quotaResetDelay"))?;
            duration(&scalar(delay)?).map(Until::Hint)
        };
        details.iter().find_map(delay)
    })
}

/// GLM's `… will reset at 2026-09-29 23:10:05`: China's time (UTC+8), which it does not say.
pub fn china_time(message: &str, now: UnixMs) -> Option<Until> {
    let at = civil(message)?.to_zoned(TimeZone::fixed(CHINA)).ok()?;
    named(UnixMs(at.timestamp().as_millisecond()), now)
}

/// Anthropic's `… regain access on 2026-12-01 at 00:00 UTC`. Not cut to eight days: a month's limit may end in thirty.
pub fn regain_access(message: &str, now: UnixMs) -> Option<Until> {
    let (_, rest) = message.split_once("regain access on ")?;
    let at = civil(rest)?.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond();
    let ahead = at.saturating_sub(now.0);
    (ahead > 0 && ahead <= 62 * 24 * 3_600_000).then_some(Until::Named(UnixMs(at)))
}

/// The first date with a time of day in a text: `2026-09-29 23:10:05`, `2026-12-01 at 00:00`.
fn civil(text: &str) -> Option<DateTime> {
    let shape = |from: usize, pattern: &str| {
        let part = text.as_bytes().get(from..from + pattern.len())?;
        let fits = |(byte, want): (&u8, u8)| if want == b'0' { byte.is_ascii_digit() } else { *byte == want };
        part.iter().zip(pattern.bytes()).all(fits).then(|| text.get(from..from + pattern.len()))?
    };
    (0..text.len()).find_map(|from| {
        let date = shape(from, "0000-00-00")?;
        let rest = from + date.len();
        let gap = [" at ", " ", "T"].into_iter().find(|gap| shape(rest, gap).is_some())?;
        let time = shape(rest + gap.len(), "00:00:00").or_else(|| shape(rest + gap.len(), "00:00"))?;
        format!("{date}T{time}").parse().ok()
    })
}

/// The last resort: `Please try again in 1.242s`, `Please retry after 37 seconds.`, `try again after 1h2m3s`.
fn in_message(message: &str) -> Option<Until> {
    const BEFORE: [&str; 6] = ["try again in ", "try again after ", "retry in ", "retry after ", "reset after ", "resets in "];
    let lower = message.to_ascii_lowercase();
    let said = |before: &&str| lower.match_indices(*before).find_map(|(at, _)| spoken(lower.get(at + before.len()..)?));
    BEFORE.iter().find_map(said).map(Until::Hint)
}

/// The duration with which a text begins, in a provider's words.
fn spoken(text: &str) -> Option<Duration> {
    let mut rest = text.trim_start();
    let mut seconds = 0.0;
    let mut parts = 0;
    while let Some((count, after)) = leading_number(rest) {
        let word_at = after.strip_prefix(' ').unwrap_or(after);
        let length = word_at.find(|c: char| !c.is_alphabetic()).unwrap_or(word_at.len());
        let (word, beyond) = word_at.split_at(length);
        match unit(word) {
            Some(unit) => seconds += count * unit,
            // A bare number is seconds where nothing else follows it: no date, no "37 requests".
            None if parts == 0 && word.is_empty() && !after.starts_with(['-', ':', '/']) => return bounded(count),
            None => break,
        }
        parts += 1;
        rest = beyond.strip_prefix("(s)").unwrap_or(beyond).trim_start_matches(' ');
    }
    bounded(seconds)
}

// ------------------------------------------------------------------ forms

/// A duration as Go writes it (`1h2m3.5s`, `20ms`), as protobuf does (`34.07s`), or bare seconds.
pub fn duration(text: &str) -> Option<Duration> {
    if let Some(seconds) = number(text) {
        return bounded(seconds);
    }
    let mut rest = text.trim();
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let (count, after) = leading_number(rest)?;
        let length = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
        let (word, beyond) = after.split_at(length);
        seconds += count * unit(word)?;
        rest = beyond;
    }
    bounded(seconds)
}

/// Seconds in one of these.
fn unit(word: &str) -> Option<f64> {
    match word {
        "ns" => Some(1e-9),
        "us" | "µs" | "μs" => Some(1e-6),
        "ms" | "millisecond" | "milliseconds" => Some(1e-3),
        "s" | "sec" | "secs" | "second" | "seconds" => Some(1.0),
        "m" | "min" | "mins" | "minute" | "minutes" => Some(60.0),
        "h" | "hr" | "hrs" | "hour" | "hours" => Some(3600.0),
        "d" | "day" | "days" => Some(86400.0),
        _ => None,
    }
}

/// The number with which a text begins (digits, perhaps a point and digits), and what follows.
fn leading_number(text: &str) -> Option<(f64, &str)> {
    let digits = |from: usize| text.as_bytes()[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let whole = digits(0);
    let part = match text.as_bytes().get(whole) {
        Some(b'.') => digits(whole + 1),
        _ => 0,
    };
    let length = if part > 0 { whole + 1 + part } else { whole };
    let value: f64 = text.get(..length).filter(|_| whole > 0)?.parse().ok()?;
    Some((value, &text[length..]))
}

/// A number and nothing else; never negative, never with an exponent.
fn number(text: &str) -> Option<f64> {
    leading_number(text.trim()).filter(|(value, rest)| rest.is_empty() && value.is_finite()).map(|(value, _)| value)
}

/// A moment: epoch seconds (beyond 10^10: milliseconds), RFC 3339 or an HTTP date.
fn moment(text: &str) -> Option<UnixMs> {
    match number(text) {
        Some(value) if value > 1e10 => whole_ms(value),
        Some(value) => whole_ms(value * 1e3),
        None => text.parse::<Timestamp>().ok().map(|at| UnixMs(at.as_millisecond())).or_else(|| http_date(text)),
    }
}

fn http_date(text: &str) -> Option<UnixMs> {
    let since = httpdate::parse_http_date(text).ok()?.duration_since(std::time::SystemTime::UNIX_EPOCH).ok()?;
    Some(UnixMs(i64::try_from(since.as_millis()).ok()?))
}

fn whole_ms(ms: f64) -> Option<UnixMs> {
    Duration::try_from_secs_f64(ms / 1e3).ok().and_then(|d| i64::try_from(d.as_millis()).ok()).map(UnixMs)
}

/// Seconds as a duration: none of zero, at most eight days.
fn bounded(seconds: f64) -> Option<Duration> {
    let duration = Duration::try_from_secs_f64(seconds.min(LONGEST.as_secs_f64())).ok()?;
    (!duration.is_zero()).then_some(duration)
}

/// A moment ahead, at most eight days.
fn named(at: UnixMs, now: UnixMs) -> Option<Until> {
    let longest = i64::try_from(LONGEST.as_millis()).unwrap_or(i64::MAX);
    (at > now).then(|| Until::Named(at.min(now.plus_ms(longest))))
}

// ------------------------------------------------------------------ calendars

const CHINA: Offset = jiff::tz::offset(8);

/// Whose day a daily quota is counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calendar {
    Utc,
    China,
    LosAngeles,
}

impl Calendar {
    fn zone(self) -> TimeZone {
        match self {
            Calendar::Utc => TimeZone::UTC,
            Calendar::China => TimeZone::fixed(CHINA),
            // Pacific standard time, should the bundled tables lack the name: at worst an hour late.
            Calendar::LosAngeles => TimeZone::get("America/Los_Angeles").unwrap_or(TimeZone::fixed(jiff::tz::offset(-8))),
        }
    }
}

/// When the next day begins.
pub fn next_midnight(calendar: Calendar, now: UnixMs) -> Until {
    start(calendar, now, 1, |today| today.tomorrow().ok())
}

/// When the next month begins, UTC.
pub fn next_month(now: UnixMs) -> Until {
    start(Calendar::Utc, now, 30, |today| today.first_of_month().checked_add(1.month()).ok())
}

/// The first moment of the day that `next` makes of today; in `days` days where the calendar ends.
fn start(calendar: Calendar, now: UnixMs, days: i64, next: impl FnOnce(Date) -> Option<Date>) -> Until {
    let zone = calendar.zone();
    let today = Timestamp::from_millisecond(now.0).ok().map(|now| now.to_zoned(zone.clone()).date());
    let start = today.and_then(next).and_then(|day| day.to_zoned(zone).ok());
    Until::Named(start.map_or(now.plus_ms(days * 24 * 3_600_000), |start| UnixMs(start.timestamp().as_millisecond())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// 2026-11-21T08:00:00Z.
    const NOW: UnixMs = UnixMs(1_795_248_000_000);

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let header = |(name, value): &(&str, &str)| {
            (name.parse::<http::HeaderName>().unwrap(), value.parse::<http::HeaderValue>().unwrap())
        };
        lines.iter().map(header).collect()
    }

    /// Seconds from now on that all of this asks for.
    fn check(lines: &[(&str, &str)], error: Value, message: &str, seconds: Option<f64>) {
        let found = find(&headers(lines), Some(&error), message, NOW);
        let found = found.map(|until| match until {
            Until::Hint(after) => after.as_secs_f64(),
            Until::Named(at) => at.since_ms(NOW) as f64 / 1e3,
            Until::Growing => f64::NAN,
        });
        match (found, seconds) {
            (Some(found), Some(seconds)) => assert!((found - seconds).abs() < 1e-6, "{lines:?} {error} {message}: {found}"),
            (found, seconds) => assert_eq!(found, seconds, "{lines:?} {error} {message}"),
        }
    }

    fn check_headers(lines: &[(&str, &str)], seconds: Option<f64>) {
        check(lines, Value::Null, "", seconds);
    }

    #[test]
    fn retry_after_in_all_its_forms() {
        for (value, seconds) in [
            ("20", Some(20.0)),
            ("0.5", Some(0.5)),
            (" 7 ", Some(7.0)),
            ("Sat, 21 Nov 2026 08:00:30 GMT", Some(30.0)),
            ("Sat, 21 Nov 2026 07:59:30 GMT", None),
            ("0", None),
            ("0.0", None),
            ("-5", None),
            ("120s", None),
            ("1e5", None),
            ("soon", None),
            ("", None),
            ("99999999999999999999", Some(691_200.0)),
            ("700000", Some(691_200.0)),
            ("Mon, 21 Nov 2033 08:00:30 GMT", Some(691_200.0)),
        ] {
            check_headers(&[("retry-after", value)], seconds);
        }
    }

    #[test]
    fn milliseconds_win_unless_they_say_nothing() {
        check_headers(&[("retry-after-ms", "1500"), ("retry-after", "20")], Some(1.5));
        check_headers(&[("retry-after-ms", "37.5")], Some(0.0375));
        // corpus azure-error-429-01
        check_headers(&[("retry-after-ms", "0"), ("retry-after", "1")], Some(1.0));
        check_headers(&[("retry-after-ms", "x"), ("retry-after", "1")], Some(1.0));
    }

    #[test]
    fn durations_as_go_and_protobuf_write_them() {
        for (text, seconds) in [
            ("6m0s", Some(360.0)),
            ("20ms", Some(0.02)),
            ("1h2m3.5s", Some(3723.5)),
            ("2m59.56s", Some(179.56)),
            ("7.66s", Some(7.66)),
            ("30", Some(30.0)),
            ("500µs", Some(0.0005)),
            ("1d2h", Some(93_600.0)),
            ("34.074824224s", Some(34.074_824_224)),
            ("900ms", Some(0.9)),
            ("0.539477544s", Some(0.539_477_544)),
            ("-1", None),
            ("0", None),
            ("0s", None),
            ("1x", None),
            ("s", None),
            ("1h2", None),
            ("", None),
        ] {
            assert_eq!(duration(text), seconds.map(Duration::from_secs_f64), "{text}");
        }
    }

    #[test]
    fn only_the_reset_of_what_is_used_up_counts() {
        let openai = [
            ("x-ratelimit-remaining-requests", "9999"),
            ("x-ratelimit-reset-requests", "8.64s"),
            ("x-ratelimit-remaining-tokens", "0"),
            ("x-ratelimit-reset-tokens", "6m0s"),
        ];
        check_headers(&openai, Some(360.0));
        check_headers(&openai[..2], None);
        // Azure's Responses API
        check_headers(
            &[("x-ratelimit-limit-tokens", "-1"), ("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "5")],
            None,
        );
        // Cerebras
        check_headers(
            &[("x-ratelimit-remaining-requests-day", "0"), ("x-ratelimit-reset-requests-day", "33011.4")],
            Some(33_011.4),
        );
        let anthropic = [
            ("anthropic-ratelimit-requests-remaining", "10"),
            ("anthropic-ratelimit-requests-reset", "2026-11-21T09:00:00Z"),
            ("anthropic-ratelimit-input-tokens-remaining", "0"),
            ("anthropic-ratelimit-input-tokens-reset", "2026-11-21T08:00:59Z"),
            ("anthropic-ratelimit-output-tokens-remaining", "0"),
            ("anthropic-ratelimit-output-tokens-reset", "2026-11-21T08:00:20Z"),
        ];
        check_headers(&anthropic, Some(59.0));
        check_headers(&anthropic[..2], None);
        check_headers(
            &[("anthropic-ratelimit-tokens-remaining", "0"), ("anthropic-ratelimit-tokens-reset", "2025-08-21T12:40:59Z")],
            None,
        );
        let codex = [
            ("x-codex-primary-used-percent", "28"),
            ("x-codex-primary-reset-after-seconds", "394022"),
            ("x-codex-secondary-used-percent", "100"),
            ("x-codex-secondary-reset-at", "1795251600"),
        ];
        check_headers(&codex, Some(3600.0));
        check_headers(&codex[..2], None);
        check_headers(
            &[("x-codex-bengal-primary-used-percent", "100.0"), ("x-codex-bengal-primary-reset-at", "1795251600000")],
            Some(3600.0),
        );
        check_headers(&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1795248060000")], Some(60.0));
        check_headers(&[("x-ratelimit-remaining", "3"), ("x-ratelimit-reset", "1795248060000")], None);
        // corpus kimi-error-429-01
        check_headers(&[("msh-ratelimit-reset", "1")], Some(1.0));
    }

    #[test]
    fn times_in_bodies() {
        for (error, seconds) in [
            (json!({"type": "usage_limit_reached", "resets_at": 1_795_251_600}), Some(3600.0)),
            (json!({"resets_at": 1_795_251_600_000_u64}), Some(3600.0)),
            (json!({"resets_at": "2026-11-21T08:10:00Z"}), Some(600.0)),
            (json!({"resets_at": 1_600_000_000, "resets_in_seconds": 77}), Some(77.0)),
            (json!({"resets_in_seconds": "12.5"}), Some(12.5)),
            (json!({"details": [{"@type": "x"}, {"retryDelay": "34.074824224s"}]}), Some(34.074_824_224)),
            (json!({"details": [{"metadata": {"quotaResetDelay": "1h2m3s"}}]}), Some(3723.0)),
            (json!({"metadata": {"headers": {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1795248060000"}}}), Some(60.0)),
            (json!({"metadata": {"headers": {"X-RateLimit-Remaining": "3", "X-RateLimit-Reset": "1795248060000"}}}), None),
            (json!({"details": "text"}), None),
            (json!({"resets_at": null, "details": [3, null, {"retryDelay": {}}]}), None),
        ] {
            check(&[], error, "", seconds);
        }
    }

    #[test]
    fn messages_are_the_last_resort() {
        for (message, seconds) in [
            ("Please retry in 44.097740004s.", Some(44.097_740_004)),
            ("please try again after 1 seconds", Some(1.0)),
            ("Please retry after 37 seconds.", Some(37.0)),
            ("Please try again in 1.242s. Visit https://x", Some(1.242)),
            ("Please try again in 300ms.", Some(0.3)),
            ("Please try again in 6m0s", Some(360.0)),
            ("retry after 1h2m3s", Some(3723.0)),
            ("try again in 1 hour 5 minutes", Some(3900.0)),
            ("retry after 5 second(s).", Some(5.0)),
            ("retry after 37.", Some(37.0)),
            ("retry after 37 requests", None),
            ("try again after 2026-09-29", None),
            ("try again in a moment, or try again in 2s", Some(2.0)),
            ("Try again later.", None),
            ("request reached organization TPD rate limit, current: 1526210, limit: 1500000", None),
        ] {
            check(&[], Value::Null, message, seconds);
        }
    }

    #[test]
    fn the_order_holds() {
        let body = json!({"resets_in_seconds": 40});
        let message = "Please try again in 50s";
        let reset = [("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "30s")];
        check(&[("retry-after", "20"), reset[0], reset[1]], body.clone(), message, Some(20.0));
        check(&reset, body, message, Some(40.0));
        check(&reset, Value::Null, message, Some(30.0));
        check(&[], Value::Null, message, Some(50.0));
    }

    #[test]
    fn subscriptions_say_what_is_rejected() {
        let check = |lines: &[(&str, &str)], expected: Option<(Option<i64>, bool)>| {
            let prefixed: Vec<(String, &str)> =
                lines.iter().map(|(n, v)| (format!("anthropic-ratelimit-unified-{n}"), *v)).collect();
            let prefixed: Vec<(&str, &str)> = prefixed.iter().map(|(name, value)| (name.as_str(), *value)).collect();
            let found = unified(&headers(&prefixed), NOW);
            let found = found.map(|u| (u.until.map(|until| until.at(NOW).since_ms(NOW) / 1000), u.account));
            assert_eq!(found, expected, "{lines:?}");
        };
        check(&[("status", "allowed"), ("5h-status", "allowed"), ("5h-reset", "1795251600")], None);
        // Recorded on a 200: never a rejection.
        check(&[("status", "allowed"), ("overage-status", "rejected"), ("overage-disabled-reason", "out_of_credits")], None);
        check(&[("status", "rejected"), ("reset", "1795251600")], Some((Some(3600), true)));
        check(
            &[("status", "rejected"), ("reset", "2026-11-21T09:00:00Z"), ("representative-claim", "five_hour")],
            Some((Some(3600), true)),
        );
        check(
            &[("status", "rejected"), ("reset", "1795251600.5"), ("representative-claim", "seven_day_opus")],
            Some((Some(3600), false)),
        );
        let windows = [
            ("status", "rejected"),
            ("5h-status", "rejected"),
            ("5h-reset", "1795251600"),
            ("7d-status", "rejected"),
            ("7d-reset", "1795600000"),
        ];
        check(&windows, Some((Some(352_000), true)));
        check(&windows[..3], Some((Some(3600), true)));
        let model = [("status", "rejected"), ("5h-status", "allowed"), ("7d-status", "allowed"), ("7d_oi-status", "rejected")];
        check(&model, Some((None, false)));
        check(&[&model[..], &[("7d_oi-reset", "1795600000")]].concat(), Some((Some(352_000), false)));
        check(&[("status", "rejected"), ("reset", "nonsense")], Some((None, true)));
    }

    #[test]
    fn dates_in_messages() {
        let glm = "已达到 5 小时的使用上限。您的限额将在 2026-11-21 23:10:05 重置。";
        // 23:10:05 in China is 15:10:05 UTC.
        assert_eq!(china_time(glm, NOW).map(|until| until.at(NOW)), Some(NOW.plus_ms((7 * 3600 + 10 * 60 + 5) * 1000)));
        assert_eq!(china_time("Your limit will reset at 2026-09-29 23:10:05", NOW), None);
        assert_eq!(china_time("2026-13-45 99:99:99", NOW), None);
        let anthropic = "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC.";
        assert_eq!(regain_access(anthropic, NOW), Some(Until::Named(UnixMs(1_796_083_200_000))));
        assert_eq!(regain_access("You will regain access on 2020-12-01 at 00:00 UTC", NOW), None);
        assert_eq!(regain_access("You will regain access on 2999-12-01 at 00:00 UTC", NOW), None);
        assert_eq!(regain_access("You will regain access on Monday", NOW), None);
    }

    #[test]
    fn calendars() {
        let check = |calendar, at: &str| {
            assert_eq!(next_midnight(calendar, NOW), Until::Named(UnixMs(at.parse::<Timestamp>().unwrap().as_millisecond())));
        };
        check(Calendar::Utc, "2026-11-22T00:00:00Z");
        check(Calendar::China, "2026-11-21T16:00:00Z");
        check(Calendar::LosAngeles, "2026-11-22T08:00:00Z");
        // In summer Los Angeles is an hour nearer.
        let july = UnixMs("2026-07-01T06:30:00Z".parse::<Timestamp>().unwrap().as_millisecond());
        assert_eq!(next_midnight(Calendar::LosAngeles, july).at(july).since_ms(july), 30 * 60 * 1000);
        assert_eq!(next_month(NOW), Until::Named(UnixMs(1_796_083_200_000)));
        // Beyond all calendars: no panic.
        assert!(next_midnight(Calendar::Utc, UnixMs(i64::MAX - 1)).at(NOW) > NOW);
        assert!(next_month(UnixMs(i64::MIN)).at(NOW) < NOW);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,80}", number in "[0-9.]{0,40}", unit in "(ms|s|m|h|d|µs)?") {
            let timed = format!("{number}{unit}");
            for text in [&text, &number, &timed] {
                duration(text);
                moment(text);
                china_time(text, NOW);
                regain_access(&format!("regain access on {text}"), NOW);
                if let Some(Until::Hint(after)) = in_message(&format!("try again in {text}")) {
                    prop_assert!(after <= LONGEST && !after.is_zero());
                }
                if let Ok(value) = http::HeaderValue::from_str(text) {
                    let headers: HeaderMap = [(http::header::RETRY_AFTER, value)].into_iter().collect();
                    if let Some(until) = retry_after(&headers, NOW) {
                        prop_assert!(until.at(NOW).since_ms(NOW) <= 691_200_000);
                    }
                }
            }
        }
    }
}
