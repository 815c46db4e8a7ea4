//! What holds for any binding.

use super::*;

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
