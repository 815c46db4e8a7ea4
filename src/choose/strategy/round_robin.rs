//! `round_robin`: in turn, by weight, smooth.
//!
//! Each account has a clock that moves on by [`STRIDE`] ÷ weight with each of its turns; the one whose next turn has its middle
//! first is next (Webster's method: over each full round the turns are exactly by weight, and heavy accounts' turns are spread
//! over the round). A clock that stood still, of an account that was parked, full or has just been added, is first moved up to
//! where the others are: it gets its turn at once, but no run of turns for the time that it missed.

use std::sync::atomic::Ordering;

use super::Place;
use crate::live::AccountLive;

/// One turn of weight 1. Divisible by all weights to 16, so that their rounds are exact.
const STRIDE: u64 = 720_720 * 1_000;

fn stride(weight: u32) -> u64 {
    STRIDE / u64::from(weight.max(1))
}

/// The account's clock.
pub(crate) fn turns(live: &AccountLive) -> u64 {
    live.turns.load(Ordering::Relaxed)
}

pub(crate) fn rank(turns: u64, weight: u32) -> u64 {
    turns.saturating_add(stride(weight) / 2)
}

/// Notes that the account has its turn. `others` are the places it stood against, itself included.
pub(crate) fn take(live: &AccountLive, weight: u32, index: usize, others: &[Place], least_weight: u32) {
    let next = others.iter().filter(|place| place.index != index).map(|place| place.rank).min();
    // In a running round no rank is more than one longest stride behind the next, nor a clock more than half of one behind its rank.
    let longest = stride(least_weight);
    let floor = next.map_or(0, |rank| rank.saturating_sub(longest + longest.div_ceil(2)));
    let moved = |turns: u64| Some(turns.max(floor).saturating_add(stride(weight)));
    // Two at once may both have taken this turn: the clock then counts both, and the others catch up.
    live.turns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, moved).ok();
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Whose turn it is, `count` times, among accounts of these weights and clocks.
    fn turns_of(weights: &[u32], lives: &[AccountLive], count: usize) -> Vec<usize> {
        let least = weights.iter().copied().min().unwrap_or(1);
        let next = |_| {
            let rank = |(index, live)| Place { index, rank: rank(turns(live), weights[index]), score: 0.0 };
            let places: Vec<Place> = lives.iter().enumerate().map(rank).collect();
            let first = places.iter().min_by(|a, b| a.order(b)).unwrap().index;
            take(&lives[first], weights[first], first, &places, least);
            first
        };
        (0..count).map(next).collect()
    }

    fn fresh(count: usize) -> Vec<AccountLive> {
        (0..count).map(|_| AccountLive::default()).collect()
    }

    #[test]
    fn equals_take_strict_turns() {
        assert_eq!(turns_of(&[1, 1, 1], &fresh(3), 7), [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn heavy_turns_are_spread() {
        assert_eq!(turns_of(&[5, 1, 1], &fresh(3), 7), [0, 0, 0, 1, 2, 0, 0]);
        assert_eq!(turns_of(&[3, 1], &fresh(2), 8), [0, 0, 1, 0, 0, 0, 1, 0]);
    }

    #[test]
    fn who_comes_late_gets_no_run_of_turns() {
        let lives = fresh(3);
        turns_of(&[1, 1], &lives[..2], 1_000);
        let next = turns_of(&[1, 1, 1], &lives, 9);
        assert!(next.iter().filter(|index| **index == 2).count() <= 4, "{next:?}");
        assert_eq!(next[0], 2);
    }

    proptest! {
        #[test]
        fn each_round_is_exactly_by_weight(weights in prop::collection::vec(1u32..=12, 1..6), rounds in 1usize..4) {
            let lives = fresh(weights.len());
            let round: u32 = weights.iter().sum();
            let taken = turns_of(&weights, &lives, round as usize * rounds);
            for (index, weight) in weights.iter().enumerate() {
                prop_assert_eq!(taken.iter().filter(|taken| **taken == index).count(), *weight as usize * rounds);
            }
        }
    }
}
