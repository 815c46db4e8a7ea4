//! `aicarpool explain`: who would serve a request, who would not, and why.

use std::fmt::Write;
use std::sync::Arc;

use super::outside;
use super::pins::Reach;
use super::plan::{self, Wanted};
use super::refuse::{self, Lacks, when};
use super::serving;
use super::sticky::Seed;
use super::strategy::{self, Place};
use super::tiers::{self, Seat};
use crate::clock::Now;
use crate::config::snapshot::{Group, Key, Snapshot, Source, User};
use crate::words::{Dialect, Id};

/// Tokens of prompt that strategy `cost` is shown with.
const EXAMPLE_INPUT: u64 = 1_000;

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    pub group: &'a str,
    pub user: &'a str,
    pub model: &'a str,
    /// None: each dialect that any account of the group speaks.
    pub dialect: Option<Dialect>,
    /// Whether the snapshot is that of the running gateway, so that parkings and what is in flight are known.
    pub live: bool,
}

/// The answer, as text; or what is wrong with the question.
pub fn explain(snapshot: &Snapshot, question: &Question<'_>, now: Now) -> Result<String, String> {
    let group = snapshot.groups.get(question.group).ok_or_else(|| format!("no group {:?}", question.group))?;
    let user = snapshot.users.get(question.user).ok_or_else(|| format!("no user {:?}", question.user))?;
    if !user.groups.contains(&group.id) {
        return Err(format!("user {} is no member of group {}", user.id, group.id));
    }
    let key = Arc::new(any_key(group, user));
    let mut text =
        format!("group {} of enterprise {}, user {}, model {}\n", group.id, group.enterprise.id, user.id, question.model);
    let speaks = |dialect: &Dialect| tiers::all(&key).any(|seat| serving::speaks(seat.account, *dialect));
    let dialects = match question.dialect {
        Some(dialect) => vec![dialect],
        None => Dialect::ALL.into_iter().filter(speaks).collect(),
    };
    for dialect in dialects {
        let wanted = wanted(snapshot, &key, question, dialect);
        text.push_str(&in_dialect(&wanted, now));
    }
    if !question.live {
        text.push_str("\nParkings and what is in flight are known to the running gateway only and not counted here.\n");
    }
    Ok(text)
}

fn wanted(snapshot: &Snapshot, key: &Arc<Key>, question: &Question<'_>, dialect: Dialect) -> Wanted {
    let model = question.model.into();
    Wanted {
        key: Arc::clone(key),
        book: Arc::clone(&snapshot.prices),
        dialect,
        fallbacks: plan::fallbacks(key, Some(&model)),
        model: Some(model),
        input: EXAMPLE_INPUT,
        max_output: None,
        wish_service: None,
        wish_strategy: None,
        unpriced: snapshot.settings.unpriced,
        reach: Reach::Any,
    }
}

/// A key without restrictions of its own: those of single keys are not what is asked about.
fn any_key(group: &Arc<Group>, user: &Arc<User>) -> Key {
    Key {
        hash: [0; 32],
        name: "any".into(),
        group: Arc::clone(group),
        user: Arc::clone(user),
        services: None,
        models: None,
        operations: None,
        expires: None,
        allow_from: None,
        buffered: Default::default(),
        enabled: true,
    }
}

/// The accounts that a request would try.
#[derive(Default)]
struct Order {
    /// In order, each with a word on the model if it is a fallback.
    named: Vec<(Id, String)>,
    /// Those that are tried when none of the others is left.
    doubtful: Vec<(Id, String)>,
}

impl Order {
    fn name(list: &mut Vec<(Id, String)>, seat: &Seat<'_>, how: &str) {
        if list.iter().all(|(id, _)| *id != seat.account.id) {
            list.push((seat.account.id.clone(), how.to_owned()));
        }
    }
    fn in_words(list: &[(Id, String)]) -> String {
        list.iter().map(|(id, how)| format!("{id}{how}")).collect::<Vec<_>>().join(", ")
    }
}

fn in_dialect(wanted: &Wanted, now: Now) -> String {
    let mut text = format!("\nin dialect {}\n", wanted.dialect.name());
    let mut order = Order::default();
    for (step, model) in wanted.models().enumerate() {
        let mut how = String::new();
        if let Some(model) = model.filter(|_| step > 0) {
            writeln!(text, "  when none of these is left: model {model} in its place").ok();
            how = format!(" with {model}");
        }
        for tier in (0..tiers::count(&wanted.key)).filter(|tier| tiers::size(&wanted.key, *tier) > 0) {
            text.push_str(&title(&wanted.key, tier));
            tier_in_words(&mut text, wanted, tier, model, &how, &mut order, now);
        }
    }
    let Order { named, doubtful } = &order;
    match refusal(wanted, named.is_empty() && doubtful.is_empty(), now) {
        Some(why) => writeln!(text, "  a request is refused: {why}").ok(),
        None => {
            let most = wanted.key.group.failover.max_attempts;
            let then = if named.is_empty() || doubtful.is_empty() { "" } else { "; then, though parked: " };
            writeln!(text, "  a request tries, {most} at most: {}{then}{}", Order::in_words(named), Order::in_words(doubtful))
                .ok()
        }
    };
    text
}

/// Why a request is refused before any account is tried.
fn refusal(wanted: &Wanted, nothing_left: bool, now: Now) -> Option<String> {
    let Key { group, user, .. } = &*wanted.key;
    let model = wanted.model.as_deref().unwrap_or_default();
    if !group.enabled {
        return Some(format!("group {} is disabled", group.id));
    }
    if !user.enabled {
        return Some(format!("user {} is disabled", user.id));
    }
    if !serving::model_allowed(&wanted.key, model) {
        return Some(format!("the models of group {} do not allow {model}", group.id));
    }
    let fits = |model| tiers::all(&wanted.key).any(|seat| serving::fits(wanted, &seat, model).is_some());
    let why = || if wanted.models().any(fits) { refuse::nothing_left(wanted, now) } else { refuse::diagnose(wanted) };
    nothing_left.then(|| why().message)
}

fn title(key: &Key, tier: usize) -> String {
    let Some(bound) = tiers::bound(key, tier) else { return "  the user's own keys\n".into() };
    let what = match bound.source {
        Source::Dedicated => "accounts",
        Source::Pools => "pools",
    };
    format!("  tier {tier}: {what} of priority {}, strategy {}\n", bound.priority, bound.strategy.name())
}

/// The members of a tier: the candidates in their order, then the others with the reason.
fn tier_in_words(
    text: &mut String,
    wanted: &Wanted,
    tier: usize,
    model: Option<&Arc<str>>,
    how: &str,
    order: &mut Order,
    now: Now,
) {
    let key = &wanted.key;
    let strategy = tiers::strategy(key, tier, None);
    let mut places = Vec::new();
    let mut others = String::new();
    for (index, seat) in tiers::seats(key, tier).enumerate() {
        let sent = serving::fits(wanted, &seat, model);
        match (&sent, why_not(wanted, &seat, model, now)) {
            (Some(sent), None) => {
                let rank = strategy::rank(strategy, wanted, &seat, sent.name(model), now);
                // Where weight and chance decide, the heavier is shown first.
                places.push(Place { index, rank, score: 1.0 / f64::from(seat.weight.max(1)) });
            }
            (_, why) => {
                writeln!(others, "    -  {}: {}", in_words(&seat), why.unwrap_or_default()).ok();
                if sent.is_some_and(|sent| is_doubtful(&seat, sent.name(model), now)) {
                    Order::name(&mut order.doubtful, &seat, how);
                }
            }
        }
    }
    strategy::compare(strategy, &mut places, Seed::of_group(&key.group.id));
    places.sort_by(Place::order);
    for (at, place) in places.iter().enumerate() {
        let Some(seat) = tiers::seat(key, tier, place.index) else { continue };
        let sent = serving::fits(wanted, &seat, model);
        let sent = sent.as_ref().and_then(|sent| sent.name(model)).filter(|name| Some(*name) != model);
        let sent = sent.map_or(String::new(), |name| format!(", sent as {name}"));
        writeln!(text, "    {}. {}{}{sent}", at + 1, in_words(&seat), share(key, tier, &places, place)).ok();
        Order::name(&mut order.named, &seat, how);
    }
    text.push_str(&others);
}

/// How the first place among equals is shared.
fn share(key: &Key, tier: usize, places: &[Place], place: &Place) -> String {
    let weight = |place: &Place| tiers::seat(key, tier, place.index).map_or(0, |seat| u64::from(seat.weight));
    let ties = places.iter().filter(|other| other.rank == place.rank);
    let (count, all) = ties.fold((0, 0), |(count, all), other| (count + 1, all + weight(other)));
    if count < 2 { String::new() } else { format!(", first for {} % of sessions", weight(place) * 100 / all.max(1)) }
}

fn in_words(seat: &Seat<'_>) -> String {
    let mut text = format!("{} ({}", seat.account.id, seat.account.service.id);
    if let Some(pool) = seat.pool {
        write!(text, ", pool {pool}").ok();
    }
    if seat.weight != 1 {
        write!(text, ", weight {}", seat.weight).ok();
    }
    if seat.priority != 1 {
        write!(text, ", priority {}", seat.priority).ok();
    }
    text + ")"
}

/// Whether nothing but a doubtful parking stands against the seat's account.
fn is_doubtful(seat: &Seat<'_>, sent: Option<&Arc<str>>, now: Now) -> bool {
    !seat.is_full() && outside::parked(&seat.account.live, sent, now).is_some_and(|parked| parked.transport)
}

/// Why the seat's account is no candidate now.
fn why_not(wanted: &Wanted, seat: &Seat<'_>, model: Option<&Arc<str>>, now: Now) -> Option<String> {
    let account = seat.account;
    let name = model.map_or("", |name| name);
    if let Some(lacks) = refuse::lacks(wanted, seat, model) {
        return Some(match lacks {
            Lacks::Object => "does not hold what is asked for".into(),
            Lacks::Model => format!("does not serve {name}"),
            Lacks::Dialect => format!("does not speak {}", wanted.dialect.name()),
            Lacks::KeyService => format!("service {} is not allowed to the key", account.service.id),
            Lacks::WishedService => format!("is not of service {}", wanted.wish_service.as_deref().unwrap_or_default()),
            Lacks::Enabled => "is disabled".into(),
            Lacks::SentName => "sends a model that the group does not allow".into(),
            Lacks::Price => "has no price for the model, and unpriced is reject".into(),
        });
    }
    let sent = serving::fits(wanted, seat, model)?;
    if let Some(parked) = outside::parked(&account.live, sent.name(model), now) {
        let again = if parked.again < parked.until { format!(", to be tried {}", when(parked.again)) } else { String::new() };
        let until = when(parked.until);
        return Some(format!("is parked for {} until {}{again}", parked.reason.name(), until.trim_start_matches("at ")));
    }
    let limit = seat.limit().filter(|limit| account.live.in_flight() >= *limit)?;
    Some(format!("is full: {} in flight, {limit} allowed", account.live.in_flight()))
}
