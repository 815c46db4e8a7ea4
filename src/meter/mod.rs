//! What was used, from the bytes of one answer.
//!
//! A [`Meter`] is fed the bytes as they pass; it never alters, delays or copies the stream. Inside, pieces go from layer to
//! layer, and no layer keeps more than where it stands and the figures it found:
//!
//! 1. `decode` undoes a content encoding, in a copy.
//! 2. The shape of the answer is told by its first byte that is no blank: JSON, or server-sent events (`sse`).
//! 3. `json` scans forward and hands out what stands at the places that a dialect wants; all else is skipped.
//! 4. The dialect (`anthropic`, `openai`, `responses`, `gemini`) takes figures over when an event has come whole, and judges
//!    at the end. The provider rules stand there, numbered as in the corpus' README.
//! 5. What was not reported is estimated here (`estimate`), as are figures that cannot be.
//!
//! The basis is `reported` where the provider's final figures were seen, even if the connection died afterwards; `partial`
//! where other figures were; `estimated` where content came without any (or with zeros only); `none` where there is nothing to
//! charge. A failure after content was sent is charged; one before is not.

mod anthropic;
mod decode;
pub mod estimate;
mod figures;
mod gemini;
pub mod json;
mod number;
mod openai;
mod responses;
mod seen;
pub mod strip;

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::sse::{Framer, Piece};
use crate::words::{Basis, Class, Dialect, Metered, Operation, Usage};
use decode::{Decoder, Taker};
use estimate::ScriptBytes;
use json::Scanner;
use seen::{Answer, Ending, Judged, Seen};
pub use strip::Strip;

/// What an answer looks like, as far as a meter cares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    Messages,
    /// Also completions.
    Chat,
    Responses,
    Generate,
    /// Embeddings of either dialect.
    Embed,
    /// Gemini's `predict`.
    Predict,
    Images,
    /// Speech, transcriptions, translations: which, the answer shows.
    Audio,
    Rerank,
    /// Nothing is charged: counting tokens, moderations, models, files, batches, reads of what is stored.
    #[default]
    Free,
}

impl Form {
    /// The form of an operation's answer. `predict` is the one of the gemini dialect's `images`. Reads of something stored
    /// (`GET /v1/responses/{id}` …) are [`Form::Free`] whatever their operation: that is for the caller to say.
    pub fn of(dialect: Dialect, operation: Operation) -> Form {
        match operation {
            Operation::Messages => Form::Messages,
            Operation::Chat | Operation::Completions => Form::Chat,
            Operation::Responses => Form::Responses,
            Operation::Generate => Form::Generate,
            Operation::Embeddings => Form::Embed,
            Operation::Images if dialect == Dialect::Gemini => Form::Predict,
            Operation::Images => Form::Images,
            Operation::Audio => Form::Audio,
            Operation::Rerank => Form::Rerank,
            Operation::Moderations | Operation::CountTokens | Operation::Models | Operation::Files | Operation::Batches => {
                Form::Free
            }
        }
    }

    /// Whether the figures of one request are bound by the model's context.
    fn is_generation(self) -> bool {
        matches!(self, Form::Messages | Form::Chat | Form::Responses | Form::Generate)
    }
}

/// What is known when the answer's header has come.
#[derive(Clone, Debug)]
pub struct Spec<'a> {
    pub dialect: Dialect,
    pub form: Form,
    pub status: u16,
    /// The answer's `content-type`; empty without one.
    pub content_type: &'a str,
    pub content_encoding: Option<&'a str>,
    /// The model that was asked for (as sent), for rules that depend on its generation.
    pub model: Option<Arc<str>>,
    /// The request's text, from which its tokens are estimated where the answer does not report them.
    pub input: ScriptBytes,
    /// The model's `max_input` and `max_output`, in tokens, where the price book knows them; 0 stands for not known.
    pub limits: Option<(u64, u64)>,
}

/// How the answer's bytes ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The body came to the end of its framing.
    Complete,
    /// The connection died, we cancelled it, or the client left.
    Cut,
}

/// Figures beyond this many times the model's limits cannot be.
const BEYOND: u64 = 10;
/// The limit of a model that the price book does not know, and of requests that hold many inputs: no context is larger.
const UNKNOWN_LIMIT: u64 = 10_000_000;

/// The meter of one answer.
pub struct Meter {
    decoder: Decoder<Core>,
    form: Form,
    status: u16,
    content_type: String,
    model: Option<Arc<str>>,
    input: ScriptBytes,
    limits: (u64, u64),
}

impl Meter {
    pub fn new(spec: Spec<'_>) -> Meter {
        let limits = spec.limits.filter(|_| spec.form.is_generation()).unwrap_or_default();
        let known = |limit: u64| if limit == 0 { UNKNOWN_LIMIT } else { limit };
        Meter {
            decoder: Decoder::new(spec.content_encoding, Core::new(&spec)),
            form: spec.form,
            status: spec.status,
            content_type: spec.content_type.to_owned(),
            model: spec.model,
            input: spec.input,
            limits: (known(limits.0), known(limits.1)),
        }
    }

    /// Reads a piece of the answer's body, as it came from the provider.
    pub fn feed(&mut self, chunk: &[u8]) {
        self.decoder.feed(chunk);
    }

    /// Whether the dialect's terminal event was seen: the answer is a success even if the client closes now.
    pub fn terminal(&self) -> bool {
        self.core().seen().terminal || self.core().whole_document()
    }

    /// Whether content came.
    pub fn content(&self) -> bool {
        self.core().seen().content
    }

    /// The id of a container that the answer's code ran in.
    pub fn container(&self) -> Option<&str> {
        self.core().seen().container.as_deref()
    }

    /// What is to be charged if nothing more comes.
    pub fn so_far(&self) -> Usage {
        self.judge(End::Cut).usage
    }

    /// What was used.
    pub fn end(&mut self, how: End) -> Metered {
        self.judge(how)
    }

    fn core(&self) -> &Core {
        self.decoder.taker()
    }

    fn judge(&self, how: End) -> Metered {
        let core = self.core();
        let ending = Ending {
            stream: core.is_stream(),
            complete: how == End::Complete && self.decoder.is_sound(),
            asked: self.model.as_deref().unwrap_or_default(),
            form: self.form,
        };
        let mut judged = self.verdict(&ending);
        let implausible = judged.odd && judged.basis != Basis::None || self.is_beyond(&judged.usage);
        if implausible {
            judged = Judged::bare(Basis::Estimated);
        }
        self.complete(&mut judged);
        let seen = core.seen();
        let has_id = matches!(self.form, Form::Responses | Form::Free);
        Metered {
            usage: judged.usage,
            basis: judged.basis,
            model: seen.model.clone(),
            rounds: judged.rounds,
            terms: seen.terms.clone(),
            provider_cost: seen.provider_cost,
            error: seen.error.clone(),
            content: seen.content || core.other_bytes() > 0 && self.form == Form::Audio,
            complete: self.terminal() || ending.complete && core.may_end_here(),
            implausible,
            object_id: if has_id { seen.id.clone() } else { seen.container.clone() },
        }
    }

    fn verdict(&self, ending: &Ending<'_>) -> Judged {
        let core = self.core();
        if self.form == Form::Free || !(200..300).contains(&self.status) {
            return Judged::bare(Basis::None);
        }
        if core.other_bytes() > 0 {
            // Sound, or a transcript without figures; of other forms a page that no model wrote.
            return Judged::bare(if self.form == Form::Audio { Basis::Estimated } else { Basis::None });
        }
        if !core.began() && self.decoder.is_sound() || ending.stream && core.seen().events == 0 && !core.seen().content {
            return Judged::bare(Basis::None);
        }
        core.judge(ending)
    }

    fn is_beyond(&self, usage: &Usage) -> bool {
        let prompt = Class::TOKENS
            .iter()
            .filter(|class| class.is_prompt())
            .fold(0, |sum: u64, class| sum.saturating_add(usage.get(*class)));
        let answer = Class::TOKENS
            .iter()
            .filter(|class| !class.is_prompt())
            .fold(0, |sum: u64, class| sum.saturating_add(usage.get(*class)));
        prompt > self.limits.0.saturating_mul(BEYOND) || answer > self.limits.1.saturating_mul(BEYOND)
    }

    /// Estimates what was not reported.
    fn complete(&self, judged: &mut Judged) {
        match judged.basis {
            Basis::Reported | Basis::None => {}
            Basis::Partial => {
                if judged.usage.prompt_tokens() == 0 {
                    judged.usage.set(Class::Input, self.input.tokens());
                }
                // Thoughts that were reported are not estimated once more.
                let text = self.text(judged.usage.get(Class::Reasoning) == 0);
                judged.usage.set(Class::Output, text.tokens().max(judged.least_output));
            }
            Basis::Estimated => {
                judged.usage = Usage::from_iter([(Class::Input, self.input.tokens())]);
                judged.rounds.clear();
                match self.form {
                    Form::Audio => self.estimate_audio(&mut judged.usage),
                    Form::Embed | Form::Rerank | Form::Predict | Form::Free => {}
                    Form::Messages | Form::Chat | Form::Responses | Form::Generate | Form::Images => {
                        judged.usage.set(Class::Output, self.text(true).tokens());
                    }
                }
            }
        }
    }

    /// The text of the answer.
    fn text(&self, with_thoughts: bool) -> ScriptBytes {
        let seen = self.core().seen();
        let mut text = seen.text;
        if with_thoughts {
            text.add_all(&seen.thought);
        }
        if text.is_empty() { self.core().message() } else { text }
    }

    /// Sound is told by its bytes. A transcript's sound is told by its text: people speak about 3.3 tokens a second, and
    /// models hear 10; whisper is priced by the second, the others by tokens.
    fn estimate_audio(&self, usage: &mut Usage) {
        let other = self.core().other_bytes();
        if other > 0 && !self.content_type.starts_with("text/") {
            usage.set(Class::OutputAudio, estimate::audio_tokens(&self.content_type, other));
            return;
        }
        let text = if other > 0 { self.core().other } else { self.text(true) };
        let tokens = text.tokens();
        if self.model.as_deref().is_some_and(|model| model.contains("whisper")) {
            usage.set(Class::Input, 0);
            usage.set(Class::Seconds, tokens.saturating_mul(300));
        } else {
            usage.set(Class::InputAudio, tokens.saturating_mul(3));
            usage.set(Class::Output, tokens);
        }
    }
}

/// What the answer turned out to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Shape {
    /// Nothing but blanks came.
    #[default]
    Unknown,
    Json,
    /// Gemini's stream without `alt=sse`.
    Array,
    Events,
    /// Sound, plain text, a page.
    Other,
}

/// A dialect's meter and its scan.
struct Read<A: Answer> {
    scanner: Scanner<A>,
    answer: A,
}

impl<A: Answer> Read<A> {
    fn new() -> Box<Read<A>> {
        Box::new(Read { scanner: Scanner::new(), answer: A::default() })
    }

    fn json(&mut self, bytes: &[u8]) {
        self.scanner.feed(bytes, &mut self.answer);
    }

    fn events(&mut self, framer: &mut Framer, done: &mut Done, chunk: &[u8]) {
        let mut rest = chunk;
        while let Some(piece) = framer.next(&mut rest) {
            match piece {
                Piece::Data(data) => {
                    if done.is_whole_with(data) {
                        self.answer.done();
                    }
                    self.scanner.feed(data, &mut self.answer);
                }
                Piece::Join => self.scanner.feed(b"\n", &mut self.answer),
                Piece::End { .. } => {
                    self.scanner.reset();
                    *done = Done(0);
                }
                Piece::Begin | Piece::Name(_) => {}
            }
        }
    }
}

/// How much of the datum `[DONE]`, which is no JSON, has come; beyond its length for any other.
#[derive(Clone, Copy, Debug, Default)]
struct Done(u8);

impl Done {
    const MARK: &[u8] = b"[DONE]";
    const OTHER: u8 = u8::MAX;

    /// Whether the mark is complete with this piece.
    #[inline]
    fn is_whole_with(&mut self, piece: &[u8]) -> bool {
        if self.0 == Self::OTHER {
            return false;
        }
        for byte in piece {
            if Self::MARK.get(usize::from(self.0)) != Some(byte) {
                self.0 = Self::OTHER;
                return false;
            }
            self.0 += 1;
            if usize::from(self.0) == Self::MARK.len() {
                self.0 = Self::OTHER;
                return true;
            }
        }
        false
    }
}

/// The dialects' meters.
#[derive(Default)]
enum Body {
    #[default]
    Nothing,
    Anthropic(Box<Read<anthropic::Anthropic>>),
    Openai(Box<Read<openai::Openai>>),
    Responses(Box<Read<responses::Responses>>),
    Gemini(Box<Read<gemini::Gemini>>),
}

macro_rules! each {
    ($body:expr, $read:ident => $do:expr, nothing => $nothing:expr) => {
        match $body {
            Body::Nothing => $nothing,
            Body::Anthropic($read) => $do,
            Body::Openai($read) => $do,
            Body::Responses($read) => $do,
            Body::Gemini($read) => $do,
        }
    };
}

/// What reads the decoded bytes.
#[derive(Default)]
struct Core {
    shape: Shape,
    /// The header says that it is sound or plain text.
    is_other: bool,
    framer: Framer,
    done: Done,
    body: Body,
    other: ScriptBytes,
}

impl Core {
    fn new(spec: &Spec<'_>) -> Core {
        let body = match (spec.dialect, spec.form) {
            (Dialect::Anthropic, _) => Body::Anthropic(Read::new()),
            (Dialect::Openai, Form::Responses | Form::Free) => Body::Responses(Read::new()),
            (Dialect::Openai, _) => Body::Openai(Read::new()),
            (Dialect::Gemini, _) => Body::Gemini(Read::new()),
        };
        let content_type = spec.content_type.trim_start();
        let is_type = |kind: &str| content_type.get(..kind.len()).is_some_and(|start| start.eq_ignore_ascii_case(kind));
        let is_other = spec.form == Form::Audio && (is_type("audio/") || is_type("text/") && !is_type("text/event-stream"));
        Core { body, is_other, ..Core::default() }
    }

    /// Tells the shape by the first byte that is no blank: whatever the header says, some relays send JSON errors as
    /// `text/event-stream` and streams as `application/json`.
    fn tell_shape<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if self.is_other {
            self.shape = Shape::Other;
            return bytes;
        }
        // Blanks, and the bytes of a byte order mark.
        let Some(first) = bytes.iter().position(|byte| !matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | 0xEF | 0xBB | 0xBF)) else {
            return &[];
        };
        self.shape = match bytes[first] {
            b'{' => Shape::Json,
            b'[' if matches!(self.body, Body::Gemini(_)) => Shape::Array,
            b'[' => Shape::Json,
            // The fields of an event: data, event, id, retry; or a comment.
            b'd' | b'e' | b'i' | b'r' | b':' => Shape::Events,
            _ => Shape::Other,
        };
        &bytes[first..]
    }

    fn is_stream(&self) -> bool {
        matches!(self.shape, Shape::Events | Shape::Array)
    }

    fn began(&self) -> bool {
        self.shape != Shape::Unknown
    }

    fn other_bytes(&self) -> u64 {
        if self.shape == Shape::Other { self.other.bytes() } else { 0 }
    }

    fn whole_document(&self) -> bool {
        matches!(self.shape, Shape::Json | Shape::Array) && each!(&self.body, read => read.scanner.is_whole(), nothing => false)
    }

    /// Whether the answer is whole if its body ends here: sound and text are; a stream is if its last figures came.
    fn may_end_here(&self) -> bool {
        match self.shape {
            Shape::Other => true,
            Shape::Events => each!(&self.body, read => read.answer.may_end(), nothing => false),
            Shape::Unknown | Shape::Json | Shape::Array => false,
        }
    }

    fn seen(&self) -> &Seen {
        static NOTHING: std::sync::LazyLock<Seen> = std::sync::LazyLock::new(Seen::default);
        each!(&self.body, read => read.answer.seen(), nothing => &NOTHING)
    }

    fn message(&self) -> ScriptBytes {
        each!(&self.body, read => read.answer.message(), nothing => ScriptBytes::default())
    }

    fn judge(&self, ending: &Ending<'_>) -> Judged {
        each!(&self.body, read => read.answer.judge(ending), nothing => Judged::default())
    }
}

impl Taker for Core {
    fn take(&mut self, bytes: &[u8]) {
        let bytes = if self.shape == Shape::Unknown { self.tell_shape(bytes) } else { bytes };
        match self.shape {
            Shape::Unknown => {}
            Shape::Json | Shape::Array => each!(&mut self.body, read => read.json(bytes), nothing => ()),
            Shape::Events => each!(&mut self.body, read => read.events(&mut self.framer, &mut self.done, bytes), nothing => ()),
            Shape::Other => self.other.add(bytes),
        }
    }
}
