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

mod growth; // how long
mod notes; // the attempts of one request
mod places; // what is parked, and its bounds
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use self::growth::{Failure, asked, pace};
pub use self::notes::{Attempt, Notes};
use crate::clock::{Chance, Now};
use crate::live::{AccountLive, Faults, Parking, Parkings};
use crate::upstream::verdict::{self, Judgement, Scope};
use crate::words::{UnixMs, Verdict};

/// How many models of one account may be parked or remembered; beyond, the one that ends soonest is dropped.
pub const MODELS_MAX: usize = 64;
/// How many server faults of one place can still be taken back.
pub const FAULTS_MAX: usize = 16;
/// A model's name, and a provider's error, are kept no further than this: bytes.
const NAME_BYTES_MAX: usize = 128;

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
    let change = match failure.unknown && !place.met_by_two(caller, now) {
        true => None,
        false => place.fail(failure, serial, key.as_ref(), now),
    };
    refresh(live, &parkings, now);
    ((reason == Verdict::Server).then_some(serial), change)
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

// ------------------------------------------------------------------ small things

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
