//! What the meters of all dialects note while they read, and the form of their findings.

use super::estimate::ScriptBytes;
use super::json::{Reader, Value};
use crate::words::{Basis, Nanodollars, Round, Terms, Usage};

/// What was noted so far, whatever the dialect.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// How many events (documents, elements) came whole.
    pub(super) events: u64,
    pub(super) model: Option<String>,
    pub(super) terms: Terms,
    pub(super) provider_cost: Option<Nanodollars>,
    /// The type of an error that came in the answer.
    pub(super) error: Option<String>,
    pub(super) content: bool,
    /// The text of the answer, and that of its thoughts.
    pub(super) text: ScriptBytes,
    pub(super) thought: ScriptBytes,
    /// The id at the answer's top, and that of a container it ran code in.
    pub(super) id: Option<String>,
    pub(super) container: Option<String>,
    /// The dialect's terminal event came.
    pub(super) terminal: bool,
}

impl Seen {
    pub(super) fn fail(&mut self, kind: &Option<String>) {
        self.error = Some(kind.clone().unwrap_or_else(|| "error".into()));
    }
}

/// How the answer ended, as far as the one who judges needs it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending<'a> {
    /// The answer was a stream: of events, or Gemini's array.
    pub(super) stream: bool,
    /// The provider ended it; else it was cut.
    pub(super) complete: bool,
    /// The model that was asked for.
    pub(super) asked: &'a str,
    pub(super) form: super::Form,
}

/// What a dialect makes of its figures.
#[derive(Clone, Debug, Default)]
pub(super) struct Judged {
    pub(super) basis: Basis,
    /// The reported classes; of a partial one without `output`.
    pub(super) usage: Usage,
    pub(super) rounds: Vec<Round>,
    /// Of a partial one: `output` is at least that.
    pub(super) least_output: u64,
    /// A figure is no count.
    pub(super) odd: bool,
}

impl Judged {
    /// Nothing but a basis.
    pub(super) fn bare(basis: Basis) -> Judged {
        Judged { basis, ..Judged::default() }
    }
}

/// A dialect's meter: a [`Reader`] that notes, and then judges.
pub(super) trait Answer: Reader + Default {
    fn seen(&self) -> &Seen;
    /// The stream's `[DONE]` came.
    fn done(&mut self) {}
    /// Whether a stream is whole if it ends here, without its terminal event.
    fn may_end(&self) -> bool;
    /// Text that came as a whole message, where pieces of it may have come before: it counts only if none did.
    fn message(&self) -> ScriptBytes {
        ScriptBytes::default()
    }
    fn judge(&self, ending: &Ending<'_>) -> Judged;
}

/// Keeps a text where it is one and not empty; without allocating where it is the one that is kept.
pub(super) fn keep(slot: &mut Option<String>, value: Value<'_>) {
    if let Value::Text(text) = value
        && !text.is_empty()
        && slot.as_ref().is_none_or(|kept| kept.as_bytes() != text)
    {
        *slot = Some(String::from_utf8_lossy(text).into_owned());
    }
}

/// The same for a code, which may be a number.
pub(super) fn keep_code(slot: &mut Option<String>, value: Value<'_>) {
    match value {
        Value::Number(text) => keep(slot, Value::Text(text)),
        other => keep(slot, other),
    }
}

/// Whether a member that says so by being there says so: not `null`, `false`, empty.
pub(super) fn says_so(value: Value<'_>) -> bool {
    match value {
        Value::Null | Value::False | Value::Text(b"") | Value::Number(b"0") => false,
        Value::True | Value::Text(_) | Value::Number(_) => true,
    }
}

/// What is taken out of a total: never more than is in it.
pub(super) fn take(from: &mut u64, part: u64) -> u64 {
    let taken = part.min(*from);
    *from -= taken;
    taken
}
