//! What the answer to one attempt means: whose fault it is, what is to be set aside because of it, and until when.
//!
//! The body decides before the status does: the same 429 means "wait a second" or "pay", and a 400 may be about money or the
//! key. So an answer is first read (`said`: the machine-readable words, codes and the message, wherever they stand), then held
//! against a table of rows (`rows`), whose first match decides what it *means*. Here that meaning becomes a judgement: the
//! verdict of the log, the scope of the parking, and the moment, as the provider named it (`hints`) or as the calendar does.
//! How long a parking without a moment lasts, and whether it begins at all, is for `parking` to say.
//!
//! What a client wrote and a provider only repeats must not decide: quoted parts and the model's name are taken out of a
//! message before it is compared, and the texts of account faults count in a plain 4xx only near the message's beginning.

mod rows;
mod said;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use self::rows::Means;
use self::said::Said;
use super::hints::{self, Calendar};
use crate::clock::Now;
use crate::words::{Dialect, UnixMs, Verdict};

/// One answer that is no success, as the judge sees it.
#[derive(Clone, Copy, Debug)]
pub struct Signal<'a> {
    /// The built-in service whose rules apply (`claude`, `openai`, `glm` …); any other text gets the rules of all.
    pub service_kind: &'a str,
    pub dialect: Dialect,
    /// From 300 on; for an error in a 200 or in an event stream the status that it stands for.
    pub status: u16,
    pub headers: &'a HeaderMap,
    /// At most its first 64 KiB.
    pub body: &'a [u8],
    /// The error came as an event: the header was written before it and says nothing of it.
    pub stream_error: bool,
    pub now: Now,
    /// The name as it was sent to the provider; empty where the request has none.
    pub model: &'a str,
}

/// What one attempt means.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    pub verdict: Verdict,
    pub scope: Scope,
    pub until: Until,
    /// Only the operator can mend it: no half-open tries, no health check.
    pub ban: bool,
    /// The provider's error type or code for the log: at most 64 of `[A-Za-z0-9_.-]`, never message text.
    pub error: Option<String>,
    /// A 403 that no row knows: counts only when two different callers met it.
    pub unknown_403: bool,
    /// The row of `providers.md` section 17 that matched; 0 for none.
    pub row: u8,
}

/// What is to be set aside.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    Account,
    /// The model that the attempt was for.
    Model,
    /// All models that share this family's limit; named as [`family`] does.
    Family(Arc<str>),
}

/// Until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// A moment that the provider or the calendar names.
    Named(UnixMs),
    /// A time from now on that the provider names.
    Hint(Duration),
    /// Nothing is known: longer with each failure in a row.
    Growing,
}

impl Until {
    /// The moment, as far as it is known; `now` where it is not.
    pub fn at(self, now: UnixMs) -> UnixMs {
        match self {
            Until::Named(at) => at,
            Until::Hint(after) => now.plus_ms(i64::try_from(after.as_millis()).unwrap_or(i64::MAX)),
            Until::Growing => now,
        }
    }
}

impl Judgement {
    fn new(verdict: Verdict, scope: Scope, until: Until) -> Judgement {
        Judgement { verdict, scope, until, ban: false, error: None, unknown_403: false, row: 0 }
    }

    /// Whether an answer of this status that got this judgement may be shown to the client when no account is left:
    /// 408, 429, 5xx, and a 404 or 400 about the model. An account's faults never are.
    pub fn passable(&self, status: u16) -> bool {
        match self.verdict {
            Verdict::Accept | Verdict::Request => true,
            Verdict::Credential | Verdict::Money => false,
            Verdict::Model => matches!(status, 400 | 404 | 408 | 429 | 500..=599),
            Verdict::RateLimit | Verdict::Overloaded | Verdict::Server | Verdict::Connect | Verdict::Reused => {
                matches!(status, 408 | 429 | 500..=599)
            }
        }
    }

    /// Whether this account lacks this model (class M): the caller's model may be at fault, not the account.
    pub fn lacks_model(&self) -> bool {
        self.verdict == Verdict::Model
    }
}

/// Judges an answer from 300 on, an error in a 200, or an error that came as an event.
pub fn judge(signal: &Signal<'_>) -> Judgement {
    let said = Said::read(signal);
    let row = rows::first_match(signal, &said);
    let mut judgement = meant(row.means, signal, &said);
    judgement.error = said.name();
    judgement.row = row.number;
    judgement
}

/// Turns a meaning into verdict, scope and moment.
fn meant(means: Means, signal: &Signal<'_>, said: &Said<'_>) -> Judgement {
    let now = signal.now.wall;
    let growing = |verdict, scope| Judgement::new(verdict, scope, Until::Growing);
    let header_hint = || hints::retry_after(said.headers, now).unwrap_or(Until::Growing);
    match means {
        Means::Request => growing(Verdict::Request, Scope::Account),
        Means::Ban => Judgement { ban: true, ..growing(Verdict::Credential, Scope::Account) },
        Means::Credential => growing(Verdict::Credential, Scope::Account),
        Means::UnknownForbidden => Judgement { unknown_403: true, ..growing(Verdict::Credential, Scope::Account) },
        Means::SpendLimit => {
            let until = hints::regain_access(&said.message, now).unwrap_or_else(|| hints::next_month(now));
            Judgement::new(Verdict::Money, Scope::Account, until)
        }
        Means::Money => growing(Verdict::Money, Scope::Account),
        // Without a model (files, batches) it is a thing that is not there, or not allowed.
        Means::Model if signal.model.is_empty() && signal.status == 403 => meant(Means::UnknownForbidden, signal, said),
        Means::Model if signal.model.is_empty() => meant(Means::Request, signal, said),
        Means::Model => growing(Verdict::Model, Scope::Model),
        Means::Window => window(signal, said),
        Means::Daily => Judgement::new(Verdict::RateLimit, Scope::Model, daily(signal, said)),
        Means::Limit => {
            let until = hints::find(said.headers, said.error.as_ref(), &said.message, now).unwrap_or(Until::Growing);
            Judgement::new(Verdict::RateLimit, limit_scope(signal), until)
        }
        Means::Overloaded => Judgement::new(Verdict::Overloaded, Scope::Model, header_hint()),
        Means::Server => Judgement::new(Verdict::Server, Scope::Account, header_hint()),
        Means::ServerOfModel => Judgement::new(Verdict::Server, Scope::Model, header_hint()),
    }
}

/// A subscription's window is used up: the account's, or only that of a model family (`providers.md` section 4).
fn window(signal: &Signal<'_>, said: &Said<'_>) -> Judgement {
    let now = signal.now.wall;
    if let Some(unified) = hints::unified(said.headers, now) {
        // The latest of the rejected windows' resets and of retry-after.
        let asked = hints::retry_after(said.headers, now);
        let until = unified.until.into_iter().chain(asked).max_by_key(|until| until.at(now)).unwrap_or(Until::Growing);
        let scope = if unified.account { Scope::Account } else { limit_scope(signal) };
        return Judgement::new(Verdict::RateLimit, scope, until);
    }
    let china = || glm(signal).then(|| hints::china_time(&said.message, now))?;
    let until = hints::retry_after(said.headers, now)
        .or_else(china)
        .or_else(|| hints::find(said.headers, said.error.as_ref(), &said.message, now))
        .unwrap_or(Until::Growing);
    Judgement::new(Verdict::RateLimit, Scope::Account, until)
}

/// A day's quota is used up: the provider's own moment, else its midnight. Gemini's `RetryInfo` lies here.
fn daily(signal: &Signal<'_>, said: &Said<'_>) -> Until {
    let now = signal.now.wall;
    if google(signal) {
        return hints::next_midnight(Calendar::LosAngeles, now);
    }
    let calendar = if glm(signal) || signal.service_kind == "kimi" { Calendar::China } else { Calendar::Utc };
    hints::find(said.headers, said.error.as_ref(), &said.message, now).unwrap_or_else(|| hints::next_midnight(calendar, now))
}

/// Anthropic and OpenAI count a family's models together, and so may a relay of theirs; the others count each model (Azure:
/// each deployment, which is the model there).
fn limit_scope(signal: &Signal<'_>) -> Scope {
    let pooled = matches!(signal.service_kind, "claude" | "openai") || !rows::BUILT_IN.contains(&signal.service_kind);
    match family(signal.model) {
        name if pooled && !name.is_empty() && name != signal.model => Scope::Family(name.into()),
        _ => Scope::Model,
    }
}

fn glm(signal: &Signal<'_>) -> bool {
    matches!(signal.service_kind, "glm" | "glm-cn")
}

/// Gemini's own rules apply: the service, or another one that speaks its dialect.
fn google(signal: &Signal<'_>) -> bool {
    signal.service_kind == "gemini" || signal.dialect == Dialect::Gemini
}

/// The name of the models that share this one's limit: `claude-opus` for all Opus, `gpt-4.1-mini` for its dated snapshots; the
/// model itself where nothing is known.
pub fn family(model: &str) -> Cow<'_, str> {
    if let Some(at) = find_ignoring_case(model, "claude") {
        // claude-3-5-sonnet-20241022, claude-opus-4-1, anthropic.claude-haiku-4-5-20251001-v1:0, claude-opus-4-5@20251101
        let mut parts = model[at + "claude".len()..].split(['-', '@', ':', '.', '/', '[']);
        let tier = parts.find(|part| part.len() > 2 && part.bytes().all(|b| b.is_ascii_alphabetic()) && *part != "latest");
        return match tier {
            Some(tier) => Cow::Owned(format!("claude-{}", tier.to_ascii_lowercase())),
            None => Cow::Borrowed(model),
        };
    }
    let dated = |date: &str| {
        let fits = |(byte, want): (u8, u8)| if want == b'0' { byte.is_ascii_digit() } else { byte == want };
        date.bytes().zip(*b"-0000-00-00").all(fits)
    };
    match model.len().checked_sub("-2025-04-14".len()).and_then(|at| model.split_at_checked(at)) {
        Some((name, date)) if !name.is_empty() && dated(date) => Cow::Borrowed(name),
        _ => Cow::Borrowed(model),
    }
}

fn find_ignoring_case(text: &str, part: &str) -> Option<usize> {
    text.as_bytes().windows(part.len()).position(|window| window.eq_ignore_ascii_case(part.as_bytes()))
}

/// How an attempt ended without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Refused, unreachable, or not connected in time.
    Connect,
    Tls,
    Dns,
    /// No header in time (`first_byte`), or the answer stood still later on.
    Timeout {
        first_byte: bool,
    },
    /// Reset before the header, on a new connection.
    Reset,
    /// Closed before the header, on a new connection.
    Closed,
    /// Broken after content went to the client: nothing is sent again, but it counts.
    Broken,
    /// Reset or closed before any byte on a connection that had served before: says nothing of the account.
    Reused,
}

/// Judges an attempt that got no answer.
pub fn judge_transport(kind: Transport) -> Judgement {
    let (verdict, scope, row, error) = match kind {
        Transport::Connect => (Verdict::Connect, Scope::Account, 2, "connect"),
        Transport::Tls => (Verdict::Connect, Scope::Account, 2, "tls"),
        Transport::Dns => (Verdict::Connect, Scope::Account, 2, "dns"),
        Transport::Reset => (Verdict::Connect, Scope::Account, 2, "reset"),
        Transport::Closed => (Verdict::Connect, Scope::Account, 2, "closed"),
        // A model may be slow while the others are not.
        Transport::Timeout { first_byte: true } => (Verdict::Server, Scope::Model, 19, "first_byte_timeout"),
        Transport::Timeout { first_byte: false } => (Verdict::Server, Scope::Account, 18, "idle_timeout"),
        Transport::Broken => (Verdict::Server, Scope::Account, 18, "broken"),
        Transport::Reused => (Verdict::Reused, Scope::Account, 0, "reset"),
    };
    Judgement { error: Some(error.to_owned()), row, ..Judgement::new(verdict, scope, Until::Growing) }
}
