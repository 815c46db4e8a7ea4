//! What a key may use, for the model lists that the gateway answers itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::outside::{self, Entry};
use super::serving;
use super::tiers;
use crate::config::snapshot::{Account, Globs, Key, Service};
use crate::price::Book;
use crate::words::{Dialect, Id};

/// Entries of one list, at most.
const LISTED_MAX: usize = 1_000;

/// A model that a key may ask for.
#[derive(Clone, Debug)]
pub struct Listed {
    pub id: Arc<str>,
    /// Whose model it is: the provider of the service's price-book entries.
    pub provider: Id,
    pub max_input: Option<u64>,
    pub max_output: Option<u64>,
}

/// The models that this key may ask for in this dialect, sorted by name, each once: the names that accounts list or map, and the
/// book's entries for what they serve. Patterns alone name no model: what only they stand for is usable but not listed.
pub fn models(key: &Key, dialect: Dialect, book: &Book) -> Vec<Listed> {
    let mut listed = BTreeMap::new();
    let mut alike: Vec<&Arc<Service>> = Vec::new();
    for account in usable(key, dialect) {
        // Accounts that leave all to their service have the same models: a pool of a thousand is asked once.
        if account.models.is_none() && account.model_map.is_empty() {
            if alike.iter().any(|service| Arc::ptr_eq(service, &account.service)) {
                continue;
            }
            alike.push(&account.service);
        }
        let known = outside::entries(book, account).map(|entry| Arc::clone(&entry.id));
        for name in literals(account).chain(known) {
            if listed.len() < LISTED_MAX && !listed.contains_key(&name) && may_ask(key, account, book, &name) {
                listed.insert(Arc::clone(&name), describe(name, account, book));
            }
        }
    }
    listed.into_values().collect()
}

/// One model, if this key may ask for it in this dialect: also one that no list holds because only a pattern stands for it.
pub fn model(key: &Key, dialect: Dialect, book: &Book, name: &Arc<str>) -> Option<Listed> {
    let account = usable(key, dialect).find(|account| may_ask(key, account, book, name))?;
    Some(describe(Arc::clone(name), account, book))
}

/// The accounts whose models count for this key.
fn usable(key: &Key, dialect: Dialect) -> impl Iterator<Item = &Account> {
    let accounts = tiers::all(key).map(|seat| &**seat.account);
    accounts.filter(move |account| account.enabled && serving::speaks(account, dialect) && serving::service_allowed(key, account))
}

/// The names that the account's configuration spells out.
fn literals(account: &Account) -> impl Iterator<Item = Arc<str>> {
    let listed = account.models.as_ref().map_or(&[][..], |Globs(globs)| globs);
    let patterns = listed.iter().chain(account.model_map.iter().map(|(glob, _)| glob));
    patterns.map(|glob| &glob.text).filter(|text| !text.contains(['*', '?'])).cloned()
}

fn may_ask(key: &Key, account: &Account, book: &Book, name: &Arc<str>) -> bool {
    let sent = serving::serves(account, book, Some(name));
    serving::model_allowed(key, name) && sent.is_some_and(|sent| serving::sent_name_allowed(key, sent))
}

fn describe(id: Arc<str>, account: &Account, book: &Book) -> Listed {
    let sent = serving::serves(account, book, Some(&id)).and_then(|sent| sent.name(Some(&id)).cloned());
    let entry: Option<Arc<Entry>> = sent.and_then(|name| outside::entry(book, account, &name));
    let limit = |of: fn(&Entry) -> Option<u64>| entry.as_deref().and_then(of);
    Listed {
        provider: account.service.prices.clone(),
        max_input: limit(|entry| entry.max_input),
        max_output: limit(|entry| entry.max_output),
        id,
    }
}
