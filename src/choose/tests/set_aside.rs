//! What a plan makes of accounts that are parked or full.

use super::*;

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
