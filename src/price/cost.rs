//! From usage to money: exact until the one rounding.

use std::sync::Arc;

use super::book::{Book, Scope};
use super::entry::{Block, Entry, Mode, ServiceTier};
use super::exact::{Exact, Ratio};
use crate::words::{Basis, Class, Factor, Metered, Nanodollars, Terms, UnixMs, Usage};

/// What a request costs. `input`, `output` and `rest` (searches, pictures, hours) sum exactly to `total`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    pub total: Nanodollars,
    pub input: Nanodollars,
    pub output: Nanodollars,
    pub rest: Nanodollars,
    /// Whether the book has a price for everything that was used. What has none adds nothing to the cost.
    pub complete: bool,
}

/// A request to be priced.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    pub scope: Scope<'a>,
    /// The model as it was sent, and its entry where it is already known.
    pub sent: &'a str,
    pub entry: Option<&'a Arc<Entry>>,
    /// Whether the model that the answer names counts (`price_by: answered`); else always the one sent.
    pub by_answer: bool,
    pub price_factor: Factor,
    pub now: UnixMs,
}

/// A priced request.
#[derive(Clone, Debug)]
pub struct Priced {
    pub cost: Cost,
    /// The entry that priced it (not the rounds of other models); its id is the model in metric labels.
    pub entry: Option<Arc<Entry>>,
    /// Whether everything that was used has a price.
    pub priced: bool,
}

/// Prices what a meter found: the model that the answer names where the book knows it, else the one sent; rounds of other models
/// by their own entries; one rounding over all.
pub fn price_all(book: &Book, ask: &Ask<'_>, metered: &Metered) -> Priced {
    let answered = metered.model.as_deref().filter(|model| ask.by_answer && *model != ask.sent);
    let entry = answered.and_then(|model| book.find(ask.scope, model));
    let entry = entry.or_else(|| ask.entry.cloned()).or_else(|| book.find(ask.scope, ask.sent));
    if metered.basis == Basis::None {
        let priced = entry.is_some();
        return Priced { cost: Cost { complete: true, ..Cost::default() }, entry, priced };
    }
    let mut sum = Sum::default();
    let mut rest = metered.usage;
    for round in metered.rounds.iter().filter(|_| ask.by_answer) {
        for (class, count) in round.usage.iter() {
            rest.set(class, rest.get(class).saturating_sub(count));
        }
        match book.find(ask.scope, &round.model) {
            Some(entry) => sum.add(&entry, &round.usage, &metered.terms, ask.now),
            None => sum.complete = false,
        }
    }
    match &entry {
        Some(entry) => sum.add(entry, &rest, &metered.terms, ask.now),
        None => sum.complete = false,
    }
    let cost = sum.round(ask.price_factor);
    Priced { cost, priced: entry.is_some() && cost.complete, entry }
}

/// What `usage` costs by one entry. Never panics; beyond all measure it is the largest amount there is.
pub fn cost(entry: &Entry, usage: &Usage, terms: &Terms, now: UnixMs, price_factor: Factor) -> Cost {
    let mut sum = Sum::default();
    sum.add(entry, usage, terms, now);
    sum.round(price_factor)
}

/// What a group is charged: `(cost + fixed) × factor`, rounded half up.
pub fn charged(cost: Nanodollars, fixed: Nanodollars, factor: Factor) -> Nanodollars {
    let exact = (u128::from(cost.0) + u128::from(fixed.0)).saturating_mul(u128::from(factor.0));
    let scale = u128::from(Factor::SCALE);
    Nanodollars(u64::try_from(exact.saturating_add(scale / 2) / scale).unwrap_or(u64::MAX))
}

// ------------------------------------------------------------------ the exact sum

/// Pico-dollars before `price_factor`; `None` is beyond all measure.
struct Sum {
    input: Option<Exact>,
    output: Option<Exact>,
    rest: Option<Exact>,
    complete: bool,
}

impl Default for Sum {
    fn default() -> Sum {
        Sum { input: Some(Exact::ZERO), output: Some(Exact::ZERO), rest: Some(Exact::ZERO), complete: true }
    }
}

impl Sum {
    fn add(&mut self, entry: &Entry, usage: &Usage, terms: &Terms, now: UnixMs) {
        let tokens = entry.standard.is_some().then(|| self.add_tokens(entry, usage, terms, now));
        let units = self.add_units(entry, usage, terms);
        // Without prices of tokens the unit prices are the whole price (whisper-1, imagen).
        let any_token = || Class::TOKENS.iter().any(|class| usage.get(*class) > 0);
        let complete = match (tokens, units) {
            (Some(tokens), units) => tokens && units != Units::Unpriced,
            (None, Units::Priced) => true,
            (None, Units::Unpriced) => false,
            (None, Units::None) => !any_token(),
        };
        self.complete &= complete;
    }

    /// Whether each class that was used has a price.
    fn add_tokens(&mut self, entry: &Entry, usage: &Usage, terms: &Terms, now: UnixMs) -> bool {
        let Some(block) = block(entry, usage, terms, now) else { return false };
        let mut complete = true;
        let (mut input, mut output) = (Some(0u128), Some(0u128));
        for class in Class::TOKENS.iter().copied() {
            let count = usage.get(class);
            if count == 0 {
                continue;
            }
            let side = if class.is_prompt() { &mut input } else { &mut output };
            match block.price(class) {
                Some(price) => *side = side.and_then(|sum| sum.checked_add(u128::from(count) * u128::from(price))),
                None => complete = false,
            }
        }
        let multiplied = |sum: Option<u128>| {
            multipliers(entry, terms).into_iter().try_fold(Exact::new(sum?, 1), |sum, ratio| sum.times(ratio))
        };
        self.input = self.input.and_then(|sum| sum.plus(multiplied(input)?));
        self.output = self.output.and_then(|sum| sum.plus(multiplied(output)?));
        complete
    }

    fn add_units(&mut self, entry: &Entry, usage: &Usage, terms: &Terms) -> Units {
        let mut units = Units::None;
        let mut add = |price: Option<Exact>| {
            match (price, units) {
                (None, _) | (_, Units::Unpriced) => units = Units::Unpriced,
                (Some(_), _) => units = Units::Priced,
            }
            self.rest = self.rest.and_then(|sum| sum.plus(price.unwrap_or(Exact::ZERO)));
        };
        let searches = usage.get(Class::Searches);
        if searches > 0 {
            let price = entry.per_search.cost(searches, terms.search_context.as_deref());
            add(price.map(|pico| Exact::new(pico, 1)));
        }
        let milliseconds = usage.get(Class::Seconds);
        if milliseconds > 0 {
            const HOUR_MS: u64 = 3_600_000;
            add(entry.per_audio_hour.map(|pico| Exact::new(u128::from(pico) * u128::from(milliseconds), HOUR_MS)));
        }
        let images = usage.get(Class::Images);
        if images > 0 && !images_are_tokens(entry, usage) {
            let each = per_image(entry, terms.image_kind.as_deref());
            add(each.map(|pico| Exact::new(u128::from(pico) * u128::from(images), 1)));
        }
        units
    }

    /// Rounds the running sums, so that the parts sum exactly to the whole and each is within one of its own rounding.
    fn round(self, price_factor: Factor) -> Cost {
        const PICO: u64 = 1000;
        let factor = Ratio::from(price_factor);
        let rounded = |sum: Option<Exact>| sum.and_then(|sum| sum.times(factor)?.round(PICO)).unwrap_or(u64::MAX);
        let plus = |a: Option<Exact>, b: Option<Exact>| a?.plus(b?);
        let tokens = plus(self.input, self.output);
        let (first, second, total) = (rounded(self.input), rounded(tokens), rounded(plus(tokens, self.rest)));
        Cost {
            total: Nanodollars(total),
            input: Nanodollars(first),
            output: Nanodollars(second.saturating_sub(first)),
            rest: Nanodollars(total.saturating_sub(second)),
            complete: self.complete,
        }
    }
}

/// What is known of the price of the units in a usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Units {
    /// There are none.
    None,
    Priced,
    Unpriced,
}

/// The prices that apply to the whole request: of the answered service tier, for prompts of this length, at this hour.
fn block<'e>(entry: &'e Entry, usage: &Usage, terms: &Terms, now: UnixMs) -> Option<&'e Block> {
    let standard = entry.standard.as_ref()?;
    let prompt = Class::TOKENS.iter().filter(|class| class.is_prompt());
    let prompt_tokens = prompt.fold(0u64, |sum, class| sum.saturating_add(usage.get(*class)));
    let anthropic = &*entry.provider == "anthropic";
    let answered = terms.service_tier.as_deref().and_then(|tier| ServiceTier::answered(tier, anthropic));
    let service = answered.and_then(|tier| entry.services.iter().find(|(t, _)| *t == tier)).map(|(_, blocks)| blocks);
    let off_peak = entry.off_peak.as_ref().filter(|off_peak| off_peak.contains(now)).map(|off_peak| &off_peak.block);
    Some(match service {
        // gpt-5.4 and 5.5 offer `priority` for short prompts only: a longer one is priced by the standard tier.
        Some(blocks) if blocks.tiers.is_empty() => standard.tier(prompt_tokens).unwrap_or(&blocks.base),
        Some(blocks) => blocks.tier(prompt_tokens).unwrap_or(&blocks.base),
        None => off_peak.or_else(|| standard.tier(prompt_tokens)).unwrap_or(&standard.base),
    })
}

/// All factors on the cost of tokens that the answer's terms and the place call for.
fn multipliers(entry: &Entry, terms: &Terms) -> [Ratio; 3] {
    let fast = entry.multipliers.speed_fast.filter(|_| terms.speed_fast);
    let us = terms.inference_geo.as_deref().is_some_and(|geo| geo.eq_ignore_ascii_case("us"));
    let geo = entry.multipliers.inference_geo_us.filter(|_| us);
    [fast.unwrap_or(Ratio::ONE), geo.unwrap_or(Ratio::ONE), entry.region]
}

/// Whether the pictures of this usage are paid by tokens: so they are wherever an image model's answer reports tokens.
fn images_are_tokens(entry: &Entry, usage: &Usage) -> bool {
    let tokens = Class::TOKENS.iter().any(|class| usage.get(*class) > 0);
    entry.standard.is_some() && (usage.get(Class::OutputImage) > 0 || tokens && entry.mode == Mode::Image)
}

/// Pico-dollars for a picture of this `quality/WxH`, else of any kind where there is one price for all.
fn per_image(entry: &Entry, kind: Option<&str>) -> Option<u64> {
    let of = |kind: &str| entry.per_image.iter().find(|(name, _)| name.eq_ignore_ascii_case(kind)).map(|(_, price)| *price);
    kind.and_then(of).or_else(|| of("default"))
}
