//! `aicarpool explain`: who would serve a request, who would not, and why.

use std::fmt::Write;
use std::sync::Arc;

use super::outside;
use super::pins::Reach;
use super::plan::Wanted;
use super::refuse::{self, Lacks, when};
use super::serving;
use super::strategy::{self, Place};
use super::tiers::{self, Seat};
use crate::clock::Now;
use crate::config::snapshot::{Group, Key, Snapshot, Source, User};
use crate::words::{Dialect, Id};

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
    let dialects: Vec<Dialect> = match question.dialect {
        Some(dialect) => vec![dialect],
        None => Dialect::ALL
            .into_iter()
            .filter(|dialect| tiers::all(&key).any(|seat| serving::speaks(seat.account, *dialect)))
            .collect(),
    };
    let mut text = heading(group, user, question);
    for dialect in dialects {
        let wanted = Wanted {
            key: Arc::clone(&key),
            book: Arc::clone(&snapshot.prices),
            dialect,
            model: Some(question.model.into()),
            fallbacks: super::plan::fallbacks(&key, Some(&question.model.into())),
            input: EXAMPLE_INPUT,
            max_output: None,
            wish_service: None,
            wish_strategy: None,
            unpriced: snapshot.settings.unpriced,
            reach: Reach::Any,
        };
        text.push_str(&in_dialect(&wanted, now));
    }
    if !question.live {
        text.push_str("\nParkings and what is in flight are known to the running gateway only and not counted here.\n");
    }
    Ok(text)
}

/// Tokens of prompt that strategy `cost` is shown with.
const EXAMPLE_INPUT: u64 = 1_000;

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
        enabled: true,
    }
}

fn heading(group: &Group, user: &User, question: &Question<'_>) -> String {
    let mut text =
        format!("group {} of enterprise {}, user {}, model {}\n", group.id, group.enterprise.id, user.id, question.model);
    let mut note = |applies: bool, what: String| {
        if applies {
            writeln!(text, "  {what}").ok();
        }
    };
    note(!group.enabled, "the group is disabled: its requests are refused".into());
    note(!user.enabled, "the user is disabled: their requests are refused".into());
    let allowed = group.models.as_ref().is_none_or(|globs| globs.is_match(question.model));
    note(!allowed, "the group's models do not allow it: its requests are refused".into());
    text
}

fn in_dialect(wanted: &Wanted, now: Now) -> String {
    let mut text = format!("\nin dialect {}\n", wanted.dialect.name());
    let mut order = Vec::new();
    for (step, model) in wanted.models().enumerate() {
        if step > 0 {
            let name = model.map_or("", |name| name);
            writeln!(text, "  when none of these is left: model {name} in its place").ok();
        }
        for tier in 0..tiers::count(&wanted.key) {
            text.push_str(&tier_in_words(wanted, tier, model, now, &mut order));
        }
    }
    let mut named = Vec::new();
    order.retain(|name: &Named| {
        if named.contains(&name.0) {
            false
        } else {
            named.push(name.0.clone());
            true
        }
    });
    if order.is_empty() {
        writeln!(text, "  a request is refused: {}", refusal(wanted, now)).ok();
    } else {
        let names: Vec<String> = order.into_iter().map(|Named(id, how)| format!("{id}{how}")).collect();
        writeln!(text, "  a request tries: {}", names.join(", ")).ok();
    }
    text
}

/// An account, and what to say of it in the order.
struct Named(Id, String);

fn refusal(wanted: &Wanted, now: Now) -> String {
    let fits = |model| tiers::all(&wanted.key).any(|seat| serving::fits(wanted, &seat, model).is_some());
    let refusal = if wanted.models().any(fits) { refuse::nothing_left(wanted, now) } else { refuse::diagnose(wanted) };
    refusal.message
}

fn tier_in_words(wanted: &Wanted, tier: usize, model: Option<&Arc<str>>, now: Now, order: &mut Vec<Named>) -> String {
    let key = &wanted.key;
    if tiers::size(key, tier) == 0 {
        return String::new();
    }
    let strategy = tiers::strategy(key, tier, None);
    let mut text = match tiers::bound(key, tier) {
        None => "  the user's own keys\n".to_owned(),
        Some(bound) => {
            let what = match bound.source {
                Source::Dedicated => "accounts",
                Source::Pools => "pools",
            };
            format!("  tier {tier}: {what} of priority {}, strategy {}\n", bound.priority, strategy.name())
        }
    };
    let mut places = Vec::new();
    let mut others = String::new();
    for (index, seat) in tiers::seats(key, tier).enumerate() {
        match why_not(wanted, &seat, model, now) {
            Some(why) => {
                writeln!(others, "    -  {}: {why}", in_words(&seat)).ok();
            }
            None => {
                let sent = serving::fits(wanted, &seat, model);
                let sent = sent.as_ref().and_then(|sent| sent.name(model));
                let rank = strategy::rank(strategy, wanted, &seat, sent, now);
                // Where weight and chance decide, the heavier is shown first.
                places.push(Place { index, rank, score: 1.0 / f64::from(seat.weight.max(1)) });
            }
        }
    }
    strategy::compare(strategy, &mut places, crate::choose::sticky::Seed::of_group(&key.group.id));
    places.sort_by(Place::order);
    for (at, place) in places.iter().enumerate() {
        let Some(seat) = tiers::seat(key, tier, place.index) else { continue };
        let sent = serving::fits(wanted, &seat, model);
        let name = sent.as_ref().and_then(|sent| sent.name(model)).filter(|name| Some(*name) != model);
        let name = name.map_or(String::new(), |name| format!(", sent as {name}"));
        let share = share(key, tier, &places, place);
        writeln!(text, "    {}. {}{share}{name}", at + 1, in_words(&seat)).ok();
        let fallback =
            if model == wanted.model.as_ref() { String::new() } else { format!(" with {}", model.map_or("", |name| name)) };
        order.push(Named(seat.account.id.clone(), fallback));
    }
    text.push_str(&others);
    text
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
        let doubtful = if parked.transport { ", to be tried when no other is left" } else { "" };
        let until = when(parked.until);
        return Some(format!(
            "is parked for {} until {}{again}{doubtful}",
            parked.reason.name(),
            until.trim_start_matches("at ")
        ));
    }
    let limit = seat.limit().filter(|limit| account.live.in_flight() >= *limit)?;
    Some(format!("is full: {} in flight, {limit} allowed", account.live.in_flight()))
}
