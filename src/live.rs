//! What is going on just now, beside the snapshot and over reloads: in-flight counts, parkings, recent times of each account.
//!
//! A snapshot's [`Account`](crate::config::snapshot::Account) holds the [`AccountLive`] of its id and fingerprint, so that the request
//! path looks nothing up. The policy of parking stands in `parking`, that of choosing in `choose`; here stand only the facts.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use dashmap::DashMap;
use parking_lot::Mutex;

use crate::words::{Id, UnixMs, Verdict};

/// The live facts of one account with one credential at one set of endpoints.
#[derive(Debug, Default)]
pub struct AccountLive {
    /// Attempts in flight on this instance.
    in_flight: AtomicU32,
    /// Whether a parking may be in force: lets the request path pass without the lock.
    pub parked: AtomicBool,
    /// Whether `parkings` remembers anything at all that a success would reset: likewise.
    pub remembered: AtomicBool,
    /// Parkings of the whole account (`model` none) and of single models. Bounded by `parking`.
    pub parkings: Mutex<Parkings>,
    /// Recent time to first byte per model (as the price book or the request names it). Bounded by `choose`.
    pub first_bytes: Mutex<HashMap<Arc<str>, FirstByte>>,
    /// A counter for smooth turns (strategy `round_robin`).
    pub turns: AtomicU64,
}

/// All parkings of one account, and what their growth depends on. Only `parking` changes them.
#[derive(Debug, Default)]
pub struct Parkings {
    pub account: Place,
    /// By model or model family; at most `parking::MODELS_MAX`.
    pub models: HashMap<Arc<str>, Place>,
    /// The number of the last fault noted: names it, should it be taken back.
    pub serial: u64,
}

/// What may be parked: an account, or one model (or family) of it.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// At most one for each verdict, so that each can be lifted without the others.
    pub tracks: Vec<Track>,
    /// The last server faults, which may yet turn out to be the request's (see `parking::Notes`).
    pub faults: Faults,
    /// When a 403 that nobody knows was last met, and by which caller.
    pub unknown: Option<(UnixMs, u64)>,
}

/// One verdict's parking of one place; `until` in the past (or `None`) means that it is over while its growth is remembered.
#[derive(Clone, Debug, Default)]
pub struct Track {
    /// Of what it is now, or was last.
    pub parking: Parking,
    /// How often in a row, for growing durations.
    pub growth: u32,
    /// When the last failure came.
    pub failed: Option<UnixMs>,
    /// When one real request was last let through (half-open), and whether its outcome is still awaited.
    pub tried: Option<UnixMs>,
    pub trying: bool,
    /// Whether the beginning was told: then its end is to be told too.
    pub told: bool,
}

/// The last server faults of a place, oldest first, and the track as it was before them: so that one can be taken out again
/// as if it had never been.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    pub before: Option<Track>,
    /// At most `parking::FAULTS_MAX`.
    pub recent: Vec<Fault>,
}

/// One server fault.
#[derive(Clone, Debug)]
pub struct Fault {
    pub serial: u64,
    pub at: UnixMs,
    /// Until when the provider asked to be left alone.
    pub asked: Option<UnixMs>,
    pub error: Option<String>,
}

/// One parking, as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parking {
    pub until: Option<UnixMs>,
    pub since: Option<UnixMs>,
    /// Why: the verdict that parked.
    pub reason: Option<Verdict>,
    /// The provider's error type or code, never a body.
    pub error: Option<String>,
    /// A ban: no half-open tries; until the operator acts.
    pub ban: bool,
    /// The moment was named by the provider: a health check does not shorten it.
    pub named: bool,
}

/// An exponentially weighted time to first byte.
#[derive(Clone, Copy, Debug)]
pub struct FirstByte {
    pub ms: f64,
    pub at: Instant,
}

impl AccountLive {
    /// Attempts in flight on this instance.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Takes a place unless `limit` of them are taken; gives it back when dropped.
    pub fn take(self: &Arc<Self>, limit: Option<u32>) -> Option<InFlight> {
        let limit = limit.unwrap_or(u32::MAX);
        self.in_flight
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < limit).then_some(n + 1))
            .ok()
            .map(|_| InFlight(Arc::clone(self)))
    }
}

/// One attempt in flight at an account.
#[derive(Debug)]
pub struct InFlight(Arc<AccountLive>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The live facts of all accounts, by id and fingerprint of credential and endpoints: a new credential starts afresh,
/// but what is in flight under the old one still ends.
#[derive(Debug, Default)]
pub struct Lives {
    accounts: DashMap<(Id, u64), Arc<AccountLive>>,
}

impl Lives {
    /// The facts of this account, made anew if there are none.
    pub fn of(&self, account: &Id, fingerprint: u64) -> Arc<AccountLive> {
        Arc::clone(&self.accounts.entry((account.clone(), fingerprint)).or_default())
    }
    /// Forgets the accounts that `keep` does not want: called after a reload, so that nothing grows without bound.
    pub fn retain(&self, keep: impl Fn(&Id, u64) -> bool) {
        self.accounts.retain(|(id, fingerprint), _| keep(id, *fingerprint));
    }
}
