//! The figures of an OpenAI `usage`, whichever endpoint or look-alike says them, and what they make in disjoint classes.
//! The rules stand in `openai.rs` and `responses.rs`.

use super::json::Value;
use super::number::{Count, money};
use super::seen::{Seen, take};
use crate::words::{Class, Nanodollars, Usage};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Figure {
    Prompt,
    Completion,
    Total,
    Cached,
    /// Kimi, at the top of `usage`.
    CachedTop,
    /// DeepSeek.
    CacheHit,
    Written,
    /// DashScope.
    Created,
    Created5m,
    Created1h,
    AudioIn,
    ImageIn,
    Reasoning,
    AudioOut,
    ImageOut,
    /// Milliseconds.
    PromptAudio,
    /// Milliseconds.
    Seconds,
    /// OpenRouter.
    WebSearches,
    /// xAI, responses.
    SearchCalls,
    /// `usage.cost`, USD.
    Cost,
    /// `usage.cost_in_usd_ticks`, 1e-10 USD.
    Ticks,
    /// `type`: says `duration` or `tokens`.
    Type,
    Tier,
    SearchContext,
}

const COUNTS: usize = Figure::SearchCalls as usize + 1;

/// An object within `usage`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    Input,
    Output,
    Creation,
    ServerTools,
    ServerToolUse,
}

impl Detail {
    pub(super) fn of(key: &[u8]) -> Option<Detail> {
        Some(match key {
            b"prompt_tokens_details" | b"input_tokens_details" | b"input_token_details" => Detail::Input,
            b"completion_tokens_details" | b"output_tokens_details" | b"output_token_details" => Detail::Output,
            b"server_tool_use_details" => Detail::ServerToolUse,
            b"server_side_tool_usage_details" => Detail::ServerTools,
            _ => return None,
        })
    }

    /// A figure, or an object further down.
    pub(super) fn member(self, key: &[u8]) -> Option<Result<Figure, Detail>> {
        Some(Ok(match (self, key) {
            (Detail::Input, b"cached_tokens") => Figure::Cached,
            (Detail::Input, b"cache_write_tokens") => Figure::Written,
            (Detail::Input, b"cache_creation_input_tokens") => Figure::Created,
            (Detail::Input, b"cache_creation") => return Some(Err(Detail::Creation)),
            (Detail::Input, b"audio_tokens") => Figure::AudioIn,
            (Detail::Input, b"image_tokens") => Figure::ImageIn,
            (Detail::Creation, b"ephemeral_5m_input_tokens") => Figure::Created5m,
            (Detail::Creation, b"ephemeral_1h_input_tokens") => Figure::Created1h,
            (Detail::Output, b"reasoning_tokens") => Figure::Reasoning,
            (Detail::Output, b"audio_tokens") => Figure::AudioOut,
            (Detail::Output, b"image_tokens") => Figure::ImageOut,
            (Detail::ServerToolUse, b"web_search_requests") => Figure::WebSearches,
            (Detail::ServerTools, b"web_search_calls") => Figure::SearchCalls,
            _ => return None,
        }))
    }
}

/// One `usage`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    counts: [Count; COUNTS],
    cost: Option<u64>,
    ticks: Option<u64>,
    /// `type` is `duration`.
    duration: bool,
    tier: Short,
    search_context: Short,
}

/// A word of at most 15 bytes, kept in place.
#[derive(Clone, Copy, Debug, Default)]
struct Short {
    length: u8,
    bytes: [u8; 15],
}

impl Short {
    fn of(value: Value<'_>) -> Short {
        let mut short = Short::default();
        if let Value::Text(text) = value
            && let Some(place) = short.bytes.get_mut(..text.len())
        {
            place.copy_from_slice(text);
            short.length = u8::try_from(text.len()).unwrap_or(0);
        }
        short
    }
    fn text(&self) -> Value<'_> {
        Value::Text(&self.bytes[..usize::from(self.length)])
    }
}

impl Figures {
    pub(super) fn member(key: &[u8]) -> Option<Figure> {
        Some(match key {
            b"prompt_tokens" | b"input_tokens" => Figure::Prompt,
            b"completion_tokens" | b"output_tokens" => Figure::Completion,
            b"total_tokens" => Figure::Total,
            b"cached_tokens" => Figure::CachedTop,
            b"prompt_cache_hit_tokens" => Figure::CacheHit,
            b"prompt_audio_seconds" => Figure::PromptAudio,
            b"seconds" => Figure::Seconds,
            b"cost" => Figure::Cost,
            b"cost_in_usd_ticks" => Figure::Ticks,
            b"type" => Figure::Type,
            b"service_tier" => Figure::Tier,
            b"search_context_size" => Figure::SearchContext,
            _ => return None,
        })
    }

    pub(super) fn set(&mut self, figure: Figure, value: Value<'_>) {
        match figure {
            Figure::PromptAudio | Figure::Seconds => self.counts[figure as usize] = Count::milliseconds(value),
            Figure::Cost => self.cost = money(value, 9),
            Figure::Ticks => self.ticks = money(value, -1),
            Figure::Type => self.duration = value == Value::Text(b"duration"),
            Figure::Tier => self.tier = Short::of(value),
            Figure::SearchContext => self.search_context = Short::of(value),
            _ => self.counts[figure as usize] = Count::of(value),
        }
    }

    fn get(&self, figure: Figure) -> Count {
        self.counts.get(figure as usize).copied().unwrap_or_default()
    }

    fn count(&self, figure: Figure) -> u64 {
        self.get(figure).whole()
    }

    /// Whether a figure is no count.
    pub(super) fn is_odd(&self) -> bool {
        self.counts.contains(&Count::Odd)
    }

    /// Notes what is said besides the figures.
    pub(super) fn note(&self, seen: &mut Seen) {
        if let Some(cost) = self.cost.or(self.ticks) {
            seen.provider_cost = Some(Nanodollars(cost));
        }
        if seen.terms.service_tier.is_none() {
            super::seen::keep(&mut seen.terms.service_tier, self.tier.text());
        }
        super::seen::keep(&mut seen.terms.search_context, self.search_context.text());
    }

    /// Chat, completions, embeddings.
    pub(super) fn chat(&self) -> Usage {
        let (mut prompt, mut done) = (self.count(Figure::Prompt), self.count(Figure::Completion));
        let total = self.count(Figure::Total);
        let seconds = self.count(Figure::PromptAudio);
        let mut reasoning = self.count(Figure::Reasoning);
        let beside = prompt.saturating_add(done);
        if prompt == 0 && done == 0 && reasoning == 0 {
            prompt = total; // embeddings that give only a total
        } else if reasoning == 0 && total > beside && seconds == 0 && self.get(Figure::Completion).is_there() {
            reasoning = total - beside; // hidden
        } else if reasoning <= done && total != beside.saturating_add(reasoning) {
            reasoning = take(&mut done, reasoning);
        }
        let mut usage = self.prompt(prompt, seconds == 0);
        usage.set(Class::Reasoning, reasoning);
        usage.set(Class::OutputAudio, take(&mut done, self.count(Figure::AudioOut)));
        usage.set(Class::OutputImage, take(&mut done, self.count(Figure::ImageOut)));
        usage.set(Class::Output, done);
        usage.set(Class::Seconds, seconds);
        usage.set(Class::Searches, self.count(Figure::WebSearches));
        usage
    }

    /// Responses: the same names, and reasoning is always part of the output.
    pub(super) fn responses(&self) -> Usage {
        let mut done = self.count(Figure::Completion);
        let mut usage = self.prompt(self.count(Figure::Prompt), true);
        usage.set(Class::Reasoning, take(&mut done, self.count(Figure::Reasoning)));
        usage.set(Class::OutputAudio, take(&mut done, self.count(Figure::AudioOut)));
        usage.set(Class::Output, done);
        usage
    }

    /// The classes of a prompt: never more than it has.
    fn prompt(&self, prompt: u64, audio_counts: bool) -> Usage {
        let mut rest = prompt;
        let cached = self.get(Figure::Cached).or(self.get(Figure::CacheHit)).or(self.get(Figure::CachedTop)).whole();
        let split = self.count(Figure::Created5m).saturating_add(self.count(Figure::Created1h));
        let written = self.get(Figure::Written).or(self.get(Figure::Created)).or(Count::Is(split)).whole();
        let mut usage = Usage::default();
        usage.set(Class::CacheRead, take(&mut rest, cached));
        let mut written = take(&mut rest, written);
        usage.set(Class::CacheWrite1h, take(&mut written, self.count(Figure::Created1h)));
        usage.set(Class::CacheWrite5m, written);
        if audio_counts {
            usage.set(Class::InputAudio, take(&mut rest, self.count(Figure::AudioIn)));
        }
        usage.set(Class::Input, rest);
        usage
    }

    /// Pictures: what is not said to be text is picture.
    pub(super) fn images(&self) -> Usage {
        let (mut input, mut output) = (self.count(Figure::Prompt), self.count(Figure::Completion));
        let mut usage = Usage::default();
        usage.set(Class::InputImage, take(&mut input, self.count(Figure::ImageIn)));
        usage.set(Class::Input, input);
        let pictures = if self.get(Figure::ImageOut).is_there() { self.count(Figure::ImageOut) } else { output };
        usage.set(Class::OutputImage, take(&mut output, pictures));
        usage.set(Class::Output, output);
        usage
    }

    /// Sound: transcripts from it, here.
    pub(super) fn audio(&self) -> Usage {
        if self.duration || self.get(Figure::PromptAudio).is_there() {
            let mut usage = if self.duration { Usage::default() } else { self.chat() };
            usage.set(Class::Seconds, self.count(Figure::Seconds).max(self.count(Figure::PromptAudio)));
            return usage;
        }
        let mut input = self.count(Figure::Prompt);
        let mut usage = Usage::default();
        usage.set(Class::InputAudio, take(&mut input, self.count(Figure::AudioIn)));
        usage.set(Class::Input, input);
        usage.set(Class::Output, self.count(Figure::Completion));
        usage.set(Class::Seconds, if usage.is_empty() { self.count(Figure::Seconds) } else { 0 });
        usage
    }

    /// Speech: sound is all of the output.
    pub(super) fn speech(&self) -> Usage {
        Usage::from_iter([(Class::Input, self.count(Figure::Prompt)), (Class::OutputAudio, self.count(Figure::Completion))])
    }

    pub(super) fn rerank(&self) -> Usage {
        Usage::from_iter([(Class::Input, self.get(Figure::Total).or(self.get(Figure::Prompt)).whole())])
    }

    /// xAI, responses.
    pub(super) fn search_calls(&self) -> Option<u64> {
        self.get(Figure::SearchCalls).is_there().then(|| self.count(Figure::SearchCalls))
    }
}
