//! Every line of the policy, with time moved by hand.

use std::time::Duration;

use proptest::prelude::*;

use super::notes::Noted;
use super::*;
use crate::upstream::verdict::{Transport, Until, judge_transport};
use crate::words::Id;

/// 2026-11-21T08:00:00Z.
const START: UnixMs = UnixMs(1_795_248_000_000);
const CALLER: u64 = 1;

/// One account under a clock that the test moves.
struct World {
    live: Arc<AccountLive>,
    now: Now,
    chance: Chance,
}

fn world() -> World {
    World { live: Arc::default(), now: Now { wall: START, steady: crate::clock::steady() }, chance: Chance::seeded(7) }
}

fn judgement(verdict: Verdict, scope: Scope, until: Until) -> Judgement {
    Judgement { verdict, scope, until, ban: false, error: Some(verdict.name().to_owned()), unknown_403: false, row: 0 }
}

/// A failure whose end is not known, at the scope that `rows` gives it.
fn growing(verdict: Verdict) -> Judgement {
    let scope = match verdict {
        Verdict::RateLimit | Verdict::Overloaded | Verdict::Model => Scope::Model,
        _ => Scope::Account,
    };
    judgement(verdict, scope, Until::Growing)
}

fn hint(verdict: Verdict, seconds: u64) -> Judgement {
    Judgement { until: Until::Hint(Duration::from_secs(seconds)), ..growing(verdict) }
}

impl World {
    fn pass(&mut self, seconds: u64) -> &mut World {
        self.now = self.now.later(Duration::from_secs(seconds));
        self
    }
    fn fails(&mut self, judgement: &Judgement) -> Option<Change> {
        note(&self.live, judgement, "m", CALLER, self.now, &mut self.chance)
    }
    fn succeeds(&self) -> Vec<Change> {
        success(&self.live, "m", self.now.wall, self.now)
    }
    fn ask(&self, model: &str) -> Result<Ticket, Parked> {
        may_use(&self.live, model, self.now)
    }
    /// For how many seconds from now the model may not be used.
    fn parked_s(&self, model: &str) -> i64 {
        parked(&self.live, model, self.now).map_or(0, |parked| (parked.until.since_ms(self.now.wall) + 500) / 1000)
    }
    /// Asks for a long parking's one try, and sends it.
    fn try_once(&self) -> bool {
        self.ask("m").is_ok_and(|mut ticket| {
            let half_open = ticket.half_open();
            ticket.sent();
            half_open
        })
    }
}

// ------------------------------------------------------------------ durations

/// The lengths, in seconds, of parkings by failures that come right after each other's end.
fn check_growth(verdict: Verdict, lengths: &[i64]) {
    let mut world = world();
    for expected in lengths {
        world.fails(&growing(verdict));
        assert_eq!(world.parked_s("m"), *expected, "{verdict:?}");
        world.pass(u64::try_from(*expected).unwrap());
        assert_eq!(world.parked_s("m"), 0);
        assert!(world.ask("m").is_ok());
    }
    // A success begins anew.
    world.succeeds();
    world.fails(&growing(verdict));
    assert_eq!(world.parked_s("m"), lengths[0], "{verdict:?} after a success");
}

#[test]
fn parkings_without_a_moment_grow() {
    check_growth(Verdict::Connect, &[5, 10, 20, 40, 80, 160, 300, 300]);
    check_growth(Verdict::Server, &[0, 10, 20, 40, 80, 160, 300, 300]);
    check_growth(Verdict::Overloaded, &[10, 20, 40, 80, 120, 120]);
    check_growth(Verdict::RateLimit, &[15, 30, 60, 120, 240, 480, 900, 900]);
    check_growth(Verdict::Credential, &[1800, 86_400, 86_400]);
    check_growth(Verdict::Money, &[3600, 7200, 14_400, 28_800, 57_600, 86_400, 86_400]);
    check_growth(Verdict::Model, &[3600, 3600]);
}

#[test]
fn what_is_no_fault_of_the_account_parks_nothing() {
    for verdict in [Verdict::Accept, Verdict::Request, Verdict::Reused] {
        let mut world = world();
        assert_eq!(world.fails(&hint(verdict, 60)), None);
        assert!(!world.live.parked.load(Ordering::Relaxed) && !world.live.remembered.load(Ordering::Relaxed));
    }
}

#[test]
fn a_server_fault_counts_from_the_second_within_a_minute() {
    let mut world = world();
    world.fails(&growing(Verdict::Server));
    assert_eq!(world.parked_s("m"), 0);
    world.pass(61).fails(&growing(Verdict::Server));
    assert_eq!(world.parked_s("m"), 0);
    world.pass(60).fails(&growing(Verdict::Server));
    assert_eq!(world.parked_s("m"), 10);
    // The minute begins again where the parking ends.
    world.pass(10 + 59).fails(&growing(Verdict::Server));
    assert_eq!(world.parked_s("m"), 20);
    world.pass(20 + 61).fails(&growing(Verdict::Server));
    assert_eq!(world.parked_s("m"), 0);
}

#[test]
fn a_success_between_two_server_faults_parts_them() {
    let mut world = world();
    world.fails(&growing(Verdict::Server));
    world.pass(1).succeeds();
    world.pass(1).fails(&growing(Verdict::Server));
    assert_eq!(world.parked_s("m"), 0);
}

#[test]
fn named_moments_count_with_some_jitter() {
    let check = |judgement: Judgement, least: i64, most: i64| {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let mut world = world();
            world.chance = Chance::seeded(seed * 977);
            world.fails(&judgement);
            let ms = parked(&world.live, "m", world.now).unwrap().until.since_ms(START);
            assert!((least..=most).contains(&ms), "{ms}");
            seen.insert(ms);
        }
        assert!(seen.len() > 10, "chance decides");
    };
    check(hint(Verdict::RateLimit, 100), 100_000, 105_000);
    check(hint(Verdict::RateLimit, 7200), 7_200_000, 7_230_000);
    check(hint(Verdict::Money, 864_000), 864_000_000, 864_030_000);
    check(Judgement { until: Until::Named(START.plus_ms(60_000)), ..growing(Verdict::RateLimit) }, 60_000, 63_000);
    // At least a second; what is kept short by its kind stays short.
    check(Judgement { until: Until::Hint(Duration::from_millis(20)), ..growing(Verdict::RateLimit) }, 1_000, 1_050);
    check(hint(Verdict::Server, 86_400), 300_000, 315_000);
    check(hint(Verdict::Overloaded, 86_400), 120_000, 126_000);
}

#[test]
fn a_moment_that_is_past_is_no_information() {
    let mut world = world();
    world.fails(&Judgement { until: Until::Named(START.plus_ms(-1)), ..growing(Verdict::RateLimit) });
    assert_eq!(world.parked_s("m"), 15);
}

#[test]
fn a_new_moment_never_shortens_an_older_one() {
    let mut world = world();
    world.fails(&hint(Verdict::RateLimit, 600));
    let before = world.parked_s("m");
    world.fails(&hint(Verdict::RateLimit, 5));
    world.fails(&growing(Verdict::RateLimit));
    world.fails(&growing(Verdict::Overloaded));
    assert_eq!(world.parked_s("m"), before);
    world.fails(&hint(Verdict::RateLimit, 1200));
    assert!(world.parked_s("m") >= 1200);
}

#[test]
fn failures_inside_one_parking_count_once() {
    let mut world = world();
    assert!(world.fails(&growing(Verdict::RateLimit)).is_some());
    for _ in 0..20 {
        assert_eq!(world.fails(&growing(Verdict::RateLimit)), None, "told once");
    }
    assert_eq!(world.parked_s("m"), 15);
    world.pass(15).fails(&growing(Verdict::RateLimit));
    assert_eq!(world.parked_s("m"), 30);
    // Two keys refused at the same time are no second refusal in a row.
    let mut world = self::world();
    world.fails(&growing(Verdict::Credential));
    world.fails(&growing(Verdict::Credential));
    assert_eq!(world.parked_s("m"), 1800);
}

// ------------------------------------------------------------------ scopes

#[test]
fn a_model_is_parked_alone() {
    let mut world = world();
    let change = world.fails(&growing(Verdict::Overloaded)).unwrap();
    let until = START.plus_ms(10_000);
    let error = Some("overloaded".to_owned());
    assert_eq!(change, Change::Parked { model: Some("m".into()), reason: Verdict::Overloaded, until, error, ban: false });
    assert!(world.ask("m").is_err());
    assert!(world.ask("other").is_ok());
    assert!(world.ask("").is_ok());
    world.fails(&growing(Verdict::Connect));
    assert!(world.ask("other").is_err());
}

#[test]
fn a_family_is_parked_as_a_whole() {
    let mut world = world();
    let family = Judgement { scope: Scope::Family("claude-opus".into()), ..hint(Verdict::RateLimit, 60) };
    note(&world.live, &family, "claude-opus-4-1-20250805", CALLER, world.now, &mut world.chance);
    for model in ["claude-opus-4-1-20250805", "claude-opus-4-6", "claude-3-opus-latest", "claude-opus"] {
        assert!(world.ask(model).is_err(), "{model}");
    }
    for model in ["claude-sonnet-4-5", "gpt-5", ""] {
        assert!(world.ask(model).is_ok(), "{model}");
    }
    // A success with one of them lifts it for all.
    world.pass(1);
    success(&world.live, "claude-opus-4-6", world.now.wall, world.now);
    assert!(world.ask("claude-opus-4-1-20250805").is_ok());
}

#[test]
fn models_are_bounded_and_so_are_texts() {
    let mut world = world();
    for n in 0..500 {
        let model = format!("{n}{}", "長".repeat(1000));
        let judgement = Judgement { error: Some("e".repeat(10_000)), ..hint(Verdict::RateLimit, 1000 + n) };
        note(&world.live, &judgement, &model, CALLER, world.now, &mut world.chance);
        assert!(world.ask(&model).is_err(), "also a name that was cut");
    }
    let list = list(&world.live, world.now);
    assert_eq!(list.len(), MODELS_MAX);
    assert!(list.iter().all(|(model, parking)| {
        model.as_ref().unwrap().len() <= NAME_BYTES_MAX && parking.error.as_ref().unwrap().len() <= NAME_BYTES_MAX
    }));
    // Those that end latest are kept.
    assert!(list.iter().all(|(_, parking)| parking.until.unwrap().since_ms(START) > 1_400_000));
}

#[test]
fn nothing_parked_takes_no_lock() {
    let world = world();
    let _held = world.live.parkings.lock();
    assert!(world.ask("m").is_ok_and(|ticket| !ticket.half_open()));
    assert_eq!(world.succeeds(), vec![]);
    assert_eq!(sweep(&world.live, world.now), vec![]);
    assert_eq!(list(&world.live, world.now), vec![]);
}

// ------------------------------------------------------------------ success

#[test]
fn a_success_lifts_and_is_told() {
    let mut world = world();
    world.fails(&growing(Verdict::Money));
    world.fails(&growing(Verdict::Model));
    assert_eq!(
        world.pass(1).succeeds(),
        vec![
            Change::Recovered { model: None, reason: Verdict::Money, by: By::Success },
            Change::Recovered { model: Some("m".into()), reason: Verdict::Model, by: By::Success },
        ]
    );
    assert!(world.ask("m").is_ok());
    assert!(!world.live.remembered.load(Ordering::Relaxed));
}

#[test]
fn a_success_that_was_sent_before_the_failure_says_nothing() {
    let mut world = world();
    let sent = world.now.wall;
    world.pass(5).fails(&hint(Verdict::RateLimit, 600));
    world.pass(5);
    assert_eq!(success(&world.live, "m", sent, world.now), vec![]);
    assert!(world.ask("m").is_err());
    // Nor does one with another model of a model's parking.
    assert_eq!(success(&world.live, "other", world.now.wall, world.now), vec![]);
    assert!(world.ask("m").is_err());
    assert_eq!(world.succeeds().len(), 1);
}

// ------------------------------------------------------------------ half-open

#[test]
fn a_long_parking_is_tried_every_quarter_of_an_hour() {
    let mut world = world();
    world.fails(&hint(Verdict::RateLimit, 5 * 3600));
    assert!(!world.pass(899).try_once());
    assert!(world.pass(1).try_once());
    assert!(!world.try_once(), "one request only");
    assert!(!world.pass(899).try_once());
    assert!(world.pass(1).try_once());
    // What it says counts.
    world.succeeds();
    assert!(world.ask("m").is_ok_and(|ticket| !ticket.half_open()));
}

#[test]
fn again_names_the_next_try() {
    let mut world = world();
    world.fails(&growing(Verdict::Money));
    let asked = world.ask("m").unwrap_err();
    assert_eq!((asked.until, asked.again), (START.plus_ms(3_600_000), START.plus_ms(900_000)));
    // A short parking beside it: both must be over.
    world.pass(890).fails(&growing(Verdict::RateLimit));
    assert_eq!(world.ask("m").unwrap_err().again, START.plus_ms(905_000));
    world.pass(15);
    assert!(world.try_once());
}

#[test]
fn short_parkings_and_bans_are_not_tried() {
    let mut world = world();
    for _ in 0..7 {
        world.fails(&growing(Verdict::RateLimit));
        let seconds = u64::try_from(world.parked_s("m")).unwrap();
        assert!(!world.pass(seconds - 1).try_once(), "15 min are not beyond 15 min");
        world.pass(1);
    }
    let mut world = self::world();
    assert!(matches!(
        world.fails(&Judgement { ban: true, ..growing(Verdict::Credential) }),
        Some(Change::Parked { ban: true, .. })
    ));
    for _ in 0..90 {
        assert!(!world.pass(900).try_once());
    }
    assert_eq!(world.parked_s("m"), 86_400 - 90 * 900);
}

#[test]
fn a_try_that_fails_is_one_more_in_a_row() {
    let mut world = world();
    world.fails(&growing(Verdict::Credential));
    assert!(world.pass(900).try_once());
    let change = world.fails(&growing(Verdict::Credential));
    assert!(matches!(change, Some(Change::Parked { ban: true, .. })), "a ban is told: {change:?}");
    assert_eq!(world.parked_s("m"), 86_400);
    assert!(!world.pass(3600).try_once());

    let mut world = self::world();
    world.fails(&growing(Verdict::Money));
    assert!(world.pass(900).try_once());
    world.fails(&growing(Verdict::Money));
    assert_eq!(world.parked_s("m"), 7200);
    // Another failure, of a request that was under way, does not count.
    world.fails(&growing(Verdict::Money));
    assert_eq!(world.parked_s("m"), 7200);
    assert!(world.pass(900).try_once());
}

#[test]
fn a_try_that_is_not_sent_is_free_again() {
    let mut world = world();
    world.fails(&growing(Verdict::Money));
    world.pass(900);
    let ticket = world.ask("m").unwrap();
    assert!(ticket.half_open() && world.ask("m").is_err());
    drop(ticket);
    assert!(world.try_once());
    assert!(!world.try_once());
}

#[test]
fn of_many_at_once_one_tries() {
    let mut world = world();
    world.fails(&growing(Verdict::Money));
    world.pass(900);
    let world = &world;
    let tickets: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| world.ask("m").ok())).collect();
        threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(tickets.len(), 1);
}

// ------------------------------------------------------------------ unknown 403

#[test]
fn an_unknown_403_counts_when_two_callers_met_it() {
    let unknown = Judgement { unknown_403: true, ..growing(Verdict::Credential) };
    let meets = |world: &mut World, caller| note(&world.live, &unknown, "m", caller, world.now, &mut world.chance);
    let mut world = world();
    for _ in 0..10 {
        assert_eq!(meets(&mut world, 1), None);
        world.pass(30);
    }
    assert!(world.ask("m").is_ok());
    world.pass(601);
    assert_eq!(meets(&mut world, 2), None, "too long ago");
    world.pass(599);
    assert!(meets(&mut world, 3).is_some());
    assert_eq!(world.parked_s("m"), 1800);
    // Again and again: never a ban, never longer.
    for _ in 0..3 {
        world.pass(1800);
        meets(&mut world, 1);
        meets(&mut world, 2);
        assert_eq!(world.parked_s("m"), 1800);
        assert!(!list(&world.live, world.now)[0].1.ban);
    }
    // A success between parts the callers.
    let mut world = self::world();
    meets(&mut world, 1);
    world.pass(1).succeeds();
    assert_eq!(meets(world.pass(1), 2), None);
}

// ------------------------------------------------------------------ transport

#[test]
fn only_faults_of_server_and_transport_may_be_ignored() {
    let transport = |verdicts: &[Verdict]| {
        let mut world = world();
        for verdict in verdicts {
            world.fails(&growing(*verdict));
            world.fails(&growing(*verdict));
        }
        world.ask("m").unwrap_err().transport
    };
    assert!(transport(&[Verdict::Connect]));
    assert!(transport(&[Verdict::Server]));
    assert!(transport(&[Verdict::Server, Verdict::Connect]));
    for verdict in [Verdict::RateLimit, Verdict::Overloaded, Verdict::Money, Verdict::Credential, Verdict::Model] {
        assert!(!transport(&[verdict]));
        assert!(!transport(&[Verdict::Connect, verdict]));
    }
}

#[test]
fn a_refused_connection_does_not_wipe_out_a_used_up_week() {
    let mut world = world();
    let week = Judgement { scope: Scope::Account, ..hint(Verdict::RateLimit, 604_800) };
    world.fails(&week);
    world.fails(&judge_transport(Transport::Connect));
    assert_eq!(
        recovered_by_check(&world.live, world.now),
        vec![Change::Recovered { model: None, reason: Verdict::Connect, by: By::Check }]
    );
    assert!(world.parked_s("m") >= 604_800);
    assert_eq!(world.ask("m").unwrap_err().reason, Verdict::RateLimit);
}

// ------------------------------------------------------------------ the attempts of one request

/// Notes these failures (account, judgement, status) as one request's; tells what its end changed.
fn request(accounts: &[World], failures: &[(usize, &Judgement, u16)], served: bool) -> Vec<(Id, Change)> {
    let mut notes = Notes::default();
    for (which, judgement, status) in failures {
        let world = &accounts[*which];
        let account = Id::from(["a", "b", "c"][*which]);
        let attempt = Attempt { account: &account, live: &world.live, judgement, status: *status, model: "m", caller: CALLER };
        notes.failed(attempt, world.now, &mut Chance::seeded(1));
    }
    notes.end(served, accounts[0].now)
}

#[test]
fn the_same_5xx_everywhere_is_the_requests_fault() {
    let accounts = [world(), world()];
    let fault = growing(Verdict::Server);
    for _ in 0..10 {
        assert_eq!(request(&accounts, &[(0, &fault, 500), (1, &fault, 500)], false), vec![]);
    }
    for world in &accounts {
        assert!(world.ask("m").is_ok());
        assert!(!world.live.remembered.load(Ordering::Relaxed), "as if it had never been");
    }
}

#[test]
fn one_attempt_or_unlike_ones_count() {
    let fault = growing(Verdict::Server);
    let other = Judgement { error: Some("other".to_owned()), ..fault.clone() };
    let check = |failures: &[(usize, &Judgement, u16)], served, counts: bool| {
        let accounts = [world(), world()];
        request(&accounts, failures, served);
        request(&accounts, failures, served);
        assert_eq!(accounts[0].ask("m").is_err(), counts, "{failures:?} {served}");
    };
    check(&[(0, &fault, 500), (1, &fault, 500)], false, false);
    check(&[(0, &fault, 500)], false, true);
    check(&[(0, &fault, 500), (1, &fault, 500)], true, true);
    check(&[(0, &fault, 500), (1, &fault, 502)], false, true);
    check(&[(0, &fault, 500), (1, &other, 500)], false, true);
    check(&[(0, &fault, 500), (1, &growing(Verdict::Request), 400)], false, true);
    check(&[(0, &fault, 408), (1, &fault, 408)], false, true);
    check(&[(0, &fault, 0), (1, &fault, 0)], false, true);
    check(&[(0, &growing(Verdict::Connect), 0), (1, &growing(Verdict::Connect), 0)], false, true);
    // A reused connection's reset is no attempt of its own.
    check(&[(0, &growing(Verdict::Reused), 0), (0, &fault, 500), (1, &fault, 500)], false, false);
    check(&[(0, &fault, 500), (1, &fault, 500), (1, &other, 500)], false, true);
}

#[test]
fn what_was_begun_by_it_ends_and_is_told() {
    let mut accounts = [world(), world()];
    let fault = growing(Verdict::Server);
    accounts[0].fails(&fault);
    let ended = request(&accounts, &[(0, &fault, 500), (1, &fault, 500)], false);
    assert_eq!(ended, vec![(Id::from("a"), Change::Recovered { model: None, reason: Verdict::Server, by: By::TakenBack })]);
    assert!(accounts[0].ask("m").is_ok());
    // The one fault that was there before is there still.
    accounts[0].fails(&fault);
    assert_eq!(accounts[0].parked_s("m"), 10);
}

#[test]
fn what_weighs_more_without_it_is_told() {
    let fault = growing(Verdict::Server);
    let mut world = world();
    let (first, _) = noted(&world.live, &fault, "m", CALLER, world.now, &mut world.chance);
    world.pass(50).fails(&fault);
    // Inside the parking of the second.
    world.pass(9).fails(&fault);
    world.pass(1);
    assert_eq!(sweep(&world.live, world.now).len(), 1);
    let first = Noted { account: Id::from("a"), live: Arc::clone(&world.live), key: None, serial: first.unwrap() };
    // Now the third is the second within a minute.
    assert!(matches!(first.take_back(world.now), Some(Change::Parked { reason: Verdict::Server, .. })));
    assert_eq!(world.parked_s("m"), 9);
}

// ------------------------------------------------------------------ ends

#[test]
fn the_sweep_tells_what_ended_by_time() {
    let mut world = world();
    world.fails(&growing(Verdict::Connect));
    world.fails(&growing(Verdict::Overloaded));
    assert_eq!(sweep(&world.live, world.now), vec![]);
    world.pass(5);
    let network = Change::Recovered { model: None, reason: Verdict::Connect, by: By::Time };
    assert_eq!(sweep(&world.live, world.now), vec![network]);
    assert_eq!(sweep(&world.live, world.now), vec![]);
    assert!(world.pass(5).ask("m").is_ok());
    assert!(!world.live.parked.load(Ordering::Relaxed), "seen lazily by whoever asks");
    let model = Change::Recovered { model: Some("m".into()), reason: Verdict::Overloaded, by: By::Time };
    assert_eq!(sweep(&world.live, world.now), vec![model]);
    // Growth is remembered, and forgotten in the end.
    world.fails(&growing(Verdict::Connect));
    assert_eq!(world.parked_s("m"), 10);
    world.pass(3700);
    assert_eq!(sweep(&world.live, world.now).len(), 1);
    assert!(!world.live.remembered.load(Ordering::Relaxed));
    world.fails(&growing(Verdict::Connect));
    assert_eq!(world.parked_s("m"), 5);
}

#[test]
fn the_operators_hand_lifts_everything() {
    let mut world = world();
    world.fails(&Judgement { ban: true, ..growing(Verdict::Credential) });
    world.fails(&hint(Verdict::RateLimit, 600));
    let ended = unpark(&world.live);
    assert_eq!(ended.len(), 2);
    assert!(ended.iter().all(|change| matches!(change, Change::Recovered { by: By::Hand, .. })));
    assert!(world.ask("m").is_ok());
    assert_eq!(unpark(&world.live), vec![]);
    world.fails(&growing(Verdict::Credential));
    assert_eq!(world.parked_s("m"), 1800, "growth too");
}

#[test]
fn a_check_lifts_what_key_and_network_explain() {
    let lifted = |judgement: Judgement| {
        let mut world = world();
        world.fails(&judgement);
        world.fails(&judgement);
        assert!(world.ask("m").is_err());
        recovered_by_check(&world.live, world.now);
        world.ask("m").is_ok()
    };
    for verdict in [Verdict::Connect, Verdict::Server, Verdict::Credential, Verdict::RateLimit, Verdict::Overloaded] {
        assert!(lifted(growing(verdict)), "{verdict:?}");
    }
    assert!(!lifted(hint(Verdict::RateLimit, 60)));
    assert!(!lifted(growing(Verdict::Money)));
    assert!(!lifted(growing(Verdict::Model)));
    assert!(!lifted(Judgement { ban: true, ..growing(Verdict::Credential) }));
    // A key that lists models but serves nothing is banned all the same.
    let mut world = world();
    world.fails(&growing(Verdict::Credential));
    recovered_by_check(&world.live, world.now);
    assert!(matches!(world.pass(60).fails(&growing(Verdict::Credential)), Some(Change::Parked { ban: true, .. })));
}

#[test]
fn the_list_shows_all_that_is_in_force() {
    let mut world = world();
    world.fails(&growing(Verdict::Money));
    world.fails(&growing(Verdict::Connect));
    world.fails(&growing(Verdict::Model));
    let shown = |world: &World| -> Vec<(Option<Arc<str>>, Option<Verdict>)> {
        list(&world.live, world.now).into_iter().map(|(model, parking)| (model, parking.reason)).collect()
    };
    let model = (Some("m".into()), Some(Verdict::Model));
    assert_eq!(shown(&world), vec![(None, Some(Verdict::Money)), (None, Some(Verdict::Connect)), model.clone()]);
    world.pass(5);
    assert_eq!(shown(&world), vec![(None, Some(Verdict::Money)), model]);
    let (_, parking) = list(&world.live, world.now).swap_remove(0);
    assert_eq!(parking.since, Some(START));
    assert_eq!(parking.until, Some(START.plus_ms(3_600_000)));
    assert_eq!(parking.error.as_deref(), Some("money"));
}

// ------------------------------------------------------------------ properties

/// One thing that happens to an account.
#[derive(Clone, Debug)]
enum Step {
    Fails { judgement: Judgement, model: u8, caller: u64 },
    Succeeds { model: u8, sent_before_ms: i64 },
    Asks { model: u8, sends: bool },
    Unparked,
    Checked,
    Swept,
    Passes { ms: u64 },
}

fn any_judgement() -> impl Strategy<Value = Judgement> {
    let until = prop_oneof![
        Just(Until::Growing),
        (0u64..2_000_000).prop_map(|ms| Until::Hint(Duration::from_millis(ms))),
        (-100_000i64..5_000_000).prop_map(|ms| Until::Named(START.plus_ms(ms))),
    ];
    let scope = prop_oneof![Just(Scope::Account), Just(Scope::Model), Just(Scope::Family("claude-opus".into()))];
    (0..Verdict::ALL.len(), scope, until, prop::bool::weighted(0.1), prop::bool::weighted(0.2)).prop_map(
        |(verdict, scope, until, ban, unknown_403)| Judgement {
            ban,
            unknown_403,
            ..judgement(Verdict::ALL[verdict], scope, until)
        },
    )
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (any_judgement(), any::<u8>(), 0u64..3).prop_map(|(judgement, model, caller)| Step::Fails { judgement, model, caller }),
        1 => (any::<u8>(), 0i64..100_000).prop_map(|(model, sent_before_ms)| Step::Succeeds { model, sent_before_ms }),
        4 => (any::<u8>(), any::<bool>()).prop_map(|(model, sends)| Step::Asks { model, sends }),
        1 => Just(Step::Unparked),
        1 => Just(Step::Checked),
        1 => Just(Step::Swept),
        4 => (0u64..1_000_000).prop_map(|ms| Step::Passes { ms }),
    ]
}

fn name(model: u8) -> String {
    match model {
        0..100 => format!("claude-opus-{model}"),
        100..240 => format!("m{model}"),
        _ => String::new(),
    }
}

/// What holds after every step.
fn check_invariants(world: &World) {
    let shown = list(&world.live, world.now);
    let parkings = world.live.parkings.lock();
    assert!(parkings.models.len() <= MODELS_MAX);
    for (_, place) in parkings.places() {
        assert!(place.tracks.len() <= Verdict::ALL.len() && place.faults.recent.len() <= FAULTS_MAX);
        for (at, track) in place.tracks.iter().enumerate() {
            assert!(place.tracks[..at].iter().all(|other| other.parking.reason != track.parking.reason));
            assert!(!track.active(world.now.wall) || track.told, "what is in force was told");
        }
    }
    let active = parkings.places().iter().any(|(_, place)| place.tracks.iter().any(|track| track.active(world.now.wall)));
    assert_eq!(active, !shown.is_empty(), "no parking hides behind the flag");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// The end of what is in force moves back only by a success, a check or the operator's hand.
    #[test]
    fn an_end_never_comes_nearer(steps in prop::collection::vec(any_step(), 1..120), seed in any::<u64>()) {
        let mut world = world();
        world.chance = Chance::seeded(seed);
        let mut told: std::collections::HashSet<(Option<Arc<str>>, Verdict)> = Default::default();
        for step in steps {
            let before: Vec<_> = list(&world.live, world.now);
            let mut lifts = false;
            let changes: Vec<Change> = match step {
                Step::Fails { judgement, model, caller } => {
                    note(&world.live, &judgement, &name(model), caller, world.now, &mut world.chance).into_iter().collect()
                }
                Step::Succeeds { model, sent_before_ms } => {
                    lifts = true;
                    success(&world.live, &name(model), world.now.wall.plus_ms(-sent_before_ms), world.now)
                }
                Step::Asks { model, sends } => {
                    match world.ask(&name(model)) {
                        Ok(mut ticket) if sends => ticket.sent(),
                        Ok(_) => {}
                        Err(parked) => {
                            prop_assert!(parked.until > world.now.wall && parked.again > world.now.wall);
                            prop_assert!(parked.again <= parked.until);
                        }
                    }
                    Vec::new()
                }
                Step::Unparked => {
                    lifts = true;
                    unpark(&world.live)
                }
                Step::Checked => {
                    lifts = true;
                    recovered_by_check(&world.live, world.now)
                }
                Step::Swept => sweep(&world.live, world.now),
                Step::Passes { ms } => {
                    world.now = world.now.later(Duration::from_millis(ms));
                    Vec::new()
                }
            };
            for change in changes {
                match change {
                    Change::Parked { model, reason, until, .. } => {
                        prop_assert!(until > world.now.wall);
                        told.insert((model, reason));
                    }
                    Change::Recovered { model, reason, .. } => prop_assert!(told.remove(&(model, reason)), "ended, but never begun"),
                }
            }
            check_invariants(&world);
            let after = list(&world.live, world.now);
            let full = world.live.parkings.lock().models.len() == MODELS_MAX;
            for (model, old) in before {
                let same = after.iter().find(|(name, parking)| *name == model && parking.reason == old.reason);
                let over = old.until.is_none_or(|until| until <= world.now.wall);
                let kept = same.is_some_and(|(_, new)| new.until >= old.until);
                prop_assert!(kept || over || lifts || full && model.is_some(), "{:?} {:?}", model, old);
            }
        }
    }

    /// Server faults that are taken back leave no trace: the same as if they had never come.
    #[test]
    fn what_is_taken_back_never_was(
        faults in prop::collection::vec((0u64..90_000, any::<bool>(), prop::option::weighted(0.2, 1u64..400)), 1..FAULTS_MAX),
    ) {
        let (mut with, mut without) = (world(), world());
        let mut back = Vec::new();
        for (ms, stays, asks) in faults {
            with.now = with.now.later(Duration::from_millis(ms));
            without.now = with.now;
            let judgement = asks.map_or(growing(Verdict::Server), |seconds| hint(Verdict::Server, seconds));
            let seed = Chance::seeded(ms);
            let (serial, _) = noted(&with.live, &judgement, "m", CALLER, with.now, &mut seed.clone());
            if stays {
                note(&without.live, &judgement, "m", CALLER, without.now, &mut seed.clone());
            } else {
                back.push(serial.unwrap());
            }
        }
        for serial in back {
            Noted { account: Id::from("a"), live: Arc::clone(&with.live), key: None, serial }.take_back(with.now);
        }
        prop_assert_eq!(list(&with.live, with.now), list(&without.live, without.now));
        let tracks = |world: &World| {
            let parkings = world.live.parkings.lock();
            let tracks = parkings.account.tracks.iter();
            tracks.map(|track| (track.parking.clone(), track.growth, track.failed, track.tried)).collect::<Vec<_>>()
        };
        prop_assert_eq!(tracks(&with), tracks(&without));
    }
}
