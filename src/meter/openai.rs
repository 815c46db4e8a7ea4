//! The meter of OpenAI's `/v1/chat/completions`, `/v1/completions`, `/v1/embeddings`, `/v1/images/…`, `/v1/audio/…` and of
//! `/v1/rerank`, from OpenAI and from all who copy it.
//!
//! The rules (numbers as in the corpus' README) of chat, completions, embeddings:
//! 1. `prompt_tokens` includes `prompt_tokens_details.cached_tokens`, `.cache_write_tokens` and `.audio_tokens`; `input` = the rest.
//! 2. `completion_tokens` includes `reasoning_tokens`, `audio_tokens`, `image_tokens`.
//! 3. Reasoning stands beside `completion_tokens` where `total = prompt + completion + reasoning`, or where there is more of it
//!    than of `completion_tokens`. Gemini's own endpoint hides it: `reasoning` = total − prompt − completion.
//! 4. Never negative: `cache_read` ≤ `prompt_tokens`, then writes, then audio.
//! 5. Other names: DeepSeek `prompt_cache_hit_tokens`, Kimi `usage.cached_tokens`, DashScope `cache_creation_input_tokens`,
//!    OpenRouter `server_tool_use_details.web_search_requests`. Figures said twice count once.
//! 6. Mistral audio: `prompt_audio_seconds` is `seconds`; its `audio_tokens` stand beside `prompt_tokens` and do not count.
//! 7. Stream: the last usage holds, whether at the top, in `choices[0].usage` or in `x_groq.usage`.
//! 9. Final = a usage chunk with empty `choices`, or usage after a `finish_reason`. Else `partial`, `output` at least that.
//! 10. Rerank: `total_tokens` is `input`, `meta.billed_units.search_units` is `searches`. Embeddings with only a total: `input`.
//!
//! Images: `images` = pictures given, always; output without details is `output_image`. Transcription: tokens, or `seconds`.
//! Speech: all output is `output_audio`.

use super::Form;
use super::estimate::ScriptBytes;
use super::figures::{Detail, Figure, Figures};
use super::json::{Kind, Reader, Value};
use super::number::Count;
use super::seen::{Answer, Ending, Judged, Seen, keep, keep_code, says_so};
use crate::words::{Basis, Class, Usage};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Root,
    Type,
    Model,
    Tier,
    Error,
    ErrorKind,
    BaseResp,
    BaseRespCode,
    Choices,
    Choice,
    FinishReason,
    Delta,
    Message,
    /// Text of the answer; of a whole message, which some streams repeat in each chunk.
    Text(Whole),
    Thought(Whole),
    /// Something that is content without being text: a picture, sound.
    Thing,
    XGroq,
    Usage(Source),
    Figure(Source, Figure),
    Details(Source, Detail),
    Data,
    Datum,
    Meta,
    BilledUnits,
    SearchUnits,
    Results,
    Duration,
    Quality,
    Size,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whole {
    Piece,
    Message,
}

/// Where a usage stands: what Groq says in its own place only counts where there is no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Main,
    Groq,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Event {
    #[default]
    Other,
    /// A picture is done: `image_generation.completed`, `image_edit.completed`.
    Picture,
    /// `speech.audio.done`.
    Speech,
    /// `transcript.text.done`.
    Transcript,
    Error,
}

/// The chunk (or document) that is being read.
#[derive(Clone, Debug, Default)]
struct Open {
    event: Event,
    main: Option<Figures>,
    groq: Option<Figures>,
    no_choices: bool,
    finish: bool,
    error: bool,
    error_kind: Option<String>,
    pictures: u64,
    search_units: Count,
    duration: Count,
    /// `usage` came to its end: it holds even if the document is cut behind it.
    closed: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Openai {
    seen: Seen,
    open: Open,
    figures: Option<Figures>,
    /// Rule 9.
    last_seen: bool,
    finished: bool,
    done: bool,
    /// The stream is sound, not a transcript of it.
    speech: bool,
    pictures: u64,
    search_units: Count,
    duration: Count,
    message: ScriptBytes,
    quality: Option<String>,
    size: Option<String>,
}

impl Reader for Openai {
    type Place = Place;
    const ROOT: Place = Place::Root;

    #[inline]
    fn member(at: Place, key: &[u8]) -> Option<Place> {
        use Place as P;
        Some(match at {
            P::Root => match key {
                b"choices" => P::Choices,
                b"usage" => P::Usage(Source::Main),
                b"model" => P::Model,
                b"service_tier" => P::Tier,
                b"error" => P::Error,
                b"type" => P::Type,
                b"x_groq" => P::XGroq,
                b"base_resp" => P::BaseResp,
                b"data" => P::Data,
                b"results" => P::Results,
                b"meta" => P::Meta,
                b"duration" => P::Duration,
                b"quality" => P::Quality,
                b"size" => P::Size,
                // Audio: the pieces of a transcript, a whole one, sound.
                b"delta" => P::Text(Whole::Piece),
                b"text" => P::Text(Whole::Message),
                b"audio" | b"b64_json" => P::Thing,
                _ => return None,
            },
            P::Choice => match key {
                b"delta" => P::Delta,
                b"message" => P::Message,
                b"text" => P::Text(Whole::Piece),
                b"finish_reason" => P::FinishReason,
                b"usage" => P::Usage(Source::Main),
                _ => return None,
            },
            P::Delta | P::Message => {
                let whole = if at == P::Delta { Whole::Piece } else { Whole::Message };
                match key {
                    b"content" | b"tool_calls" | b"refusal" | b"function_call" => P::Text(whole),
                    b"reasoning_content" | b"reasoning" => P::Thought(whole),
                    b"audio" | b"images" => P::Thing,
                    _ => return None,
                }
            }
            P::Usage(source) => {
                return Figures::member(key).map(|figure| P::Figure(source, figure)).or_else(|| details(source, key));
            }
            P::Details(source, detail) => match detail.member(key)? {
                Ok(figure) => P::Figure(source, figure),
                Err(detail) => P::Details(source, detail),
            },
            P::XGroq if key == b"usage" => P::Usage(Source::Groq),
            P::Error if matches!(key, b"type" | b"code" | b"status") => P::ErrorKind,
            P::BaseResp if key == b"status_code" => P::BaseRespCode,
            P::Meta if key == b"billed_units" => P::BilledUnits,
            P::BilledUnits if key == b"search_units" => P::SearchUnits,
            _ => return None,
        })
    }

    #[inline]
    fn element(at: Place) -> Option<Place> {
        match at {
            Place::Choices => Some(Place::Choice),
            Place::Data => Some(Place::Datum),
            _ => None,
        }
    }

    #[inline]
    fn kind(at: Place) -> Kind {
        use Place as P;
        match at {
            P::Root | P::Error | P::BaseResp | P::Choices | P::Choice | P::Delta | P::Message | P::XGroq => Kind::Node,
            P::Usage(_) | P::Details(..) | P::Data | P::Datum | P::Meta | P::BilledUnits | P::Results => Kind::Node,
            P::Text(_) | P::Thought(_) | P::Thing => Kind::Text,
            P::Type | P::Model | P::Tier | P::ErrorKind | P::BaseRespCode | P::FinishReason | P::Figure(..) => Kind::Short,
            P::SearchUnits | P::Duration | P::Quality | P::Size => Kind::Short,
        }
    }

    #[inline]
    fn open(&mut self, at: Place, array: bool) {
        match at {
            Place::Root => self.open = Open::default(),
            Place::Usage(source) => {
                *self.source(source) = (!array).then(Figures::default);
                self.open.closed = false;
            }
            Place::Data => self.open.pictures = 0,
            Place::Datum => self.open.pictures += 1,
            _ => {}
        }
    }

    #[inline]
    fn close(&mut self, at: Place, array: bool, empty: bool) {
        match at {
            Place::Root if !array => self.commit(),
            Place::Choices => self.open.no_choices = empty,
            Place::Error => self.open.error |= !empty,
            Place::Data | Place::Results => self.seen.content |= !empty,
            Place::Usage(source) if empty => *self.source(source) = None,
            Place::Usage(_) => self.open.closed = true,
            _ => {}
        }
    }

    #[inline]
    fn value(&mut self, at: Place, value: Value<'_>) {
        match at {
            Place::Type => self.open.event = event(value),
            Place::Model => keep(&mut self.seen.model, value),
            Place::Tier => keep(&mut self.seen.terms.service_tier, value),
            Place::Error => {
                self.open.error |= says_so(value);
            }
            Place::ErrorKind => {
                if self.open.error_kind.is_none() {
                    keep_code(&mut self.open.error_kind, value);
                }
            }
            Place::BaseRespCode if says_so(value) => {
                self.open.error = true;
                keep_code(&mut self.open.error_kind, value);
            }
            Place::Choices => self.open.no_choices = value == Value::Null,
            Place::FinishReason => self.open.finish |= says_so(value),
            Place::Usage(source) => *self.source(source) = None,
            Place::Figure(source, figure) => self.source(source).get_or_insert_default().set(figure, value),
            Place::SearchUnits => self.open.search_units = Count::of(value),
            Place::Duration => self.open.duration = Count::milliseconds(value),
            Place::Quality => keep(&mut self.quality, value),
            Place::Size => keep(&mut self.size, value),
            _ => {}
        }
    }

    #[inline]
    fn text(&mut self, at: Place, piece: &[u8]) {
        self.seen.content = true;
        match at {
            Place::Text(Whole::Piece) => self.seen.text.add(piece),
            Place::Text(Whole::Message) | Place::Thought(Whole::Message) => self.message.add(piece),
            Place::Thought(Whole::Piece) => self.seen.thought.add(piece),
            _ => {}
        }
    }
}

fn details(source: Source, key: &[u8]) -> Option<Place> {
    Detail::of(key).map(|detail| Place::Details(source, detail))
}

fn event(value: Value<'_>) -> Event {
    match value {
        Value::Text(b"image_generation.completed" | b"image_edit.completed") => Event::Picture,
        Value::Text(b"speech.audio.done") => Event::Speech,
        Value::Text(b"transcript.text.done") => Event::Transcript,
        Value::Text(b"error") => Event::Error,
        _ => Event::Other,
    }
}

impl Openai {
    fn source(&mut self, source: Source) -> &mut Option<Figures> {
        match source {
            Source::Main => &mut self.open.main,
            Source::Groq => &mut self.open.groq,
        }
    }

    /// A chunk came whole.
    fn commit(&mut self) {
        self.seen.events += 1;
        let open = &mut self.open;
        self.finished |= open.finish;
        let groq = open.groq.take().filter(|_| self.figures.is_none());
        let figures = open.main.take().or(groq);
        if (open.error || open.event == Event::Error) && figures.is_none() {
            self.seen.fail(&open.error_kind);
        }
        if let Some(figures) = figures {
            figures.note(&mut self.seen);
            self.last_seen |=
                open.no_choices || self.finished || matches!(open.event, Event::Picture | Event::Speech | Event::Transcript);
            self.figures = Some(figures);
        }
        match open.event {
            Event::Picture => {
                self.pictures += 1;
                (self.seen.content, self.seen.terminal) = (true, true);
            }
            Event::Speech => (self.seen.terminal, self.speech) = (true, true),
            Event::Transcript => self.seen.terminal = true,
            Event::Error | Event::Other => self.pictures += open.pictures,
        }
        if open.search_units.is_there() {
            self.search_units = open.search_units;
        }
        if open.duration.is_there() {
            self.duration = open.duration;
        }
        if let (Some(quality), Some(size)) = (&self.quality, &self.size) {
            self.seen.terms.image_kind.get_or_insert_with(|| format!("{quality}/{size}"));
        }
    }

    /// The figures that count; of a JSON answer also those that it was cut behind.
    fn figures(&self, ending: &Ending<'_>) -> Option<Figures> {
        let cut = self.open.main.filter(|_| !ending.stream && self.open.closed);
        self.figures.or(cut)
    }

    /// Figures that stand in the answer itself.
    fn counted(&self, form: Form, figures: Option<&Figures>) -> Usage {
        let mut usage = Usage::default();
        match form {
            Form::Images => usage.set(Class::Images, self.pictures),
            Form::Audio if figures.is_none() => usage.set(Class::Seconds, self.duration.whole()),
            Form::Rerank if figures.is_none() => usage.set(Class::Searches, self.search_units.whole()),
            _ => {}
        }
        usage
    }

    fn usage(&self, form: Form, figures: &Figures) -> Usage {
        match form {
            Form::Images => figures.images(),
            Form::Audio if self.speech => figures.speech(),
            Form::Audio => figures.audio(),
            Form::Rerank => figures.rerank(),
            _ => figures.chat(),
        }
    }
}

impl Answer for Openai {
    fn seen(&self) -> &Seen {
        &self.seen
    }

    fn may_end(&self) -> bool {
        self.finished || self.last_seen
    }

    fn done(&mut self) {
        self.done = true;
        self.seen.terminal = true;
    }

    fn judge(&self, ending: &Ending<'_>) -> Judged {
        let figures = self.figures(ending);
        let counted = self.counted(ending.form, figures.as_ref());
        let failed = self.seen.error.is_some();
        let silent = ending.stream && !self.finished && ending.complete;
        if !self.seen.content && figures.is_none() && counted.is_empty() && (failed || silent) {
            return Judged::bare(Basis::None);
        }
        let Some(figures) = figures else {
            let basis = if counted.is_empty() { Basis::Estimated } else { Basis::Reported };
            let odd = self.duration == Count::Odd || self.search_units == Count::Odd;
            return Judged { basis, usage: counted, odd: odd && basis == Basis::Reported, ..Judged::default() };
        };
        let mut usage = self.usage(ending.form, &figures);
        let nothing_said = usage.is_empty() && !figures.is_odd();
        usage.add_all(&counted);
        let odd = figures.is_odd();
        if nothing_said && counted.is_empty() && (self.seen.content || self.finished) {
            return Judged::bare(Basis::Estimated);
        }
        let is_last = !ending.stream || self.last_seen || self.done;
        if is_last {
            return Judged { basis: Basis::Reported, usage, odd, ..Judged::default() };
        }
        let least_output = usage.get(Class::Output);
        usage.set(Class::Output, 0);
        Judged { basis: Basis::Partial, usage, least_output, odd, ..Judged::default() }
    }

    fn message(&self) -> ScriptBytes {
        self.message
    }
}
