//! The tiers of a key: the user's own keys first, then the binding's, highest first. Only the seats of one tier stand in competition.

use std::sync::Arc;

use crate::config::snapshot::{Account, Key, Source, Strategy, Tier};
use crate::words::{Id, Via};

/// An account at its place in a tier.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat<'a> {
    pub(super) account: &'a Arc<Account>,
    pub(super) via: Via,
    /// At least 1.
    pub(super) weight: u32,
    /// 1 first.
    pub(super) priority: u32,
    pub(super) pool: Option<&'a Id>,
    /// Millionths of `max_concurrency`.
    max_usage: Option<u32>,
    /// This group alone reaches the account, or this user alone.
    pub(super) sole: bool,
}

impl Seat<'_> {
    /// How many attempts may be in flight at the account for this group to send one more. A share is rounded up, so that
    /// any share above 0 leaves at least one place.
    pub(super) fn limit(&self) -> Option<u32> {
        let most = self.account.max_concurrency?;
        let Some(share) = self.max_usage else { return Some(most) };
        let part = (u64::from(most) * u64::from(share)).div_ceil(1_000_000);
        Some(u32::try_from(part).unwrap_or(most).min(most))
    }
    pub(super) fn is_full(&self) -> bool {
        self.limit().is_some_and(|limit| self.account.live.in_flight() >= limit)
    }
}

/// The place of the user's own keys.
pub(super) const OWN: usize = 0;

/// How many tiers there are, the one of the user's own keys included.
pub(super) fn count(key: &Key) -> usize {
    key.group.tiers.len() + 1
}

/// The binding's tier at this place; none for the user's own keys.
pub(super) fn bound(key: &Key, tier: usize) -> Option<&Tier> {
    key.group.tiers.get(tier.checked_sub(1)?)
}

/// What orders this tier: the caller's wish, else what is configured.
pub(super) fn strategy(key: &Key, tier: usize, wish: Option<Strategy>) -> Strategy {
    match bound(key, tier) {
        Some(tier) => wish.unwrap_or(tier.strategy),
        None => Strategy::UserPreference,
    }
}

/// How many seats a tier has.
pub(super) fn size(key: &Key, tier: usize) -> usize {
    bound(key, tier).map_or(key.user.own_keys.len(), |tier| tier.members.len())
}

/// The seat at this place of a tier.
pub(super) fn seat(key: &Key, tier: usize, index: usize) -> Option<Seat<'_>> {
    let Some(tier) = bound(key, tier) else {
        let account = (tier == OWN).then(|| key.user.own_keys.get(index)).flatten()?;
        return Some(Seat { account, via: Via::Own, weight: 1, priority: 1, pool: None, max_usage: None, sole: true });
    };
    let member = tier.members.get(index)?;
    let via = match tier.source {
        Source::Dedicated => Via::Dedicated,
        Source::Pools => Via::Pool,
    };
    Some(Seat {
        account: &member.account,
        via,
        weight: member.weight,
        priority: member.priority,
        pool: member.pool.as_ref(),
        max_usage: member.max_usage,
        sole: member.sole,
    })
}

/// All seats of a tier, in the order of the configuration.
pub(super) fn seats(key: &Key, tier: usize) -> impl Iterator<Item = Seat<'_>> {
    (0..size(key, tier)).filter_map(move |index| seat(key, tier, index))
}

/// All seats of all tiers.
pub(super) fn all(key: &Key) -> impl Iterator<Item = Seat<'_>> {
    (0..count(key)).flat_map(move |tier| seats(key, tier))
}
