//! The meter of Gemini's `generateContent`, `streamGenerateContent`, `embedContent`, `batchEmbedContents` and `predict`.
//!
//! The rules (numbers as in the corpus' README):
//! 1. `promptTokenCount` includes `cachedContentTokenCount`; `candidatesTokenCount` excludes `thoughtsTokenCount`
//!    (`reasoning`); `toolUsePromptTokenCount` stands beside and is `input`.
//! 2. By modality: `promptTokensDetails` less `cacheTokensDetails`: AUDIO, IMAGE, VIDEO → `input_…`, all else `input`. Cached:
//!    AUDIO, IMAGE → `cache_read_…`, all else `cache_read`. `candidatesTokensDetails`: AUDIO, IMAGE, VIDEO → `output_…`, all
//!    else `output`. Embeddings say `promptTokenDetails`.
//! 3. Stream: the last `usageMetadata` holds as a whole. Without `alt=sse` a stream is one JSON array. Final = a `finishReason`
//!    or `promptFeedback.blockReason`.
//! 4. `searches`: Gemini 3 and later the distinct non-empty `webSearchQueries`; before, 1 if the answer is grounded at all.
//! 5. A blocked prompt reports its prompt tokens: `reported`. `predict`: `images` = predictions with bytes. `embedContent`
//!    reports nothing.

use super::Form;
use super::estimate::ScriptBytes;
use super::json::{Kind, Reader, Value};
use super::number::Count;
use super::seen::{Answer, Ending, Judged, Seen, keep, keep_code, says_so, take};
use crate::words::{Basis, Class, Usage};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The answer, or an element of the array that a stream is.
    Root,
    Model,
    Error,
    ErrorStatus,
    Usage,
    Figure(Figure),
    Tier,
    Details(Of),
    Detail(Of),
    Modality,
    Tokens,
    Feedback,
    BlockReason,
    Candidates,
    Candidate,
    FinishReason,
    Content,
    Parts,
    Part,
    Text,
    Thought,
    Call,
    Grounding,
    Queries,
    Query,
    EntryPoint,
    Predictions,
    Prediction,
    Bytes,
    Embeddings,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Figure {
    Prompt,
    Cached,
    Candidates,
    Thoughts,
    ToolUse,
}

/// What details are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Prompt,
    Cache,
    Candidates,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Modality {
    Audio,
    Image,
    Video,
    #[default]
    Other,
}

/// One `usageMetadata`.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    counts: [Count; 5],
    /// Tokens by what they are of and by modality.
    details: [[u64; 4]; 3],
    odd: bool,
}

impl Figures {
    fn count(&self, figure: Figure) -> u64 {
        self.counts[figure as usize].whole()
    }
    fn detail(&self, of: Of, modality: Modality) -> u64 {
        self.details[of as usize][modality as usize]
    }
    fn is_odd(&self) -> bool {
        self.odd || self.counts.contains(&Count::Odd)
    }

    /// Rules 1 and 2.
    fn usage(&self) -> Usage {
        use Modality::{Audio, Image, Video};
        let mut usage = Usage::default();
        let mut prompt = match self.counts[Figure::Prompt as usize] {
            Count::Absent => self.details[Of::Prompt as usize].iter().fold(0, |sum: u64, count| sum.saturating_add(*count)),
            count => count.whole(),
        };
        let mut cached = take(&mut prompt, self.count(Figure::Cached));
        let fresh = [(Audio, Class::InputAudio), (Image, Class::InputImage), (Video, Class::InputVideo)];
        for (modality, class) in fresh {
            let tokens = self.detail(Of::Prompt, modality).saturating_sub(self.detail(Of::Cache, modality));
            usage.set(class, take(&mut prompt, tokens));
        }
        usage.set(Class::Input, prompt.saturating_add(self.count(Figure::ToolUse)));
        for (modality, class) in [(Audio, Class::CacheReadAudio), (Image, Class::CacheReadImage)] {
            usage.set(class, take(&mut cached, self.detail(Of::Cache, modality)));
        }
        usage.set(Class::CacheRead, cached);
        let mut output = self.count(Figure::Candidates);
        for (modality, class) in [(Audio, Class::OutputAudio), (Image, Class::OutputImage), (Video, Class::OutputVideo)] {
            usage.set(class, take(&mut output, self.detail(Of::Candidates, modality)));
        }
        usage.set(Class::Output, output);
        usage.set(Class::Reasoning, self.count(Figure::Thoughts));
        usage
    }
}

/// The event (or document, or element) that is being read.
#[derive(Clone, Debug, Default)]
struct Open {
    figures: Option<Figures>,
    /// `usageMetadata` came to its end: it holds even if the document is cut behind it.
    closed: bool,
    last: bool,
    error: bool,
    error_status: Option<String>,
    pictures: u64,
    /// The part that is being read: its text, and whether that is a thought.
    part: ScriptBytes,
    thought: bool,
    modality: Modality,
    tokens: Count,
    bytes: bool,
}

/// More distinct queries than any answer has.
const QUERIES: usize = 1024;

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

#[derive(Clone, Debug, Default)]
pub(super) struct Gemini {
    seen: Seen,
    open: Open,
    figures: Option<Figures>,
    last_seen: bool,
    pictures: u64,
    /// Hashes of the distinct queries.
    queries: Vec<u64>,
    /// A search's entry point came. (`groundingChunks` alone also come of `urlContext`, which is no search: corpus case
    /// `gemini-streamgeneratecontent-sse-tool-use-01`.)
    grounded: bool,
}

impl Reader for Gemini {
    type Place = Place;
    const ROOT: Place = Place::Root;

    #[inline]
    fn member(at: Place, key: &[u8]) -> Option<Place> {
        use Place as P;
        Some(match at {
            P::Root => match key {
                b"candidates" => P::Candidates,
                b"usageMetadata" => P::Usage,
                b"modelVersion" => P::Model,
                b"promptFeedback" => P::Feedback,
                b"predictions" => P::Predictions,
                b"embedding" | b"embeddings" => P::Embeddings,
                b"error" => P::Error,
                _ => return None,
            },
            P::Error if matches!(key, b"status" | b"code") => P::ErrorStatus,
            P::Usage => match key {
                b"promptTokenCount" => P::Figure(Figure::Prompt),
                b"cachedContentTokenCount" => P::Figure(Figure::Cached),
                b"candidatesTokenCount" => P::Figure(Figure::Candidates),
                b"thoughtsTokenCount" => P::Figure(Figure::Thoughts),
                b"toolUsePromptTokenCount" => P::Figure(Figure::ToolUse),
                b"promptTokensDetails" | b"promptTokenDetails" => P::Details(Of::Prompt),
                b"cacheTokensDetails" => P::Details(Of::Cache),
                b"candidatesTokensDetails" => P::Details(Of::Candidates),
                b"serviceTier" => P::Tier,
                _ => return None,
            },
            P::Detail(_) => match key {
                b"modality" => P::Modality,
                b"tokenCount" => P::Tokens,
                _ => return None,
            },
            P::Feedback if key == b"blockReason" => P::BlockReason,
            P::Candidate => match key {
                b"content" => P::Content,
                b"finishReason" => P::FinishReason,
                b"groundingMetadata" => P::Grounding,
                _ => return None,
            },
            P::Content if key == b"parts" => P::Parts,
            P::Part => match key {
                b"text" => P::Text,
                b"thought" => P::Thought,
                b"functionCall" | b"executableCode" => P::Call,
                _ => return None,
            },
            P::Grounding => match key {
                b"webSearchQueries" => P::Queries,
                b"searchEntryPoint" => P::EntryPoint,
                _ => return None,
            },
            P::Prediction if key == b"bytesBase64Encoded" => P::Bytes,
            _ => return None,
        })
    }

    #[inline]
    fn element(at: Place) -> Option<Place> {
        Some(match at {
            Place::Root => Place::Root,
            Place::Details(of) => Place::Detail(of),
            Place::Candidates => Place::Candidate,
            Place::Parts => Place::Part,
            Place::Queries => Place::Query,
            Place::Predictions => Place::Prediction,
            _ => return None,
        })
    }

    #[inline]
    fn kind(at: Place) -> Kind {
        use Place as P;
        match at {
            P::Root | P::Error | P::Usage | P::Details(_) | P::Detail(_) | P::Feedback | P::Candidates | P::Candidate => {
                Kind::Node
            }
            P::Content | P::Parts | P::Part | P::Grounding | P::Queries | P::EntryPoint => Kind::Node,
            P::Predictions | P::Prediction | P::Embeddings => Kind::Node,
            P::Text | P::Call | P::Bytes => Kind::Text,
            P::Query | P::Model | P::ErrorStatus | P::Figure(_) | P::Tier | P::Modality | P::Tokens => Kind::Short,
            P::BlockReason | P::FinishReason | P::Thought => Kind::Short,
        }
    }

    #[inline]
    fn open(&mut self, at: Place, array: bool) {
        match at {
            Place::Root if !array => self.open = Open::default(),
            Place::Usage => (self.open.figures, self.open.closed) = ((!array).then(Figures::default), false),
            Place::Details(of) => self.figures().details[of as usize] = [0; 4],
            Place::Detail(_) => (self.open.modality, self.open.tokens) = (Modality::Other, Count::Absent),
            Place::Candidate => self.seen.content = true,
            Place::Part => (self.open.part, self.open.thought) = (ScriptBytes::default(), false),
            Place::Predictions => self.open.pictures = 0,
            Place::Prediction => self.open.bytes = false,
            _ => {}
        }
    }

    #[inline]
    fn close(&mut self, at: Place, array: bool, empty: bool) {
        match at {
            Place::Root if !array => self.commit(),
            Place::Error => self.open.error |= !empty,
            Place::Usage if empty => self.open.figures = None,
            Place::Usage => self.open.closed = true,
            Place::Detail(of) => self.end_detail(of),
            Place::Part => {
                let part = std::mem::take(&mut self.open.part);
                if self.open.thought { self.seen.thought.add_all(&part) } else { self.seen.text.add_all(&part) }
            }
            Place::EntryPoint => self.grounded |= !empty,
            Place::Prediction => self.open.pictures += u64::from(self.open.bytes),
            Place::Embeddings => self.seen.content |= !empty,
            _ => {}
        }
    }

    #[inline]
    fn value(&mut self, at: Place, value: Value<'_>) {
        match at {
            Place::Model => keep(&mut self.seen.model, value),
            Place::Error => self.open.error |= says_so(value),
            Place::ErrorStatus => {
                if self.open.error_status.is_none() || matches!(value, Value::Text(_)) {
                    keep_code(&mut self.open.error_status, value);
                }
            }
            Place::Usage => self.open.figures = None,
            Place::Figure(figure) => self.figures().counts[figure as usize] = Count::of(value),
            Place::Tier => keep(&mut self.seen.terms.service_tier, value),
            Place::Modality => {
                self.open.modality = match value {
                    Value::Text(b"AUDIO") => Modality::Audio,
                    Value::Text(b"IMAGE") => Modality::Image,
                    Value::Text(b"VIDEO") => Modality::Video,
                    _ => Modality::Other,
                }
            }
            Place::Tokens => self.open.tokens = Count::of(value),
            Place::BlockReason | Place::FinishReason => self.open.last |= says_so(value),
            Place::Thought => self.open.thought = value == Value::True,
            Place::Query => self.note_query(value),
            _ => {}
        }
    }

    #[inline]
    fn text(&mut self, at: Place, piece: &[u8]) {
        match at {
            Place::Bytes => self.open.bytes = true,
            _ => self.open.part.add(piece),
        }
    }
}

impl Gemini {
    fn figures(&mut self) -> &mut Figures {
        self.open.figures.get_or_insert_default()
    }

    fn end_detail(&mut self, of: Of) {
        let (modality, tokens) = (self.open.modality, self.open.tokens);
        let figures = self.figures();
        figures.odd |= tokens == Count::Odd;
        let sum = &mut figures.details[of as usize][modality as usize];
        *sum = sum.saturating_add(tokens.whole());
    }

    fn note_query(&mut self, value: Value<'_>) {
        let Value::Text(query) = value else { return };
        let hash = query.iter().fold(FNV_OFFSET, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME));
        if !query.is_empty() && !self.queries.contains(&hash) && self.queries.len() < QUERIES {
            self.queries.push(hash);
        }
    }

    /// An event, document or element came whole.
    fn commit(&mut self) {
        self.seen.events += 1;
        let open = &mut self.open;
        if open.error {
            self.seen.fail(&open.error_status);
        }
        self.figures = open.figures.take().or(self.figures);
        self.last_seen |= open.last;
        self.seen.terminal |= open.last;
        self.pictures += open.pictures;
        self.seen.content |= self.pictures > 0;
    }

    /// Rule 4. An alias such as `gemini-flash-latest` names no generation; the answer does.
    fn searches(&self, asked: &str) -> u64 {
        let answered = self.seen.model.as_deref().unwrap_or_default();
        if generation(asked).or_else(|| generation(answered)).is_some_and(|generation| generation >= 3) {
            self.queries.len() as u64
        } else {
            u64::from(self.grounded || !self.queries.is_empty())
        }
    }
}

/// The number behind `gemini-`.
fn generation(model: &str) -> Option<u32> {
    model.split_once("gemini-")?.1.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

impl Answer for Gemini {
    fn seen(&self) -> &Seen {
        &self.seen
    }

    fn may_end(&self) -> bool {
        self.last_seen
    }

    fn message(&self) -> ScriptBytes {
        self.open.part
    }

    fn judge(&self, ending: &Ending<'_>) -> Judged {
        if self.seen.error.is_some() && !self.seen.content {
            return Judged::bare(Basis::None);
        }
        if ending.form == Form::Predict {
            let usage = Usage::from_iter([(Class::Images, self.pictures)]);
            return Judged { basis: Basis::Reported, usage, ..Judged::default() };
        }
        let cut = self.open.figures.filter(|_| !ending.stream && self.open.closed);
        let Some(figures) = self.figures.or(cut) else { return Judged::bare(Basis::Estimated) };
        let mut usage = figures.usage();
        let odd = figures.is_odd();
        if usage.is_empty() && !odd && self.seen.content {
            return Judged::bare(Basis::Estimated);
        }
        usage.set(Class::Searches, self.searches(ending.asked));
        if self.last_seen || !ending.stream {
            return Judged { basis: Basis::Reported, usage, odd, ..Judged::default() };
        }
        let least_output = usage.get(Class::Output);
        usage.set(Class::Output, 0);
        Judged { basis: Basis::Partial, usage, least_output, odd, ..Judged::default() }
    }
}
