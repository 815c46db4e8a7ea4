//! The plan of one request: its candidates, made one at a time when they are asked for.
//!
//! Each [`Plan::next`] looks at the whole binding anew, from the top: what a request holds between its attempts is its question and
//! the accounts already named, not a list of a thousand places, and a place that became free or was parked meanwhile is seen.
//! In this order:
//!
//! 1. the asked-for model through all tiers: the user's own keys, then the binding's tiers, a lower one only when none above can;
//! 2. each of `model_fallbacks` through all tiers, likewise;
//! 3. once more, with those that are parked for 408, 5xx or transport: better a doubtful account than none.
//!
//! Within a tier the strategy ranks and the scores order. Only the account that will be used is asked whether it is parked, since
//! the question may take the one try of a long parking. A tier costs one vector and simple arithmetic for each member; when the
//! first in order cannot be used, the rest is sorted once. (Measured: below 1 µs for four accounts, 75 µs for a pool of 1,000, by
//! `cost` 350 µs. An index over the members that serve a model would make that its logarithm; it is not worth it yet.)
//!
//! Later, when quotas are reserved, one call takes up to eight candidates: that is eight calls of `next`, and `give_back` for those
//! that were not taken.

use std::sync::Arc;

use super::outside::{self, Entry, Ticket};
use super::pins::Reach;
use super::refuse;
use super::serving;
use super::sticky::Seed;
use super::strategy::{self, Place, round_robin};
use super::tiers::{self, Seat};
use crate::clock::{Chance, Now};
use crate::config::snapshot::{Account, Key, Strategy, Unpriced};
use crate::price::Book;
use crate::words::{Dialect, Id, Operation, Refusal, Via};

/// What a request asks of the plan. Group and user are those of the key.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    pub key: &'a Arc<Key>,
    pub dialect: Dialect,
    pub operation: Operation,
    /// As the request names it; none for files, batches, stored responses and the few that may leave it out.
    pub model: Option<&'a Arc<str>>,
    /// The hash of the session id, or of the conversation's stable beginning.
    pub session: Option<u64>,
    /// Tokens of the prompt, estimated: for strategy `cost`.
    pub input: u64,
    /// Tokens of the answer, at most, as asked for.
    pub max_output: Option<u64>,
    /// `x-aicarpool-service`.
    pub wish_service: Option<&'a str>,
    /// `x-aicarpool-strategy`; see [`strategy_named`](super::strategy_named).
    pub wish_strategy: Option<Strategy>,
    pub book: &'a Arc<Book>,
    pub unpriced: Unpriced,
    /// Which accounts can hold what the request points to; see [`Pins::reach`](super::Pins::reach).
    pub reach: Reach,
}

/// An account that may serve the request.
#[derive(Debug)]
pub struct Candidate {
    pub account: Arc<Account>,
    pub via: Via,
    /// The pool it was found in.
    pub pool: Option<Id>,
    /// The model asked for, or the fallback that stands in for it.
    pub model: Option<Arc<str>>,
    /// The name to send: `model`, or what the account's `model_map` makes of it.
    pub model_sent: Option<Arc<str>>,
    /// Attempts in flight at the account, at most, for [`AccountLive::take`](crate::live::AccountLive::take); `max_usage` included.
    pub limit: Option<u32>,
    /// The book's entry for the name sent.
    pub entry: Option<Arc<Entry>>,
    /// Leave to send; dropped unsent, it gives a half-open try back.
    pub ticket: Ticket,
}

/// What stays the same for the whole life of a plan.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) key: Arc<Key>,
    pub(super) book: Arc<Book>,
    pub(super) dialect: Dialect,
    pub(super) model: Option<Arc<str>>,
    /// Of `model_fallbacks`, those that key and group allow.
    pub(super) fallbacks: Vec<Arc<str>>,
    pub(super) input: u64,
    pub(super) max_output: Option<u64>,
    pub(super) wish_service: Option<Box<str>>,
    pub(super) wish_strategy: Option<Strategy>,
    pub(super) unpriced: Unpriced,
    pub(super) reach: Reach,
}

impl Wanted {
    /// The models to try, in order: the asked-for one, then its fallbacks.
    pub(super) fn models(&self) -> impl Iterator<Item = Option<&Arc<str>>> {
        std::iter::once(self.model.as_ref()).chain(self.fallbacks.iter().map(Some))
    }
}

/// The candidates of one request, lazily.
#[derive(Debug)]
pub struct Plan {
    wanted: Wanted,
    seed: Seed,
    /// Whether the seed is a session's: then the strategies that only spread have nothing to say.
    sticky: bool,
    /// The accounts already named. Bounded by the attempts of a request.
    named: Vec<Id>,
}

/// Whether parkings for 408, 5xx and transport bar an account.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Doubtful {
    Barred,
    Welcome,
}

impl Plan {
    /// A plan for the request, or why no account can ever serve it. Whether one can just now, `next` tells.
    pub fn new(ask: Ask<'_>, chance: &mut Chance) -> Result<Plan, Refusal> {
        refuse::wishes(&ask)?;
        refuse::model(&ask)?;
        let group = &ask.key.group;
        let session = ask.session.filter(|_| group.sticky);
        let (seed, sticky) = match (&ask.reach, session) {
            (Reach::Sole, _) => (Seed::of_group(&group.id), true),
            (Reach::Any | Reach::Account(_), Some(session)) => (Seed::of_session(ask.key, session), true),
            (Reach::Any | Reach::Account(_), None) => (Seed::of_chance(chance), false),
        };
        let wanted = Wanted {
            key: Arc::clone(ask.key),
            book: Arc::clone(ask.book),
            dialect: ask.dialect,
            model: ask.model.cloned(),
            fallbacks: fallbacks(ask.key, ask.model),
            input: ask.input,
            max_output: ask.max_output,
            wish_service: ask.wish_service.map(Box::from),
            wish_strategy: ask.wish_strategy,
            unpriced: ask.unpriced,
            reach: ask.reach,
        };
        let plan = Plan { wanted, seed, sticky, named: Vec::new() };
        if plan.is_spent() { Err(refuse::diagnose(&plan.wanted)) } else { Ok(plan) }
    }

    /// The next account to try, never one that was named before; none when none is left just now.
    pub fn next(&mut self, now: Now) -> Option<Candidate> {
        let candidate = self.find(Doubtful::Barred, now).or_else(|| self.find(Doubtful::Welcome, now))?;
        self.named.push(candidate.account.id.clone());
        Some(candidate)
    }

    /// Takes back a candidate that was named but not tried, because its last place was taken meanwhile.
    pub fn give_back(&mut self, candidate: &Candidate) {
        self.named.retain(|id| *id != candidate.account.id);
    }

    /// Whether every account that could ever serve this request has been named: there is nothing to fail over to.
    pub fn is_spent(&self) -> bool {
        let key = &self.wanted.key;
        let left = |seat: &Seat<'_>, model| !self.is_named(seat) && serving::fits(&self.wanted, seat, model).is_some();
        !self.wanted.models().any(|model| tiers::all(key).any(|seat| left(&seat, model)))
    }

    /// Whether the group has exactly one account that could ever serve this request.
    pub fn is_only_candidate(&self) -> bool {
        let wanted = &self.wanted;
        let fits = |model| tiers::all(&wanted.key).filter(move |seat| serving::fits(wanted, seat, model).is_some());
        let mut accounts = wanted.models().flat_map(fits).map(|seat| &seat.account.id);
        accounts.next().is_some_and(|first| accounts.all(|id| id == first))
    }

    /// The refusal when nothing is left and no provider's answer stands in for it: why, and when to come again.
    pub fn refusal(&self, now: Now) -> Refusal {
        refuse::nothing_left(&self.wanted, now)
    }

    fn is_named(&self, seat: &Seat<'_>) -> bool {
        self.named.contains(&seat.account.id)
    }

    fn find(&self, doubtful: Doubtful, now: Now) -> Option<Candidate> {
        self.wanted
            .models()
            .find_map(|model| (0..tiers::count(&self.wanted.key)).find_map(|tier| self.first_of(tier, model, doubtful, now)))
    }

    /// The first account of a tier that can be used now.
    fn first_of(&self, tier: usize, model: Option<&Arc<str>>, doubtful: Doubtful, now: Now) -> Option<Candidate> {
        let mut places = self.places(tier, model, now);
        let first = places.iter().enumerate().min_by(|(_, a), (_, b)| a.order(b)).map(|(at, _)| at)?;
        places.swap(0, first);
        for turn in 0..places.len() {
            if turn == 1 {
                places[1..].sort_unstable_by(Place::order);
            }
            let seat = tiers::seat(&self.wanted.key, tier, places[turn].index)?;
            if let Some(candidate) = self.candidate(&seat, model, doubtful, now) {
                self.note_turn(tier, &seat, places[turn].index, &places[turn..]);
                return Some(candidate);
            }
        }
        None
    }

    /// The places of all members of a tier that are neither named nor full.
    fn places(&self, tier: usize, model: Option<&Arc<str>>, now: Now) -> Vec<Place> {
        let key = &self.wanted.key;
        let strategy = tiers::strategy(key, tier, self.wanted.wish_strategy);
        let turns = self.takes_turns(strategy);
        let all_tie = self.sticky && strategy::spreads(strategy);
        let mut places = Vec::with_capacity(tiers::size(key, tier));
        for (index, seat) in tiers::seats(key, tier).enumerate() {
            let Some(sent) = serving::fits(&self.wanted, &seat, model) else { continue };
            if self.is_named(&seat) || seat.is_full() {
                continue;
            }
            let rank = if all_tie { 0 } else { strategy::rank(strategy, &self.wanted, &seat, sent.name(model), now) };
            let score = if turns { 0.0 } else { self.seed.score(&seat.account.id, seat.weight) };
            places.push(Place { index, rank, score });
        }
        strategy::compare(strategy, &mut places, self.seed);
        places
    }

    /// The seat's account as a candidate, unless it is parked.
    fn candidate(&self, seat: &Seat<'_>, model: Option<&Arc<str>>, doubtful: Doubtful, now: Now) -> Option<Candidate> {
        let sent = serving::fits(&self.wanted, seat, model)?;
        let sent = sent.name(model);
        let ticket = match outside::may_use(&seat.account.live, sent, now) {
            Ok(ticket) => ticket,
            Err(parked) if parked.transport && doubtful == Doubtful::Welcome => Ticket::unasked(),
            Err(_) => return None,
        };
        Some(Candidate {
            account: Arc::clone(seat.account),
            via: seat.via,
            pool: seat.pool.cloned(),
            model: model.cloned(),
            model_sent: sent.cloned(),
            limit: seat.limit(),
            entry: sent.and_then(|name| outside::entry(&self.wanted.book, seat.account, name)),
            ticket,
        })
    }

    /// Strict turns leave nothing to chance: ties go by the order of the configuration.
    fn takes_turns(&self, strategy: Strategy) -> bool {
        strategy == Strategy::RoundRobin && !self.sticky
    }

    fn note_turn(&self, tier: usize, seat: &Seat<'_>, index: usize, against: &[Place]) {
        let key = &self.wanted.key;
        if self.takes_turns(tiers::strategy(key, tier, self.wanted.wish_strategy)) {
            let weights = against.iter().filter_map(|place| tiers::seat(key, tier, place.index)).map(|seat| seat.weight);
            round_robin::take(&seat.account.live, seat.weight, index, against, weights.min().unwrap_or(1));
        }
    }
}

/// The fallbacks of the asked-for model that key and group allow: the first pattern that matches counts.
pub(super) fn fallbacks(key: &Key, model: Option<&Arc<str>>) -> Vec<Arc<str>> {
    let Some(model) = model else { return Vec::new() };
    let listed = key.group.model_fallbacks.iter().find(|(glob, _)| glob.is_match(model));
    let allowed = |name: &&Arc<str>| *name != model && serving::model_allowed(key, name);
    listed.map_or_else(Vec::new, |(_, names)| names.iter().filter(allowed).cloned().collect())
}
