//! One model's entry of the book, ready for arithmetic: every class already holds the price that it falls back to.

use std::sync::Arc;

use super::exact::Ratio;
use crate::words::{Class, UnixMs};

/// What one model (or family of models) costs, and what is known of it. Prices of tokens are pico-dollars per token.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The exact id; for an operator's entry perhaps a pattern. The only name of a model that may stand in a metric label.
    pub id: Arc<str>,
    /// Whose prices these are: `anthropic`, `openai`, …; empty for an operator's entry of a model that the book does not know.
    pub provider: Arc<str>,
    pub mode: Mode,
    /// The provider has shut it: kept so that old records can be priced, not for model lists.
    pub retired: bool,
    /// Exists only on `/v1/responses`.
    pub responses_only: bool,
    /// Tokens.
    pub max_input: Option<u64>,
    /// Tokens.
    pub max_output: Option<u64>,
    pub(super) standard: Option<Blocks>,
    pub(super) services: Vec<(ServiceTier, Blocks)>,
    pub(super) off_peak: Option<OffPeak>,
    pub(super) multipliers: Multipliers,
    /// Of the place where it is served (Bedrock's `us.`, Azure's data zones); 1 where it does not matter.
    pub(super) region: Ratio,
    pub(super) per_search: PerSearch,
    /// `quality/WxH` or `default` → pico-dollars per picture.
    pub(super) per_image: Vec<(Box<str>, u64)>,
    /// Pico-dollars per hour of audio.
    pub(super) per_audio_hour: Option<u64>,
}

impl Entry {
    /// Whether anything that a meter counts has a price here. (Speech by the character, OCR by the page and realtime by the
    /// session hour are in the tables, but no answer reports them.)
    pub fn is_priced(&self) -> bool {
        self.standard.is_some() || !self.per_image.is_empty() || self.per_audio_hour.is_some()
    }

    /// Whether the id is an exact name, not a pattern: fit for a model list.
    pub fn is_exact(&self) -> bool {
        !self.id.contains(['*', '?'])
    }
}

/// What a model is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    #[default]
    Chat,
    Completion,
    Embedding,
    Image,
    Transcription,
    Speech,
    Realtime,
    Moderation,
    Ocr,
    Rerank,
}

impl Mode {
    pub const ALL: [Mode; 10] = [
        Mode::Chat,
        Mode::Completion,
        Mode::Embedding,
        Mode::Image,
        Mode::Transcription,
        Mode::Speech,
        Mode::Realtime,
        Mode::Moderation,
        Mode::Ocr,
        Mode::Rerank,
    ];
    /// The name in price files.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Chat => "chat",
            Mode::Completion => "completion",
            Mode::Embedding => "embedding",
            Mode::Image => "image",
            Mode::Transcription => "transcription",
            Mode::Speech => "speech",
            Mode::Realtime => "realtime",
            Mode::Moderation => "moderation",
            Mode::Ocr => "ocr",
            Mode::Rerank => "rerank",
        }
    }
}

/// How many of [`Class::ALL`] are tokens.
pub(super) const TOKEN_CLASSES: usize = Class::TOKENS.len();

/// A price of each token class as written; `None` where nothing is.
pub(super) type Written = [Option<u64>; TOKEN_CLASSES];

/// A price of each token class after falling back; `None` where there is none at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block([Option<u64>; TOKEN_CLASSES]);

impl Block {
    /// Fills in what is absent, by the table of prices.README: a cached token costs at most as a fresh one, audio and pictures cost
    /// as text, reasoning as output; a cache write costs 1.25 times (1 h: twice) the input at Anthropic, the input elsewhere.
    pub(super) fn new(written: &Written, anthropic: bool) -> Block {
        let mut block = *written;
        let of = |block: &Written, class: Class| block[class as usize];
        let mut fall = |class: Class, to: Option<u64>| {
            let here = &mut block[class as usize];
            *here = here.or(to);
        };
        let input = of(written, Class::Input);
        let output = of(written, Class::Output);
        let write_5m = if anthropic { input.map(|p| p.saturating_mul(5).saturating_add(2) / 4) } else { input };
        fall(Class::CacheRead, input);
        fall(Class::CacheWrite5m, write_5m);
        let write_5m = of(written, Class::CacheWrite5m).or(write_5m);
        fall(Class::CacheWrite1h, if anthropic { input.map(|p| p.saturating_mul(2)) } else { write_5m });
        fall(Class::CacheWrite12h, write_5m);
        for class in [Class::InputAudio, Class::InputImage, Class::InputVideo] {
            fall(class, input);
        }
        let cached = of(written, Class::CacheRead).or(input);
        fall(Class::CacheReadAudio, cached);
        fall(Class::CacheReadImage, cached);
        for class in [Class::Reasoning, Class::OutputAudio, Class::OutputImage, Class::OutputVideo] {
            fall(class, output);
        }
        Block(block)
    }

    /// Pico-dollars per token of `class`; `None` also for what is no token.
    pub(super) fn price(&self, class: Class) -> Option<u64> {
        self.0.get(class as usize).copied().flatten()
    }
}

/// The prices of one service tier: those of short prompts, and those of longer ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blocks {
    pub base: Block,
    /// Ascending by the number of prompt tokens above which each prices the whole request.
    pub tiers: Vec<(u64, Block)>,
}

impl Blocks {
    /// The highest tier that `prompt_tokens` exceed, if any.
    pub(super) fn tier(&self, prompt_tokens: u64) -> Option<&Block> {
        self.tiers.iter().rev().find(|(above, _)| prompt_tokens > *above).map(|(_, block)| block)
    }
}

/// Service tiers with blocks of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServiceTier {
    Batch,
    Flex,
    Priority,
    Ultrafast,
}

impl ServiceTier {
    pub(super) const ALL: [ServiceTier; 4] =
        [ServiceTier::Batch, ServiceTier::Flex, ServiceTier::Priority, ServiceTier::Ultrafast];
    pub(super) fn name(self) -> &'static str {
        match self {
            ServiceTier::Batch => "batch",
            ServiceTier::Flex => "flex",
            ServiceTier::Priority => "priority",
            ServiceTier::Ultrafast => "ultrafast",
        }
    }
    /// The block that an answered tier stands for; `None` is the standard one. OpenAI's `fast` is the `priority` block; Anthropic's
    /// `priority` (committed capacity) has no list price; an unknown tier is priced as standard.
    pub(super) fn answered(tier: &str, anthropic: bool) -> Option<ServiceTier> {
        let tier = if tier.eq_ignore_ascii_case("fast") { "priority" } else { tier };
        let found = ServiceTier::ALL.into_iter().find(|t| t.name().eq_ignore_ascii_case(tier));
        found.filter(|t| !(anthropic && *t == ServiceTier::Priority))
    }
}

/// Cheaper (or dearer) hours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OffPeak {
    pub block: Block,
    pub windows: Vec<Window>,
}

impl OffPeak {
    pub(super) fn contains(&self, now: UnixMs) -> bool {
        let day = now.0.div_euclid(86_400_000);
        let weekday = (day + 3).rem_euclid(7); // 1970-01-01 was a Thursday; 0 is Monday
        let minute = now.0.rem_euclid(86_400_000) / 60_000;
        self.windows.iter().any(|w| w.weekdays >> weekday & 1 == 1 && (i64::from(w.from)..i64::from(w.to)).contains(&minute))
    }
}

/// Minutes `from..to` of a UTC day, on some weekdays. A window over midnight is written as two of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// Bit 0 is Monday.
    pub weekdays: u8,
    pub from: u16,
    pub to: u16,
}

impl Window {
    /// `from..to` on `weekdays`; where it ends at or before its beginning, it goes on into the next day.
    pub(super) fn spans(weekdays: u8, from: u16, to: u16) -> Vec<Window> {
        const DAY: u16 = 24 * 60;
        if from < to {
            return vec![Window { weekdays, from, to }];
        }
        let next_day = (weekdays << 1 | weekdays >> 6) & 0x7f;
        let mut spans = vec![Window { weekdays, from, to: DAY }];
        if to > 0 {
            spans.push(Window { weekdays: next_day, from: 0, to });
        }
        spans
    }
}

/// Factors on the cost of tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Multipliers {
    /// Anthropic `usage.speed: "fast"`.
    pub speed_fast: Option<Ratio>,
    /// Anthropic `usage.inference_geo: "us"`.
    pub inference_geo_us: Option<Ratio>,
    /// OpenAI's regional processing.
    pub region_us: Option<Ratio>,
    pub region_eu: Option<Ratio>,
}

/// Pico-dollars per web search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum PerSearch {
    #[default]
    Unknown,
    Each(u64),
    /// Once for a grounded answer, however many searches it took (Gemini before 3).
    Prompt(u64),
    /// By the size of the search context asked for; medium where none was.
    BySize {
        low: Option<u64>,
        medium: Option<u64>,
        high: Option<u64>,
    },
}

impl PerSearch {
    /// What `searches` cost, if that is known.
    pub(super) fn cost(&self, searches: u64, size: Option<&str>) -> Option<u128> {
        let each = match self {
            PerSearch::Unknown => return None,
            PerSearch::Prompt(price) => return Some(u128::from(*price)),
            PerSearch::Each(price) => *price,
            PerSearch::BySize { low, medium, high } => match size {
                Some("low") => low.or(*medium)?,
                Some("high") => high.or(*medium)?,
                _ => (*medium)?,
            },
        };
        Some(u128::from(each) * u128::from(searches))
    }
}
