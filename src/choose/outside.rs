//! What choosing asks of the rooms beside it, `parking` and `price`: the one place that names them.

use std::sync::Arc;

use crate::clock::Now;
use crate::config::snapshot::Account;
use crate::live::AccountLive;
use crate::parking;
pub(super) use crate::parking::Parked;
pub use crate::parking::Ticket;
pub use crate::price::Entry;
use crate::price::{self, Book, Mode, Scope};
use crate::words::{Class, Terms, Usage};

/// Leave to use the account now, for the model that is sent. May take the one half-open try of a long parking: ask only for an account that
/// will be used.
pub(super) fn may_use(live: &Arc<AccountLive>, model: Option<&Arc<str>>, now: Now) -> Result<Ticket, Parked> {
    parking::may_use(live, model.map_or("", |model| model), now)
}

/// Whether the account is parked, for telling: takes no try.
pub(super) fn parked(live: &AccountLive, model: Option<&Arc<str>>, now: Now) -> Option<Parked> {
    parking::parked(live, model.map_or("", |model| model), now)
}

/// The book's entry for `model` at this account.
pub(super) fn entry(book: &Book, account: &Account, model: &str) -> Option<Arc<Entry>> {
    let scope =
        Scope { account: account.id.as_str(), service: account.service.id.as_str(), provider: account.service.prices.as_str() };
    book.find(scope, model)
}

/// Whether the book has a price for `model` at this account.
pub(super) fn is_priced(book: &Book, account: &Account, model: &str) -> bool {
    entry(book, account, model).is_some_and(|entry| entry.is_priced())
}

/// The models that the book knows for this account's service, as far as a client can ask for them by name and by a path there is.
pub(super) fn entries<'a>(book: &'a Book, account: &Account) -> impl Iterator<Item = &'a Entry> {
    book.models_of(account.service.prices.as_str()).filter(|entry| entry.is_exact() && !entry.retired && has_path(entry.mode))
}

fn has_path(mode: Mode) -> bool {
    match mode {
        Mode::Chat | Mode::Completion | Mode::Embedding | Mode::Moderation | Mode::Rerank => true,
        Mode::Image | Mode::Transcription | Mode::Speech => true,
        Mode::Realtime | Mode::Ocr => false,
    }
}

/// Whether the book knows anything of this account's service.
pub(super) fn has_entries(book: &Book, account: &Account) -> bool {
    book.models_of(account.service.prices.as_str()).next().is_some()
}

/// What so many tokens would cost, in nano-dollars; none where some of it has no price.
pub(super) fn estimate(entry: &Entry, input: u64, output: u64, account: &Account, now: Now) -> Option<u64> {
    let usage = Usage::from_iter([(Class::Input, input), (Class::Output, output)]);
    let cost = price::cost(entry, &usage, &Terms::default(), now.wall, account.price_factor);
    cost.complete.then_some(cost.total.0)
}
