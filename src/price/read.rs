//! Price files: YAML of the shape of `prices.yaml`, into entries as written. Every fault is told, with its line.
//!
//! One reader serves the built-in book and the operator's files. An entry of the latter says for whom it counts by `account`,
//! `service` or `provider`; since `service` is also where prices.json keeps the service tiers, a text there is a service's id and a
//! mapping is tiers (which may also stand under `service_tiers`).

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

use saphyr::{MarkedYaml, YamlData, YamlLoader};
use saphyr_parser::Parser;

use super::book::Fault;
use super::entry::{Mode, Multipliers, PerSearch, ServiceTier, TOKEN_CLASSES, Window, Written};
use super::exact::Ratio;
use crate::words::{Class, parse_decimal_nano};

type Node<'t> = MarkedYaml<'t>;

/// A whole file.
#[derive(Default)]
pub(super) struct File {
    pub as_of: Option<String>,
    pub aliases: Vec<WrittenAlias>,
    pub models: Vec<WrittenEntry>,
}

/// A name under which other providers' entries apply.
#[derive(Default)]
pub(super) struct WrittenAlias {
    pub name: String,
    /// Providers whose entries apply, in this order.
    pub providers: Vec<String>,
    /// Multiplier by region.
    pub regions: Vec<(String, Ratio)>,
    /// Of some models; the first that names the region counts.
    pub exceptions: Vec<WrittenException>,
    /// The prefix of a model's name → the provider that it stands for (routers such as OpenRouter).
    pub vendors: Vec<(String, String)>,
}

/// Models (patterns) whose multipliers of some regions differ.
#[derive(Default)]
pub(super) struct WrittenException {
    pub models: Vec<String>,
    pub regions: Vec<(String, Ratio)>,
}

/// For whom an entry counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum For {
    Account(String),
    Service(String),
    Provider(String),
}

/// Prices of long prompts, by the number of tokens above which they apply.
pub(super) type WrittenTiers = Vec<(u64, Written)>;

/// An entry as written.
#[derive(Default)]
pub(super) struct WrittenEntry {
    /// Its place in the list, and its line.
    pub index: usize,
    pub line: usize,
    pub account: Option<String>,
    pub service: Option<String>,
    pub provider: Option<String>,
    pub model: String,
    pub aliases: Vec<String>,
    pub mode: Option<Mode>,
    pub retired: Option<bool>,
    pub responses_only: Option<bool>,
    pub max_input: Option<u64>,
    pub max_output: Option<u64>,
    pub price: Option<Written>,
    pub tiers: WrittenTiers,
    pub services: Vec<(ServiceTier, Written, WrittenTiers)>,
    pub off_peak: Option<(Written, Vec<Window>)>,
    pub multipliers: Option<Multipliers>,
    pub per_search: Option<PerSearch>,
    pub per_image: Option<Vec<(Box<str>, u64)>>,
    pub per_audio_hour: Option<u64>,
    /// Unit prices that nothing measures.
    pub unmeasured: Vec<&'static str>,
}

impl WrittenEntry {
    /// The narrowest scope that it names.
    pub(super) fn scope(&self) -> Option<For> {
        let account = self.account.clone().map(For::Account);
        let service = || self.service.clone().map(For::Service);
        account.or_else(service).or_else(|| self.provider.clone().map(For::Provider))
    }
}

/// Reads `text`; entries with a fault are left out.
pub(super) fn read(file: &Path, text: &str) -> (File, Vec<Fault>) {
    let mut reader = Reader { file, faults: Vec::new() };
    let mut loader = YamlLoader::<Node<'_>>::default();
    loader.early_parse(false); // keeps the written text of numbers
    let loaded = Parser::new_from_str(text).load(&mut loader, true).err().or_else(|| loader.error().cloned());
    if let Some(error) = loaded {
        let what = format!("is not YAML: {}", error.info());
        return (File::default(), vec![(file.to_owned(), error.marker().line(), String::new(), what)]);
    }
    let documents = loader.into_documents();
    let Some(root) = documents.first().filter(|root| !is_null(root)) else {
        let what = "is empty; write models: [...]".to_owned();
        return (File::default(), vec![(file.to_owned(), 1, String::new(), what)]);
    };
    let mut read = File::default();
    reader.file(root, &mut read);
    (read, reader.faults)
}

// ------------------------------------------------------------------ places

/// The way to a node, for messages: `models[3].price.input`.
enum Place<'a> {
    Top,
    Field(&'a Place<'a>, &'a str),
    Item(&'a Place<'a>, usize),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Top => Ok(()),
            Place::Field(Place::Top, name) => f.write_str(name),
            Place::Field(parent, name) => write!(f, "{parent}.{name}"),
            Place::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

struct Reader<'f> {
    file: &'f Path,
    faults: Vec<Fault>,
}

/// The text of a scalar as it is written.
fn scalar<'n>(node: &'n Node<'_>) -> Option<&'n str> {
    match &node.data {
        YamlData::Representation(text, ..) => Some(text),
        _ => None,
    }
}

fn is_null(node: &Node<'_>) -> bool {
    match &node.data {
        YamlData::Representation(text, style, _) => {
            *style == saphyr::ScalarStyle::Plain && matches!(&**text, "" | "~" | "null" | "Null" | "NULL")
        }
        YamlData::BadValue => true,
        _ => false,
    }
}

// ------------------------------------------------------------------ shapes

impl Reader<'_> {
    fn fault(&mut self, node: &Node<'_>, at: &Place<'_>, what: impl Into<String>) {
        self.faults.push((self.file.to_owned(), node.span.start.line(), at.to_string(), what.into()));
    }

    /// The fields of a mapping, with their names.
    fn fields<'n, 't>(&mut self, node: &'n Node<'t>, at: &Place<'_>) -> Vec<(&'n str, &'n Node<'t>, &'n Node<'t>)> {
        let YamlData::Mapping(map) = &node.data else {
            self.fault(node, at, "must be a mapping: write name: value pairs");
            return Vec::new();
        };
        let mut fields = Vec::with_capacity(map.len());
        for (key, value) in map {
            match scalar(key) {
                Some(name) => fields.push((name, key, value)),
                None => self.fault(key, at, "a name must be a plain text"),
            }
        }
        fields
    }

    fn items<'n, 't>(&mut self, node: &'n Node<'t>, at: &Place<'_>) -> &'n [Node<'t>] {
        match &node.data {
            YamlData::Sequence(items) => items,
            _ => {
                self.fault(node, at, "must be a list: write [..] or lines that begin with -");
                &[]
            }
        }
    }

    fn unknown(&mut self, key: &Node<'_>, at: &Place<'_>, name: &str, known: &[&str]) {
        let near = known.iter().map(|k| (strsim::damerau_levenshtein(k, name), *k)).min();
        let what = match near {
            Some((distance, near)) if distance <= 2.max(name.len() / 4) => format!("unknown field; did you mean {near:?}?"),
            _ => format!("unknown field; known here: {}", known.join(", ")),
        };
        self.fault(key, at, what);
    }

    fn text(&mut self, node: &Node<'_>, at: &Place<'_>) -> Option<String> {
        match scalar(node).filter(|text| !is_null(node) && !text.trim().is_empty()) {
            Some(text) => Some(text.trim().to_owned()),
            None => {
                self.fault(node, at, "must be a text that is not empty");
                None
            }
        }
    }

    fn texts(&mut self, node: &Node<'_>, at: &Place<'_>) -> Vec<String> {
        let items = self.items(node, at).iter().enumerate();
        items.filter_map(|(i, item)| self.text(item, &Place::Item(at, i))).collect()
    }

    fn count(&mut self, node: &Node<'_>, at: &Place<'_>) -> Option<u64> {
        let text = scalar(node).unwrap_or_default().replace('_', "");
        match text.parse() {
            Ok(count) => Some(count),
            Err(_) => {
                self.fault(node, at, format!("{:?} is not a whole number such as 200000", scalar(node).unwrap_or_default()));
                None
            }
        }
    }

    /// A decimal in units of 1e-9.
    fn nano(&mut self, node: &Node<'_>, at: &Place<'_>) -> Option<u64> {
        let text = scalar(node).filter(|_| !is_null(node));
        let parsed = match text {
            Some(text) => quick_nano(text).map_or_else(|| parse_decimal_nano(text), Ok),
            None => Err("must be a decimal such as \"0.25\"".to_owned()),
        };
        match parsed {
            Ok(nano) => Some(nano),
            Err(what) => {
                let hint = if what.ends_with("negative") { "; a price is 0 or more" } else { "" };
                self.fault(node, at, format!("{what}{hint}"));
                None
            }
        }
    }

    /// USD per million tokens, as pico-dollars per token.
    fn token_price(&mut self, node: &Node<'_>, at: &Place<'_>) -> Option<u64> {
        let nano = self.nano(node, at)?;
        if nano % 1000 != 0 {
            self.fault(node, at, "has more than six decimals; a millionth of a dollar per million tokens is the least there is");
            return None;
        }
        Some(nano / 1000)
    }

    /// USD per unit, as pico-dollars.
    fn unit_price(&mut self, node: &Node<'_>, at: &Place<'_>) -> Option<u64> {
        let pico = self.nano(node, at)?.checked_mul(1000);
        if pico.is_none() {
            self.fault(node, at, "is too large");
        }
        pico
    }

    fn ratio(&mut self, node: &Node<'_>, at: &Place<'_>) -> Option<Ratio> {
        self.nano(node, at).map(Ratio::from_nano)
    }

    fn choice<T: Copy>(&mut self, node: &Node<'_>, at: &Place<'_>, all: &[T], name: fn(T) -> &'static str) -> Option<T> {
        let text = scalar(node).unwrap_or_default();
        let found = all.iter().copied().find(|one| name(*one) == text);
        if found.is_none() {
            let known: Vec<_> = all.iter().map(|one| name(*one)).collect();
            self.fault(node, at, format!("{text:?} is none of {}", known.join(", ")));
        }
        found
    }
}

/// Plain digits with at most nine decimals, without detours: what nearly every price is. `None` sends the text the long way.
fn quick_nano(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() || whole.len() > 9 || part.len() > 9 {
        return None;
    }
    let mut digits = whole.bytes().chain(part.bytes());
    let value = digits.try_fold(0u64, |sum, b| b.is_ascii_digit().then(|| sum * 10 + u64::from(b - b'0')))?;
    Some(value * 10u64.pow(9 - u32::try_from(part.len()).ok()?))
}

// ------------------------------------------------------------------ the file

const FILE: &[&str] = &["version", "as_of", "unit", "sources", "provider_aliases", "models"];
const ALIAS: &[&str] = &["as", "region_multiplier", "exceptions", "vendors", "note"];
const ENTRY: &[&str] = &[
    "account",
    "service",
    "provider",
    "model",
    "aliases",
    "mode",
    "endpoint",
    "status",
    "retire",
    "price",
    "tiers",
    "service_tiers",
    "off_peak",
    "multiplier",
    "per_search",
    "per_search_unit",
    "per_maps_query",
    "per_image",
    "per_audio_hour",
    "per_session_hour",
    "per_page",
    "input_chars",
    "max_input",
    "max_output",
    "supports",
    "src",
];

impl Reader<'_> {
    fn file(&mut self, root: &Node<'_>, read: &mut File) {
        for (name, key, value) in self.fields(root, &Place::Top) {
            let at = Place::Field(&Place::Top, name);
            match name {
                "version" | "sources" => {}
                "as_of" => read.as_of = self.text(value, &at),
                "unit" if scalar(value) == Some("usd_per_million_tokens") => {}
                "unit" => self.fault(value, &at, "must be usd_per_million_tokens, the only unit there is"),
                "provider_aliases" => {
                    for (alias, _, node) in self.fields(value, &at) {
                        let written = self.alias(alias, node, &Place::Field(&at, alias));
                        read.aliases.push(written);
                    }
                }
                "models" => {
                    for (i, node) in self.items(value, &at).iter().enumerate() {
                        let written = self.entry(node, &Place::Item(&at, i));
                        read.models.extend(written.map(|entry| WrittenEntry { index: i, ..entry }));
                    }
                }
                _ => self.unknown(key, &at, name, FILE),
            }
        }
    }

    fn alias(&mut self, name: &str, node: &Node<'_>, at: &Place<'_>) -> WrittenAlias {
        let mut alias = WrittenAlias { name: name.to_owned(), ..WrittenAlias::default() };
        for (name, key, value) in self.fields(node, at) {
            let at = Place::Field(at, name);
            match name {
                "as" if scalar(value).is_some() => alias.providers.extend(self.text(value, &at)),
                "as" => alias.providers = self.texts(value, &at),
                "region_multiplier" => alias.regions = self.ratios(value, &at),
                "exceptions" => {
                    for (i, one) in self.items(value, &at).iter().enumerate() {
                        let exception = self.exception(one, &Place::Item(&at, i));
                        alias.exceptions.push(exception);
                    }
                }
                "vendors" => {
                    for (vendor, _, provider) in self.fields(value, &at) {
                        let provider = self.text(provider, &Place::Field(&at, vendor));
                        alias.vendors.extend(provider.map(|p| (vendor.to_owned(), p)));
                    }
                }
                "note" => {}
                _ => self.unknown(key, &at, name, ALIAS),
            }
        }
        alias
    }

    fn exception(&mut self, node: &Node<'_>, at: &Place<'_>) -> WrittenException {
        let mut exception = WrittenException::default();
        for (name, key, value) in self.fields(node, at) {
            let at = Place::Field(at, name);
            match name {
                "models" => exception.models = self.texts(value, &at),
                "region_multiplier" => exception.regions = self.ratios(value, &at),
                _ => self.unknown(key, &at, name, &["models", "region_multiplier"]),
            }
        }
        exception
    }

    fn ratios(&mut self, node: &Node<'_>, at: &Place<'_>) -> Vec<(String, Ratio)> {
        let mut ratios = Vec::new();
        for (name, _, value) in self.fields(node, at) {
            ratios.extend(self.ratio(value, &Place::Field(at, name)).map(|ratio| (name.to_owned(), ratio)));
        }
        ratios
    }

    // -------------------------------------------------------------- one entry

    /// `None` after any fault in it, so that a half-read price never counts.
    fn entry(&mut self, node: &Node<'_>, at: &Place<'_>) -> Option<WrittenEntry> {
        let faults = self.faults.len();
        let mut entry = WrittenEntry { line: node.span.start.line(), ..WrittenEntry::default() };
        let mut per_prompt = false;
        for (name, key, value) in self.fields(node, at) {
            let at = Place::Field(at, name);
            match name {
                "account" => entry.account = self.text(value, &at),
                "provider" => entry.provider = self.text(value, &at),
                "service" if scalar(value).is_some() => entry.service = self.text(value, &at),
                "service" | "service_tiers" => self.services(value, &at, &mut entry),
                "model" => entry.model = self.text(value, &at).unwrap_or_default(),
                "aliases" => entry.aliases = self.texts(value, &at),
                "mode" => entry.mode = self.choice(value, &at, &Mode::ALL, Mode::name),
                "endpoint" => entry.responses_only = self.choice(value, &at, &["responses"], |e| e).map(|_| true),
                "status" => entry.retired = self.choice(value, &at, &["retired", "active"], |s| s).map(|s| s == "retired"),
                "retire" | "supports" | "src" => {}
                "price" => entry.price = self.classes(value, &at),
                "tiers" => entry.tiers = self.tiers(value, &at),
                "off_peak" => entry.off_peak = self.off_peak(value, &at),
                "multiplier" => entry.multipliers = Some(self.multipliers(value, &at)),
                "per_search" => entry.per_search = self.per_search(value, &at),
                "per_search_unit" => {
                    per_prompt = self.choice(value, &at, &["query", "prompt"], |u| u) == Some("prompt");
                }
                "per_image" => entry.per_image = self.per_image(value, &at),
                "per_audio_hour" => entry.per_audio_hour = self.unit_price(value, &at),
                "per_maps_query" => entry.unmeasured.push("per_maps_query"),
                "per_session_hour" => entry.unmeasured.push("per_session_hour"),
                "per_page" => entry.unmeasured.push("per_page"),
                "input_chars" => entry.unmeasured.push("input_chars"),
                "max_input" => entry.max_input = self.count(value, &at),
                "max_output" => entry.max_output = self.count(value, &at),
                _ => self.unknown(key, &at, name, ENTRY),
            }
        }
        if let (true, Some(PerSearch::Each(price))) = (per_prompt, &entry.per_search) {
            entry.per_search = Some(PerSearch::Prompt(*price));
        }
        if self.faults.len() == faults && entry.model.is_empty() {
            self.fault(node, at, "names no model; write model: its id, or a pattern with *");
        }
        if self.faults.len() == faults && entry.scope().is_none() {
            self.fault(node, at, "says not for whom it counts; give provider, service or account");
        }
        if self.faults.len() == faults && entry.price.is_none() && !(entry.tiers.is_empty() && entry.off_peak.is_none()) {
            self.fault(node, at, "has tiers or off_peak, but no price that they differ from; give price");
        }
        (self.faults.len() == faults).then_some(entry)
    }

    fn classes(&mut self, node: &Node<'_>, at: &Place<'_>) -> Option<Written> {
        let mut written: Written = [None; TOKEN_CLASSES];
        for (name, key, value) in self.fields(node, at) {
            let at = Place::Field(at, name);
            match Class::TOKENS.iter().find(|class| class.name() == name) {
                Some(class) => written[*class as usize] = self.token_price(value, &at),
                None => {
                    let known: Vec<_> = Class::TOKENS.iter().map(|class| class.name()).collect();
                    self.unknown(key, &at, name, &known);
                }
            }
        }
        Some(written)
    }

    fn tiers(&mut self, node: &Node<'_>, at: &Place<'_>) -> WrittenTiers {
        let mut tiers = WrittenTiers::new();
        for (i, tier) in self.items(node, at).iter().enumerate() {
            let at = Place::Item(at, i);
            let (mut above, mut price) = (None, None);
            for (name, key, value) in self.fields(tier, &at) {
                let at = Place::Field(&at, name);
                match name {
                    "above_input_tokens" => above = self.count(value, &at),
                    "price" => price = self.classes(value, &at),
                    _ => self.unknown(key, &at, name, &["above_input_tokens", "price"]),
                }
            }
            match (above, price) {
                (Some(above), Some(_)) if tiers.last().is_some_and(|(last, _)| *last >= above) => {
                    self.fault(tier, &at, "tiers must ascend by above_input_tokens");
                }
                (Some(above), Some(price)) => tiers.push((above, price)),
                _ => self.fault(tier, &at, "needs above_input_tokens and price"),
            }
        }
        tiers
    }

    fn services(&mut self, node: &Node<'_>, at: &Place<'_>, entry: &mut WrittenEntry) {
        for (name, key, value) in self.fields(node, at) {
            let at = Place::Field(at, name);
            let known = ServiceTier::ALL.map(ServiceTier::name);
            let Some(tier) = ServiceTier::ALL.into_iter().find(|tier| tier.name() == name) else {
                self.unknown(key, &at, name, &known);
                continue;
            };
            let (mut price, mut tiers) = (None, Vec::new());
            for (name, key, value) in self.fields(value, &at) {
                let at = Place::Field(&at, name);
                match name {
                    "price" => price = self.classes(value, &at),
                    "tiers" => tiers = self.tiers(value, &at),
                    _ => self.unknown(key, &at, name, &["price", "tiers"]),
                }
            }
            match price {
                Some(price) => entry.services.push((tier, price, tiers)),
                None => self.fault(value, &at, "needs price"),
            }
        }
    }

    fn off_peak(&mut self, node: &Node<'_>, at: &Place<'_>) -> Option<(Written, Vec<Window>)> {
        let (mut price, mut windows) = (None, Vec::new());
        for (name, key, value) in self.fields(node, at) {
            let at = Place::Field(at, name);
            match name {
                "price" => price = self.classes(value, &at),
                "windows" => {
                    for (i, window) in self.items(value, &at).iter().enumerate() {
                        windows.extend(self.windows(window, &Place::Item(&at, i)));
                    }
                }
                _ => self.unknown(key, &at, name, &["price", "windows"]),
            }
        }
        if price.is_none() {
            self.fault(node, at, "needs price");
        }
        price.map(|price| (price, windows))
    }

    fn windows(&mut self, node: &Node<'_>, at: &Place<'_>) -> Vec<Window> {
        let (mut weekdays, mut hours) = (0x7f, Vec::new());
        for (name, key, value) in self.fields(node, at) {
            let at = Place::Field(at, name);
            match name {
                "weekdays_utc" => {
                    weekdays = 0;
                    for (i, day) in self.items(value, &at).iter().enumerate() {
                        match scalar(day).and_then(|text| text.parse::<u8>().ok()).filter(|day| (1..=7).contains(day)) {
                            Some(number) => weekdays |= 1 << (number - 1),
                            None => self.fault(day, &Place::Item(&at, i), "must be 1 (Monday) to 7 (Sunday)"),
                        }
                    }
                }
                "hours_utc" => {
                    for (i, span) in self.items(value, &at).iter().enumerate() {
                        match scalar(span).and_then(hours_of) {
                            Some(found) => hours.push(found),
                            None => self.fault(span, &Place::Item(&at, i), "must be hours such as \"22:00-06:00\""),
                        }
                    }
                }
                _ => self.unknown(key, &at, name, &["weekdays_utc", "hours_utc"]),
            }
        }
        hours.into_iter().flat_map(|(from, to)| Window::spans(weekdays, from, to)).collect()
    }

    fn multipliers(&mut self, node: &Node<'_>, at: &Place<'_>) -> Multipliers {
        let mut multipliers = Multipliers::default();
        for (name, key, value) in self.fields(node, at) {
            let at = Place::Field(at, name);
            let slot = match name {
                "speed_fast" => &mut multipliers.speed_fast,
                "inference_geo_us" => &mut multipliers.inference_geo_us,
                "region_us" => &mut multipliers.region_us,
                "region_eu" => &mut multipliers.region_eu,
                _ => {
                    self.unknown(key, &at, name, &["speed_fast", "inference_geo_us", "region_us", "region_eu"]);
                    continue;
                }
            };
            *slot = self.ratio(value, &at);
        }
        multipliers
    }

    fn per_search(&mut self, node: &Node<'_>, at: &Place<'_>) -> Option<PerSearch> {
        if scalar(node).is_some() {
            return self.unit_price(node, at).map(PerSearch::Each);
        }
        let (mut low, mut medium, mut high) = (None, None, None);
        for (name, key, value) in self.fields(node, at) {
            let at = Place::Field(at, name);
            match name {
                "low" => low = self.unit_price(value, &at),
                "medium" => medium = self.unit_price(value, &at),
                "high" => high = self.unit_price(value, &at),
                _ => self.unknown(key, &at, name, &["low", "medium", "high"]),
            }
        }
        Some(PerSearch::BySize { low, medium, high })
    }

    fn per_image(&mut self, node: &Node<'_>, at: &Place<'_>) -> Option<Vec<(Box<str>, u64)>> {
        if scalar(node).is_some() {
            return self.unit_price(node, at).map(|price| vec![("default".into(), price)]);
        }
        let mut prices = Vec::new();
        for (name, _, value) in self.fields(node, at) {
            let price = self.unit_price(value, &Place::Field(at, name));
            prices.extend(price.map(|price| (Cow::from(name).to_ascii_lowercase().into_boxed_str(), price)));
        }
        Some(prices)
    }
}

/// `04:00-06:00` as minutes of the day; `24:00` is the day's end, as is `00:00` where it stands last.
fn hours_of(text: &str) -> Option<(u16, u16)> {
    let minute = |text: &str| {
        let (hours, minutes) = text.trim().split_once(':')?;
        let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
        (hours < 24 && minutes < 60 || (hours, minutes) == (24, 0)).then_some(hours * 60 + minutes)
    };
    let (from, to) = text.split_once('-')?;
    let (from, to) = (minute(from)?, minute(to)?);
    (from < 24 * 60).then_some((from, to))
}
