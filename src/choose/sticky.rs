//! Stickiness by weighted rendezvous hashing: every account draws a number from (group, key, session) and its own id, and the
//! smallest number ÷ weight comes first. Nothing is stored, all instances agree, an account that goes takes only its own
//! sessions along, and one that comes takes only its share. A request without a session draws from chance instead, which
//! makes the same order a random one by weight.

use crate::clock::Chance;
use crate::config::snapshot::Key;
use crate::words::Id;

/// What the scores of one request are drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seed(u64);

impl Seed {
    /// The seed of a session: the same for every request of it, another one for the same session text under another key or group.
    pub(super) fn of_session(key: &Key, session: u64) -> Seed {
        let [a, b, c, d, e, f, g, h, ..] = key.hash;
        Seed(mix(hash(key.group.id.as_str()) ^ mix(u64::from_le_bytes([a, b, c, d, e, f, g, h]) ^ mix(session))))
    }
    /// The seed of a group as a whole: for what any member must find at the same account.
    pub(super) fn of_group(group: &Id) -> Seed {
        Seed(mix(hash(group.as_str())))
    }
    pub(super) fn of_chance(chance: &mut Chance) -> Seed {
        Seed(mix(chance.next_u64()))
    }
    /// This account's score; the smallest comes first. Infinite for no account whose weight is at least 1.
    pub(super) fn score(self, account: &Id, weight: u32) -> f64 {
        // Evenly in 0 < x ≤ 1, so that the logarithm is finite.
        let even = ((mix(self.0 ^ hash(account.as_str())) >> 11) + 1) as f64 / (1u64 << 53) as f64;
        -even.ln() / f64::from(weight.max(1))
    }
    /// True for about one seed in `of`, and always for the same ones.
    pub(super) fn one_in(self, of: u64) -> bool {
        mix(self.0.wrapping_add(0x5851_F42D_4C95_7F2D)).is_multiple_of(of)
    }
}

/// FNV-1a: the same on every machine and in every version.
pub(super) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

/// The finalizer of splitmix64: spreads every bit over all.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}
