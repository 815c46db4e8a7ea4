//! Why no account serves a request, in words for the caller: what the group may do about it, and never which accounts it has.

use std::fmt::Write;
use std::sync::Arc;

use super::outside::{self, Parked};
use super::pins::Reach;
use super::plan::{Ask, Wanted};
use super::serving;
use super::tiers::{self, Seat};
use crate::clock::Now;
use crate::config::snapshot::{Key, Strategy};
use crate::words::{Again, Code, Operation, Refusal, UnixMs, Verdict};

/// An account that is full may have a place again at any moment.
const FULL_AGAIN_MS: i64 = 1_000;

/// The strategy of this name, for `x-aicarpool-strategy`.
pub fn strategy_named(name: &str) -> Result<Strategy, Refusal> {
    Strategy::ALL.into_iter().find(|strategy| strategy.name() == name).ok_or_else(|| {
        let names = Strategy::ALL.map(Strategy::name).join(", ");
        Refusal::new(Code::BadRequest, format!("x-aicarpool-strategy must be one of {names}"))
    })
}

/// Refuses wishes that the group or the key does not allow.
pub(super) fn wishes(ask: &Ask<'_>) -> Result<(), Refusal> {
    let group = &ask.key.group;
    let not = |code, header| {
        let what = format!("group {} does not let its members choose by {header}; leave the header out", group.id);
        Err(Refusal::new(code, what))
    };
    if ask.wish_strategy.is_some() && !group.wishes.strategy {
        return not(Code::OperationNotAllowed, "x-aicarpool-strategy");
    }
    let Some(service) = ask.wish_service else { return Ok(()) };
    if !group.wishes.service {
        return not(Code::ServiceNotAllowed, "x-aicarpool-service");
    }
    let key_allows = ask.key.services.as_ref().is_none_or(|services| services.iter().any(|allowed| allowed.as_str() == service));
    let is_there = || tiers::all(ask.key).any(|seat| seat.account.service.id.as_str() == service);
    if key_allows && is_there() {
        return Ok(());
    }
    let services = usable_services(ask.key);
    Err(Refusal::new(Code::ServiceNotAllowed, format!("x-aicarpool-service: this key of group {} may use {services}", group.id)))
}

/// Refuses a model that key or group does not allow, and a request without one where a list of models has to be kept.
pub(super) fn model(ask: &Ask<'_>) -> Result<(), Refusal> {
    let key = ask.key;
    let limited = key.models.is_some() || key.group.models.is_some();
    match ask.model {
        Some(model) if serving::model_allowed(key, model) => Ok(()),
        Some(model) => Err(model_not_allowed(key, model)),
        None if limited && generates(ask.operation) && ask.reach == Reach::Any => {
            let what = format!("name a model: this key of group {} may use only certain ones", key.group.id);
            Err(Refusal::new(Code::ModelNotAllowed, what))
        }
        None => Ok(()),
    }
}

/// Whether the operation makes something with a model, rather than handing out what is kept.
fn generates(operation: Operation) -> bool {
    match operation {
        Operation::Messages | Operation::Chat | Operation::Responses | Operation::Completions | Operation::Generate => true,
        Operation::Embeddings | Operation::Images | Operation::Audio | Operation::Moderations | Operation::Rerank => true,
        Operation::CountTokens => true,
        Operation::Models | Operation::Files | Operation::Batches => false,
    }
}

fn model_not_allowed(key: &Key, model: &str) -> Refusal {
    let group = &key.group;
    let whose = match group.models.as_ref().is_none_or(|globs| globs.is_match(model)) {
        true => format!("this key of group {} may not use model {}", group.id, shown(model)),
        false => format!("group {} may not use model {}", group.id, shown(model)),
    };
    Refusal::new(Code::ModelNotAllowed, format!("{whose}; the model list shows those that it may use"))
}

/// How far the account that came furthest got. The order is that of the questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lacks {
    Object,
    Model,
    Dialect,
    KeyService,
    WishedService,
    Enabled,
    SentName,
    Price,
}

/// What the seat's account lacks for this request; nothing, if it can be a candidate.
pub(super) fn lacks(wanted: &Wanted, seat: &Seat<'_>, model: Option<&Arc<str>>) -> Option<Lacks> {
    let account = seat.account;
    if !serving::reaches(wanted, seat) {
        return Some(Lacks::Object);
    }
    let Some(sent) = serving::serves(account, &wanted.book, model) else { return Some(Lacks::Model) };
    let asked = [
        (Lacks::Dialect, serving::speaks(account, wanted.dialect)),
        (Lacks::KeyService, serving::service_allowed(&wanted.key, account)),
        (Lacks::WishedService, serving::is_wished(wanted, account)),
        (Lacks::Enabled, account.enabled),
        (Lacks::SentName, serving::sent_name_allowed(&wanted.key, sent)),
        (Lacks::Price, serving::price_allowed(wanted, account, sent, model)),
    ];
    asked.into_iter().find(|(_, has)| !has).map(|(lacks, _)| lacks)
}

/// The refusal of a request that no account can ever serve.
pub(super) fn diagnose(wanted: &Wanted) -> Refusal {
    let group = &wanted.key.group.id;
    let seats = || tiers::all(&wanted.key);
    let furthest = wanted.models().flat_map(|model| seats().filter_map(move |seat| lacks(wanted, &seat, model))).max();
    let model = wanted.model.as_deref().map(shown);
    let unknown = |what: String| match &model {
        Some(model) => Refusal::new(Code::UnknownModel, format!("group {group} has no account {what} model {model}")),
        None => Refusal::new(Code::UnknownPath, format!("group {group} has no account {what} this path")),
    };
    match furthest {
        Some(Lacks::Object) => Refusal::new(Code::UnknownPath, format!("nothing of this id is known to group {group}")),
        None | Some(Lacks::Model) => unknown("that serves".into()),
        Some(Lacks::Dialect) => unknown(format!("that speaks {} and serves", wanted.dialect.name())),
        Some(Lacks::WishedService) => {
            unknown(format!("of service {} that serves", wanted.wish_service.as_deref().map_or("", |s| s)))
        }
        Some(Lacks::KeyService) => {
            let services = usable_services(&wanted.key);
            let what = format!("this key of group {group} may not use a service that serves this request; it may use {services}");
            Refusal::new(Code::ServiceNotAllowed, what)
        }
        Some(Lacks::Enabled) => {
            let what = format!("every account of group {group} for this request is switched off; ask your operator");
            Refusal::new(Code::NoAccount, what).again(Again::Unknown)
        }
        Some(Lacks::SentName) => model_not_allowed(&wanted.key, wanted.model.as_deref().unwrap_or_default()),
        Some(Lacks::Price) => {
            let what =
                format!("no price is known for model {}, and this gateway serves priced models only", model.unwrap_or_default());
            Refusal::new(Code::UnpricedModel, what)
        }
    }
}

/// The services that the key may use, as a list in words.
fn usable_services(key: &Key) -> String {
    let mut services: Vec<&str> = tiers::all(key)
        .filter(|seat| serving::service_allowed(key, seat.account))
        .map(|seat| seat.account.service.id.as_str())
        .collect();
    services.sort_unstable();
    services.dedup();
    if services.is_empty() { "none".into() } else { services.join(", ") }
}

/// What keeps the accounts of a group from serving just now.
#[derive(Default)]
struct Left {
    seats: usize,
    rate_limited: usize,
    full: usize,
    /// The earliest moment at which one may serve again.
    earliest: Option<UnixMs>,
}

impl Left {
    fn note(&mut self, seat: &Seat<'_>, parked: Option<Parked>, now: Now) {
        self.seats += 1;
        let again = match parked {
            Some(parked) => {
                self.rate_limited += usize::from(parked.reason == Verdict::RateLimit);
                Some(parked.again)
            }
            None if seat.is_full() => {
                self.full += 1;
                Some(now.wall.plus_ms(FULL_AGAIN_MS))
            }
            None => None,
        };
        self.earliest = [self.earliest, again].into_iter().flatten().min();
    }
}

/// The refusal when every candidate is parked, full or tried.
pub(super) fn nothing_left(wanted: &Wanted, now: Now) -> Refusal {
    let mut left = Left::default();
    for model in wanted.models() {
        for seat in tiers::all(&wanted.key) {
            let Some(sent) = serving::fits(wanted, &seat, model) else { continue };
            left.note(&seat, outside::parked(&seat.account.live, sent.name(model), now), now);
        }
    }
    let (code, state) = match &left {
        left if left.seats > 0 && left.rate_limited == left.seats => {
            (Code::AccountsRateLimited, "is rate limited by its provider")
        }
        left if left.seats > 0 && left.full == left.seats => (Code::NoAccount, "is at the concurrency it may have"),
        _ => (Code::NoAccount, "is busy or set aside"),
    };
    let mut message = format!("every account of group {}", wanted.key.group.id);
    if let Some(model) = &wanted.model {
        write!(message, " for model {}", shown(model)).ok();
    }
    match left.earliest {
        Some(moment) => write!(message, " {state}; try again {}", when(moment)).ok(),
        None => write!(message, " {state}; try again later").ok(),
    };
    Refusal::new(code, message).again(left.earliest.map_or(Again::Unknown, Again::At))
}

/// A moment in words.
pub(super) fn when(moment: UnixMs) -> String {
    // Rounded up to the second: who comes at the moment named is not too early.
    let second = moment.0.saturating_add(999).div_euclid(1_000);
    jiff::Timestamp::from_second(second).map_or_else(|_| "later".into(), |moment| format!("at {moment}"))
}

/// A name that a caller sent, cut to what is fit for a message.
fn shown(name: &str) -> String {
    let clean: String = name.chars().filter(|c| !c.is_control()).take(100).collect();
    format!("{clean:?}")
}
