//! The meter of Anthropic's `/v1/messages`, from Anthropic and from those who copy it.
//!
//! The rules (numbers as in the corpus' README):
//! 1. `input_tokens` excludes the cache.
//! 2. Cache writes: `cache_creation.ephemeral_1h_input_tokens` and `…5m…`; without the split all of
//!    `cache_creation_input_tokens` is 5m. `message_delta` has no split: the 1h part of `message_start` is kept, at most the total.
//! 3. `output_tokens` includes thinking; `output_tokens_details.thinking_tokens` is `reasoning`, the rest `output`.
//! 4. `searches` = `server_tool_use.web_search_requests`.
//! 5. `iterations` are the rounds of one request; the top level is the sum of those of type `message` only, others are billed
//!    besides. So usage is the sum over all rounds. A round with its own `model` is priced by that.
//! 6. `message_delta.usage` is cumulative: each field replaces what was known; `null` and absent change nothing.
//! 7. Relays: if the delta's input figures are all zero or absent, those of `message_start` hold; else all that are present
//!    hold, zeros too.
//! 8. Final = a `message_delta` with a `stop_reason`, or the figures of a JSON answer. Else `partial`: the output figure of
//!    `message_start` is a first token, no count.

use super::json::{Kind, Reader, Value};
use super::number::Count;
use super::seen::{Answer, Ending, Judged, Seen, keep, says_so, take};
use crate::words::{Basis, Class, Round, Usage};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Root,
    Type,
    /// `message` of `message_start`: like the root of a JSON answer.
    Message,
    Id,
    Model,
    Container,
    ContainerId,
    /// `content` of a JSON answer, and its elements.
    Content,
    Block,
    BlockType,
    /// `delta`: of a block, or of the message.
    Delta,
    StopReason,
    Text,
    Thought,
    Error,
    ErrorType,
    Usage,
    Figure(Figure),
    Split,
    OutputDetails,
    ServerTools,
    Tier,
    Speed,
    Geo,
    Iterations,
    Iteration,
    RoundModel,
    RoundFigure(Figure),
    RoundSplit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Figure {
    Input,
    CacheRead,
    Written,
    Written5m,
    Written1h,
    Output,
    Thinking,
    Searches,
}

/// The figures of one `usage`, or of one round.
#[derive(Clone, Copy, Debug, Default)]
struct Figures([Count; 8]);

impl Figures {
    fn get(&self, figure: Figure) -> Count {
        self.0[figure as usize]
    }
    fn count(&self, figure: Figure) -> u64 {
        self.get(figure).whole()
    }
    fn set(&mut self, figure: Figure, count: Count) {
        self.0[figure as usize] = count;
    }
    fn is_odd(&self) -> bool {
        self.0.contains(&Count::Odd)
    }
    /// Rule 6.
    fn replace(&mut self, newer: &Figures) {
        for (here, newer) in self.0.iter_mut().zip(newer.0) {
            if newer.is_there() {
                *here = newer;
            }
        }
    }
}

/// What came of one `usage`.
#[derive(Clone, Debug, Default)]
struct Said {
    figures: Figures,
    /// `cache_creation` was there.
    split: bool,
    rounds: Vec<Iteration>,
    /// Its last brace came.
    closed: bool,
}

#[derive(Clone, Debug, Default)]
struct Iteration {
    model: Option<String>,
    figures: Figures,
}

/// More rounds than any answer has; what comes beyond is added to the last.
const ROUNDS: usize = 256;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Event {
    #[default]
    Other,
    Message,
    MessageStart,
    MessageDelta,
    MessageStop,
    Error,
}

/// The event (or document) that is being read.
#[derive(Clone, Debug, Default)]
struct Open {
    event: Event,
    said: Option<Said>,
    stop: bool,
    error: bool,
    error_type: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Anthropic {
    seen: Seen,
    open: Open,
    start: Option<Said>,
    delta: Option<Said>,
    /// Rule 8.
    last_seen: bool,
    /// The block that begins here is more than the frame of text to come.
    block_is_content: bool,
}

impl Reader for Anthropic {
    type Place = Place;
    const ROOT: Place = Place::Root;

    #[inline]
    fn member(at: Place, key: &[u8]) -> Option<Place> {
        use Figure as F;
        use Place as P;
        Some(match at {
            P::Root | P::Message => match key {
                b"type" if at == P::Root => P::Type,
                b"message" if at == P::Root => P::Message,
                b"delta" if at == P::Root => P::Delta,
                b"content_block" if at == P::Root => P::Block,
                b"error" if at == P::Root => P::Error,
                b"usage" => P::Usage,
                b"model" => P::Model,
                b"id" => P::Id,
                b"content" => P::Content,
                b"container" => P::Container,
                _ => return None,
            },
            P::Delta => match key {
                b"text" | b"partial_json" | b"content" => P::Text,
                b"thinking" => P::Thought,
                b"stop_reason" => P::StopReason,
                b"container" => P::Container,
                _ => return None,
            },
            P::Block => match key {
                b"type" => P::BlockType,
                b"text" | b"input" => P::Text,
                b"thinking" => P::Thought,
                _ => return None,
            },
            P::Container if key == b"id" => P::ContainerId,
            P::Error if key == b"type" => P::ErrorType,
            P::Usage => match key {
                b"input_tokens" => P::Figure(F::Input),
                b"cache_read_input_tokens" => P::Figure(F::CacheRead),
                b"cache_creation_input_tokens" => P::Figure(F::Written),
                b"cache_creation" => P::Split,
                b"output_tokens" => P::Figure(F::Output),
                b"output_tokens_details" => P::OutputDetails,
                b"server_tool_use" => P::ServerTools,
                b"service_tier" => P::Tier,
                b"speed" => P::Speed,
                b"inference_geo" => P::Geo,
                b"iterations" => P::Iterations,
                _ => return None,
            },
            P::Split => match key {
                b"ephemeral_5m_input_tokens" => P::Figure(F::Written5m),
                b"ephemeral_1h_input_tokens" => P::Figure(F::Written1h),
                _ => return None,
            },
            P::OutputDetails if key == b"thinking_tokens" => P::Figure(F::Thinking),
            P::ServerTools if key == b"web_search_requests" => P::Figure(F::Searches),
            P::Iteration => match key {
                b"input_tokens" => P::RoundFigure(F::Input),
                b"cache_read_input_tokens" => P::RoundFigure(F::CacheRead),
                b"cache_creation_input_tokens" => P::RoundFigure(F::Written),
                b"cache_creation" => P::RoundSplit,
                b"output_tokens" => P::RoundFigure(F::Output),
                b"model" => P::RoundModel,
                _ => return None,
            },
            P::RoundSplit => match key {
                b"ephemeral_5m_input_tokens" => P::RoundFigure(F::Written5m),
                b"ephemeral_1h_input_tokens" => P::RoundFigure(F::Written1h),
                _ => return None,
            },
            _ => return None,
        })
    }

    fn element(at: Place) -> Option<Place> {
        match at {
            Place::Content => Some(Place::Block),
            Place::Iterations => Some(Place::Iteration),
            _ => None,
        }
    }

    #[inline]
    fn kind(at: Place) -> Kind {
        use Place as P;
        match at {
            P::Root | P::Message | P::Container | P::Content | P::Block | P::Delta | P::Error => Kind::Node,
            P::Usage | P::Split | P::OutputDetails | P::ServerTools | P::Iterations | P::Iteration | P::RoundSplit => Kind::Node,
            P::Text | P::Thought => Kind::Text,
            P::Type | P::Id | P::Model | P::ContainerId | P::BlockType | P::StopReason | P::ErrorType => Kind::Short,
            P::Figure(_) | P::Tier | P::Speed | P::Geo | P::RoundModel | P::RoundFigure(_) => Kind::Short,
        }
    }

    #[inline]
    fn open(&mut self, at: Place, array: bool) {
        match at {
            Place::Root => self.open = Open::default(),
            Place::Usage => self.open.said = (!array).then(Said::default),
            Place::Split => {
                let said = self.said();
                said.split = true;
                said.figures.set(Figure::Written5m, Count::Absent);
                said.figures.set(Figure::Written1h, Count::Absent);
            }
            Place::Iterations => self.said().rounds.clear(),
            Place::Iteration => {
                let rounds = &mut self.said().rounds;
                if rounds.len() < ROUNDS {
                    rounds.push(Iteration::default());
                }
            }
            Place::Block => self.block_is_content = false,
            _ => {}
        }
    }

    #[inline]
    fn close(&mut self, at: Place, array: bool, empty: bool) {
        match at {
            Place::Root if !array => self.commit(),
            Place::Usage => self.said().closed = true,
            Place::Block => self.seen.content |= self.block_is_content,
            Place::Content => self.seen.content |= !empty,
            Place::Error => self.open.error |= !empty,
            _ => {}
        }
    }

    #[inline]
    fn value(&mut self, at: Place, value: Value<'_>) {
        match at {
            Place::Type => self.open.event = event(value),
            Place::BlockType => self.block_is_content = !matches!(value, Value::Text(b"text" | b"thinking" | b"compaction")),
            Place::StopReason => self.open.stop = says_so(value),
            Place::Model => keep(&mut self.seen.model, value),
            Place::Id => keep(&mut self.seen.id, value),
            Place::ContainerId => keep(&mut self.seen.container, value),
            Place::Error => self.open.error |= says_so(value),
            Place::ErrorType => keep(&mut self.open.error_type, value),
            Place::Usage => self.open.said = None,
            Place::Figure(figure) => self.said().figures.set(figure, Count::of(value)),
            Place::RoundFigure(figure) => {
                if let Some(round) = self.said().rounds.last_mut() {
                    round.figures.set(figure, Count::of(value));
                }
            }
            Place::RoundModel => {
                if let Some(round) = self.said().rounds.last_mut() {
                    keep(&mut round.model, value);
                }
            }
            Place::Tier => keep(&mut self.seen.terms.service_tier, value),
            Place::Geo => keep(&mut self.seen.terms.inference_geo, value),
            Place::Speed => {
                if value != Value::Null {
                    self.seen.terms.speed_fast = value == Value::Text(b"fast");
                }
            }
            _ => {}
        }
    }

    #[inline]
    fn text(&mut self, at: Place, piece: &[u8]) {
        self.seen.content = true;
        match at {
            Place::Thought => self.seen.thought.add(piece),
            _ => self.seen.text.add(piece),
        }
    }
}

fn event(value: Value<'_>) -> Event {
    match value {
        Value::Text(b"message") => Event::Message,
        Value::Text(b"message_start") => Event::MessageStart,
        Value::Text(b"message_delta") => Event::MessageDelta,
        Value::Text(b"message_stop") => Event::MessageStop,
        Value::Text(b"error") => Event::Error,
        _ => Event::Other,
    }
}

impl Anthropic {
    fn said(&mut self) -> &mut Said {
        self.open.said.get_or_insert_default()
    }

    /// An event came whole.
    fn commit(&mut self) {
        self.seen.events += 1;
        if self.open.error || self.open.event == Event::Error {
            self.seen.fail(&self.open.error_type);
        }
        match self.open.event {
            Event::MessageStart => self.start = self.open.said.take().or(self.start.take()),
            Event::MessageDelta => {
                self.last_seen |= self.open.stop;
                if let Some(newer) = self.open.said.take() {
                    self.merge(newer);
                }
            }
            Event::Message => {
                self.delta = self.open.said.take();
                (self.last_seen, self.seen.terminal) = (true, true);
            }
            Event::MessageStop => self.seen.terminal = true,
            Event::Error | Event::Other => {}
        }
    }

    /// Rule 6.
    fn merge(&mut self, newer: Said) {
        let delta = self.delta.get_or_insert_default();
        if newer.split {
            delta.split = true;
            delta.figures.set(Figure::Written5m, Count::Absent);
            delta.figures.set(Figure::Written1h, Count::Absent);
        }
        delta.figures.replace(&newer.figures);
        if !newer.rounds.is_empty() {
            delta.rounds = newer.rounds;
        }
    }

    /// Rules 6 and 7: what `message_start` and the deltas say together.
    fn total(&self, stream: bool) -> (Figures, &[Iteration]) {
        let (first, first_rounds) =
            self.start.as_ref().map_or((Figures::default(), &[][..]), |start| (start.figures, &start.rounds));
        let Some(delta) = self.delta.as_ref().or(self.cut_behind_usage(stream)) else { return (first, first_rounds) };
        let mut total = first;
        for figure in [Figure::Output, Figure::Thinking, Figure::Searches] {
            if delta.figures.get(figure).is_there() {
                total.set(figure, delta.figures.get(figure));
            }
        }
        const INPUTS: [Figure; 3] = [Figure::Input, Figure::CacheRead, Figure::Written];
        if INPUTS.into_iter().any(|figure| !matches!(delta.figures.get(figure), Count::Absent | Count::Is(0))) {
            for figure in INPUTS {
                if delta.figures.get(figure).is_there() {
                    total.set(figure, delta.figures.get(figure));
                }
            }
            if delta.split {
                total.set(Figure::Written5m, delta.figures.get(Figure::Written5m));
                total.set(Figure::Written1h, delta.figures.get(Figure::Written1h));
            } else {
                let hour = total.count(Figure::Written1h).min(total.count(Figure::Written));
                total.set(Figure::Written1h, Count::Is(hour));
                total.set(Figure::Written5m, Count::Absent);
            }
        }
        (total, if delta.rounds.is_empty() { first_rounds } else { &delta.rounds })
    }

    /// The figures of a JSON answer that was cut behind them: they are final all the same.
    fn cut_behind_usage(&self, stream: bool) -> Option<&Said> {
        self.open.said.as_ref().filter(|said| !stream && said.closed)
    }

    /// Rules 1 to 5.
    fn usage(&self, stream: bool) -> (Usage, Vec<Round>, bool) {
        let (total, iterations) = self.total(stream);
        let mut own = Usage::default();
        let mut others: Vec<Round> = Vec::new();
        if iterations.is_empty() {
            own = classes(&total);
        }
        for round in iterations {
            let usage = classes(&round.figures);
            match round.model.as_ref().filter(|model| self.seen.model.as_ref() != Some(model)) {
                None => own.add_all(&usage),
                Some(model) => match others.iter_mut().find(|other| other.model == *model) {
                    Some(other) => other.usage.add_all(&usage),
                    None => others.push(Round { model: model.clone(), usage }),
                },
            }
        }
        let mut output = own.get(Class::Output);
        own.set(Class::Reasoning, take(&mut output, total.count(Figure::Thinking)));
        own.set(Class::Output, output);
        own.set(Class::Searches, total.count(Figure::Searches));
        others.iter().for_each(|other| own.add_all(&other.usage));
        let odd = total.is_odd() || iterations.iter().any(|round| round.figures.is_odd());
        (own, others, odd)
    }
}

/// Rules 1 and 2, of one round; thinking is still in `output`.
fn classes(figures: &Figures) -> Usage {
    let hour = figures.count(Figure::Written1h);
    let rest = figures.count(Figure::Written).saturating_sub(hour).max(figures.count(Figure::Written5m));
    Usage::from_iter([
        (Class::Input, figures.count(Figure::Input)),
        (Class::CacheRead, figures.count(Figure::CacheRead)),
        (Class::CacheWrite5m, rest),
        (Class::CacheWrite1h, hour),
        (Class::Output, figures.count(Figure::Output)),
    ])
}

impl Answer for Anthropic {
    fn seen(&self) -> &Seen {
        &self.seen
    }

    fn may_end(&self) -> bool {
        self.last_seen
    }

    fn judge(&self, ending: &Ending<'_>) -> Judged {
        let (usage, rounds, odd) = self.usage(ending.stream);
        let said = self.start.is_some() || self.delta.is_some();
        if !self.seen.content && (self.seen.error.is_some() || ending.stream && !said) {
            return Judged::bare(Basis::None);
        }
        // Figures that are all zero (or the 1 that some relays begin with) say nothing; of what is not final the output figure neither.
        let is_last = self.last_seen || self.cut_behind_usage(ending.stream).is_some();
        if !odd && usage.prompt_tokens() == 0 && (!is_last || usage.get(Class::Output) + usage.get(Class::Reasoning) <= 1) {
            return Judged::bare(Basis::Estimated);
        }
        if is_last {
            return Judged { basis: Basis::Reported, usage, rounds, least_output: 0, odd };
        }
        let least = self.delta.as_ref().map_or(0, |delta| delta.figures.count(Figure::Output));
        let least_output = least.saturating_sub(usage.get(Class::Reasoning));
        let mut known = usage;
        known.set(Class::Output, 0);
        Judged { basis: Basis::Partial, usage: known, rounds: Vec::new(), least_output, odd }
    }
}
