//! What choosing asks of the rooms beside it, `parking` and `price`: the one place that names them.

use std::sync::Arc;

use crate::clock::Now;
use crate::config::snapshot::Account;
use crate::live::{AccountLive, Parking};
use crate::price::Book;
use crate::words::{UnixMs, Verdict};

/// Leave to use an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ticket {
    Normal,
    HalfOpen,
}

/// An entry of the price book.
#[derive(Debug)]
pub struct Entry {
    pub id: Arc<str>,
    pub retired: bool,
    pub max_input: Option<u64>,
    pub max_output: Option<u64>,
}

/// Why an account may not be used just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parked {
    /// `None`: nobody knows, or not before the operator acts.
    pub(super) until: Option<UnixMs>,
    pub(super) reason: Option<Verdict>,
    /// For 408, 5xx or transport: a group without another candidate tries all the same.
    pub(super) transport: bool,
}

/// Leave to use the account now. May take the one half-open try of a long parking: ask only for an account that will be used.
pub(super) fn may_use(live: &AccountLive, model: Option<&str>, now: Now) -> Result<Ticket, Parked> {
    parked(live, model, now).map_or(Ok(Ticket::Normal), Err)
}

/// Whether the account is parked, for telling: takes no turn.
pub(super) fn parked(live: &AccountLive, model: Option<&str>, now: Now) -> Option<Parked> {
    if !live.parked.load(std::sync::atomic::Ordering::Acquire) {
        return None;
    }
    let parkings = live.parkings.lock();
    let over = |parking: &Parking| {
        let reason = parking.reason;
        let transport = matches!(reason, Some(Verdict::Server | Verdict::Connect));
        parking.until.filter(|until| *until > now.wall).map(|until| Parked { until: Some(until), reason, transport })
    };
    over(&parkings.account).or_else(|| model.and_then(|model| parkings.models.get(model)).and_then(over))
}

/// The price of `model` at this account.
pub(super) fn entry(_book: &Book, _account: &Account, _model: &str) -> Option<Arc<Entry>> {
    None
}

/// The entries that apply to this account's service.
pub(super) fn entries(_book: &Book, _account: &Account) -> Vec<Arc<Entry>> {
    Vec::new()
}

/// Whether the book knows anything of this account's service.
pub(super) fn has_entries(book: &Book, account: &Account) -> bool {
    !entries(book, account).is_empty()
}

/// What so many tokens would cost, in nano-dollars.
pub(super) fn estimate(_entry: &Entry, _input: u64, _output: u64, _account: &Account, _now: Now) -> u64 {
    0
}
