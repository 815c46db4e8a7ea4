//! Time and chance. Rooms that decide take a [`Now`] as an argument, so that tests move it; only this room asks the machine.

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime};

use crate::words::UnixMs;

/// One moment, on the wall clock and on the clock that never steps.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub wall: UnixMs,
    pub steady: Instant,
}

impl Now {
    /// This moment, `by` later: for tests and for deadlines.
    pub fn later(self, by: Duration) -> Now {
        Now { wall: self.wall.plus_ms(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)), steady: self.steady + by }
    }
}

/// The machine's time.
#[expect(clippy::disallowed_methods, reason = "the one place that asks")]
pub fn now() -> Now {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Now { wall: UnixMs(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)), steady: steady() }
}

/// The clock that never steps, alone: for durations.
#[expect(clippy::disallowed_methods, reason = "the one place that asks")]
pub fn steady() -> Instant {
    Instant::now()
}

/// A source of chance for choices (never for secrets): xorshift64*, seeded by the system or by a test.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    pub fn seeded(seed: u64) -> Chance {
        Chance(seed | 1)
    }
    pub fn next_u64(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
    /// Evenly in `0..below`; 0 where `below` is 0.
    pub fn below(&mut self, below: u64) -> u64 {
        u64::try_from((u128::from(self.next_u64()) * u128::from(below)) >> 64).unwrap_or(0)
    }
    /// Evenly in 0.0 ≤ x < 1.0.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

thread_local! {
    static CHANCE: Cell<u64> = const { Cell::new(0) };
}

/// A [`Chance`] of this thread's own sequence.
pub fn chance() -> Chance {
    let seed = CHANCE.with(|cell| {
        let mut chance = match cell.get() {
            0 => Chance::seeded(u64::from_ne_bytes(random_bytes())),
            seed => Chance(seed),
        };
        chance.next_u64();
        cell.set(chance.0);
        chance.0
    });
    Chance::seeded(seed.rotate_left(29) ^ 0x9E37_79B9_7F4A_7C15)
}

/// Random bytes fit for secrets and ids, from the system.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    bytes
}

thread_local! {
    static IDS: Cell<Option<(u64, u64)>> = const { Cell::new(None) };
}

/// 128 random bits as 32 hex digits, for the ids of requests. No secret: two generators a thread, seeded by the system, so that no
/// request asks the system.
pub fn request_id() -> String {
    let (high, low) = IDS.with(|cell| {
        let (high, low) =
            cell.get().unwrap_or_else(|| (u64::from_ne_bytes(random_bytes()) | 1, u64::from_ne_bytes(random_bytes()) | 1));
        let (mut first, mut second) = (Chance(high), Chance(low));
        let id = (first.next_u64(), second.next_u64());
        cell.set(Some((first.0, second.0)));
        id
    });
    let mut text = String::with_capacity(32);
    for word in [high, low] {
        for shift in (0..16).rev() {
            text.push(char::from_digit(u32::try_from(word >> (4 * shift) & 15).unwrap_or(0), 16).unwrap_or('0'));
        }
    }
    text
}
