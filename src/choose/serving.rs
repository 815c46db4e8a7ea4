//! Which accounts may serve a request at all, whatever goes on just now: what stays the same for the whole life of a plan.

use std::sync::Arc;

use super::outside;
use super::pins::Reach;
use super::plan::Wanted;
use super::tiers::Seat;
use crate::config::snapshot::{Account, Globs, Key, Unpriced};
use crate::price::Book;
use crate::words::Dialect;

/// The name under which an account serves a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent<'a> {
    /// The request names no model.
    Nothing,
    AsAsked,
    /// By the account's `model_map`.
    Mapped(&'a Arc<str>),
}

impl Sent<'_> {
    /// The name itself, for a request that asked for `asked`.
    pub(super) fn name<'b>(&'b self, asked: Option<&'b Arc<str>>) -> Option<&'b Arc<str>> {
        match self {
            Sent::Nothing => None,
            Sent::AsAsked => asked,
            Sent::Mapped(name) => Some(name),
        }
    }
}

/// Whether the seat's account may serve `model` for this request, and under which name. The cheap questions come first.
pub(super) fn fits<'a>(wanted: &Wanted, seat: &Seat<'a>, model: Option<&Arc<str>>) -> Option<Sent<'a>> {
    let account = seat.account;
    if !account.enabled || !reaches(wanted, seat) || !speaks(account, wanted.dialect) || !service_allowed(&wanted.key, account) {
        return None;
    }
    if !is_wished(wanted, account) {
        return None;
    }
    let sent = serves(account, &wanted.book, model)?;
    (sent_name_allowed(&wanted.key, sent) && price_allowed(wanted, account, sent, model)).then_some(sent)
}

pub(super) fn speaks(account: &Account, dialect: Dialect) -> bool {
    account.service.demo || account.endpoints.get(dialect).is_some()
}

/// Whether the account serves the model, and under which name. The map comes first: what it names, the account serves.
pub(super) fn serves<'a>(account: &'a Account, book: &Book, model: Option<&Arc<str>>) -> Option<Sent<'a>> {
    let Some(model) = model else { return Some(Sent::Nothing) };
    if let Some((_, name)) = account.model_map.iter().find(|(glob, _)| glob.is_match(model)) {
        return Some(Sent::Mapped(name));
    }
    let serves = match &account.models {
        Some(globs) => globs.is_match(model),
        None => serves_by_service(account, book, model),
    };
    serves.then_some(Sent::AsAsked)
}

/// An account without `models`: its service's families and entries of the price book; all where the service has neither.
fn serves_by_service(account: &Account, book: &Book, model: &str) -> bool {
    let families = &account.service.families;
    families.is_match(model)
        || outside::entry(book, account, model).is_some()
        || families.0.is_empty() && !outside::has_entries(book, account)
}

/// Whether key and group allow this name. Asked of the name asked for and of the one that is sent: else a mapped name would be
/// a way around the list (lessons.md 85).
pub(super) fn model_allowed(key: &Key, name: &str) -> bool {
    let allows = |globs: &Option<Globs>| globs.as_ref().is_none_or(|globs| globs.is_match(name));
    allows(&key.models) && allows(&key.group.models)
}

/// The same of the name that is sent; the one asked for has been looked at before.
pub(super) fn sent_name_allowed(key: &Key, sent: Sent<'_>) -> bool {
    match sent {
        Sent::Nothing | Sent::AsAsked => true,
        Sent::Mapped(name) => model_allowed(key, name),
    }
}

pub(super) fn service_allowed(key: &Key, account: &Account) -> bool {
    key.services.as_ref().is_none_or(|services| services.contains(&account.service.id))
}

pub(super) fn is_wished(wanted: &Wanted, account: &Account) -> bool {
    wanted.wish_service.as_deref().is_none_or(|service| account.service.id.as_str() == service)
}

/// Whether the account can hold what the request points to.
pub(super) fn reaches(wanted: &Wanted, seat: &Seat<'_>) -> bool {
    match &wanted.reach {
        Reach::Any => true,
        Reach::Account(id) => seat.account.id == *id,
        Reach::Sole => seat.sole,
    }
}

/// `unpriced: auto` bars only callers under a cost quota, of which there are none yet.
pub(super) fn price_allowed(wanted: &Wanted, account: &Account, sent: Sent<'_>, asked: Option<&Arc<str>>) -> bool {
    match wanted.unpriced {
        Unpriced::Auto | Unpriced::Allow => true,
        Unpriced::Reject => sent.name(asked).is_none_or(|name| outside::is_priced(&wanted.book, account, name)),
    }
}
