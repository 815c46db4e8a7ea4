//! What a request holds while it runs: a lease.
//!
//! Today a lease holds one thing, the place at the account (`max_concurrency`, on this instance). Quotas and rates of all owners come
//! with another issue and stand in the same calls: `reserve` takes the caller's counters and the first candidate's in one step,
//! `advance` moves the account's part along at a failover, `settle` ends it once with what was really used. A lease that is dropped
//! gives everything back.

use crate::choose::{Candidate, Plan};
use crate::clock::Now;
use crate::live::InFlight;
use crate::settle::Bill;

/// A candidate's last place may be taken between planning and reserving; then the next is asked for, at most so often.
const TRIES_MOST: usize = 16;

/// The reservation of one request.
#[derive(Debug)]
pub struct Lease {
    place: Option<InFlight>,
}

impl Lease {
    /// Reserves for the first candidate of the plan that has room; none when no account has.
    pub fn reserve(plan: &mut Plan, now: Now) -> Option<(Lease, Candidate)> {
        let (place, candidate) = take(plan, now)?;
        Some((Lease { place: Some(place) }, candidate))
    }

    /// Gives the failed candidate's part back and reserves the next one's.
    pub fn advance(&mut self, plan: &mut Plan, now: Now) -> Option<Candidate> {
        self.place = None;
        let (place, candidate) = take(plan, now)?;
        self.place = Some(place);
        Some(candidate)
    }

    /// Gives the place at the account back before the end: the client has left.
    pub fn free_place(&mut self) {
        self.place = None;
    }

    /// Ends the lease with what was really used.
    pub fn settle(self, bill: &Bill) {
        tracing::trace!("settled with {} nano-dollars", bill.charged.0);
    }
}

fn take(plan: &mut Plan, now: Now) -> Option<(InFlight, Candidate)> {
    for _ in 0..TRIES_MOST {
        let candidate = plan.next(now)?;
        match candidate.account.live.take(candidate.limit) {
            Some(place) => return Some((place, candidate)),
            None => plan.give_back(&candidate),
        }
    }
    None
}
