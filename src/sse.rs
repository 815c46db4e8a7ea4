//! Framing of server-sent events, from bytes that come in pieces of any size.
//!
//! The rules (WHATWG HTML, 9.2.6), for every dialect:
//! 1. Lines end with LF, CRLF or CR, and a CRLF may be torn apart. A byte order mark may come first.
//! 2. `field: value`, the one blank after the colon is optional; a line that begins with a colon is a comment.
//! 3. Several `data` lines are one datum, joined with LF. Fields come in any order; fields other than `data` and `event`
//!    are passed over.
//! 4. A blank line ends the event. Whether a last event without its blank line counts is for the reader to say (for a meter
//!    it does if its JSON is whole).
//!
//! [`Framer`] copies and keeps nothing: it hands out what it finds as slices of the chunk, a line of megabytes as several.
//! [`Events`] sits on it for those who want whole events of a bounded length.

use std::ops::ControlFlow;

use memchr::memchr2;

/// What comes next in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// The first line of an event that is no comment begins at the byte that is read next.
    Begin,
    /// A part of the event's name; the parts of one name follow each other.
    Name(&'a [u8]),
    /// A part of a `data` line's value, never empty. The parts of one line follow each other.
    Data(&'a [u8]),
    /// A further `data` line of the same event begins; it is joined to the ones before with LF.
    Join,
    /// A blank line. `event` says whether `data` lines came before it, so that an event is complete here.
    End { event: bool },
}

/// Where in a line the stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// At the start of the stream, behind so many bytes of a byte order mark.
    Mark(u8),
    Line,
    /// Within a field's name, of which so many bytes are kept.
    Field(u8),
    /// Behind the colon: a blank may follow.
    Blank(Field),
    Value(Field),
    /// Within a comment or an unknown field.
    Rest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Data,
    Event,
}

const MARK: &[u8] = b"\xef\xbb\xbf";
const LONGEST_FIELD: usize = 5;

/// The framing of one stream. Its memory is constant.
#[derive(Clone, Debug)]
pub struct Framer {
    at: At,
    field: [u8; LONGEST_FIELD],
    /// The last byte was a CR that ended a line: an LF now belongs to it.
    after_cr: bool,
    /// Within an event: [`Piece::Begin`] was given.
    begun: bool,
    /// The event has a `data` line.
    data: bool,
}

impl Default for Framer {
    fn default() -> Framer {
        Framer::new()
    }
}

impl Framer {
    pub fn new() -> Framer {
        Framer { at: At::Mark(0), field: [0; LONGEST_FIELD], after_cr: false, begun: false, data: false }
    }

    /// The next piece of the chunk, whose read part is taken off `rest`. `None`: all of it was read.
    pub fn next<'a>(&mut self, rest: &mut &'a [u8]) -> Option<Piece<'a>> {
        loop {
            let first = *rest.first()?;
            if self.after_cr {
                self.after_cr = false;
                if first == b'\n' {
                    *rest = &rest[1..];
                    continue;
                }
            }
            match self.at {
                At::Line => match first {
                    b'\n' | b'\r' => {
                        self.end_line(rest, 0);
                        self.begun = false;
                        return Some(Piece::End { event: std::mem::take(&mut self.data) });
                    }
                    b':' => self.at = At::Rest,
                    _ if !self.begun => {
                        self.begun = true;
                        return Some(Piece::Begin);
                    }
                    _ => match rest.strip_prefix(b"data:") {
                        Some(value) => (*rest, self.at) = (value, At::Blank(Field::Data)),
                        None => self.at = At::Field(0),
                    },
                },
                At::Blank(field) => {
                    if first == b' ' {
                        *rest = &rest[1..];
                    }
                    self.at = At::Value(field);
                    if field == Field::Data && std::mem::replace(&mut self.data, true) {
                        return Some(Piece::Join);
                    }
                }
                At::Value(field) => {
                    let value = self.to_line_end(rest);
                    if !value.is_empty() {
                        return Some(if field == Field::Data { Piece::Data(value) } else { Piece::Name(value) });
                    }
                }
                At::Rest => {
                    self.to_line_end(rest);
                }
                At::Field(length) => {
                    if let Some(join) = self.read_field(rest, first, length) {
                        return Some(join);
                    }
                }
                At::Mark(seen) => match MARK.get(usize::from(seen)) {
                    Some(byte) if *byte == first => (*rest, self.at) = (&rest[1..], At::Mark(seen + 1)),
                    // A mark that was not one begins an unknown field.
                    Some(_) if seen > 0 => (self.at, self.begun) = (At::Rest, true),
                    _ => self.at = At::Line,
                },
            }
        }
    }

    /// Whether the stream stands within an event: a line of it has begun, its blank line has not come.
    pub fn within_event(&self) -> bool {
        self.begun
    }

    /// Whether the last line has ended and the next has not begun.
    pub fn between_lines(&self) -> bool {
        matches!(self.at, At::Line | At::Mark(0))
    }

    /// Whether the last byte was a CR that ended a line, so that an LF coming next belongs to that end.
    pub fn awaits_lf(&self) -> bool {
        self.after_cr
    }

    /// Takes what is left of the line; where its end is there, that too.
    fn to_line_end<'a>(&mut self, rest: &mut &'a [u8]) -> &'a [u8] {
        let chunk = *rest;
        match memchr2(b'\n', b'\r', chunk) {
            Some(end) => {
                self.end_line(rest, end);
                self.at = At::Line;
                &chunk[..end]
            }
            None => {
                *rest = &[];
                chunk
            }
        }
    }

    /// Takes everything up to and with the line end at `end`.
    fn end_line(&mut self, rest: &mut &[u8], end: usize) {
        let ends = match rest[end..] {
            [b'\r', b'\n', ..] => 2,
            [b'\r'] => {
                self.after_cr = true;
                1
            }
            _ => 1,
        };
        *rest = &rest[end + ends..];
    }

    /// Takes one byte of a field's name. A name without a colon is a field with an empty value.
    fn read_field<'a>(&mut self, rest: &mut &'a [u8], byte: u8, length: u8) -> Option<Piece<'a>> {
        let field = match &self.field[..usize::from(length)] {
            b"data" => Some(Field::Data),
            b"event" => Some(Field::Event),
            _ => None,
        };
        match (byte, field) {
            (b'\n' | b'\r', _) => {
                self.end_line(rest, 0);
                self.at = At::Line;
                let again = field == Some(Field::Data) && std::mem::replace(&mut self.data, true);
                return again.then_some(Piece::Join);
            }
            (b':', Some(field)) => (*rest, self.at) = (&rest[1..], At::Blank(field)),
            (b':', None) => self.at = At::Rest,
            (_, _) => match self.field.get_mut(usize::from(length)) {
                Some(place) => {
                    *place = byte;
                    (*rest, self.at) = (&rest[1..], At::Field(length + 1));
                }
                None => self.at = At::Rest,
            },
        }
        None
    }
}

/// One event, as [`Events`] gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// What its `event` line says; empty without one.
    pub name: &'a [u8],
    /// Its `data` lines, joined with LF.
    pub data: &'a [u8],
    /// Name or data were longer than what is kept; what is here is their beginning.
    pub truncated: bool,
}

/// Whole events, each kept up to a bound. An event that lies whole in a chunk is not copied.
#[derive(Clone, Debug)]
pub struct Events {
    framer: Framer,
    name: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    truncated: bool,
    most: usize,
}

impl Events {
    /// Of each event's data (and name) at most `most` bytes are kept.
    pub fn new(most: usize) -> Events {
        Events { framer: Framer::new(), name: Vec::new(), data: Vec::new(), has_data: false, truncated: false, most }
    }

    /// Gives each event that ends in `chunk` to `each`. At a break the rest of the chunk is left unread, and so is
    /// whatever is fed later: who breaks has seen enough.
    pub fn feed(&mut self, chunk: &[u8], mut each: impl FnMut(Event<'_>) -> ControlFlow<()>) -> ControlFlow<()> {
        let mut rest = chunk;
        let mut whole: Option<&[u8]> = None; // data of this event so far, if it is one slice of this chunk
        while let Some(piece) = self.framer.next(&mut rest) {
            match piece {
                Piece::Begin => {}
                Piece::Name(part) => keep(&mut self.name, part, self.most, &mut self.truncated),
                Piece::Join => {
                    self.spill(whole.take());
                    keep(&mut self.data, b"\n", self.most, &mut self.truncated);
                }
                Piece::Data(part) => {
                    if !self.has_data && self.data.is_empty() && part.len() <= self.most {
                        whole = Some(part);
                    } else {
                        self.spill(whole.take());
                        keep(&mut self.data, part, self.most, &mut self.truncated);
                    }
                    self.has_data = true;
                }
                Piece::End { event } => {
                    let data = whole.take().unwrap_or(&self.data);
                    let event = event.then_some(Event { name: &self.name, data, truncated: self.truncated });
                    let flow = event.map_or(ControlFlow::Continue(()), &mut each);
                    self.clear();
                    flow?;
                }
            }
        }
        self.spill(whole);
        ControlFlow::Continue(())
    }

    /// The last event, if it came without its blank line.
    pub fn end(&self) -> Option<Event<'_>> {
        self.has_data.then_some(Event { name: &self.name, data: &self.data, truncated: self.truncated })
    }

    fn spill(&mut self, part: Option<&[u8]>) {
        if let Some(part) = part {
            keep(&mut self.data, part, self.most, &mut self.truncated);
        }
    }

    fn clear(&mut self) {
        self.name.clear();
        self.data.clear();
        (self.has_data, self.truncated) = (false, false);
    }
}

/// Appends as much of `part` as there is room for.
fn keep(kept: &mut Vec<u8>, part: &[u8], most: usize, truncated: &mut bool) {
    let room = most.saturating_sub(kept.len()).min(part.len());
    kept.extend_from_slice(&part[..room]);
    *truncated |= room < part.len();
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn events(stream: &[u8], size: usize) -> Vec<(String, String)> {
        let mut events = Events::new(1 << 20);
        let mut found = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        for chunk in stream.chunks(size.max(1)) {
            let flow = events.feed(chunk, |event| {
                found.push((text(event.name), text(event.data)));
                ControlFlow::Continue(())
            });
            assert!(flow.is_continue());
        }
        found.extend(events.end().map(|event| (text(event.name), text(event.data))));
        found
    }

    #[track_caller]
    fn check(stream: &str, expected: &[(&str, &str)]) {
        let expected: Vec<_> = expected.iter().map(|(name, data)| (name.to_string(), data.to_string())).collect();
        for size in [1, 2, 3, 5, 7, 16, usize::MAX] {
            assert_eq!(events(stream.as_bytes(), size), expected, "in pieces of {size}");
        }
    }

    #[test]
    fn lines_end_with_lf_crlf_or_cr() {
        for end in ["\n", "\r\n", "\r"] {
            let stream = "event: a\ndata: 1\n\ndata: 2\n\n".replace('\n', end);
            check(&stream, &[("a", "1"), ("", "2")]);
        }
        check("data: 1\r\n\ndata: 2\r\rdata: 3\n\r\n", &[("", "1"), ("", "2"), ("", "3")]);
    }

    #[test]
    fn the_blank_is_optional_and_only_one_is_taken() {
        check("data:1\n\ndata:  2\n\n", &[("", "1"), ("", " 2")]);
    }

    #[test]
    fn data_lines_are_joined_and_fields_come_in_any_order() {
        check("id: 7\ndata: 1\nretry: 3\ndata\ndata: 2\nevent: x\n\n", &[("x", "1\n\n2")]);
    }

    #[test]
    fn comments_blank_lines_and_unknown_fields_are_passed_over() {
        check("\n\n: ping\n\n:\ndata: 1\n: x\n\nnonsense\n\nevents: 1\ndatum: 2\n\n", &[("", "1")]);
    }

    #[test]
    fn a_byte_order_mark_may_come_first() {
        check("\u{feff}data: 1\n\n", &[("", "1")]);
        check("\u{feff}\u{feff}data: 1\n\ndata: 2\n\n", &[("", "2")]);
    }

    #[test]
    fn a_last_event_without_its_blank_line_is_told_apart() {
        check("data: 1\n\ndata: 2", &[("", "1"), ("", "2")]);
    }

    #[test]
    fn an_event_is_kept_up_to_its_bound() {
        let mut events = Events::new(4);
        let mut found = Vec::new();
        for chunk in ["data: 12", "345\n", "\ndata: 123456\n\n", "data: 1234\n\n"] {
            let flow = events.feed(chunk.as_bytes(), |event| {
                found.push((event.data.to_vec(), event.truncated));
                ControlFlow::Continue(())
            });
            assert!(flow.is_continue());
        }
        assert_eq!(found, [(b"1234".to_vec(), true), (b"1234".to_vec(), true), (b"1234".to_vec(), false)]);
    }

    #[test]
    fn pieces_cover_a_chunk_in_order() {
        let mut framer = Framer::new();
        let mut rest: &[u8] = b": c\nevent: e\ndata: 1\r\n\r\n";
        let mut seen = Vec::new();
        while let Some(piece) = framer.next(&mut rest) {
            seen.push((piece, rest.len()));
        }
        let expected = [(Piece::Begin, 20), (Piece::Name(b"e"), 11), (Piece::Data(b"1"), 2), (Piece::End { event: true }, 0)];
        assert_eq!(seen, expected);
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_events(stream in "(data|event|id|:|\u{feff})?:? ?[a-c]?(\n|\r|\r\n){0,2}", more in "(data: ?x?(\n|\r|\r\n){1,3}|:c\n|event:e\r\n){0,8}", size in 1usize..9) {
            let stream = stream + &more;
            prop_assert_eq!(events(stream.as_bytes(), size), events(stream.as_bytes(), usize::MAX));
        }

        #[test]
        fn no_bytes_panic(stream in proptest::collection::vec(any::<u8>(), 0..200), size in 1usize..20) {
            prop_assert_eq!(events(&stream, size), events(&stream, usize::MAX));
        }
    }
}
