//! What a plan promises, by example and for any binding.

mod any_binding;
mod explained;
mod order;
mod refused;
mod served;
mod set_aside;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use expect_test::expect;
use proptest::prelude::*;
use proptest::strategy::Strategy as Any;

use super::testing::*;
use super::*;
use crate::clock::{self, Chance, Now};
use crate::config::snapshot::{Account, Group, Key, Source, Strategy, Tier, Unpriced};
use crate::words::{Again, Code, Dialect, Factor, UnixMs, Verdict, Via};

fn seeded() -> Chance {
    Chance::seeded(0x5EED)
}

/// How often each account comes first.
fn counts(key: &Arc<Key>, sessions: impl Iterator<Item = Option<u64>>, now: Now) -> BTreeMap<String, u32> {
    let mut chance = seeded();
    let mut counts = BTreeMap::new();
    sessions.for_each(|session| *counts.entry(first(key, session, &mut chance, now)).or_default() += 1);
    counts
}

fn with_group(tiers: Vec<Tier>, change: impl FnOnce(&mut Group)) -> Arc<Key> {
    let mut group = group(tiers);
    change(&mut group);
    Arc::new(key_of(group, user("alice")))
}
