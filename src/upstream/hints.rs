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
    at.or_else(after).or_else(|| {
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
