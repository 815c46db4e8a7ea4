//! `performance`: lowest recent time to first byte of the model that is sent, ties by weight.
//!
//! The time is an exponentially weighted mean of what this instance saw. It is forgotten when nothing was seen for
//! [`FORGOTTEN_AFTER`], so that an account that was slow once gets another try. Times are put into bands of 20 %, counted from the
//! best: within a band all are ties, and a session keeps to its account while the band does not change. One request in
//! [`TRY_UNKNOWN_ONE_IN`], or with a session one session, goes to the accounts of which nothing is known.

use std::sync::Arc;
use std::time::Duration;

use super::Place;
use crate::choose::sticky::Seed;
use crate::clock::Now;
use crate::live::{AccountLive, FirstByte};

/// The weight of the newest time in the mean: the last five or so tell.
const NEWEST: f64 = 0.3;
const FORGOTTEN_AFTER: Duration = Duration::from_secs(5 * 60);
const TRY_UNKNOWN_ONE_IN: u64 = 10;
/// How much slower than the best still counts as a tie.
const BAND: f64 = 1.2;
/// Models remembered for one account; the one longest not seen gives way.
const MODELS_MAX: usize = 64;

const UNKNOWN: u64 = u64::MAX;

/// Notes a time to first byte, in milliseconds, of `model` as it was sent.
pub fn note_first_byte(live: &AccountLive, model: &Arc<str>, ms: f64, now: Now) {
    if !ms.is_finite() || ms < 0.0 {
        return;
    }
    let mut known = live.first_bytes.lock();
    if let Some(mean) = known.get_mut(model) {
        let old = if is_forgotten(mean, now) { ms } else { mean.ms };
        *mean = FirstByte { ms: old + NEWEST * (ms - old), at: now.steady };
        return;
    }
    if known.len() >= MODELS_MAX
        && let Some(oldest) = known.iter().min_by_key(|(_, mean)| mean.at).map(|(model, _)| Arc::clone(model))
    {
        known.remove(&oldest);
    }
    known.insert(Arc::clone(model), FirstByte { ms, at: now.steady });
}

fn is_forgotten(mean: &FirstByte, now: Now) -> bool {
    now.steady.saturating_duration_since(mean.at) > FORGOTTEN_AFTER
}

/// The recent time to first byte, in milliseconds, if one is known.
pub(crate) fn recent(live: &AccountLive, model: Option<&Arc<str>>, now: Now) -> Option<f64> {
    let known = live.first_bytes.lock();
    known.get(model?).filter(|mean| !is_forgotten(mean, now)).map(|mean| mean.ms)
}

/// In microseconds, for [`compare`] to put into bands.
pub(crate) fn rank(ms: Option<f64>) -> u64 {
    ms.map_or(UNKNOWN, |ms| (ms * 1_000.0) as u64)
}

/// Turns times into bands, and puts the unknown before all others or behind them.
pub(crate) fn compare(places: &mut [Place], seed: Seed) {
    let best = places.iter().map(|place| place.rank).min().unwrap_or(UNKNOWN);
    if best == UNKNOWN {
        return;
    }
    let try_unknown = seed.one_in(TRY_UNKNOWN_ONE_IN);
    for place in places {
        place.rank = match place.rank {
            UNKNOWN if try_unknown => 0,
            UNKNOWN => UNKNOWN,
            time => 1 + band(time, best),
        };
    }
}

fn band(time: u64, best: u64) -> u64 {
    let ratio = time as f64 / best.max(1) as f64;
    if ratio <= BAND { 0 } else { (ratio.ln() / BAND.ln()) as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn check(times: &[Option<f64>], expected: &[u64]) {
        let places = times.iter().enumerate().map(|(index, ms)| Place { index, rank: rank(*ms), score: 0.0 });
        let mut places: Vec<Place> = places.collect();
        let seed =
            (1..).map(|n| Seed::of_chance(&mut clock::Chance::seeded(n * 77))).find(|seed| !seed.one_in(TRY_UNKNOWN_ONE_IN));
        compare(&mut places, seed.unwrap());
        assert_eq!(places.iter().map(|place| place.rank).collect::<Vec<_>>(), expected, "{times:?}");
    }

    #[test]
    fn within_a_fifth_is_a_tie() {
        check(&[Some(100.0), Some(120.0), Some(121.0), Some(500.0)], &[1, 1, 2, 9]);
        check(&[Some(100.0), None], &[1, UNKNOWN]);
        check(&[None, None], &[UNKNOWN, UNKNOWN]);
        check(&[], &[]);
        check(&[Some(0.0), Some(0.0)], &[1, 1]);
    }

    #[test]
    fn the_unknown_is_tried_now_and_then() {
        let mut chance = clock::Chance::seeded(9);
        let tried = (0..10_000).filter(|_| {
            let mut places =
                [Place { index: 0, rank: rank(Some(5.0)), score: 0.0 }, Place { index: 1, rank: UNKNOWN, score: 0.0 }];
            compare(&mut places, Seed::of_chance(&mut chance));
            places[1].rank < places[0].rank
        });
        let tried = tried.count();
        assert!((900..1_100).contains(&tried), "{tried} of 10,000");
    }

    #[test]
    fn times_are_weighted_and_forgotten() {
        let live = AccountLive::default();
        let model: Arc<str> = "m".into();
        let now = clock::now();
        note_first_byte(&live, &model, 100.0, now);
        note_first_byte(&live, &model, 200.0, now);
        assert_eq!(recent(&live, Some(&model), now), Some(130.0));
        let later = now.later(FORGOTTEN_AFTER + Duration::from_secs(1));
        assert_eq!(recent(&live, Some(&model), later), None);
        note_first_byte(&live, &model, 50.0, later);
        assert_eq!(recent(&live, Some(&model), later), Some(50.0));
    }

    #[test]
    fn no_more_than_so_many_models_are_remembered() {
        let live = AccountLive::default();
        let now = clock::now();
        for n in 0..1_000 {
            note_first_byte(&live, &format!("m{n}").into(), 1.0, now.later(Duration::from_millis(n)));
        }
        assert_eq!(live.first_bytes.lock().len(), MODELS_MAX);
        assert!(recent(&live, Some(&"m999".into()), now.later(Duration::from_secs(1))).is_some());
    }
}
