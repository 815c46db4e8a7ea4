//! Who is set aside, why, until when.
//!
//! An attempt that was really sent, and failed by no fault of the request, may *park* its account, or one model (or model family)
//! of it: no request goes there until a moment. Where the provider names the moment (`retry-after`, the reset of a window, the
//! date of a budget), that moment counts, and up to 5 % of the wait, at most 30 s, is added by chance, so that not everyone is
//! back in the same second. Where nothing is named, the parking is short at first and grows with each failure in a row:
//!
//! | verdict | parks | first | grows to | |
//! |---|---|---|---|---|
//! | `connect` | account | 5 s | 5 min | |
//! | `server` | account, or model where only its header did not come | 10 s | 5 min | from the second failure within 60 s, or at once where the provider names a time |
//! | `overloaded` | model | 10 s | 2 min | |
//! | `rate_limit` | model or family; account where a window of the whole account is used up | 15 s | 15 min | |
//! | `credential` | account | 30 min | 24 h | the second in a row, or what the provider says is shut, is a *ban* |
//! | `money` | account | 1 h | 24 h | |
//! | `model` | model | 1 h | 1 h | |
//!
//! **Growth.** Requests that were under way together fail together: inside one parking failures count once, and only a longer
//! moment that a provider names moves its end. A new moment never shortens an older one. A success lifts the parkings of its
//! account and its model, and resets their growth, but only those whose last failure came before the successful attempt was
//! sent: an old stream that ends well says nothing of the limit that was reached since.
//!
//! **Each verdict has its own track**, so that a refused connection on top of a used-up week does not wipe out the week when the
//! network is back. An account is parked while any track is.
//!
//! **Half-open.** A provider may be well again long before the moment it named, and a balance is topped up at any time. So a
//! parking longer than 15 min lets one real request through every 15 min. If that one fails, the failure counts as one more in a
//! row. Bans are excepted: each try at a shut account may be held against its owner.
//!
//! **Whose fault is it?** A 403 that no rule knows may be about the request. It parks the account only when two different callers
//! met one within 10 min, always for 30 min and never as a ban. And when all attempts of one request, two or more, end in the
//! same 5xx with the same error, the request may be what breaks them: [`Notes`] takes all of them back, as if they had never been.
//!
//! **When nothing else is left**, a parking by 408, 5xx or transport is worse than a try: [`Parked::transport`] tells, and the
//! chooser may ignore it for a group without any other candidate.
//!
//! **Ends.** A parking ends by time, by a success, by the operator's hand ([`unpark`]), or by a health check. A check asks for a
//! free model list, which proves key and network: it lifts what those explain, but never money, a ban, a model that is not
//! there, or a 429 whose moment is known, and it resets no growth. What a check or time ended is remembered, so that the next
//! failure is one more in a row, and forgotten after an hour (a day for `credential` and `money`).

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::clock::{Chance, Now};
use crate::live::{AccountLive, Fault, Faults, Parking, Parkings, Place, Track};
use crate::upstream::verdict::{self, Judgement, Scope, Until};
use crate::words::{Id, UnixMs, Verdict};

/// How many models of one account may be parked or remembered; beyond, the one that ends soonest is dropped.
pub const MODELS_MAX: usize = 64;
/// How many server faults of one place can still be taken back.
pub const FAULTS_MAX: usize = 16;
/// A model's name, and a provider's error, are kept no further than this: bytes.
const NAME_BYTES_MAX: usize = 128;

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
/// Design section 6: "from the second within 60 s".
const SERVER_WINDOW_MS: i64 = 60 * SECOND;
/// Design section 6: "two different callers met it within 10 minutes".
const UNKNOWN_WINDOW_MS: i64 = 10 * MINUTE;
/// A parking longer than this is tried, and this often.
const HALF_OPEN_MS: i64 = 15 * MINUTE;
const BAN_MS: i64 = 24 * HOUR;

// ------------------------------------------------------------------ what is told

/// Something began or ended: for the log and the metrics. The caller adds the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Parked { model: Option<Arc<str>>, reason: Verdict, until: UnixMs, error: Option<String>, ban: bool },
    Recovered { model: Option<Arc<str>>, reason: Verdict, by: By },
}

/// What ended a parking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Time,
    Success,
    Hand,
    Check,
    /// It was the request's fault after all.
    TakenBack,
}

impl By {
    pub fn name(self) -> &'static str {
        match self {
            By::Time => "time",
            By::Success => "success",
            By::Hand => "hand",
            By::Check => "check",
            By::TakenBack => "taken_back",
        }
    }
}

/// Why an account may not be used for a model now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parked {
    /// When the last of its parkings ends.
    pub until: UnixMs,
    /// When a request may be let through: `until`, or earlier where a half-open try is due before.
    pub again: UnixMs,
    /// Of the parking that ends last.
    pub reason: Verdict,
    /// Only 408, 5xx and transport stand against it: to be ignored by a group that has no other candidate.
    pub transport: bool,
}

/// Leave to send one attempt to an account. A half-open try that is dropped without [`Ticket::sent`] is free again.
#[must_use]
#[derive(Debug, Default)]
pub struct Ticket {
    claim: Option<Claim>,
}

/// The tracks whose half-open try this is.
#[derive(Debug)]
struct Claim {
    live: Arc<AccountLive>,
    at: UnixMs,
    /// Place, verdict, and when it was tried before.
    tracks: Vec<(Option<Arc<str>>, Verdict, Option<UnixMs>)>,
}

impl Ticket {
    /// Leave without asking: for a parking that is ignored because nothing else is left.
    pub fn unasked() -> Ticket {
        Ticket::default()
    }
    /// Whether this is the one try of a long parking.
    pub fn half_open(&self) -> bool {
        self.claim.is_some()
    }
    /// The attempt goes out: a half-open try is spent.
    pub fn sent(&mut self) {
        self.claim = None;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Some(claim) = self.claim.take() else { return };
        let mut parkings = claim.live.parkings.lock();
        for (model, reason, before) in claim.tracks {
            let place = parkings.place_mut(model.as_ref());
            if let Some(track) = place.and_then(|place| place.track(reason)).filter(|track| track.tried == Some(claim.at)) {
                track.tried = before;
                track.trying = false;
            }
        }
    }
}

// ------------------------------------------------------------------ asking

/// Whether an attempt for `model` (as sent; empty where there is none) may go to this account. Costs one atomic read while
/// nothing is parked.
pub fn may_use(live: &Arc<AccountLive>, model: &str, now: Now) -> Result<Ticket, Parked> {
    if !live.parked.load(Ordering::Acquire) {
        return Ok(Ticket::default());
    }
    let mut parkings = live.parkings.lock();
    let keys = keys(&parkings, model);
    match standing(&parkings, &keys, now.wall) {
        None => {
            refresh(live, &parkings, now.wall);
            Ok(Ticket::default())
        }
        Some(parked) if parked.again > now.wall => Err(parked),
        Some(_) => Ok(Ticket { claim: Some(claim(live, &mut parkings, keys, now.wall)) }),
    }
}

/// The same question without taking a half-open try: for showing.
pub fn parked(live: &AccountLive, model: &str, now: Now) -> Option<Parked> {
    if !live.parked.load(Ordering::Acquire) {
        return None;
    }
    let parkings = live.parkings.lock();
    standing(&parkings, &keys(&parkings, model), now.wall)
}

/// All parkings in force: of the account (`None`) first, then of its models by name.
pub fn list(live: &AccountLive, now: Now) -> Vec<(Option<Arc<str>>, Parking)> {
    if !live.parked.load(Ordering::Acquire) {
        return Vec::new();
    }
    let parkings = live.parkings.lock();
    let tracks = parkings.places().into_iter().flat_map(|(model, place)| place.tracks.iter().map(move |track| (model, track)));
    tracks.filter(|(_, track)| track.active(now.wall)).map(|(model, track)| (model.cloned(), track.parking.clone())).collect()
}

/// The places that stand in the way of `model`: the account, the model, its family.
fn keys(parkings: &Parkings, model: &str) -> Vec<Option<Arc<str>>> {
    let mut keys = vec![None];
    if !parkings.models.is_empty() {
        let model = bounded(model);
        let family = verdict::family(model);
        let names = [Some(model), (family != model).then_some(&*family)];
        let known = names.into_iter().flatten().filter_map(|name| parkings.models.get_key_value(name));
        keys.extend(known.map(|(name, _)| Some(Arc::clone(name))));
    }
    keys
}

/// What stands against using these places; `None` for nothing.
fn standing(parkings: &Parkings, keys: &[Option<Arc<str>>], now: UnixMs) -> Option<Parked> {
    let places = keys.iter().filter_map(|key| parkings.place(key.as_ref()));
    places.flat_map(|place| &place.tracks).filter(|track| track.active(now)).fold(None, |sum: Option<Parked>, track| {
        let until = track.parking.until.unwrap_or(now);
        let again = track.half_open_at().map_or(until, |at| at.min(until));
        let reason = track.parking.reason.unwrap_or(Verdict::Server);
        let transport = matches!(reason, Verdict::Server | Verdict::Connect);
        Some(match sum {
            None => Parked { until, again, reason, transport },
            Some(sum) => Parked {
                until: sum.until.max(until),
                again: sum.again.max(again),
                reason: if until > sum.until { reason } else { sum.reason },
                transport: sum.transport && transport,
            },
        })
    })
}

/// Takes the half-open try of all tracks in force there.
fn claim(live: &Arc<AccountLive>, parkings: &mut Parkings, keys: Vec<Option<Arc<str>>>, now: UnixMs) -> Claim {
    let mut tracks = Vec::new();
    for key in keys {
        let place = parkings.place_mut(key.as_ref());
        for track in place.into_iter().flat_map(|place| &mut place.tracks).filter(|track| track.active(now)) {
            let Some(reason) = track.parking.reason else { continue };
            tracks.push((key.clone(), reason, track.tried));
            track.tried = Some(now);
            track.trying = true;
        }
    }
    Claim { live: Arc::clone(live), at: now, tracks }
}

// ------------------------------------------------------------------ noting

/// Notes how an attempt that was really sent failed; tells what began by it. `model` as sent; `caller` names the key.
/// For the attempts of a request that may be repeated use [`Notes`].
pub fn note(
    live: &AccountLive,
    judgement: &Judgement,
    model: &str,
    caller: u64,
    now: Now,
    chance: &mut Chance,
) -> Option<Change> {
    noted(live, judgement, model, caller, now, chance).1
}

/// One failure, as a track takes it.
struct Failure {
    reason: Verdict,
    /// The moment the provider named, with its jitter.
    asked: Option<UnixMs>,
    ban: bool,
    unknown: bool,
    error: Option<String>,
}

/// The same as [`note`], and the number under which a server fault can be taken back.
fn noted(
    live: &AccountLive,
    judgement: &Judgement,
    model: &str,
    caller: u64,
    now: Now,
    chance: &mut Chance,
) -> (Option<u64>, Option<Change>) {
    let reason = judgement.verdict;
    if pace(reason).is_none() {
        return (None, None);
    }
    let now = now.wall;
    let key = key_of(&judgement.scope, model);
    let failure = Failure {
        reason,
        asked: asked(judgement, now, chance),
        ban: judgement.ban,
        unknown: judgement.unknown_403,
        error: judgement.error.as_deref().map(|error| bounded(error).to_owned()),
    };
    let mut parkings = live.parkings.lock();
    parkings.serial = parkings.serial.wrapping_add(1);
    let serial = parkings.serial;
    let place = parkings.room(key.as_ref());
    let change = match failure.unknown && !met_by_two(place, caller, now) {
        true => None,
        false => place.fail(failure, serial, key.as_ref(), now),
    };
    refresh(live, &parkings, now);
    ((reason == Verdict::Server).then_some(serial), change)
}

/// Whether this unknown 403 is the second within the window, by another caller than the first.
fn met_by_two(place: &mut Place, caller: u64, now: UnixMs) -> bool {
    let other = place.unknown.is_some_and(|(at, who)| who != caller && now.since_ms(at) <= UNKNOWN_WINDOW_MS);
    place.unknown = Some((now, caller));
    other
}

/// The moment that the judgement names, kept within what its verdict allows, and its jitter.
fn asked(judgement: &Judgement, now: UnixMs, chance: &mut Chance) -> Option<UnixMs> {
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
struct Pace {
    first_ms: i64,
    longest_ms: i64,
}

/// Design section 6; `None` for what parks nothing.
fn pace(reason: Verdict) -> Option<Pace> {
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
fn grown_ms(reason: Verdict, growth: u32) -> i64 {
    let Some(pace) = pace(reason) else { return 0 };
    match reason {
        Verdict::Credential if growth >= 2 => BAN_MS,
        _ => pace.first_ms.saturating_mul(1 << growth.clamp(1, 20).saturating_sub(1)).min(pace.longest_ms),
    }
}

/// How long growth is remembered after the last failure and its parking.
fn memory_ms(reason: Option<Verdict>) -> i64 {
    match reason {
        Some(Verdict::Credential | Verdict::Money) => 24 * HOUR,
        Some(Verdict::Connect | Verdict::Server | Verdict::Overloaded | Verdict::RateLimit | Verdict::Model) => HOUR,
        Some(Verdict::Accept | Verdict::Request | Verdict::Reused) | None => 0,
    }
}

impl Place {
    fn track(&mut self, reason: Verdict) -> Option<&mut Track> {
        self.tracks.iter_mut().find(|track| track.parking.reason == Some(reason))
    }

    fn is_blank(&self) -> bool {
        self.tracks.is_empty() && self.unknown.is_none()
    }

    /// Puts a failure into its track; tells if a parking begins, or becomes a ban.
    fn fail(&mut self, failure: Failure, serial: u64, key: Option<&Arc<str>>, now: UnixMs) -> Option<Change> {
        let reason = failure.reason;
        if reason == Verdict::Server {
            self.remember_fault(&failure, serial, now);
        }
        if self.track(reason).is_none() {
            self.tracks.push(Track::new(reason));
        }
        let track = self.track(reason)?;
        let (was_parked, was_banned) = (track.active(now), track.parking.ban);
        track.fail(&failure, now);
        let news = track.active(now) && (!was_parked || track.parking.ban && !was_banned);
        news.then(|| {
            track.told = true;
            let Parking { until, error, ban, .. } = track.parking.clone();
            Change::Parked { model: key.cloned(), reason, until: until.unwrap_or(now), error, ban }
        })
    }

    /// Keeps a server fault, so that it can be taken back; the oldest become part of what was before.
    fn remember_fault(&mut self, failure: &Failure, serial: u64, now: UnixMs) {
        if self.faults.recent.is_empty() {
            self.faults.before = self.track(Verdict::Server).cloned();
        }
        self.faults.recent.push(Fault { serial, at: now, asked: failure.asked, error: failure.error.clone() });
        if self.faults.recent.len() > FAULTS_MAX {
            let oldest = self.faults.recent.remove(0);
            let before = self.faults.before.get_or_insert_with(|| Track::new(Verdict::Server));
            before.fail(&oldest.failure(), oldest.at);
        }
    }

    /// Takes a server fault out again, as if it had never been: what was before, and the others after it.
    fn take_back(&mut self, serial: u64, key: Option<&Arc<str>>, now: UnixMs) -> Option<Change> {
        let at = self.faults.recent.iter().position(|fault| fault.serial == serial)?;
        self.faults.recent.remove(at);
        let told = self.track(Verdict::Server).is_some_and(|track| track.told);
        let mut track = self.faults.before.clone().unwrap_or_else(|| Track::new(Verdict::Server));
        self.faults.recent.iter().for_each(|fault| track.fail(&fault.failure(), fault.at));
        track.told = told && track.active(now);
        let ended = told && !track.told;
        self.tracks.retain(|track| track.parking.reason != Some(Verdict::Server));
        if track.failed.is_some() {
            self.tracks.push(track);
        }
        ended.then(|| Change::Recovered { model: key.cloned(), reason: Verdict::Server, by: By::TakenBack })
    }

    /// Ends the parkings that `ends` names, whose growth is remembered; tells of those whose beginning was told.
    fn end(&mut self, key: Option<&Arc<str>>, by: By, ends: impl Fn(&Track) -> bool) -> Vec<Change> {
        let mut ended = Vec::new();
        for track in self.tracks.iter_mut().filter(|track| ends(track)) {
            if let Some(reason) = track.parking.reason.filter(|_| track.told) {
                ended.push(Change::Recovered { model: key.cloned(), reason, by });
            }
            track.told = false;
            track.trying = false;
            // An end by time stays as it is: the window of the second server fault begins there.
            if by != By::Time {
                track.parking.until = None;
            }
        }
        ended
    }

    /// Forgets what is so long over that the next failure is a first one.
    fn forget(&mut self, now: UnixMs) {
        self.tracks.retain(|track| {
            let last = track.failed.max(track.parking.until);
            track.active(now) || track.told || last.is_some_and(|last| now.since_ms(last) <= memory_ms(track.parking.reason))
        });
        self.unknown = self.unknown.filter(|(at, _)| now.since_ms(*at) <= UNKNOWN_WINDOW_MS);
        if self.track(Verdict::Server).is_none() {
            self.faults = Faults::default();
        }
    }

    /// Drops the tracks that `lifts` names, growth and all; tells of those whose beginning was told.
    fn lift(&mut self, key: Option<&Arc<str>>, by: By, lifts: impl Fn(&Track) -> bool) -> Vec<Change> {
        let mut ended = Vec::new();
        self.tracks.retain(|track| {
            let lifted = lifts(track);
            if let Some(reason) = track.parking.reason.filter(|_| lifted && track.told) {
                ended.push(Change::Recovered { model: key.cloned(), reason, by });
            }
            !lifted
        });
        if self.track(Verdict::Server).is_none() {
            self.faults = Faults::default();
        }
        ended
    }
}

impl Fault {
    fn failure(&self) -> Failure {
        Failure { reason: Verdict::Server, asked: self.asked, ban: false, unknown: false, error: self.error.clone() }
    }
}

impl Track {
    fn new(reason: Verdict) -> Track {
        Track { parking: Parking { reason: Some(reason), ..Parking::default() }, ..Track::default() }
    }

    fn active(&self, now: UnixMs) -> bool {
        self.parking.until.is_some_and(|until| until > now)
    }

    /// When the next half-open try is due, if this parking gets any.
    fn half_open_at(&self) -> Option<UnixMs> {
        let (until, since) = (self.parking.until?, self.parking.since?);
        let long = until.since_ms(since) > HALF_OPEN_MS && !self.parking.ban;
        long.then(|| since.max(self.tried.unwrap_or(since)).plus_ms(HALF_OPEN_MS))
    }

    /// The rule of growth; see the head of this file.
    fn fail(&mut self, failure: &Failure, now: UnixMs) {
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

// ------------------------------------------------------------------ the attempts of one request

/// What the attempts of one request noted: knows when none of it counts. One for each request; every attempt that failed is
/// told to it, and [`Notes::end`] is called when no further attempt follows.
#[derive(Debug, Default)]
pub struct Notes {
    faults: Vec<Noted>,
    attempts: usize,
    /// The status and error of all attempts so far, while they are alike.
    alike: Option<(u16, Option<String>)>,
}

/// A server fault that may be taken back.
#[derive(Debug)]
struct Noted {
    account: Id,
    live: Arc<AccountLive>,
    key: Option<Arc<str>>,
    serial: u64,
}

/// One failed attempt.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    pub account: &'a Id,
    pub live: &'a Arc<AccountLive>,
    pub judgement: &'a Judgement,
    /// 0 where there was no answer.
    pub status: u16,
    /// As sent.
    pub model: &'a str,
    /// Names the key: a hash.
    pub caller: u64,
}

impl Notes {
    /// Notes a failed attempt (any verdict but `accept`) at once; tells what began by it.
    pub fn failed(&mut self, attempt: Attempt<'_>, now: Now, chance: &mut Chance) -> Option<Change> {
        let Attempt { account, live, judgement, status, model, caller } = attempt;
        // The same account comes once more: that attempt is the one that counts.
        if judgement.verdict == Verdict::Reused {
            return None;
        }
        let (serial, change) = noted(live, judgement, model, caller, now, chance);
        let this = (status, judgement.error.clone());
        let server = judgement.verdict == Verdict::Server && (500..=599).contains(&status);
        self.alike = (server && (self.attempts == 0 || self.alike.as_ref() == Some(&this))).then_some(this);
        self.attempts += 1;
        if let Some(serial) = serial {
            let key = key_of(&judgement.scope, model);
            self.faults.push(Noted { account: account.clone(), live: Arc::clone(live), key, serial });
        }
        change
    }

    /// The last attempt is over; `served` if an answer was accepted. Where all attempts, two or more, ended in the same 5xx
    /// with the same error, they are taken back; tells what ended by it, with the account.
    pub fn end(self, served: bool, now: Now) -> Vec<(Id, Change)> {
        if served || self.attempts < 2 || self.alike.is_none() {
            return Vec::new();
        }
        self.faults.into_iter().filter_map(|noted| Some((noted.account.clone(), noted.take_back(now)?))).collect()
    }
}

impl Noted {
    fn take_back(&self, now: Now) -> Option<Change> {
        let mut parkings = self.live.parkings.lock();
        let place = parkings.place_mut(self.key.as_ref());
        let change = place.and_then(|place| place.take_back(self.serial, self.key.as_ref(), now.wall));
        parkings.models.retain(|_, place| !place.is_blank());
        refresh(&self.live, &parkings, now.wall);
        change
    }
}

// ------------------------------------------------------------------ ends

/// An attempt for `model` (as sent) that was sent at `sent` was accepted: lifts the parkings of the account and the model, and
/// resets their growth. Costs one atomic read while nothing is remembered. What proves neither credit nor capacity
/// (`count_tokens`, reads) is no success in this sense; [`recovered_by_check`] is for that.
pub fn success(live: &AccountLive, model: &str, sent: UnixMs, now: Now) -> Vec<Change> {
    if !live.remembered.load(Ordering::Acquire) {
        return Vec::new();
    }
    let mut parkings = live.parkings.lock();
    let mut ended = Vec::new();
    for key in keys(&parkings, model) {
        let place = parkings.place_mut(key.as_ref());
        let Some(place) = place else { continue };
        ended.extend(place.lift(key.as_ref(), By::Success, |track| track.failed.is_none_or(|failed| failed <= sent)));
        place.unknown = place.unknown.filter(|(at, _)| *at > sent);
    }
    parkings.models.retain(|_, place| !place.is_blank());
    refresh(live, &parkings, now.wall);
    ended
}

/// The operator lifts everything, growth and bans too.
pub fn unpark(live: &AccountLive) -> Vec<Change> {
    let mut parkings = live.parkings.lock();
    let ended = parkings.each(|key, place| place.lift(key, By::Hand, |_| true));
    *parkings = Parkings { serial: parkings.serial, ..Parkings::default() };
    live.parked.store(false, Ordering::Release);
    live.remembered.store(false, Ordering::Release);
    ended
}

/// A health check (the service's free request) succeeded: lifts what key and network explain. Growth stays.
pub fn recovered_by_check(live: &AccountLive, now: Now) -> Vec<Change> {
    if !live.parked.load(Ordering::Acquire) {
        return Vec::new();
    }
    let mut parkings = live.parkings.lock();
    let ended = parkings.each(|key, place| {
        let ended = place.end(key, By::Check, |track| track.active(now.wall) && proved_by_check(&track.parking));
        // What is left is no longer what the last faults made of it.
        place.faults = Faults::default();
        ended
    });
    refresh(live, &parkings, now.wall);
    ended
}

/// Whether a model list that came says that this is over.
pub fn proved_by_check(parking: &Parking) -> bool {
    match parking.reason {
        Some(Verdict::Credential) => !parking.ban,
        Some(Verdict::RateLimit) => !parking.named,
        Some(Verdict::Connect | Verdict::Server | Verdict::Overloaded) => true,
        Some(Verdict::Money | Verdict::Model | Verdict::Accept | Verdict::Request | Verdict::Reused) | None => false,
    }
}

/// Tells which parkings have ended by time since the last look, and forgets what is old. To be called now and then.
pub fn sweep(live: &AccountLive, now: Now) -> Vec<Change> {
    if !live.remembered.load(Ordering::Acquire) {
        return Vec::new();
    }
    let mut parkings = live.parkings.lock();
    let ended = parkings.each(|key, place| {
        let ended = place.end(key, By::Time, |track| !track.active(now.wall));
        place.forget(now.wall);
        ended
    });
    parkings.models.retain(|_, place| !place.is_blank());
    refresh(live, &parkings, now.wall);
    ended
}

// ------------------------------------------------------------------ places

impl Parkings {
    fn place(&self, key: Option<&Arc<str>>) -> Option<&Place> {
        match key {
            None => Some(&self.account),
            Some(model) => self.models.get(model),
        }
    }

    fn place_mut(&mut self, key: Option<&Arc<str>>) -> Option<&mut Place> {
        match key {
            None => Some(&mut self.account),
            Some(model) => self.models.get_mut(model),
        }
    }

    /// The place for a failure, made if there is none; the model whose parking ends soonest makes room for it.
    fn room(&mut self, key: Option<&Arc<str>>) -> &mut Place {
        let Some(model) = key else { return &mut self.account };
        if self.models.len() >= MODELS_MAX && !self.models.contains_key(model) {
            let until = |place: &Place| place.tracks.iter().filter_map(|track| track.parking.until).max();
            let soonest = self.models.iter().min_by_key(|(name, place)| (until(place), Arc::clone(name)));
            if let Some(soonest) = soonest.map(|(name, _)| Arc::clone(name)) {
                self.models.remove(&soonest);
            }
        }
        self.models.entry(Arc::clone(model)).or_default()
    }

    /// Every place with its key: the account, then the models by name.
    fn places(&self) -> Vec<(Option<&Arc<str>>, &Place)> {
        let mut models: Vec<_> = self.models.iter().map(|(model, place)| (Some(model), place)).collect();
        models.sort_by_key(|(model, _)| *model);
        std::iter::once((None, &self.account)).chain(models).collect()
    }

    /// Does something with every place, in the order of [`Parkings::places`]; gathers what it tells.
    fn each(&mut self, mut change: impl FnMut(Option<&Arc<str>>, &mut Place) -> Vec<Change>) -> Vec<Change> {
        let mut told = change(None, &mut self.account);
        let mut models: Vec<_> = self.models.iter_mut().collect();
        models.sort_by_key(|(model, _)| Arc::clone(model));
        told.extend(models.into_iter().flat_map(|(model, place)| change(Some(model), place)));
        told
    }
}

/// Where a judgement's parking stands.
fn key_of(scope: &Scope, model: &str) -> Option<Arc<str>> {
    match scope {
        Scope::Account => None,
        Scope::Model => Some(bounded(model).into()),
        Scope::Family(name) => Some(bounded(name).into()),
    }
}

/// Says in the two flags whether there is anything to ask for behind the lock.
fn refresh(live: &AccountLive, parkings: &Parkings, now: UnixMs) {
    let mut places = std::iter::once(&parkings.account).chain(parkings.models.values());
    let remembered = places.clone().any(|place| !place.is_blank());
    let parked = places.any(|place| place.tracks.iter().any(|track| track.active(now)));
    live.remembered.store(remembered, Ordering::Release);
    live.parked.store(parked, Ordering::Release);
}

/// The beginning of a text that came from outside.
fn bounded(text: &str) -> &str {
    let mut end = text.len().min(NAME_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
