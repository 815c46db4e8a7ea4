//! How long a parking lasts: durations, growth, bans, half-open tries. The policy stands on top of `parking`.

use crate::clock::Chance;
use crate::live::{Fault, Parking, Track};
use crate::upstream::verdict::{Judgement, Until};
use crate::words::{UnixMs, Verdict};

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
/// Design section 6: "from the second within 60 s".
const SERVER_WINDOW_MS: i64 = 60 * SECOND;
/// Design section 6: "two different callers met it within 10 minutes".
pub(super) const UNKNOWN_WINDOW_MS: i64 = 10 * MINUTE;
/// A parking longer than this is tried, and this often.
const HALF_OPEN_MS: i64 = 15 * MINUTE;
const BAN_MS: i64 = 24 * HOUR;

/// One failure, as a track takes it.
pub(super) struct Failure {
    pub(super) reason: Verdict,
    /// The moment the provider named, with its jitter.
    pub(super) asked: Option<UnixMs>,
    pub(super) ban: bool,
    pub(super) unknown: bool,
    pub(super) error: Option<String>,
}

/// The moment that the judgement names, kept within what its verdict allows, and its jitter.
pub(super) fn asked(judgement: &Judgement, now: UnixMs, chance: &mut Chance) -> Option<UnixMs> {
    let ahead = match judgement.until {
        Until::Growing => return None,
        Until::Named(at) => at.since_ms(now),
        Until::Hint(_) => judgement.until.at(now).since_ms(now),
    };
    // A moment that is past says nothing.
    if ahead <= 0 {
        return None;
    }
    let longest = match judgement.verdict {
        // A maintenance page that asks for a day must not take one.
        Verdict::Server | Verdict::Connect | Verdict::Overloaded => pace(judgement.verdict).map_or(0, |pace| pace.longest_ms),
        Verdict::RateLimit | Verdict::Credential | Verdict::Money | Verdict::Model => i64::MAX,
        Verdict::Accept | Verdict::Request | Verdict::Reused => 0,
    };
    let ahead = ahead.clamp(SECOND, longest.max(SECOND));
    let most = u64::try_from((ahead / 20).min(30 * SECOND)).unwrap_or(0);
    let jitter = i64::try_from(chance.below(most + 1)).unwrap_or(0);
    Some(now.plus_ms(ahead).plus_ms(jitter))
}

/// How long a parking is whose end nobody named: ms.
pub(super) struct Pace {
    first_ms: i64,
    longest_ms: i64,
}

/// Design section 6; `None` for what parks nothing.
pub(super) fn pace(reason: Verdict) -> Option<Pace> {
    let (first_ms, longest_ms) = match reason {
        Verdict::Accept | Verdict::Request | Verdict::Reused => return None,
        Verdict::Connect => (5 * SECOND, 5 * MINUTE),
        Verdict::Server => (10 * SECOND, 5 * MINUTE),
        Verdict::Overloaded => (10 * SECOND, 2 * MINUTE),
        Verdict::RateLimit => (15 * SECOND, 15 * MINUTE),
        Verdict::Credential => (30 * MINUTE, BAN_MS),
        Verdict::Money => (HOUR, 24 * HOUR),
        Verdict::Model => (HOUR, HOUR),
    };
    Some(Pace { first_ms, longest_ms })
}

/// The length of the `growth`th parking in a row: doubling, but a credential's second is a ban at once.
pub(super) fn grown_ms(reason: Verdict, growth: u32) -> i64 {
    let Some(pace) = pace(reason) else { return 0 };
    match reason {
        Verdict::Credential if growth >= 2 => BAN_MS,
        _ => pace.first_ms.saturating_mul(1 << growth.clamp(1, 20).saturating_sub(1)).min(pace.longest_ms),
    }
}

/// How long growth is remembered after the last failure and its parking.
pub(super) fn memory_ms(reason: Option<Verdict>) -> i64 {
    match reason {
        Some(Verdict::Credential | Verdict::Money) => 24 * HOUR,
        Some(Verdict::Connect | Verdict::Server | Verdict::Overloaded | Verdict::RateLimit | Verdict::Model) => HOUR,
        Some(Verdict::Accept | Verdict::Request | Verdict::Reused) | None => 0,
    }
}

impl Fault {
    pub(super) fn failure(&self) -> Failure {
        Failure { reason: Verdict::Server, asked: self.asked, ban: false, unknown: false, error: self.error.clone() }
    }
}

impl Track {
    pub(super) fn new(reason: Verdict) -> Track {
        Track { parking: Parking { reason: Some(reason), ..Parking::default() }, ..Track::default() }
    }

    pub(super) fn active(&self, now: UnixMs) -> bool {
        self.parking.until.is_some_and(|until| until > now)
    }

    /// When the next half-open try is due, if this parking gets any.
    pub(super) fn half_open_at(&self) -> Option<UnixMs> {
        let (until, since) = (self.parking.until?, self.parking.since?);
        let long = until.since_ms(since) > HALF_OPEN_MS && !self.parking.ban;
        long.then(|| since.max(self.tried.unwrap_or(since)).plus_ms(HALF_OPEN_MS))
    }

    /// The rule of growth; see the head of this file.
    pub(super) fn fail(&mut self, failure: &Failure, now: UnixMs) {
        let active = self.active(now);
        // Inside a parking only the outcome of the half-open try is news.
        let counts = !active || std::mem::take(&mut self.trying);
        let last = self.failed.max(self.parking.until).filter(|last| now.since_ms(*last) <= SERVER_WINDOW_MS);
        self.failed = Some(now);
        let alone = failure.reason == Verdict::Server && last.is_none();
        let until = match failure.asked {
            Some(asked) => Some(asked),
            None if counts && !alone => {
                // What nobody knows never becomes a ban.
                self.growth = if failure.unknown { 1 } else { self.growth.saturating_add(1) };
                Some(now.plus_ms(grown_ms(failure.reason, self.growth)))
            }
            None => None,
        };
        let ban = failure.ban || failure.reason == Verdict::Credential && self.growth >= 2;
        let until = if ban && (counts || failure.ban) { until.max(Some(now.plus_ms(BAN_MS))) } else { until };
        let Some(until) = until else { return };
        if !active {
            self.parking = Parking { reason: Some(failure.reason), since: Some(now), ..Parking::default() };
            self.tried = None;
        }
        let named = failure.asked.is_some();
        if self.parking.until.is_none_or(|old| until > old) {
            self.parking.until = Some(until);
            self.parking.named = named;
        }
        self.parking.ban |= ban;
        self.parking.error.clone_from(&failure.error);
    }
}
