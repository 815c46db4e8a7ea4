//! In which order a plan names accounts that are all well.

use super::*;

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
    let local = member(
        &Arc::new(Account {
            model_map: vec![(glob("*"), "our-own-model".into())],
            ..account_of(service("corp", Dialect::Anthropic, &[]), "local")
        }),
        1,
    );
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
