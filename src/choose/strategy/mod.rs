//! The strategies: each gives every candidate of a tier a rank, the lowest first; equals are ties, which the scores of `sticky`
//! put into an order by weight. A new one is a file here, a row in each of the two tables below, and a property test.
//!
//! The **spreading** strategies only balance load, so a session overrules them: to it, all candidates are ties.

pub(super) mod cost;
pub(super) mod least_connections;
pub(super) mod performance;
pub(super) mod priority;
pub(super) mod round_robin;
pub(super) mod user_preference;
pub(super) mod weighted;

use std::sync::Arc;

use super::plan::Wanted;
use super::sticky::Seed;
use super::tiers::Seat;
use crate::clock::Now;
use crate::config::snapshot::Strategy;

/// A candidate's place in the order of its tier.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Place {
    /// Of the seat, in its tier.
    pub(super) index: usize,
    /// The strategy's: lowest first.
    pub(super) rank: u64,
    /// Among equal ranks: lowest first.
    pub(super) score: f64,
}

impl Place {
    /// Which of two comes first; the configuration's order decides where nothing else does.
    pub(super) fn order(&self, other: &Place) -> std::cmp::Ordering {
        self.rank.cmp(&other.rank).then(self.score.total_cmp(&other.score)).then(self.index.cmp(&other.index))
    }
}

/// Whether the strategy only balances load, so that a session is worth more.
pub(super) fn spreads(strategy: Strategy) -> bool {
    match strategy {
        Strategy::Weighted | Strategy::RoundRobin | Strategy::LeastConnections => true,
        Strategy::Priority | Strategy::Cost | Strategy::Performance | Strategy::UserPreference => false,
    }
}

/// The rank of one candidate, as far as it does not depend on the others.
pub(super) fn rank(strategy: Strategy, wanted: &Wanted, seat: &Seat<'_>, sent: Option<&Arc<str>>, now: Now) -> u64 {
    let live = &seat.account.live;
    match strategy {
        Strategy::Weighted => weighted::RANK,
        Strategy::RoundRobin => round_robin::rank(round_robin::turns(live), seat.weight),
        Strategy::LeastConnections => least_connections::rank(live.in_flight(), seat.weight),
        Strategy::Priority => priority::rank(seat.priority),
        Strategy::Cost => cost::rank(cost::of(wanted, seat.account, sent, now)),
        Strategy::Performance => performance::rank(performance::recent(live, sent, now)),
        Strategy::UserPreference => user_preference::rank(&wanted.key.user.preference, &seat.account.service.id),
    }
}

/// What a strategy has to say once all ranks are known.
pub(super) fn compare(strategy: Strategy, places: &mut [Place], seed: Seed) {
    match strategy {
        Strategy::Performance => performance::compare(places, seed),
        Strategy::Weighted | Strategy::RoundRobin | Strategy::LeastConnections => {}
        Strategy::Priority | Strategy::Cost | Strategy::UserPreference => {}
    }
}
