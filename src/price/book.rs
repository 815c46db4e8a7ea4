//! The price book: which entry prices a model, for whom.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use sha2::{Digest, Sha256};

use super::entry::{Block, Blocks, Entry, OffPeak, Written};
use super::exact::Ratio;
use super::name::{self, Name, Names, Room};
use super::read::{self, For, WrittenAlias, WrittenEntry};
use crate::words::Class;

/// A fault in a price file: file, line, path within it, what is wrong and what to do.
pub type Fault = (PathBuf, usize, String, String);

/// Whose price is asked for: account beats service beats provider (the service's `prices`).
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    pub account: &'a str,
    pub service: &'a str,
    pub provider: &'a str,
}

/// The word of the book that stands for all providers.
const ANY_PROVIDER: &str = "demo";

/// The built-in entries and the operator's overrides. Immutable; a reload makes another.
#[derive(Clone, Default)]
pub struct Book {
    entries: Vec<Arc<Entry>>,
    providers: HashMap<Box<str>, Provider>,
    services: HashMap<Box<str>, Names>,
    accounts: HashMap<Box<str>, Names>,
    /// What stands for providers without being one: aliases, and both with a region (`azure-eu`, `openai-us`).
    sources: HashMap<Box<str>, Source>,
    as_of: Arc<str>,
    version: Arc<str>,
    named: Vec<Named>,
}

/// The entries of one provider.
#[derive(Clone, Default)]
struct Provider {
    names: Names,
    /// In the order of the files; an override takes the place of what it overrides.
    list: Vec<usize>,
}

/// Providers whose entries apply to one `prices:` word, and what its place does to their prices.
#[derive(Clone, Default)]
struct Source {
    providers: Vec<Box<str>>,
    region: Option<Box<str>>,
    alias: Option<Arc<WrittenAlias>>,
}

/// An account, service or provider that an operator's entry names: for checking that there is such a one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// `account`, `service` or `provider`.
    pub kind: &'static str,
    pub id: String,
    pub file: PathBuf,
    pub line: usize,
    pub path: String,
}

impl fmt::Debug for Book {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Book({}, {} entries)", self.version, self.entries.len())
    }
}

// ------------------------------------------------------------------ asking

static BUILTIN: LazyLock<Arc<Book>> = LazyLock::new(|| {
    let file = Path::new("prices.yaml");
    let (read, faults) = read::read(file, include_str!("prices.yaml"));
    debug_assert!(faults.is_empty(), "{faults:?}");
    Arc::new(Book::of(read))
});

impl Book {
    /// The built-in book. Read once in a process (some 6 ms); later calls cost nothing.
    pub fn builtin() -> Arc<Book> {
        Arc::clone(&BUILTIN)
    }

    /// The entry that prices `model` in this scope; `None` where the book does not know it. Allocates nothing unless a region's
    /// multiplier or an override of the account or service is in play.
    pub fn find(&self, scope: Scope<'_>, model: &str) -> Option<Arc<Entry>> {
        let mut room = Room::new();
        let name = Name::new(model, false, &mut room)?;
        let base = self.at_provider(scope.provider, model, &name);
        let narrow = if self.accounts.is_empty() && self.services.is_empty() { None } else { self.narrow(scope, &name, base) };
        if let Some(entry) = narrow {
            return Some(Arc::clone(&self.entries[entry]));
        }
        let (entry, region) = base?;
        let entry = &self.entries[entry];
        if region == Ratio::ONE { Some(Arc::clone(entry)) } else { Some(Arc::new(Entry { region, ..Entry::clone(entry) })) }
    }

    /// Which prices these are, for records: the date of the built-in table, and a hash of the operator's files if there are any.
    pub fn version(&self) -> &Arc<str> {
        &self.version
    }

    /// The entries that apply to a service with `prices: provider`, in the order of the files.
    pub fn models_of(&self, provider: &str) -> impl Iterator<Item = &Entry> + use<'_> {
        let mut lists: Vec<&[usize]> = self.providers.get(provider).map(|own| &*own.list).into_iter().collect();
        let others = self.sources.get(provider).into_iter().flat_map(|source| &source.providers);
        lists.extend(others.filter_map(|other| self.providers.get(other)).map(|other| &*other.list));
        lists.into_iter().flatten().map(|entry| &*self.entries[*entry])
    }

    /// Whether `provider` may stand at a service's `prices`: it has entries, or stands for providers that do.
    pub fn knows(&self, provider: &str) -> bool {
        self.providers.contains_key(provider) || self.sources.contains_key(provider)
    }

    /// Everything that [`Book::knows`], in order: for messages.
    pub fn providers(&self) -> Vec<&str> {
        let mut known: Vec<&str> = self.providers.keys().chain(self.sources.keys()).map(|p| &**p).collect();
        known.sort_unstable();
        known.dedup();
        known
    }

    /// The accounts, services and providers that the operator's entries name.
    pub fn named(&self) -> &[Named] {
        &self.named
    }

    /// The override of the account, else of the service: for the name itself, or for the id that the provider's entry gives it.
    fn narrow(&self, scope: Scope<'_>, name: &Name<'_>, base: Option<(usize, Ratio)>) -> Option<usize> {
        let id = base.map(|(entry, _)| name::lower(&self.entries[entry].id));
        let find = |names: Option<&Names>| names.and_then(|names| names.find(name, id.as_deref()));
        find(self.accounts.get(scope.account)).or_else(|| find(self.services.get(scope.service)))
    }

    /// The provider's own entry, else that of a provider it stands for; and the region's multiplier.
    fn at_provider(&self, provider: &str, model: &str, name: &Name<'_>) -> Option<(usize, Ratio)> {
        if let Some(entry) = self.own(provider, name) {
            return Some((entry, Ratio::ONE));
        }
        // A service of the operator's own that names no `prices`: a model that a provider lists by this very name costs what it costs
        // there, until the operator says otherwise.
        let source = match self.sources.get(provider) {
            Some(source) => source,
            None if !self.providers.contains_key(provider) => self.sources.get(ANY_PROVIDER)?,
            None => return None,
        };
        if let Some(entry) = source.providers.iter().find_map(|provider| self.own(provider, name)) {
            return Some((entry, source.ratio(name.region, &self.entries[entry])));
        }
        // A router's name says whose model it is: `anthropic/claude-sonnet-4.5`. What stands after `:` (`:free`, `:nitro`) changes
        // the price in a way that no table tells.
        let (vendor, rest) = model.split_once('/')?;
        let vendors = &source.alias.as_ref()?.vendors;
        let (_, provider) = vendors.iter().find(|(name, _)| name.eq_ignore_ascii_case(vendor))?;
        let mut room = Room::new();
        let name = Name::new(rest, provider == "anthropic", &mut room).filter(|_| !rest.contains(':'))?;
        self.own(provider, &name).map(|entry| (entry, Ratio::ONE))
    }

    fn own(&self, provider: &str, name: &Name<'_>) -> Option<usize> {
        self.providers.get(provider)?.names.find(name, None)
    }
}

impl Source {
    /// The multiplier of the region that the `prices:` word or the model's name gives.
    fn ratio(&self, named: Option<&str>, entry: &Entry) -> Ratio {
        let Some(region) = self.region.as_deref().or(named) else { return Ratio::ONE };
        let Some(alias) = &self.alias else {
            let multiplier = if region == "us" { entry.multipliers.region_us } else { entry.multipliers.region_eu };
            return multiplier.unwrap_or(Ratio::ONE);
        };
        let of = |regions: &[(String, Ratio)]| regions.iter().find(|(name, _)| name == region).map(|(_, ratio)| *ratio);
        let id = name::lower(&entry.id);
        let concerns = |models: &[String]| models.iter().any(|model| name::glob(model.as_bytes(), id.as_bytes()));
        let exception = alias.exceptions.iter().filter(|one| concerns(&one.models)).find_map(|one| of(&one.regions));
        exception.or_else(|| of(&alias.regions)).unwrap_or(Ratio::ONE)
    }
}

// ------------------------------------------------------------------ making

impl Book {
    /// The book of one file that holds nothing but entries of providers.
    fn of(file: read::File) -> Book {
        let as_of: Arc<str> = file.as_of.unwrap_or_default().into();
        let mut book = Book { version: Arc::clone(&as_of), as_of, ..Book::default() };
        book.entries.reserve(file.models.len());
        for written in &file.models {
            let provider = written.provider.as_deref().unwrap_or_default();
            let entry = book.entries.len();
            book.entries.push(Arc::new(build(written, None)));
            let owner = book.providers.entry(provider.into()).or_default();
            owner.list.push(entry);
            for name in std::iter::once(&written.model).chain(&written.aliases) {
                owner.names.add(name, entry);
            }
        }
        book.stand_in(file.aliases);
        book
    }

    /// Enters aliases, and all that has regions under a name with the region.
    fn stand_in(&mut self, aliases: Vec<WrittenAlias>) {
        for alias in aliases.into_iter().map(Arc::new) {
            let providers: Vec<Box<str>> = alias.providers.iter().map(|p| p.as_str().into()).collect();
            let source = Source { providers, region: None, alias: Some(Arc::clone(&alias)) };
            for (region, _) in &alias.regions {
                let regional = Source { region: Some(region.as_str().into()), ..source.clone() };
                self.sources.insert(format!("{}-{region}", alias.name).into(), regional);
            }
            self.sources.insert(alias.name.as_str().into(), source);
        }
        for (provider, entries) in &self.providers {
            let any = |multiplier: fn(&Entry) -> bool| entries.list.iter().any(|entry| multiplier(&self.entries[*entry]));
            let us = any(|entry| entry.multipliers.region_us.is_some()).then_some("us");
            let eu = any(|entry| entry.multipliers.region_eu.is_some()).then_some("eu");
            for region in us.into_iter().chain(eu) {
                let source = Source { providers: vec![provider.clone()], region: Some(region.into()), alias: None };
                self.sources.insert(format!("{provider}-{region}").into(), source);
            }
        }
    }

    /// This book with the operator's files over it (path and text of each, in order), and what deserves a word: overrides that are
    /// 0 or differ more than fivefold from the built-in. Otherwise all faults, in order of file and line.
    ///
    /// An entry whose `model` is a built-in id takes that one's place: it counts also for its aliases and dated ids, and keeps what
    /// it does not say (limits, mode, unit prices, multipliers). A `price` replaces all prices of tokens, with their tiers.
    pub fn with(&self, files: &[(PathBuf, String)]) -> Result<(Book, Vec<String>), Vec<Fault>> {
        let mut faults = Vec::new();
        let mut read = Vec::with_capacity(files.len());
        for (path, text) in files {
            let (file, wrong) = read::read(path, text);
            faults.extend(wrong);
            read.push((path.as_path(), file));
        }
        let written: Vec<(&Path, &WrittenEntry)> =
            read.iter().flat_map(|(path, file)| file.models.iter().map(|entry| (*path, entry))).collect();
        faults.extend(taken(&written));
        if !faults.is_empty() {
            let order = |fault: &Fault| (files.iter().position(|(path, _)| *path == fault.0), fault.1);
            faults.sort_by_key(order);
            return Err(faults);
        }
        let mut book = self.clone();
        let mut notes = Vec::new();
        let mut explicit = Vec::new();
        for (path, entry) in written {
            explicit.extend(book.overlay(self, path, entry, &mut notes));
        }
        // What an entry names itself beats what another takes over from a built-in one.
        for (scope, name, entry) in explicit {
            book.names(&scope).add(&name, entry);
        }
        for (_, file) in read {
            book.stand_in(file.aliases);
        }
        if !files.is_empty() {
            book.version = version(&self.as_of, files).into();
        }
        Ok((book, notes))
    }

    /// Enters one override; hands back the names that it gives itself.
    fn overlay(
        &mut self,
        builtin: &Book,
        path: &Path,
        written: &WrittenEntry,
        notes: &mut Vec<String>,
    ) -> Vec<(For, String, usize)> {
        let Some(scope) = written.scope() else { return Vec::new() };
        let base = builtin.base(written);
        let base_entry = base.map(|entry| &*builtin.entries[entry]);
        notes.extend(remarks(path, written, base_entry));
        self.named.push(named(&scope, path, written));
        let entry = self.entries.len();
        self.entries.push(Arc::new(build(written, base_entry)));
        let replaced = base.filter(|base| name::lower(&builtin.entries[*base].id) == name::lower(&written.model));
        if let Some(base) = replaced {
            let names = builtin.providers.get(&*builtin.entries[base].provider).map(|p| p.names.of(base));
            for name in names.into_iter().flatten() {
                self.names(&scope).add(&name, entry);
            }
        }
        if let For::Provider(provider) = &scope {
            let list = &mut self.providers.entry(provider.as_str().into()).or_default().list;
            match list.iter_mut().find(|listed| Some(**listed) == replaced) {
                Some(listed) => *listed = entry,
                None => list.push(entry),
            }
        }
        let own = std::iter::once(&written.model).chain(&written.aliases);
        own.map(|name| (scope.clone(), name.clone(), entry)).collect()
    }

    fn names(&mut self, scope: &For) -> &mut Names {
        match scope {
            For::Account(id) => self.accounts.entry(id.as_str().into()).or_default(),
            For::Service(id) => self.services.entry(id.as_str().into()).or_default(),
            For::Provider(id) => &mut self.providers.entry(id.as_str().into()).or_default().names,
        }
    }

    /// The built-in entry of the model that an override prices: of its provider, else the first that any provider has.
    fn base(&self, written: &WrittenEntry) -> Option<usize> {
        let mut room = Room::new();
        let name = Name::new(&written.model, false, &mut room).filter(|_| !written.model.contains(['*', '?']))?;
        match &written.provider {
            Some(provider) => self.at_provider(provider, &written.model, &name).map(|(entry, _)| entry),
            None => {
                let mut found: Vec<usize> = self.providers.values().filter_map(|p| p.names.find(&name, None)).collect();
                found.sort_unstable();
                let exact = |entry: &usize| name::lower(&self.entries[*entry].id) == name::lower(&written.model);
                found.iter().copied().find(exact).or(found.first().copied())
            }
        }
    }
}

/// The entry that `written` makes, over the built-in one that it overrides.
fn build(written: &WrittenEntry, base: Option<&Entry>) -> Entry {
    let provider: Arc<str> =
        base.map_or_else(|| written.provider.as_deref().unwrap_or_default().into(), |b| Arc::clone(&b.provider));
    // Claude's cache writes have their own factors wherever Claude is served.
    let anthropic = &*provider == "anthropic" || name::lower(&written.model).starts_with("claude");
    let block = |price: &Written| Block::new(price, anthropic);
    let blocks = |price: &Written, tiers: &[(u64, Written)]| Blocks {
        base: block(price),
        tiers: tiers.iter().map(|(above, price)| (*above, block(price))).collect(),
    };
    let kept = base.filter(|_| written.price.is_none());
    let services: Vec<_> = written.services.iter().map(|(tier, price, tiers)| (*tier, blocks(price, tiers))).collect();
    let off_peak = written.off_peak.as_ref().map(|(price, windows)| OffPeak { block: block(price), windows: windows.clone() });
    Entry {
        id: written.model.as_str().into(),
        mode: written.mode.or(base.map(|b| b.mode)).unwrap_or_default(),
        retired: written.retired.or(base.map(|b| b.retired)).unwrap_or_default(),
        responses_only: written.responses_only.or(base.map(|b| b.responses_only)).unwrap_or_default(),
        max_input: written.max_input.or(base.and_then(|b| b.max_input)),
        max_output: written.max_output.or(base.and_then(|b| b.max_output)),
        standard: written.price.as_ref().map(|p| blocks(p, &written.tiers)).or_else(|| kept.and_then(|b| b.standard.clone())),
        services: if services.is_empty() { kept.map(|b| b.services.clone()).unwrap_or_default() } else { services },
        off_peak: off_peak.or_else(|| kept.and_then(|b| b.off_peak.clone())),
        multipliers: written.multipliers.or(base.map(|b| b.multipliers)).unwrap_or_default(),
        region: Ratio::ONE,
        per_search: written.per_search.clone().or_else(|| base.map(|b| b.per_search.clone())).unwrap_or_default(),
        per_image: written.per_image.clone().or_else(|| base.map(|b| b.per_image.clone())).unwrap_or_default(),
        per_audio_hour: written.per_audio_hour.or(base.and_then(|b| b.per_audio_hour)),
        provider,
    }
}

fn named(scope: &For, file: &Path, written: &WrittenEntry) -> Named {
    let (kind, id) = match scope {
        For::Account(id) => ("account", id),
        For::Service(id) => ("service", id),
        For::Provider(id) => ("provider", id),
    };
    let path = format!("models[{}].{kind}", written.index);
    Named { kind, id: id.clone(), file: file.to_owned(), line: written.line, path }
}

/// Names that two entries of one scope give themselves.
fn taken(written: &[(&Path, &WrittenEntry)]) -> Vec<Fault> {
    let mut first: BTreeMap<(For, String), (&Path, usize)> = BTreeMap::new();
    let mut faults = Vec::new();
    for (path, entry) in written {
        let Some(scope) = entry.scope() else { continue };
        let aliases = entry.aliases.iter().enumerate().map(|(i, name)| (format!("aliases[{i}]"), name));
        for (field, name) in std::iter::once(("model".to_owned(), &entry.model)).chain(aliases) {
            let key = (scope.clone(), name::lower(name));
            if let Some((file, line)) = first.get(&key) {
                let what = format!("{name:?} is taken; it was first given at {}:{line}; keep one of them", file.display());
                faults.push((path.to_path_buf(), entry.line, format!("models[{}].{field}", entry.index), what));
            } else {
                first.insert(key, (path, entry.line));
            }
        }
    }
    faults
}

/// What deserves a word of one override: prices that are 0, that differ more than fivefold from the built-in, or that count nothing.
fn remarks(path: &Path, written: &WrittenEntry, base: Option<&Entry>) -> Vec<String> {
    let mut remarks = Vec::new();
    let mut say = |field: &str, what: String| {
        remarks.push(format!("{}:{}: models[{}].{field}: {what}", path.display(), written.line, written.index));
    };
    let mut blocks = Vec::new();
    blocks.extend(written.price.as_ref().map(|price| ("price".to_owned(), price, base.and_then(|b| b.standard.as_ref()))));
    for (tier, price, _) in &written.services {
        let other = base.and_then(|b| b.services.iter().find(|(t, _)| t == tier)).map(|(_, blocks)| blocks);
        blocks.push((format!("service.{}.price", tier.name()), price, other));
    }
    for (field, price, builtin) in blocks {
        for class in Class::TOKENS {
            let Some(ours) = price[*class as usize] else { continue };
            let theirs = builtin.and_then(|blocks| blocks.base.price(*class));
            if let Some(what) = remark(&written.model, ours, theirs, 1_000_000) {
                say(&format!("{field}.{}", class.name()), what);
            }
        }
    }
    if let Some(ours) = written.per_audio_hour {
        let what = remark(&written.model, ours, base.and_then(|b| b.per_audio_hour), 1_000_000_000_000);
        what.into_iter().for_each(|what| say("per_audio_hour", what));
    }
    for field in &written.unmeasured {
        say(field, "no answer reports what this would price; it is charged nowhere".to_owned());
    }
    if written.price.is_some_and(|p| p[Class::Input as usize].is_some() && p[Class::Output as usize].is_none()) {
        let mode = written.mode.or(base.map(|b| b.mode)).unwrap_or_default();
        if matches!(mode, super::Mode::Chat | super::Mode::Completion) {
            say("price", format!("{} has no price for output; requests with output count as unpriced", written.model));
        }
    }
    remarks
}

fn remark(model: &str, ours: u64, theirs: Option<u64>, unit: u64) -> Option<String> {
    match theirs {
        _ if ours == 0 => Some(format!("{model} costs nothing here")),
        Some(theirs) if theirs.saturating_mul(5) < ours || ours.saturating_mul(5) < theirs => {
            let (ours, theirs) = (decimal(ours, unit), decimal(theirs, unit));
            Some(format!("{model} costs {ours} here, more than fivefold off the built-in {theirs}; check the decimal point"))
        }
        _ => None,
    }
}

/// `amount / unit` as a decimal; `unit` is a power of ten.
fn decimal(amount: u64, unit: u64) -> String {
    let digits = unit.ilog10() as usize;
    let text = format!("{}.{:0digits$}", amount / unit, amount % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn version(as_of: &str, files: &[(PathBuf, String)]) -> String {
    let mut hash = Sha256::new();
    for (_, text) in files {
        hash.update(text.len().to_le_bytes());
        hash.update(text.as_bytes());
    }
    let hex: String = hash.finalize().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("{as_of}+{hex}")
}
