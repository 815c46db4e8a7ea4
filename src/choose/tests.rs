//! What a plan promises, by example and for any binding.

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

// ------------------------------------------------------------------ order

#[test]
fn tiers_come_one_after_the_other() {
    let key = key(vec![
        named_tier(Source::Dedicated, Strategy::Priority, "a", &[1, 1]),
        named_tier(Source::Pools, Strategy::Weighted, "b", &[1, 1]),
        named_tier(Source::Pools, Strategy::Weighted, "c", &[1]),
    ]);
    let now = clock::now();
    for session in 0..50 {
        let named = named(plan(&key, Some(session), &mut seeded()), now).concat();
        assert!(["a0a1b0b1c0", "a1a0b0b1c0", "a0a1b1b0c0", "a1a0b1b0c0"].contains(&&*named), "{named}");
    }
}

#[test]
fn own_keys_come_first_and_say_so() {
    let mut alice = user("alice");
    alice.own_keys = vec![Arc::new(account("own/alice/claude"))];
    let key = Arc::new(key_of(group(vec![weighted(Strategy::Weighted, &[1])]), alice));
    let mut plan = plan(&key, None, &mut seeded());
    let named: Vec<_> = std::iter::from_fn(|| plan.next(clock::now())).map(|c| (c.account.id.to_string(), c.via)).collect();
    assert_eq!(named, [("own/alice/claude".into(), Via::Own), ("a0".into(), Via::Dedicated)]);
}

#[test]
fn own_keys_of_another_service_stay_out() {
    let mut alice = user("alice");
    alice.own_keys = vec![Arc::new(account_of(service("openai", Dialect::Openai, &["gpt-*"]), "own/alice/openai"))];
    let key = Arc::new(key_of(group(vec![weighted(Strategy::Weighted, &[1])]), alice));
    assert_eq!(named(plan(&key, None, &mut seeded()), clock::now()), ["a0"]);
}

#[test]
fn an_account_in_two_pools_is_named_once() {
    let shared = Arc::new(account("shared"));
    let pool = || tier(Source::Pools, Strategy::Weighted, vec![member(&shared, 1), member(&shared, 2)]);
    let key = key(vec![pool(), pool()]);
    assert_eq!(named(plan(&key, None, &mut seeded()), clock::now()), ["shared"]);
}

#[test]
fn weights_share_conversations_and_single_requests() {
    let key = key(vec![weighted(Strategy::Weighted, &[1, 2, 5])]);
    let now = clock::now();
    for sessions in
        [Box::new((0..16_000u64).map(Some)) as Box<dyn Iterator<Item = Option<u64>>>, Box::new((0..16_000).map(|_| None))]
    {
        let counts = counts(&key, sessions, now);
        for (id, expected) in [("a0", 2_000u32), ("a1", 4_000), ("a2", 10_000)] {
            assert!(counts[id].abs_diff(expected) < 300, "{counts:?}");
        }
    }
}

#[test]
fn a_session_keeps_its_account_over_100_turns() {
    for strategy in Strategy::ALL {
        let key = key(vec![weighted(strategy, &[1, 1, 3])]);
        let mut chance = seeded();
        for session in 0..20 {
            let turns: BTreeSet<String> = (0..100).map(|_| first(&key, Some(session), &mut chance, clock::now())).collect();
            assert_eq!(turns.len(), 1, "{strategy:?}");
        }
    }
}

#[test]
fn equal_session_ids_of_two_groups_are_two_sessions() {
    let tiers = || vec![weighted(Strategy::Weighted, &[1; 10])];
    let (one, other) = (with_group(tiers(), |_| {}), with_group(tiers(), |group| group.id = "backend".into()));
    let now = clock::now();
    let same = (0..1_000).filter(|s| first(&one, Some(*s), &mut seeded(), now) == first(&other, Some(*s), &mut seeded(), now));
    assert!(same.count() < 200);
}

#[test]
fn without_stickiness_sessions_count_for_nothing() {
    let key = with_group(vec![weighted(Strategy::RoundRobin, &[1, 1, 1])], |group| group.sticky = false);
    let mut chance = seeded();
    let turns: Vec<String> = (0..6).map(|_| first(&key, Some(1), &mut chance, clock::now())).collect();
    assert_eq!(turns, ["a0", "a1", "a2", "a0", "a1", "a2"]);
}

#[test]
fn the_least_busy_by_weight_comes_first() {
    let key = key(vec![weighted(Strategy::LeastConnections, &[1, 2])]);
    let now = clock::now();
    let mut held = Vec::new();
    let mut order = String::new();
    for _ in 0..6 {
        let candidate = plan(&key, None, &mut seeded()).next(now).unwrap();
        order.push_str(candidate.account.id.as_str());
        held.push(candidate.account.live.take(candidate.limit));
    }
    assert_eq!(order.matches("a1").count(), 4, "{order}");
}

#[test]
fn priority_orders_within_a_pool() {
    let mut pool = named_tier(Source::Pools, Strategy::Priority, "b", &[1, 1, 1]);
    for (member, priority) in pool.members.iter_mut().zip([3, 1, 2]) {
        member.priority = priority;
    }
    assert_eq!(named(plan(&key(vec![pool]), Some(4), &mut seeded()), clock::now()), ["b1", "b2", "b0"]);
}

#[test]
fn preference_orders_services() {
    let everything = |id: &str| Arc::new(account_of(service(id, Dialect::Anthropic, &[]), id));
    let members = ["claude", "relay", "other"].map(|id| member(&everything(id), 1));
    let mut alice = user("alice");
    alice.preference = vec!["other".into(), "claude".into()];
    let key = Arc::new(key_of(group(vec![tier(Source::Pools, Strategy::UserPreference, members.into())]), alice));
    assert_eq!(named(plan(&key, None, &mut seeded()), clock::now()), ["other", "claude", "relay"]);
}

#[test]
fn the_cheapest_comes_first() {
    let factor = |id: &str, factor: u64| {
        member(&Arc::new(Account { price_factor: Factor(Factor::SCALE * factor / 10), ..account(id) }), 1)
    };
    // Has no price.
    let local = member(&Arc::new(account_of(service("corp", Dialect::Anthropic, &[]), "local")), 1);
    let members = vec![local, factor("dear", 10), factor("cheap", 7), factor("cheap-too", 7)];
    let key = key(vec![tier(Source::Pools, Strategy::Cost, members)]);
    for session in 0..50 {
        let order = named(plan(&key, Some(session), &mut seeded()), clock::now());
        assert_eq!(order[2..], ["dear", "local"]);
    }
    let mapped = Account { model_map: vec![(glob("claude-sonnet-*"), "claude-haiku-4-5".into())], ..account("haiku") };
    let key =
        super::testing::key(vec![tier(Source::Pools, Strategy::Cost, vec![factor("dear", 10), member(&Arc::new(mapped), 1)])]);
    assert_eq!(first(&key, None, &mut seeded(), clock::now()), "haiku", "by the price of what is sent");
}

#[test]
fn the_fastest_comes_first() {
    let key = key(vec![weighted(Strategy::Performance, &[1, 1])]);
    let now = clock::now();
    note_first_byte(&find(&key, "a0").live, &MODEL.into(), 900.0, now);
    note_first_byte(&find(&key, "a1").live, &MODEL.into(), 300.0, now);
    assert!((0..100).all(|session| first(&key, Some(session), &mut seeded(), now) == "a1"));
}

// ------------------------------------------------------------------ parked and full

#[test]
fn a_full_first_spills_to_the_second_and_comes_back() {
    let mut tier = weighted(Strategy::Weighted, &[]);
    tier.members = ["a0", "a1", "a2"].map(|id| member(&Arc::new(Account { max_concurrency: Some(1), ..account(id) }), 1)).into();
    let key = key(vec![tier]);
    let now = clock::now();
    let order = named(plan(&key, Some(1), &mut seeded()), now);
    let held = find(&key, &order[0]).live.take(Some(1));
    assert_eq!(named(plan(&key, Some(1), &mut seeded()), now), order[1..]);
    drop(held);
    assert_eq!(named(plan(&key, Some(1), &mut seeded()), now), order);
}

#[test]
fn max_usage_leaves_the_rest_to_others() {
    let pooled = Arc::new(Account { max_concurrency: Some(5), ..account("pooled") });
    let mut member = member(&pooled, 1);
    member.max_usage = Some(500_000);
    let key = key(vec![tier(Source::Pools, Strategy::Weighted, vec![member])]);
    let next = || plan(&key, None, &mut seeded()).next(clock::now());
    let held: Vec<_> = (0..3).map(|_| next().unwrap().account.live.take(Some(5))).collect();
    assert_eq!(next().map(|candidate| candidate.account.id.clone()), None);
    drop(held);
    assert_eq!(next().unwrap().limit, Some(3));
}

#[test]
fn dedicated_never_leaves_its_accounts() {
    let bound = weighted(Strategy::Weighted, &[1, 1]);
    let key = key(vec![bound]);
    let now = clock::now();
    for id in ["a0", "a1"] {
        park(find(&key, id), Verdict::RateLimit, now.wall.plus_ms(9_000));
    }
    let mut plan = plan(&key, None, &mut seeded());
    assert!(plan.next(now).is_none());
    let refusal = plan.refusal(now);
    assert_eq!((refusal.code, refusal.again), (Code::AccountsRateLimited, Again::At(now.wall.plus_ms(9_000))));
}

#[test]
fn a_lower_tier_serves_only_when_none_is_left_above() {
    let key = key(vec![weighted(Strategy::Weighted, &[1, 1]), named_tier(Source::Pools, Strategy::Weighted, "b", &[1])]);
    let now = clock::now();
    let until = now.wall.plus_ms(1_000);
    park(find(&key, "a0"), Verdict::RateLimit, until);
    assert_eq!(named(plan(&key, Some(3), &mut seeded()), now), ["a1", "b0"]);
    park(find(&key, "a1"), Verdict::Credential, until);
    assert_eq!(named(plan(&key, Some(3), &mut seeded()), now), ["b0"]);
    let after = now.later(std::time::Duration::from_secs(2));
    assert_eq!(named(plan(&key, Some(3), &mut seeded()), after).len(), 3, "parkings end");
}

#[test]
fn doubtful_accounts_are_better_than_none() {
    let key = key(vec![weighted(Strategy::Weighted, &[1, 1]), named_tier(Source::Pools, Strategy::Weighted, "b", &[1])]);
    let now = clock::now();
    let until = now.wall.plus_ms(1_000);
    park(find(&key, "a0"), Verdict::Server, until);
    park(find(&key, "a1"), Verdict::Money, until);
    assert_eq!(named(plan(&key, None, &mut seeded()), now), ["b0", "a0"], "after all others");
    park(find(&key, "b0"), Verdict::Connect, until);
    assert_eq!(named(plan(&key, None, &mut seeded()), now), ["a0", "b0"]);
}

#[test]
fn only_what_is_used_takes_the_try_of_a_long_parking() {
    let key = key(vec![weighted(Strategy::Weighted, &[1, 1])]);
    let now = clock::now();
    for id in ["a0", "a1"] {
        park(find(&key, id), Verdict::Money, now.wall.plus_ms(3_600_000));
        find(&key, id).live.parkings.lock().account.tracks[0].parking.since = Some(now.wall);
    }
    assert!(plan(&key, None, &mut seeded()).next(now).is_none());
    let later = now.later(std::time::Duration::from_secs(16 * 60));
    let next = || plan(&key, Some(1), &mut seeded()).next(later);
    let unsent = next().unwrap().account.id.clone();
    let mut first = next().unwrap();
    assert!(first.ticket.half_open() && first.account.id == unsent, "dropped unsent, the try is free again");
    first.ticket.sent();
    let mut second = next().unwrap();
    assert!(second.ticket.half_open() && second.account.id != unsent);
    second.ticket.sent();
    let mut third = plan(&key, Some(1), &mut seeded());
    assert!(third.next(later).is_none());
    assert_eq!(third.refusal(later).again, Again::At(later.wall.plus_ms(15 * 60_000)));
}

#[test]
fn what_became_free_is_seen() {
    let key = key(vec![weighted(Strategy::Weighted, &[1, 1])]);
    let now = clock::now();
    park(find(&key, "a0"), Verdict::RateLimit, now.wall.plus_ms(1_000));
    let mut plan = plan(&key, None, &mut seeded());
    assert_eq!(plan.next(now).unwrap().account.id.as_str(), "a1");
    assert!(plan.next(now).is_none());
    assert!(plan.next(now.later(std::time::Duration::from_secs(2))).is_some());
    assert!(plan.is_spent());
}

#[test]
fn a_candidate_given_back_may_be_named_again() {
    let key = key(vec![weighted(Strategy::Weighted, &[1])]);
    let mut plan = plan(&key, None, &mut seeded());
    let candidate = plan.next(clock::now()).unwrap();
    assert!(plan.is_only_candidate() && plan.next(clock::now()).is_none());
    plan.give_back(&candidate);
    assert!(plan.next(clock::now()).is_some());
}

// ------------------------------------------------------------------ models

#[test]
fn mapped_names_are_sent() {
    let mut mapped = account_of(service("kimi", Dialect::Anthropic, &["kimi-*"]), "kimi-1");
    mapped.model_map = vec![(glob("claude-*"), "kimi-k2".into())];
    let key = key(vec![tier(Source::Dedicated, Strategy::Weighted, vec![member(&Arc::new(mapped), 1)])]);
    let candidate = plan(&key, None, &mut seeded()).next(clock::now()).unwrap();
    assert_eq!((candidate.model.as_deref(), candidate.model_sent.as_deref()), (Some(MODEL), Some("kimi-k2")));
}

fn fallback_key(models: Option<&[&str]>) -> Arc<Key> {
    with_group(vec![weighted(Strategy::Weighted, &[1, 1])], |group| {
        group.model_fallbacks = vec![(glob("claude-sonnet-*"), vec!["claude-haiku-4-5".into(), "claude-3".into()])];
        group.models = models.map(globs);
    })
}

#[test]
fn fallbacks_stand_in_when_no_account_has_the_model_left() {
    let key = fallback_key(None);
    let now = clock::now();
    let until = now.wall.plus_ms(5_000);
    let sent = |key: &Arc<Key>| {
        let mut plan = plan(key, Some(1), &mut seeded());
        std::iter::from_fn(move || plan.next(now)).map(|c| c.model_sent.unwrap().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(sent(&key), [MODEL, MODEL]);
    park_model(find(&key, "a0"), MODEL, Verdict::Overloaded, until);
    assert_eq!(sent(&key), [MODEL, "claude-haiku-4-5"]);
    park_model(find(&key, "a1"), MODEL, Verdict::Overloaded, until);
    assert_eq!(sent(&key), ["claude-haiku-4-5", "claude-haiku-4-5"]);
    let limited = fallback_key(Some(&[MODEL, "claude-3"]));
    for id in ["a0", "a1"] {
        park_model(find(&limited, id), MODEL, Verdict::Overloaded, until);
    }
    assert_eq!(sent(&limited), ["claude-3", "claude-3"], "a fallback that the group does not allow is no fallback");
}

#[test]
fn accounts_without_a_list_serve_families_and_the_book() {
    let check = |account: Account, served: &[&str], not: &[&str]| {
        for (model, expected) in served.iter().map(|m| (m, true)).chain(not.iter().map(|m| (m, false))) {
            assert_eq!(serving::serves(&account, &BOOK, Some(&(*model).into())).is_some(), expected, "{model}");
        }
    };
    check(account("a0"), &["claude-sonnet-4-5", "Claude-From-Tomorrow", "anthropic/claude-haiku-4-5"], &["gpt-5", "kimi-k2"]);
    let by_book = priced_as("anthropic", service("relay", Dialect::Anthropic, &[]));
    check(account_of(by_book, "a0"), &["claude-sonnet-4-5"], &["gpt-5", "our-own"]);
    check(account_of(service("corp", Dialect::Anthropic, &[]), "a0"), &["claude-sonnet-4-5", "our-own"], &[]);
    check(
        Account { models: Some(globs(&["CLAUDE-haiku-*", "x?"])), ..account("a0") },
        &["claude-haiku-4-5", "x1"],
        &["claude-sonnet-4-5", "x12"],
    );
    check(Account { models: Some(globs(&[])), ..account("a0") }, &[], &["claude-sonnet-4-5"]);
}

// ------------------------------------------------------------------ model lists

/// The names of a list, those of the book's that begin otherwise left out.
fn check_models(key: &Key, dialect: Dialect, expected: &[&str]) {
    let listed = models(key, dialect, &BOOK);
    assert!(listed.is_sorted_by(|a, b| a.id < b.id));
    assert_eq!(listed.iter().map(|listed| &*listed.id).collect::<Vec<_>>(), expected);
}

#[test]
fn model_lists_hold_what_the_key_may_ask_for() {
    let listed = Account {
        models: Some(globs(&["our-own", "claude-haiku-4-?", "claude-3-*"])),
        model_map: vec![(glob("fast"), "claude-haiku-4-5".into()), (glob("gpt-*"), "claude-haiku-4-5".into())],
        ..account("a0")
    };
    let off = Account { enabled: false, models: Some(globs(&["off"])), ..account("a1") };
    let openai = Account { models: Some(globs(&["gpt-x"])), ..account_of(service("openai", Dialect::Openai, &[]), "a2") };
    let tiers = || {
        let again = |account: &Account| Account {
            models: account.models.clone(),
            model_map: account.model_map.clone(),
            ..account_of(Arc::clone(&account.service), account.id.as_str())
        };
        let accounts = [again(&listed), Account { enabled: false, ..again(&off) }, again(&openai)];
        vec![tier(Source::Pools, Strategy::Weighted, accounts.into_iter().map(|account| member(&Arc::new(account), 1)).collect())]
    };
    check_models(&key(tiers()), Dialect::Anthropic, &["claude-haiku-4-5", "fast", "our-own"]);
    check_models(&key(tiers()), Dialect::Openai, &["gpt-x"]);
    check_models(&key(tiers()), Dialect::Gemini, &[]);
    let limited = Key { models: Some(globs(&["our-*", "fast", "gpt-*"])), ..key_of(group(tiers()), user("alice")) };
    check_models(&limited, Dialect::Anthropic, &["our-own"]);
    let other = Key { services: Some(vec!["gemini".into()]), ..key_of(group(tiers()), user("alice")) };
    check_models(&other, Dialect::Anthropic, &[]);
}

#[test]
fn one_model_is_known_also_by_a_pattern() {
    let key = key(vec![weighted(Strategy::Weighted, &[1])]);
    let known = |name: &str| model(&key, Dialect::Anthropic, &BOOK, &name.into()).map(|listed| listed.max_output);
    assert_eq!(known("claude-from-tomorrow"), Some(None));
    assert_eq!(known(MODEL), Some(Some(64_000)));
    assert_eq!(known("gpt-5"), None);
}

#[test]
fn model_lists_come_from_the_book_too() {
    let listed = models(&key(vec![weighted(Strategy::Weighted, &[1, 1])]), Dialect::Anthropic, &BOOK);
    let sonnet = listed.iter().find(|listed| &*listed.id == MODEL).unwrap();
    assert_eq!((sonnet.provider.as_str(), sonnet.max_input, sonnet.max_output), ("anthropic", Some(200_000), Some(64_000)));
}

// ------------------------------------------------------------------ explain

#[test]
fn explain_tells_tiers_reasons_and_order() {
    let now = Now { wall: UnixMs(1_795_251_600_000), ..clock::now() };
    let until = UnixMs(1_795_251_660_000);
    let mut accounts = weighted(Strategy::Weighted, &[3, 1, 1]);
    accounts.members.push(member(&Arc::new(Account { enabled: false, ..account("off") }), 1));
    accounts.members.push(member(&Arc::new(Account { models: Some(globs(&["claude-opus-*"])), ..account("opus") }), 1));
    park(&accounts.members[2].account, Verdict::RateLimit, until);
    let full = Arc::new(Account { max_concurrency: Some(1), ..account("full") });
    let _held = full.live.take(None);
    let mapped = Account {
        model_map: vec![(glob("claude-*"), "kimi-k2".into())],
        ..account_of(service("kimi", Dialect::Anthropic, &[]), "kimi-1")
    };
    let mut pools = tier(Source::Pools, Strategy::Priority, vec![member(&full, 1), member(&Arc::new(mapped), 1)]);
    pools.members.iter_mut().for_each(|member| member.pool = Some("shared".into()));
    pools.members[1].priority = 2;
    pools.members.push(member(&Arc::new(account_of(service("openai", Dialect::Openai, &["claude-*"]), "openai-1")), 1));
    let mut alice = user("alice");
    alice.own_keys = vec![Arc::new(account("own/alice/claude"))];
    let mut group = group(vec![accounts, pools]);
    group.model_fallbacks = vec![(glob("claude-sonnet-*"), vec!["claude-opus-4-5".into()])];
    let snapshot = snapshot(&key_of(group, alice));
    let question = Question { group: "frontend", user: "alice", model: MODEL, dialect: Some(Dialect::Anthropic), live: true };
    expect![[r#"
        group frontend of enterprise acme, user alice, model claude-sonnet-4-5

        in dialect anthropic
          the user's own keys
            1. own/alice/claude (claude)
          tier 1: accounts of priority 1, strategy weighted
            1. a0 (claude, weight 3), first for 75 % of sessions
            2. a1 (claude), first for 25 % of sessions
            -  a2 (claude): is parked for rate_limit until 2026-11-21T09:01:00Z
            -  off (claude): is disabled
            -  opus (claude): does not serve claude-sonnet-4-5
          tier 2: pools of priority 1, strategy priority
            1. kimi-1 (kimi, pool shared, priority 2), sent as kimi-k2
            -  full (claude, pool shared): is full: 1 in flight, 1 allowed
            -  openai-1 (openai): does not speak anthropic
          when none of these is left: model claude-opus-4-5 in its place
          the user's own keys
            1. own/alice/claude (claude)
          tier 1: accounts of priority 1, strategy weighted
            1. a0 (claude, weight 3), first for 60 % of sessions
            2. a1 (claude), first for 20 % of sessions
            3. opus (claude), first for 20 % of sessions
            -  a2 (claude): is parked for rate_limit until 2026-11-21T09:01:00Z
            -  off (claude): is disabled
          tier 2: pools of priority 1, strategy priority
            1. kimi-1 (kimi, pool shared, priority 2), sent as kimi-k2
            -  full (claude, pool shared): is full: 1 in flight, 1 allowed
            -  openai-1 (openai): does not speak anthropic
          a request tries: own/alice/claude, a0, a1, kimi-1, opus with claude-opus-4-5
    "#]]
    .assert_eq(&explain(&snapshot, &question, now).unwrap());
    let offline = Question { model: "gpt-5", dialect: None, live: false, ..question.clone() };
    expect![[r#"
        group frontend of enterprise acme, user alice, model gpt-5

        in dialect anthropic
          the user's own keys
            -  own/alice/claude (claude): does not serve gpt-5
          tier 1: accounts of priority 1, strategy weighted
            -  a0 (claude, weight 3): does not serve gpt-5
            -  a1 (claude): does not serve gpt-5
            -  a2 (claude): does not serve gpt-5
            -  off (claude): does not serve gpt-5
            -  opus (claude): does not serve gpt-5
          tier 2: pools of priority 1, strategy priority
            1. kimi-1 (kimi, pool shared, priority 2)
            -  full (claude, pool shared): does not serve gpt-5
            -  openai-1 (openai): does not speak anthropic
          a request tries: kimi-1

        in dialect openai
          the user's own keys
            -  own/alice/claude (claude): does not serve gpt-5
          tier 1: accounts of priority 1, strategy weighted
            -  a0 (claude, weight 3): does not serve gpt-5
            -  a1 (claude): does not serve gpt-5
            -  a2 (claude): does not serve gpt-5
            -  off (claude): does not serve gpt-5
            -  opus (claude): does not serve gpt-5
          tier 2: pools of priority 1, strategy priority
            1. openai-1 (openai)
            -  full (claude, pool shared): does not serve gpt-5
            -  kimi-1 (kimi, pool shared, priority 2): does not speak openai
          a request tries: openai-1

        Parkings and what is in flight are known to the running gateway only and not counted here.
    "#]]
    .assert_eq(&explain(&snapshot, &offline, now).unwrap());
    let nobody = Question { user: "bob", ..question };
    expect![[r#"no user "bob""#]].assert_eq(&explain(&snapshot, &nobody, now).unwrap_err());
}

// ------------------------------------------------------------------ refusals

/// The refusal of [`MODEL`] on this key, changed.
fn check_refusal<'a>(key: &'a Arc<Key>, change: impl FnOnce(&mut Ask<'a>), code: Code, message: &str) {
    static ASKED: LazyLock<Arc<str>> = LazyLock::new(|| MODEL.into());
    let mut ask = ask(key, Some(&ASKED), None);
    change(&mut ask);
    let refusal = Plan::new(ask, &mut seeded()).map(|_| "a plan").unwrap_err();
    assert_eq!((refusal.code, &*refusal.message), (code, message));
}

fn one_of(account: Account) -> Vec<Tier> {
    vec![tier(Source::Dedicated, Strategy::Weighted, vec![member(&Arc::new(account), 1)])]
}

#[test]
fn what_nothing_bound_serves_is_unknown() {
    let gpt = "gpt-5".into();
    let key = key(vec![weighted(Strategy::Weighted, &[1])]);
    let message = r#"group frontend has no account that serves model "gpt-5""#;
    check_refusal(&key, |ask| ask.model = Some(&gpt), Code::UnknownModel, message);
    let message = r#"group frontend has no account that speaks openai and serves model "claude-sonnet-4-5""#;
    check_refusal(&key, |ask| ask.dialect = Dialect::Openai, Code::UnknownModel, message);
    let message = "group frontend has no account that speaks openai and serves this path";
    check_refusal(&key, |ask| (ask.dialect, ask.model) = (Dialect::Openai, None), Code::UnknownPath, message);
}

#[test]
fn what_is_not_allowed_is_said() {
    let tiers = || vec![weighted(Strategy::Weighted, &[1])];
    let limited = Arc::new(Key { models: Some(globs(&["claude-haiku-*"])), ..key_of(group(tiers()), user("alice")) });
    let message =
        r#"this key of group frontend may not use model "claude-sonnet-4-5"; the model list shows those that it may use"#;
    check_refusal(&limited, |_| {}, Code::ModelNotAllowed, message);
    let message = "name a model: this key of group frontend may use only certain ones";
    check_refusal(&limited, |ask| ask.model = None, Code::ModelNotAllowed, message);
    let limited = with_group(tiers(), |group| group.models = Some(globs(&[])));
    let message = r#"group frontend may not use model "claude-sonnet-4-5"; the model list shows those that it may use"#;
    check_refusal(&limited, |_| {}, Code::ModelNotAllowed, message);
    let limited = Arc::new(Key { services: Some(vec!["gemini".into()]), ..key_of(group(tiers()), user("alice")) });
    let message = "this key of group frontend may not use a service that serves this request; it may use none";
    check_refusal(&limited, |_| {}, Code::ServiceNotAllowed, message);
}

#[test]
fn a_mapped_name_is_no_way_around_the_list() {
    let mapped = Account { model_map: vec![(glob("claude-sonnet-*"), "claude-opus-4-5".into())], ..account("a0") };
    let limited = Arc::new(Key { models: Some(globs(&["claude-sonnet-*"])), ..key_of(group(one_of(mapped)), user("alice")) });
    let message =
        r#"this key of group frontend may not use model "claude-sonnet-4-5"; the model list shows those that it may use"#;
    check_refusal(&limited, |_| {}, Code::ModelNotAllowed, message);
}

#[test]
fn wishes_are_granted_or_refused() {
    let gemini = Arc::new(account_of(service("gemini", Dialect::Anthropic, &["claude-*"]), "g0"));
    let tiers = || {
        let mut tier = weighted(Strategy::Weighted, &[1]);
        tier.members.push(member(&gemini, 1));
        vec![tier]
    };
    let free = key(tiers());
    let model = MODEL.into();
    let wish = Ask { wish_service: Some("gemini"), ..ask(&free, Some(&model), None) };
    assert_eq!(named(Plan::new(wish, &mut seeded()).unwrap(), clock::now()), ["g0"]);
    let message = "x-aicarpool-service: this key of group frontend may use claude, gemini";
    check_refusal(&free, |ask| ask.wish_service = Some("openai"), Code::ServiceNotAllowed, message);
    let bound = with_group(tiers(), |group| (group.wishes.service, group.wishes.strategy) = (false, false));
    let message = "group frontend does not let its members choose by x-aicarpool-service; leave the header out";
    check_refusal(&bound, |ask| ask.wish_service = Some("gemini"), Code::ServiceNotAllowed, message);
    let message = "group frontend does not let its members choose by x-aicarpool-strategy; leave the header out";
    check_refusal(&bound, |ask| ask.wish_strategy = Some(Strategy::Cost), Code::OperationNotAllowed, message);
    assert!(strategy_named("cost").is_ok() && strategy_named("luck").is_err_and(|refusal| refusal.code == Code::BadRequest));
}

#[test]
fn disabled_accounts_are_never_named() {
    let off = Account { enabled: false, ..account("a0") };
    let message = "every account of group frontend for this request is switched off; ask your operator";
    check_refusal(&key(one_of(off)), |_| {}, Code::NoAccount, message);
}

#[test]
fn unpriced_models_are_refused_where_prices_are_a_must() {
    let model = "our-own-model".into();
    let key = key(one_of(account_of(service("corp", Dialect::Anthropic, &[]), "c0")));
    let message = r#"no price is known for model "our-own-model", and this gateway serves priced models only"#;
    check_refusal(&key, |ask| (ask.unpriced, ask.model) = (Unpriced::Reject, Some(&model)), Code::UnpricedModel, message);
    assert!(Plan::new(ask(&key, Some(&model), None), &mut seeded()).is_ok());
}

#[test]
fn what_keeps_all_accounts_away_decides_the_refusal() {
    let check = |reasons: [Option<Verdict>; 2], full: bool, code, again_ms: Option<i64>| {
        let mut tier = weighted(Strategy::Weighted, &[]);
        tier.members = ["a0", "a1"].map(|id| member(&Arc::new(Account { max_concurrency: Some(1), ..account(id) }), 1)).into();
        let key = key(vec![tier]);
        let now = clock::now();
        let mut held = Vec::new();
        for (n, (id, reason)) in ["a0", "a1"].into_iter().zip(reasons).enumerate() {
            match reason {
                Some(reason) => park(find(&key, id), reason, now.wall.plus_ms(5_000 * (n as i64 + 1))),
                None if full => held.push(find(&key, id).live.take(None)),
                None => {}
            }
        }
        let mut plan = plan(&key, None, &mut seeded());
        while plan.next(now).is_some() {}
        let again = again_ms.map_or(Again::Unknown, |ms| Again::At(now.wall.plus_ms(ms)));
        let refusal = plan.refusal(now);
        assert_eq!((refusal.code, refusal.again), (code, again), "{reasons:?}");
        assert!(refusal.message.contains("group frontend") && !refusal.message.contains("a0"), "{}", refusal.message);
    };
    use Verdict::{Credential, Overloaded, RateLimit};
    check([Some(RateLimit), Some(RateLimit)], false, Code::AccountsRateLimited, Some(5_000));
    check([Some(RateLimit), Some(Credential)], false, Code::NoAccount, Some(5_000));
    check([Some(Overloaded), Some(RateLimit)], false, Code::NoAccount, Some(5_000));
    check([Some(RateLimit), None], true, Code::NoAccount, Some(1_000));
    check([None, None], true, Code::NoAccount, Some(1_000));
    check([None, None], false, Code::NoAccount, None);
}

// ------------------------------------------------------------------ stored things

#[test]
fn a_stored_thing_is_found_at_its_account_alone() {
    let key = key(vec![weighted(Strategy::Weighted, &[1, 1, 1]), named_tier(Source::Pools, Strategy::Weighted, "b", &[1])]);
    let pinned = |reach| Plan::new(Ask { reach, ..ask(&key, None, None) }, &mut seeded()).map(|plan| named(plan, clock::now()));
    assert_eq!(pinned(Reach::Account("b0".into())).unwrap(), ["b0"]);
    assert_eq!(pinned(Reach::Account("gone".into())).unwrap_err().code, Code::UnknownPath);
}

#[test]
fn what_nobody_knows_is_sought_where_only_this_group_is() {
    let shared = |sole: bool| {
        let mut tier = weighted(Strategy::Weighted, &[1, 1]);
        tier.members[0].sole = false;
        tier.members[1].sole = sole;
        key(vec![tier])
    };
    let sought = |key: &Arc<Key>| {
        Plan::new(Ask { reach: Reach::Sole, ..ask(key, None, None) }, &mut seeded()).map(|plan| named(plan, clock::now()))
    };
    assert_eq!(sought(&shared(true)).unwrap(), ["a1"]);
    assert_eq!(sought(&shared(false)).unwrap_err().code, Code::UnknownPath);
}

// ------------------------------------------------------------------ for any binding

/// What goes on at an account.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Well,
    Off,
    Full,
    Parked(Verdict),
}

fn state() -> impl Any<Value = State> {
    prop_oneof![
        3 => Just(State::Well),
        1 => Just(State::Off),
        1 => Just(State::Full),
        1 => Just(State::Parked(Verdict::RateLimit)),
        1 => Just(State::Parked(Verdict::Server)),
    ]
}

/// A tier: its strategy, and the weight and state of each account.
type States = (Strategy, Vec<(u32, State)>);

fn tier_of_states() -> impl Any<Value = States> {
    (prop::sample::select(Strategy::ALL.to_vec()), prop::collection::vec((1u32..5, state()), 0..6))
}

/// Tiers of accounts in these states; what is held keeps the full ones full.
fn build(tiers: &[States], now: Now) -> (Arc<Key>, Vec<crate::live::InFlight>) {
    let mut held = Vec::new();
    let make = |(t, (strategy, states)): (usize, &States)| {
        let members = states.iter().enumerate().map(|(n, (weight, state))| {
            let account = Account { enabled: *state != State::Off, max_concurrency: Some(1), ..account(&format!("t{t}n{n}")) };
            match state {
                State::Well | State::Off => {}
                State::Full => held.extend(account.live.take(None)),
                State::Parked(reason) => park(&account, *reason, now.wall.plus_ms(1_000)),
            }
            member(&Arc::new(account), *weight)
        });
        tier(if t == 0 { Source::Dedicated } else { Source::Pools }, *strategy, members.collect())
    };
    let tiers = tiers.iter().enumerate().map(make).collect();
    (key(tiers), held)
}

proptest! {
    /// Each account that can be used is named once, those of higher tiers first, doubtful ones last, others never.
    #[test]
    fn a_plan_names_each_candidate_once(tiers in prop::collection::vec(tier_of_states(), 0..4), session in any::<Option<u64>>(), seed in any::<u64>()) {
        let now = clock::now();
        let (key, _held) = build(&tiers, now);
        let model = MODEL.into();
        let planned = Plan::new(ask(&key, Some(&model), session), &mut Chance::seeded(seed));
        let ids = |wanted: State| {
            let of = move |(t, (_, states)): (usize, &States)| -> Vec<String> {
                let at = states.iter().enumerate().filter(move |(_, (_, state))| *state == wanted);
                at.map(|(n, _)| format!("t{t}n{n}")).collect()
            };
            tiers.iter().enumerate().flat_map(of).collect::<Vec<_>>()
        };
        let Ok(planned) = planned else {
            let usable = tiers.iter().flat_map(|(_, states)| states).any(|(_, state)| *state != State::Off);
            prop_assert!(!usable);
            return Ok(());
        };
        let order = named(planned, now);
        let tier_of = |id: &String| id[1..2].to_owned();
        let well = ids(State::Well);
        let (first, last) = order.split_at(well.len());
        prop_assert!(first.is_sorted_by_key(tier_of) && last.is_sorted_by_key(tier_of), "{:?}", order);
        let sorted = |ids: &[String]| ids.iter().cloned().collect::<BTreeSet<_>>();
        prop_assert_eq!(sorted(first), sorted(&well));
        prop_assert_eq!(sorted(last), sorted(&ids(State::Parked(Verdict::Server))));
        prop_assert_eq!(last.len(), sorted(last).len());
    }

    /// Taking an account away moves its sessions only, and to what each would have tried next; adding it back brings them back.
    #[test]
    fn only_the_sessions_of_what_goes_move(weights in prop::collection::vec(1u32..5, 2..9), gone in any::<prop::sample::Index>(), spread in 0usize..3) {
        let now = clock::now();
        let strategy = [Strategy::Weighted, Strategy::RoundRobin, Strategy::LeastConnections][spread];
        let full = key(vec![weighted(strategy, &weights)]);
        let gone = gone.index(weights.len());
        let mut tier = weighted(strategy, &weights);
        tier.members.remove(gone);
        let rest = key(vec![tier]);
        for session in 0..100 {
            let mut order = named(plan(&full, Some(session), &mut seeded()), now);
            order.retain(|id| *id != format!("a{gone}"));
            prop_assert_eq!(order, named(plan(&rest, Some(session), &mut seeded()), now));
        }
    }
}
