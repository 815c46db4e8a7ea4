//! Reads JSON that comes in pieces, forward only, and hands out what stands at wanted places.
//!
//! A [`Reader`] is a table of places: which member of which object leads where. All that stands elsewhere is skipped
//! without a look at more than its quotes and brackets. What is kept between two pieces is bounded: where the scan stands
//! (a few words), and the beginning of a key, number or short string that a cut tore apart.
//!
//! It is lenient where that does no harm (`NaN`, a trailing comma, control characters in strings) and stops at what is no
//! JSON. Names are compared after unescaping. Of a repeated member every occurrence is handed out: the reader lets the last
//! one count.

use memchr::memchr2;

/// How what stands at a place is handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An object or array whose members are places too. A scalar is handed out like one at [`Kind::Short`].
    Node,
    /// A scalar, whole; a string only up to [`SHORT`] bytes. Objects and arrays are skipped.
    Short,
    /// Text: a string's pieces, unescaped; of an object or array the raw bytes.
    Text,
}

/// A scalar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    Null,
    True,
    False,
    /// As it is written, unchecked; also what JSON does not know, such as `NaN`.
    Number(&'a [u8]),
    /// Unescaped; of a longer one the first [`SHORT`] bytes.
    Text(&'a [u8]),
}

/// What a dialect's meter wants of a document.
pub trait Reader {
    type Place: Copy;
    /// The document itself.
    const ROOT: Self::Place;
    /// Where the member `key` of the object at `at` leads; `None`: not wanted.
    fn member(at: Self::Place, key: &[u8]) -> Option<Self::Place>;
    /// Where the elements of the array at `at` lead.
    fn element(at: Self::Place) -> Option<Self::Place>;
    fn kind(at: Self::Place) -> Kind;
    /// An object or array begins at a [`Kind::Node`].
    fn open(&mut self, _at: Self::Place, _array: bool) {}
    /// It ends; `empty`: it held nothing.
    fn close(&mut self, _at: Self::Place, _array: bool, _empty: bool) {}
    fn value(&mut self, _at: Self::Place, _value: Value<'_>) {}
    /// A piece of what stands at a [`Kind::Text`], never empty.
    fn text(&mut self, _at: Self::Place, _piece: &[u8]) {}
}

/// The longest string, in bytes, that is handed out whole at a [`Kind::Short`], and the longest key or number that is compared.
pub const SHORT: usize = 256;

/// How deep wanted places may be nested. The deepest, of Gemini's modality counts in a stream's array, is 6.
const DEPTH: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before a value (or the end of an array).
    Value,
    /// Before a key (or the end of an object).
    Key,
    Colon,
    /// Behind a value.
    Next,
    String(Use),
    /// Within a number, `true`, `false`, `null`.
    Bare,
    /// Within an unwanted object or array, so many brackets deep.
    Skip(u32),
    /// Within a string of an unwanted object or array.
    SkipString(u32),
    /// The document ended; what follows is not read.
    Whole,
    /// This is no JSON.
    Broken,
}

/// What a string is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Key,
    Keep,
    Pass,
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    None,
    /// Behind a backslash.
    Slash,
    /// Within `\uXXXX`: so many digits are to come.
    Unicode {
        left: u8,
        code: u16,
    },
}

#[derive(Clone, Copy, Debug)]
struct Frame<P> {
    at: P,
    array: bool,
    empty: bool,
}

/// The scan of one document after the other.
#[derive(Debug)]
pub struct Scanner<R: Reader> {
    state: State,
    /// The place of the value that is read or comes next.
    at: Option<R::Place>,
    frames: [Frame<R::Place>; DEPTH],
    depth: usize,
    /// A key, number or short string that was torn apart or has escapes: at most [`SHORT`] bytes.
    scratch: Vec<u8>,
    escape: Escape,
    /// The first half of a surrogate pair.
    high: u16,
    /// The skipped object or array is handed out raw.
    raw: bool,
}

impl<R: Reader> Default for Scanner<R> {
    fn default() -> Scanner<R> {
        Scanner::new()
    }
}

impl<R: Reader> Scanner<R> {
    pub fn new() -> Scanner<R> {
        let frame = Frame { at: R::ROOT, array: false, empty: true };
        Scanner {
            state: State::Value,
            at: Some(R::ROOT),
            frames: [frame; DEPTH],
            depth: 0,
            scratch: Vec::new(),
            escape: Escape::None,
            high: 0,
            raw: false,
        }
    }

    /// Forgets the document; the next byte begins another.
    pub fn reset(&mut self) {
        (self.state, self.at, self.depth, self.escape, self.high) = (State::Value, Some(R::ROOT), 0, Escape::None, 0);
        self.scratch.clear();
    }

    /// Whether the document has come to its end.
    pub fn is_whole(&self) -> bool {
        self.state == State::Whole
    }

    /// Whether what came is no JSON.
    pub fn is_broken(&self) -> bool {
        self.state == State::Broken
    }

    /// Reads on.
    pub fn feed(&mut self, bytes: &[u8], reader: &mut R) {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = match self.state {
                State::String(usage) => self.string(rest, usage, reader),
                State::Next => self.next(rest, reader),
                State::Key => self.key(rest, reader),
                State::Colon => self.colon(rest),
                State::Value => self.value(rest, reader),
                State::Bare => self.bare(rest, reader),
                State::Skip(depth) => self.skip(rest, depth, reader),
                State::SkipString(depth) => self.skip_string(rest, depth, reader),
                State::Whole | State::Broken => return,
            }
        }
    }

    fn value<'a>(&mut self, rest: &'a [u8], reader: &mut R) -> &'a [u8] {
        let rest = without_blanks(rest);
        let Some(&first) = rest.first() else { return rest };
        let in_array = match self.depth.checked_sub(1).and_then(|top| self.frames.get_mut(top)) {
            Some(frame) if frame.array => {
                frame.empty &= first == b']';
                true
            }
            _ => false,
        };
        match first {
            b'"' => {
                self.state = State::String(match self.at.map(R::kind) {
                    Some(Kind::Text) => Use::Pass,
                    Some(Kind::Short | Kind::Node) => Use::Keep,
                    None => Use::Nothing,
                });
                return &rest[1..];
            }
            b'{' | b'[' => self.open(first, reader),
            b']' if in_array => self.close(true, reader),
            b',' | b':' | b'}' | b']' => self.state = State::Broken,
            _ => {
                self.state = State::Bare;
                return rest;
            }
        }
        &rest[1..]
    }

    fn open(&mut self, bracket: u8, reader: &mut R) {
        let array = bracket == b'[';
        let kind = self.at.map(|at| (at, R::kind(at)));
        self.raw = false;
        match kind {
            Some((at, Kind::Node)) if self.depth < DEPTH => {
                reader.open(at, array);
                self.frames[self.depth] = Frame { at, array, empty: true };
                self.depth += 1;
                if array {
                    (self.state, self.at) = (State::Value, R::element(at));
                } else {
                    self.state = State::Key;
                }
            }
            Some((at, Kind::Text)) => {
                self.raw = true;
                reader.text(at, &[bracket]);
                self.state = State::Skip(1);
            }
            _ => self.state = State::Skip(1),
        }
    }

    fn close(&mut self, array: bool, reader: &mut R) {
        let Some(top) = self.depth.checked_sub(1) else {
            self.state = State::Broken;
            return;
        };
        let frame = self.frames[top];
        if frame.array != array {
            self.state = State::Broken;
            return;
        }
        self.depth = top;
        self.state = self.behind_value();
        reader.close(frame.at, array, frame.empty);
    }

    fn behind_value(&self) -> State {
        if self.depth == 0 { State::Whole } else { State::Next }
    }

    fn key<'a>(&mut self, rest: &'a [u8], reader: &mut R) -> &'a [u8] {
        let rest = without_blanks(rest);
        match rest.first() {
            None => return rest,
            Some(b'"') => {
                self.frames[self.depth - 1].empty = false;
                self.state = State::String(Use::Key);
            }
            Some(b'}') => self.close(false, reader),
            Some(_) => self.state = State::Broken,
        }
        &rest[1..]
    }

    fn colon<'a>(&mut self, rest: &'a [u8]) -> &'a [u8] {
        let rest = without_blanks(rest);
        match rest.first() {
            None => return rest,
            Some(b':') => self.state = State::Value,
            Some(_) => self.state = State::Broken,
        }
        &rest[1..]
    }

    fn next<'a>(&mut self, rest: &'a [u8], reader: &mut R) -> &'a [u8] {
        let rest = without_blanks(rest);
        let Some(&first) = rest.first() else { return rest };
        let frame = self.frames[self.depth - 1];
        match first {
            b',' if frame.array => (self.state, self.at) = (State::Value, R::element(frame.at)),
            b',' => self.state = State::Key,
            b'}' | b']' => self.close(first == b']', reader),
            _ => self.state = State::Broken,
        }
        &rest[1..]
    }

    fn string<'a>(&mut self, rest: &'a [u8], usage: Use, reader: &mut R) -> &'a [u8] {
        if self.escape != Escape::None {
            self.unescape(rest[0], usage, reader);
            return &rest[1..];
        }
        let Some(end) = quote_or_slash(rest) else {
            self.part(rest, usage, reader);
            return &[];
        };
        let (piece, behind) = (&rest[..end], &rest[end + 1..]);
        if rest[end] == b'\\' {
            self.part(piece, usage, reader);
            self.escape = Escape::Slash;
            return behind;
        }
        self.end_string(piece, usage, reader);
        // The two bytes that nearly always follow, without another turn.
        match (self.state, behind.first()) {
            (State::Colon, Some(b':')) => {
                self.state = State::Value;
                &behind[1..]
            }
            _ => behind,
        }
    }

    /// Takes a part of a string that goes on.
    fn part(&mut self, piece: &[u8], usage: Use, reader: &mut R) {
        match (usage, self.at) {
            (Use::Key | Use::Keep, _) => self.keep(piece),
            (Use::Pass, Some(at)) if !piece.is_empty() => reader.text(at, piece),
            (Use::Pass | Use::Nothing, _) => {}
        }
    }

    fn keep(&mut self, piece: &[u8]) {
        let room = (SHORT - self.scratch.len().min(SHORT)).min(piece.len());
        self.scratch.extend_from_slice(&piece[..room]);
    }

    fn end_string(&mut self, piece: &[u8], usage: Use, reader: &mut R) {
        self.high = 0;
        if matches!(usage, Use::Pass | Use::Nothing) {
            self.part(piece, usage, reader);
            self.state = self.behind_value();
            return;
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let text = if scratch.is_empty() {
            &piece[..piece.len().min(SHORT)]
        } else {
            let room = (SHORT - scratch.len().min(SHORT)).min(piece.len());
            scratch.extend_from_slice(&piece[..room]);
            &scratch[..]
        };
        if usage == Use::Key {
            self.at = R::member(self.frames[self.depth - 1].at, text);
            self.state = State::Colon;
        } else {
            if let Some(at) = self.at {
                reader.value(at, Value::Text(text));
            }
            self.state = self.behind_value();
        }
        scratch.clear();
        self.scratch = scratch;
    }

    /// Takes a byte of an escape sequence.
    fn unescape(&mut self, byte: u8, usage: Use, reader: &mut R) {
        let plain = match (self.escape, byte) {
            (Escape::Slash, b'u') => {
                self.escape = Escape::Unicode { left: 4, code: 0 };
                return;
            }
            (Escape::Slash, b'n') => b'\n',
            (Escape::Slash, b't') => b'\t',
            (Escape::Slash, b'r') => b'\r',
            (Escape::Slash, b'b') => 8,
            (Escape::Slash, b'f') => 12,
            (Escape::Slash | Escape::None, other) => other,
            (Escape::Unicode { left, code }, digit) => {
                let Some(digit) = char::from(digit).to_digit(16).and_then(|d| u16::try_from(d).ok()) else {
                    self.state = State::Broken;
                    return;
                };
                let code = code << 4 | digit;
                if left > 1 {
                    self.escape = Escape::Unicode { left: left - 1, code };
                } else {
                    self.escape = Escape::None;
                    self.unicode(code, usage, reader);
                }
                return;
            }
        };
        self.escape = Escape::None;
        self.part(&[plain], usage, reader);
    }

    /// Takes a UTF-16 unit; half a pair without its other half is left out.
    fn unicode(&mut self, code: u16, usage: Use, reader: &mut R) {
        let high = std::mem::take(&mut self.high);
        let letter = match code {
            0xD800..=0xDBFF => {
                self.high = code;
                None
            }
            0xDC00..=0xDFFF => char::decode_utf16([high, code]).next().and_then(Result::ok).filter(|_| high != 0),
            _ => char::from_u32(u32::from(code)),
        };
        if let Some(letter) = letter {
            self.part(letter.encode_utf8(&mut [0; 4]).as_bytes(), usage, reader);
        }
    }

    fn bare<'a>(&mut self, rest: &'a [u8], reader: &mut R) -> &'a [u8] {
        let Some(end) =
            rest.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'.' | b'-' | b'+'))
        else {
            if self.at.is_some() {
                self.keep(rest);
            } else if self.scratch.is_empty() {
                self.keep(&rest[..1]);
            }
            return &[];
        };
        let mut scratch = std::mem::take(&mut self.scratch);
        let text = if scratch.is_empty() {
            &rest[..end]
        } else {
            let room = (SHORT - scratch.len().min(SHORT)).min(end);
            scratch.extend_from_slice(&rest[..room]);
            &scratch[..]
        };
        if text.is_empty() {
            self.state = State::Broken;
        } else {
            if let Some(at) = self.at {
                reader.value(
                    at,
                    match text {
                        b"null" => Value::Null,
                        b"true" => Value::True,
                        b"false" => Value::False,
                        number => Value::Number(&number[..number.len().min(SHORT)]),
                    },
                );
            }
            self.state = self.behind_value();
        }
        scratch.clear();
        self.scratch = scratch;
        &rest[end..]
    }

    fn skip<'a>(&mut self, rest: &'a [u8], mut depth: u32, reader: &mut R) -> &'a [u8] {
        let mut read = 0;
        loop {
            read += plain_run(&rest[read..]);
            let Some(byte) = rest.get(read) else {
                self.state = State::Skip(depth);
                break;
            };
            read += 1;
            match byte {
                b'"' => {
                    self.state = State::SkipString(depth);
                    break;
                }
                b'{' | b'[' => depth = depth.saturating_add(1),
                _ => depth -= 1,
            }
            if depth == 0 {
                self.state = self.behind_value();
                break;
            }
        }
        self.pass_raw(&rest[..read], reader);
        &rest[read..]
    }

    fn skip_string<'a>(&mut self, rest: &'a [u8], depth: u32, reader: &mut R) -> &'a [u8] {
        let read = if self.escape == Escape::Slash {
            self.escape = Escape::None;
            1
        } else {
            match quote_or_slash(rest) {
                None => rest.len(),
                Some(end) if rest[end] == b'\\' => {
                    self.escape = Escape::Slash;
                    end + 1
                }
                Some(end) => {
                    self.state = State::Skip(depth);
                    end + 1
                }
            }
        };
        self.pass_raw(&rest[..read], reader);
        &rest[read..]
    }

    fn pass_raw(&mut self, piece: &[u8], reader: &mut R) {
        if let Some(at) = self.at.filter(|_| self.raw && !piece.is_empty()) {
            reader.text(at, piece);
        }
    }
}

#[inline]
fn without_blanks(mut rest: &[u8]) -> &[u8] {
    while let [b' ' | b'\n' | b'\r' | b'\t', behind @ ..] = rest {
        rest = behind;
    }
    rest
}

const ONES: u64 = 0x0101_0101_0101_0101;

/// Marks (in the highest bit of a byte) where `word` holds `byte`; the lowest mark is exact.
#[inline]
fn marks(word: u64, byte: u8) -> u64 {
    let zero_there = word ^ (ONES * u64::from(byte));
    zero_there.wrapping_sub(ONES) & !zero_there & (ONES << 7)
}

/// Where the first `"` or `\` stands. Most strings are shorter than what `memchr` pays for.
#[inline]
fn quote_or_slash(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    for eight in text.chunks_exact(8).take(3) {
        let word = u64::from_le_bytes(eight.try_into().unwrap_or_default());
        let found = marks(word, b'"') | marks(word, b'\\');
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    let rest = &text[at..];
    let found = if rest.len() < 8 { rest.iter().position(|b| matches!(b, b'"' | b'\\')) } else { memchr2(b'"', b'\\', rest) };
    found.map(|more| at + more)
}

/// How many bytes come before the first quote or bracket.
#[inline]
fn plain_run(text: &[u8]) -> usize {
    let structural = |byte: u8| byte == b'"' || matches!(byte | 0x20, b'{' | b'}');
    let mut run = 0;
    // Whole stretches at once: the compiler makes vector instructions of this loop.
    for stretch in text.chunks_exact(32) {
        if stretch.iter().fold(false, |found, byte| found | structural(*byte)) {
            break;
        }
        run += 32;
    }
    run + text[run..].iter().position(|byte| structural(*byte)).unwrap_or(text.len() - run)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Place {
        Root,
        A,
        B,
        Text,
        Short,
    }

    /// Writes down all that it is given.
    #[derive(Default)]
    struct Log(Vec<String>, Option<Place>);

    impl Log {
        fn push(&mut self, line: String) {
            self.0.push(line);
            self.1 = None;
        }
    }

    impl Reader for Log {
        type Place = Place;
        const ROOT: Place = Place::Root;
        fn member(at: Place, key: &[u8]) -> Option<Place> {
            match (at, key) {
                (Place::Root | Place::B, b"a") => Some(Place::A),
                (Place::Root, b"b") => Some(Place::B),
                (Place::A | Place::B, b"text") => Some(Place::Text),
                (Place::A | Place::B, b"short") => Some(Place::Short),
                _ => None,
            }
        }
        fn element(at: Place) -> Option<Place> {
            matches!(at, Place::Root | Place::B).then_some(Place::B)
        }
        fn kind(at: Place) -> Kind {
            match at {
                Place::Root | Place::A | Place::B => Kind::Node,
                Place::Text => Kind::Text,
                Place::Short => Kind::Short,
            }
        }
        fn open(&mut self, at: Place, array: bool) {
            self.push(format!("open {at:?} {array}"));
        }
        fn close(&mut self, at: Place, array: bool, empty: bool) {
            self.push(format!("close {at:?} {array} {empty}"));
        }
        fn value(&mut self, at: Place, value: Value<'_>) {
            let value = match value {
                Value::Number(text) => format!("number {}", String::from_utf8_lossy(text)),
                Value::Text(text) => format!("text {}", String::from_utf8_lossy(text)),
                other => format!("{other:?}"),
            };
            self.push(format!("{at:?} {value}"));
        }
        fn text(&mut self, at: Place, piece: &[u8]) {
            assert!(!piece.is_empty());
            let piece: String = piece.iter().map(|byte| std::ascii::escape_default(*byte).to_string()).collect();
            match self.0.last_mut() {
                Some(line) if self.1 == Some(at) => line.push_str(&piece),
                _ => self.push(format!("{at:?}: {piece}")),
            }
            self.1 = Some(at);
        }
    }

    fn read(document: &[u8], size: usize) -> (Vec<String>, bool) {
        let (mut scanner, mut log) = (Scanner::<Log>::new(), Log::default());
        document.chunks(size).for_each(|piece| scanner.feed(piece, &mut log));
        (log.0, scanner.is_whole())
    }

    #[track_caller]
    fn check(document: &str, expected: &[&str]) {
        for size in [1, 2, 3, 7, 64, 1 << 20] {
            let (log, whole) = read(document.as_bytes(), size);
            assert_eq!(log, expected, "in pieces of {size}");
            assert!(whole);
        }
    }

    #[test]
    fn wanted_places_are_handed_out_and_others_skipped() {
        check(
            r#" {"x":{"a":{"short":1}},"a" : {"short" : -1.5e3 ,"text":"hi","z":[[{"]":"\"}"}]]}, "q":"text", "n":12} "#,
            &[
                "open Root false",
                "open A false",
                "Short number -1.5e3",
                "Text: hi",
                "close A false false",
                "close Root false false",
            ],
        );
    }

    #[test]
    fn escapes_are_undone_in_keys_and_text() {
        check(
            r#"{"\u0061":{"te\u0078t":"\u4f60\"\n\ud83d\ude00\ud83dx","sh\u006frt":"a\/b\\"}}"#,
            &[
                "open Root false",
                "open A false",
                r#"Text: \xe4\xbd\xa0\"\n\xf0\x9f\x98\x80x"#,
                r"Short text a/b\",
                "close A false false",
                "close Root false false",
            ],
        );
    }

    #[test]
    fn arrays_literals_and_empty_containers() {
        check(
            r#"[{},{"short":null},[],{"short":true,"a":"odd"},3]"#,
            &[
                "open Root true",
                "open B false",
                "close B false true",
                "open B false",
                "Short Null",
                "close B false false",
                "open B true",
                "close B true true",
                "open B false",
                "Short True",
                "A text odd",
                "close B false false",
                "B number 3",
                "close Root true false",
            ],
        );
    }

    #[test]
    fn a_container_where_text_is_wanted_is_handed_out_raw() {
        check(
            r#"{"a":{"text":{"k":["v\""]},"short":{"x":1}}}"#,
            &["open Root false", "open A false", r#"Text: {\"k\":[\"v\\\"\"]}"#, "close A false false", "close Root false false"],
        );
    }

    #[test]
    fn a_long_short_string_is_cut() {
        let document = format!(r#"{{"a":{{"short":"{}"}}}}"#, "x".repeat(5000));
        for size in [1, 100, 10_000] {
            let (log, whole) = read(document.as_bytes(), size);
            assert_eq!(log[2].len(), "Short text ".len() + SHORT);
            assert!(whole);
        }
    }

    #[test]
    fn what_is_no_json_ends_the_scan() {
        for document in ["{\"a\" 1}", "{]", "[}", "}", "{\"a\":1 2}", "{\"a\":\"\\u00zz\"}", "{,}", "<html>"] {
            assert!(!read(document.as_bytes(), 1).1, "{document}");
            assert!(!read(document.as_bytes(), 100).1, "{document}");
        }
    }

    #[test]
    fn nesting_has_no_bound_in_memory() {
        let deep = "[".repeat(1_000_000);
        read(deep.as_bytes(), 4096);
        read("{\"b\":".repeat(100_000).as_bytes(), 4096);
    }

    fn json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("true".to_owned()),
            "-?[0-9]{1,4}",
            r#""[a-z{}:, é你]{0,12}""#,
            Just(r#""\n\u4f60\"\\""#.to_owned())
        ];
        leaf.prop_recursive(5, 40, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(" ,"))),
                proptest::collection::vec((r"(a|b|text|short|x|\\u0061)", inner), 0..5).prop_map(|members| {
                    let members: Vec<_> = members.into_iter().map(|(key, value)| format!("\"{key}\": {value}")).collect();
                    format!("{{{}}}", members.join(","))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_cut_reads_the_same(document in json(), size in 1usize..20) {
            let document = document + "\n";
            let whole = read(document.as_bytes(), usize::MAX);
            prop_assert!(whole.1, "{}", document);
            prop_assert_eq!(read(document.as_bytes(), size), whole);
        }

        #[test]
        fn no_bytes_panic(document in proptest::collection::vec(prop_oneof![any::<u8>(), proptest::sample::select(b"{}[]\",:\\u0a".to_vec())], 0..200), size in 1usize..20) {
            prop_assert_eq!(read(&document, size), read(&document, usize::MAX));
        }
    }
}
