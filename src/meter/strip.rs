//! Takes the forced usage chunk out of an OpenAI chat stream: the one place where a client's stream differs.
//!
//! Only an event with a `usage` that is an object **and** empty `choices` goes, with its blank line; comments before it stay,
//! chunks with `usage: null` or with choices stay (Azure's first chunk has no choices, but no usage either). Of what comes,
//! only an incomplete last event is held back, and only until it is certain that it is another: nearly always at
//! `"choices":[{`, and in any case after [`LONGEST`] bytes. All other bytes pass as they are; a chunk from which nothing is
//! taken passes without a copy.

use bytes::{Bytes, BytesMut};
use memchr::memmem;

use super::json::{Kind, Reader, Scanner, Value};
use crate::sse::{Framer, Piece};

/// A usage chunk is never longer, in bytes (the longest recorded has 900). What is longer flows.
const LONGEST: usize = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Root,
    Usage,
    Choices,
    Choice,
}

/// What is known of the event that is being read.
#[derive(Clone, Copy, Debug, Default)]
struct Chunk {
    usage: bool,
    no_choices: bool,
    /// It is certain that this is another event.
    other: bool,
}

impl Reader for Chunk {
    type Place = Place;
    const ROOT: Place = Place::Root;
    fn member(at: Place, key: &[u8]) -> Option<Place> {
        match (at, key) {
            (Place::Root, b"usage") => Some(Place::Usage),
            (Place::Root, b"choices") => Some(Place::Choices),
            _ => None,
        }
    }
    fn element(at: Place) -> Option<Place> {
        (at == Place::Choices).then_some(Place::Choice)
    }
    fn kind(_: Place) -> Kind {
        Kind::Node
    }
    fn open(&mut self, at: Place, array: bool) {
        match at {
            Place::Root => self.other |= array,
            Place::Choice => self.other = true,
            Place::Usage | Place::Choices => {}
        }
    }
    fn close(&mut self, at: Place, array: bool, empty: bool) {
        match at {
            Place::Usage => self.usage = !array && !empty,
            Place::Choices => self.no_choices = array && empty,
            Place::Root | Place::Choice => {}
        }
    }
    fn value(&mut self, at: Place, value: Value<'_>) {
        match at {
            Place::Usage => self.usage = false,
            Place::Choices => self.no_choices = value == Value::Null,
            Place::Choice | Place::Root => self.other = true,
        }
    }
}

/// The work on one stream.
#[derive(Debug, Default)]
pub struct Strip {
    framer: Framer,
    scanner: Scanner<Chunk>,
    chunk: Chunk,
    /// Data of the event were read.
    read: bool,
    /// The beginning of an incomplete event, at most [`LONGEST`] bytes.
    held: BytesMut,
    /// The removed event ended with a CR: the LF that may follow goes with it.
    drop_lf: bool,
}

impl Strip {
    pub fn new() -> Strip {
        Strip::default()
    }

    /// Takes a piece of the stream and gives what may go on to the client: the held bytes that turned out to be another
    /// event, and this piece without a usage chunk and without what is held from now on.
    pub fn feed(&mut self, chunk: Bytes) -> Bytes {
        let mut out = Passed { chunk, from: 0, parts: BytesMut::new() };
        let bytes = out.chunk.clone();
        let mut rest: &[u8] = &bytes;
        if self.drop_lf && !rest.is_empty() {
            self.drop_lf = false;
            if rest[0] == b'\n' && self.framer.awaits_lf() {
                out.from = 1;
            }
        }
        // Where in this piece the event began; `None`: before it (then its beginning is in `held`), or it flows.
        let mut start = None;
        while let Some(piece) = self.framer.next(&mut rest) {
            let at = bytes.len() - rest.len();
            match piece {
                Piece::Begin => {
                    self.begin();
                    start = Some(at);
                }
                Piece::Data(data) => {
                    let all = self.framer.between_lines() && matches!(rest.first(), Some(b'\n' | b'\r'));
                    self.look(data, all);
                }
                Piece::Join => self.look(b"\n", false),
                Piece::Name(_) => {}
                Piece::End { event } => {
                    if event && self.is_usage_chunk() {
                        out.cut(start.unwrap_or(out.from), at);
                        self.held.clear();
                        self.drop_lf = self.framer.awaits_lf();
                    }
                    self.release(&mut out);
                    start = None;
                }
            }
        }
        self.hold(&mut out, start);
        out.finish()
    }

    /// The stream ended. A usage chunk without its blank line goes too, if it is whole.
    pub fn end(&mut self) -> Bytes {
        let held = std::mem::take(&mut self.held);
        if self.is_usage_chunk() { Bytes::new() } else { held.freeze() }
    }

    fn begin(&mut self) {
        self.scanner.reset();
        (self.chunk, self.read) = (Chunk::default(), false);
    }

    fn is_usage_chunk(&self) -> bool {
        self.scanner.is_whole() && self.chunk.usage && self.chunk.no_choices && !self.chunk.other
    }

    /// Reads data of the event, as long as it may be the usage chunk. `last`: the event ends with this data.
    fn look(&mut self, data: &[u8], last: bool) {
        if self.chunk.other {
            return;
        }
        // Most events lie whole in a piece and do not even speak of usage: that is told faster than they are read. (With a
        // backslash its name may be escaped.)
        let first = !std::mem::replace(&mut self.read, true);
        if first && last && memmem::find(data, b"usage").is_none() && memchr::memchr(b'\\', data).is_none() {
            self.chunk.other = true;
            return;
        }
        self.scanner.feed(data, &mut self.chunk);
        self.chunk.other |= self.scanner.is_broken();
    }

    /// Lets the held bytes flow.
    fn release(&mut self, out: &mut Passed) {
        if !self.held.is_empty() {
            out.insert(&self.held);
            self.held.clear();
        }
    }

    /// At the end of a piece: holds an event that may still be the usage chunk.
    fn hold(&mut self, out: &mut Passed, start: Option<usize>) {
        if !self.framer.within_event() || self.chunk.other {
            return self.release(out);
        }
        let start = start.unwrap_or(out.from);
        let more = &out.chunk[start..];
        if self.held.len() + more.len() > LONGEST {
            self.chunk.other = true;
            return self.release(out);
        }
        self.held.extend_from_slice(more);
        out.chunk.truncate(start);
    }
}

/// What of a piece goes on: its bytes from `from` on, behind the parts that were put together before.
struct Passed {
    chunk: Bytes,
    from: usize,
    parts: BytesMut,
}

impl Passed {
    /// Leaves out `start..end`.
    fn cut(&mut self, start: usize, end: usize) {
        self.parts.extend_from_slice(&self.chunk[self.from..start]);
        self.from = end;
    }

    /// Puts held bytes before what is left of the piece: they came before all of it.
    fn insert(&mut self, held: &[u8]) {
        self.parts.extend_from_slice(held);
    }

    fn finish(mut self) -> Bytes {
        if self.parts.is_empty() {
            return self.chunk.slice(self.from.min(self.chunk.len())..);
        }
        self.parts.extend_from_slice(&self.chunk[self.from.min(self.chunk.len())..]);
        self.parts.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CONTENT: &str = r#"data: {"id":"c","choices":[{"index":0,"delta":{"content":"usage \" hi"}}],"usage":null}"#;
    const AZURE: &str = r#"data: {"choices":[],"model":"","prompt_filter_results":[{"usage":1}]}"#;
    const USAGE: &str = r#"data: {"id":"c","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#;
    const LAST: &str = r#"data: {"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}"#;

    fn strip(stream: &[u8], size: usize) -> Vec<u8> {
        let mut strip = Strip::new();
        let mut out = Vec::new();
        for chunk in stream.chunks(size.max(1)) {
            out.extend_from_slice(&strip.feed(Bytes::copy_from_slice(chunk)));
            assert!(strip.held.len() <= LONGEST);
        }
        out.extend_from_slice(&strip.end());
        out
    }

    /// `-` stands before what must go.
    #[track_caller]
    fn check(parts: &[&str]) {
        let stream: String = parts.iter().map(|part| part.strip_prefix('-').unwrap_or(part)).collect();
        let expected: String = parts.iter().filter(|part| !part.starts_with('-')).copied().collect();
        for size in [1, 2, 3, 7, 50, 512, usize::MAX] {
            let out = strip(stream.as_bytes(), size);
            assert_eq!(String::from_utf8_lossy(&out), expected, "in pieces of {size}");
        }
    }

    #[test]
    fn only_usage_with_empty_choices_goes() {
        for end in ["\n\n", "\r\n\r\n", "\r\r", "\n\r\n"] {
            let [content, azure, last, usage] = [CONTENT, AZURE, LAST, USAGE].map(|event| format!("{event}{end}"));
            check(&[&azure, &content, &last, &format!("-{usage}"), &format!("data: [DONE]{end}")]);
            check(&[&format!("-{usage}"), &content, &format!("-{usage}"), &format!("-{usage}")]);
        }
    }

    #[test]
    fn odd_framing() {
        let escaped = r#"-data:{"choi\u0063es" : [ ] , "us\u0061ge":{"prompt_tokens":1}}"#;
        check(&[": ping\n\n", ": x\n", &format!("{escaped}\n\n"), "data: [DONE]\n\n"]);
        check(&["-event: e\nid: 1\ndata: {\"choices\":[],\ndata: \"usage\":{\"a\":1}}\n: c\n\n", "data: {}\n\n"]);
        check(&["data: {\"usage\":{\"a\":1},\"choices\":[{}]}\n\n", "-data: {\"usage\":{\"a\":1},\"choices\":[]}\n\n"]);
        check(&[
            "data: {\"choices\":[],\"usage\":{}}\n\n",
            "data: {\"choices\":[],\"usage\":null}\n\n",
            "data: {\"usage\":{\"a\":1}}\n\n",
        ]);
        check(&["data: [{\"choices\":[],\"usage\":{\"a\":1}}]\n\n", "\u{feff}", "\n\n\r\n", "event: x\n\n"]);
        check(&["\u{feff}", &format!("-{USAGE}\n\n"), "data: x"]);
    }

    #[test]
    fn a_last_event_without_its_blank_line() {
        check(&[&format!("{CONTENT}\n\n"), &format!("-{USAGE}\n")]);
        check(&[&format!("{CONTENT}\n\n"), &USAGE[..USAGE.len() - 1]]);
    }

    #[test]
    fn nothing_is_copied_or_held_where_nothing_goes() {
        let chunk = Bytes::from(format!("{CONTENT}\n\n{LAST}\n\n"));
        let out = Strip::new().feed(chunk.clone());
        assert_eq!((out.as_ptr(), out.len()), (chunk.as_ptr(), chunk.len()));
        // An incomplete event flows as soon as its choices are seen.
        let torn = Bytes::from(CONTENT[..40].to_owned());
        assert_eq!(Strip::new().feed(torn.clone()), torn);
        assert_eq!(Strip::new().feed(torn.slice(..20)), "");
    }

    #[test]
    fn a_long_event_is_not_held_without_bound() {
        let long = format!("data: {{\"choices\":[],\"x\":\"{}\",\"usage\":{{\"a\":1}}}}\n\n", "y".repeat(1 << 20));
        assert_eq!(strip(long.as_bytes(), 4096), long.as_bytes());
    }

    proptest! {
        #[test]
        fn any_cut_strips_the_same(picks in proptest::collection::vec((0usize..7, 0usize..4), 0..8), size in 1usize..60) {
            let events = [CONTENT, AZURE, USAGE, LAST, ": c", "data: [DONE]", "event: x"];
            let ends = ["\n\n", "\r\n\r\n", "\r\r", "\n"];
            let stream: String = picks.into_iter().flat_map(|(event, end)| [events[event], ends[end]]).collect();
            let whole = strip(stream.as_bytes(), usize::MAX);
            prop_assert_eq!(strip(stream.as_bytes(), size), whole, "{:?}", stream);
        }

        #[test]
        fn no_bytes_panic(stream in proptest::collection::vec(any::<u8>(), 0..300), size in 1usize..20) {
            prop_assert_eq!(strip(&stream, size), strip(&stream, usize::MAX));
        }
    }
}
