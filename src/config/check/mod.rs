//! From what is written to what it means: every reference is looked up, every rule that spans entities holds, or there is a fault.
//!
//! An entity with a fault of its own still counts as there, so that one slip is one fault and not ten. The snapshot is handed out
//! only when there is none at all.

mod accounts;
mod bindings;
mod people;

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::path::PathBuf;
use std::sync::Arc;

use super::fault::Wrong;
use super::read::{Reader, Spot};
use super::settings;
use super::snapshot::{self, Enterprise, Group, Service, User};
use super::written::{Named, Origin, Written};
use crate::live::Lives;
use crate::price::Book;
use crate::words::{Factor, Id, Nanodollars};

/// The enterprise of whatever names none.
pub(super) const DEFAULT_ENTERPRISE: &str = "default";

/// What the entities become.
pub(super) struct Checked {
    pub(super) services: HashMap<Id, Arc<Service>>,
    pub(super) enterprises: HashMap<Id, Arc<Enterprise>>,
    pub(super) accounts: HashMap<Id, Arc<snapshot::Account>>,
    pub(super) groups: HashMap<Id, Arc<Group>>,
    pub(super) users: HashMap<Id, Arc<User>>,
    pub(super) keys: HashMap<[u8; 32], Arc<snapshot::Key>>,
    pub(super) prices: Arc<Book>,
}

/// Checks everything; faults go to `reader`. What comes back is whole only if there were none.
pub(super) fn check(reader: &Reader<'_>, read: &settings::Read, written: &Written, lives: &Lives) -> Checked {
    let services = accounts::services(reader, &written.services);
    let enterprises = enterprises(reader, &written.enterprises);
    let accounts = accounts::accounts(reader, &written.accounts, &services, &enterprises, lives);
    let groups = bindings::groups(reader, written, &accounts, &enterprises, read.settings.failover);
    let users = people::users(reader, &written.users, &groups, &services, lives);
    people::check_members(reader, &written.groups, &users);
    let keys = people::keys(reader, &written.keys, &groups, &users, &services, read);
    let prices = prices(reader, read, written, &services);
    let accounts = accounts.into_iter().filter_map(|(id, known)| Some((id, known.built?))).collect();
    Checked { services, enterprises, accounts, groups: groups.built, users, keys, prices }
}

/// Something that may be referred to: its enterprise as far as known, and what it became as far as it has no fault.
pub(super) struct Known<T> {
    pub(super) enterprise: Option<Id>,
    pub(super) built: Option<T>,
}

/// The path of a field of an entity, as `groups[2].binding`.
pub(super) fn at(section: &'static str, origin: Origin, rest: impl fmt::Display) -> String {
    format!("{section}[{}].{rest}", origin.index)
}

/// Tells of each id that was given before; of equals the first counts.
pub(super) struct Taken<'r, K> {
    reader: &'r Reader<'r>,
    first: HashMap<K, Spot>,
}

impl<'r, K: Hash + Eq> Taken<'r, K> {
    pub(super) fn new(reader: &'r Reader<'r>) -> Taken<'r, K> {
        Taken { reader, first: HashMap::new() }
    }

    /// Whether `key` is given for the first time; if not, the fault that `wrong` makes of the first place is noted.
    pub(super) fn take(
        &mut self,
        key: K,
        spot: Spot,
        path: impl FnOnce() -> String,
        wrong: impl FnOnce(String) -> Wrong,
    ) -> bool {
        match self.first.get(&key) {
            Some(first) => {
                self.reader.fault(spot, path(), wrong(self.reader.place(*first)));
                false
            }
            None => {
                self.first.insert(key, spot);
                true
            }
        }
    }
}

/// Whether an entity's id is the first of its kind.
pub(super) fn take_id(taken: &mut Taken<'_, Id>, section: &'static str, origin: Origin, id: &Named) -> bool {
    let name = id.id.to_string();
    taken.take(id.id.clone(), id.spot, || at(section, origin, "id"), |first| Wrong::Taken { name, first })
}

/// Notes that a name refers to nothing, with the nearest that there is.
pub(super) fn unknown<'c>(
    reader: &Reader<'_>,
    named: &Named,
    path: String,
    kind: &'static str,
    within: Option<&Id>,
    candidates: impl IntoIterator<Item = &'c str>,
) {
    // What stands in a file that could not be read may well be what is meant.
    if reader.incomplete.get() {
        return;
    }
    let name = named.id.as_str();
    // A map has no order; of names that are equally near the first by alphabet is proposed each time.
    let mut candidates: Vec<&str> = candidates.into_iter().take(10_000).collect();
    candidates.sort_unstable();
    let near = reader.nearest.of(name, candidates);
    let within = within.map(|enterprise| enterprise.to_string());
    let shown = super::read::shown_name(name).into_owned();
    reader.fault(named.spot, path, Wrong::Unknown { kind, name: shown, within, near });
}

fn enterprises(reader: &Reader<'_>, written: &[super::written::Enterprise]) -> HashMap<Id, Arc<Enterprise>> {
    let mut all = HashMap::new();
    let mut taken = Taken::new(reader);
    for one in written {
        if !take_id(&mut taken, "enterprises", one.origin, &one.id) {
            continue;
        }
        let parts = |section: &'static str, parts: &[(usize, Named)]| -> Vec<Id> {
            let mut taken = Taken::new(reader);
            let mut unique = |index: usize, named: &Named| {
                let path = || at("enterprises", one.origin, format_args!("{section}[{index}].id"));
                let name = named.id.to_string();
                taken.take(named.id.clone(), named.spot, path, |first| Wrong::Taken { name, first })
            };
            parts.iter().filter(|(index, named)| unique(*index, named)).map(|(_, named)| named.id.clone()).collect()
        };
        let enterprise = Enterprise {
            id: one.id.id.clone(),
            name: one.name.clone().unwrap_or_else(|| one.id.id.to_string()),
            charge_factor: one.charge_factor.unwrap_or(Factor::ONE),
            fixed_cost: one.fixed_cost.unwrap_or_default(),
            departments: parts("departments", &one.departments),
            projects: parts("projects", &one.projects),
        };
        note_charge(reader, one, &enterprise);
        all.insert(enterprise.id.clone(), Arc::new(enterprise));
    }
    let default = Id::from(DEFAULT_ENTERPRISE);
    all.entry(default.clone()).or_insert_with(|| {
        Arc::new(Enterprise {
            id: default,
            name: DEFAULT_ENTERPRISE.to_owned(),
            charge_factor: Factor::ONE,
            fixed_cost: Nanodollars::default(),
            departments: Vec::new(),
            projects: Vec::new(),
        })
    });
    all
}

/// What the factor and the fixed cost mean, in words.
fn note_charge(reader: &Reader<'_>, written: &super::written::Enterprise, enterprise: &Enterprise) {
    let place = reader.place(written.origin.spot);
    let path = format!("enterprises[{}]", written.origin.index);
    let fixed = enterprise.fixed_cost.0;
    if enterprise.charge_factor != Factor::ONE {
        let percent = shown_decimal(enterprise.charge_factor.0.saturating_mul(100));
        let of = if fixed > 0 { "cost and fixed cost" } else { "cost" };
        reader.note(format!("{place}: {path}: {} pays {percent} % of {of} (charge_factor)", enterprise.id));
    }
    if fixed > 0 {
        reader.note(format!(
            "{place}: {path}: each charged request of {} costs {} USD more (fixed_cost)",
            enterprise.id,
            shown_decimal(fixed)
        ));
    }
}

/// A number of units of 1e-9 as a decimal, without zeros at its end.
fn shown_decimal(nano: u64) -> String {
    let (whole, part) = (nano / Factor::SCALE, nano % Factor::SCALE);
    if part == 0 { whole.to_string() } else { format!("{whole}.{}", format!("{part:09}").trim_end_matches('0')) }
}

/// The enterprise that an entity names, if there is such; none named is the default one.
pub(super) fn enterprise_of(
    reader: &Reader<'_>,
    named: Option<&Named>,
    enterprises: &HashMap<Id, Arc<Enterprise>>,
    section: &'static str,
    origin: Origin,
) -> Option<Arc<Enterprise>> {
    let id = named.map_or(DEFAULT_ENTERPRISE, |named| named.id.as_str());
    let found = enterprises.get(id).cloned();
    if let (None, Some(named)) = (&found, named) {
        unknown(reader, named, at(section, origin, "enterprise"), "enterprise", None, enterprises.keys().map(Id::as_str));
    }
    found
}

/// The price book: the built-in one, overridden by the files of `prices`, whose entries must name what is there.
fn prices(reader: &Reader<'_>, read: &settings::Read, written: &Written, services: &HashMap<Id, Arc<Service>>) -> Arc<Book> {
    let mut texts = Vec::new();
    for (path, spot, index) in &read.price_files {
        match reader.files.prices(path) {
            Ok(text) => texts.push((path.clone(), text)),
            Err(error) => {
                let hint = "make the file, or mend the path (it is relative to this file)";
                reader.fault(
                    *spot,
                    format_args!("prices[{index}]"),
                    Wrong::BadFile { file: path.display().to_string(), error, hint },
                );
            }
        }
    }
    let book = overridden(reader, &texts);
    for one in &written.services {
        if let Some(prices) = &one.prices
            && !book.knows(prices.id.as_str())
        {
            let near = reader.nearest.of(prices.id.as_str(), book.providers());
            let hint = near.map_or(String::new(), |near| format!("; did you mean {near:?}?"));
            let (place, path) = (reader.place(prices.spot), at("services", one.origin, "prices"));
            reader.note(format!(
                "{place}: {path}: the price book knows no {:?}: what it serves counts as unpriced{hint}",
                prices.id
            ));
        }
    }
    for named in book.named() {
        let spot = Spot { file: reader.files.add(&named.file), line: u32::try_from(named.line).unwrap_or(u32::MAX).max(1) };
        let id = Named { id: Id::new(&*named.id), spot };
        if named.kind == "account" && !written.accounts.iter().any(|account| account.id.id == id.id) {
            unknown(
                reader,
                &id,
                named.path.clone(),
                "account",
                None,
                written.accounts.iter().map(|account| account.id.id.as_str()),
            );
        }
        if named.kind == "service" && !services.contains_key(&id.id) {
            unknown(reader, &id, named.path.clone(), "service", None, services.keys().map(Id::as_str));
        }
    }
    book
}

fn overridden(reader: &Reader<'_>, texts: &[(PathBuf, String)]) -> Arc<Book> {
    let builtin = Book::builtin();
    if texts.is_empty() {
        return builtin;
    }
    match builtin.with(texts) {
        Ok((book, notes)) => {
            notes.into_iter().for_each(|note| reader.note(note));
            Arc::new(book)
        }
        Err(faults) => {
            for (path, line, at, error) in faults {
                let spot = Spot { file: reader.files.add(&path), line: u32::try_from(line).unwrap_or(u32::MAX).max(1) };
                reader.fault(spot, at, Wrong::Price { error });
            }
            builtin
        }
    }
}
