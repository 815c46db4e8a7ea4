//! A forward scan over JSON text. No tree is built and nothing is copied but what is asked for.
//!
//! [`Scanner`] walks a text once and refuses what RFC 8259 does not allow: raw control characters, wrong escapes, `NaN`, comments,
//! trailing commas, more than [`DEPTH_MAX`] levels. Strict, because what we read and what a provider reads must not differ: a
//! text that one parser takes and another refuses is a way around a model list. Only UTF-8 is not checked throughout: names and
//! the few texts that are used are, when they are asked for.
//! [`Value`] is the place of one value in such a text; it reads small parts again, lazily.

use std::borrow::Cow;
use std::ops::{ControlFlow, Range};

/// Levels of nesting; deeper texts are refused. Tool schemas of real clients stay below 40.
pub const DEPTH_MAX: usize = 256;

/// Why a text is no JSON, and at which byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub at: usize,
    pub what: &'static str,
}

/// What is told of a text while it is walked.
pub trait Sink {
    fn name(&mut self, _name: Raw) {}
    /// `Break` ends the walk where it stands.
    fn string(&mut self, _string: Raw) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// A string as it stands between its quotes, and what the walk saw in it on the way.
#[derive(Clone, Copy, Debug)]
pub struct Raw<'a> {
    pub bytes: &'a [u8],
    /// Some byte is beyond ASCII.
    pub beyond_ascii: bool,
    pub escapes: bool,
    /// Some escape is a `\u`.
    pub unicode_escapes: bool,
}

/// Wants to know nothing.
impl Sink for () {}

/// A walk over one text, from left to right.
#[derive(Clone, Debug)]
pub struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    pub fn new(text: &'a [u8]) -> Scanner<'a> {
        Scanner { text, at: 0 }
    }

    /// The byte at which the walk stands.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The next byte that is no white space, not taken.
    #[inline]
    pub fn peek(&mut self) -> Option<u8> {
        while let Some(byte) = self.text.get(self.at) {
            match byte {
                b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                byte => return Some(*byte),
            }
        }
        None
    }

    /// Steps into an object (`{`) or array (`[`).
    pub fn enter(&mut self, open: u8) -> Result<(), Fault> {
        match self.peek() {
            Some(byte) if byte == open => {
                self.at += 1;
                Ok(())
            }
            _ => self.fault(if open == b'{' { "an object is expected" } else { "an array is expected" }),
        }
    }

    /// The next member's name, with the walk before its value; `None` when the object ends. `first` is true before the first.
    pub fn member(&mut self, first: &mut bool) -> Result<Option<Name<'a>>, Fault> {
        if !self.goes_on(b'}', first)? {
            return Ok(None);
        }
        self.name().map(|name| Some(Name(name.bytes)))
    }

    /// Whether another element follows in this array.
    pub fn element(&mut self, first: &mut bool) -> Result<bool, Fault> {
        self.goes_on(b']', first)
    }

    fn goes_on(&mut self, close: u8, first: &mut bool) -> Result<bool, Fault> {
        let was_first = std::mem::replace(first, false);
        match self.peek() {
            Some(byte) if byte == close => {
                self.at += 1;
                Ok(false)
            }
            Some(_) if was_first => Ok(true),
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            _ => self.fault("a comma or the end of an object or array is expected"),
        }
    }

    /// Passes one value and tells where it stands.
    pub fn value(&mut self, sink: &mut impl Sink) -> Result<Value<'a>, Fault> {
        self.peek();
        let from = self.at;
        // A walk that the sink breaks off ends in the middle; only `Value::walk` uses such sinks.
        let _ended = self.walk(sink)?;
        Ok(Value { text: self.text, from, to: self.at })
    }

    /// The value that was passed since `from`, where its first byte stands.
    pub fn since(&self, from: usize) -> Value<'a> {
        Value { text: self.text, from, to: self.at }
    }

    /// Nothing but white space may follow.
    pub fn end(&mut self) -> Result<(), Fault> {
        match self.peek() {
            None => Ok(()),
            Some(_) => self.fault("something follows after the end"),
        }
    }

    fn walk(&mut self, sink: &mut impl Sink) -> Result<ControlFlow<()>, Fault> {
        // One bit a level: set where it is an object.
        let mut objects = [0u64; DEPTH_MAX / 64];
        let mut depth = 0;
        loop {
            match self.peek() {
                Some(open @ (b'{' | b'[')) => {
                    self.at += 1;
                    let close = if open == b'{' { b'}' } else { b']' };
                    if self.peek() == Some(close) {
                        self.at += 1;
                    } else {
                        if depth == DEPTH_MAX {
                            return self.fault("it is nested too deeply");
                        }
                        let bit = 1 << (depth % 64);
                        if open == b'{' {
                            objects[depth / 64] |= bit;
                            sink.name(self.name()?);
                        } else {
                            objects[depth / 64] &= !bit;
                        }
                        depth += 1;
                        continue;
                    }
                }
                Some(b'"') => {
                    if sink.string(self.string()?).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b't') => self.literal(b"true")?,
                Some(b'f') => self.literal(b"false")?,
                Some(b'n') => self.literal(b"null")?,
                _ => return self.fault("a value is expected"),
            }
            // A value is over: so may be what it stands in.
            loop {
                if depth == 0 {
                    return Ok(ControlFlow::Continue(()));
                }
                let in_object = objects[(depth - 1) / 64] & (1 << ((depth - 1) % 64)) != 0;
                match self.peek() {
                    Some(b',') => {
                        self.at += 1;
                        if in_object {
                            sink.name(self.name()?);
                        }
                        break;
                    }
                    Some(b'}') if in_object => depth -= 1,
                    Some(b']') if !in_object => depth -= 1,
                    _ => return self.fault("a comma or the end of an object or array is expected"),
                }
                self.at += 1;
            }
        }
    }

    /// A member's name and its colon.
    #[inline]
    fn name(&mut self) -> Result<Raw<'a>, Fault> {
        if self.peek() != Some(b'"') {
            return self.fault("a member's name is expected");
        }
        let name = self.string()?;
        if self.peek() != Some(b':') {
            return self.fault("a colon is expected");
        }
        self.at += 1;
        Ok(name)
    }

    /// From an opening quote to behind the closing one.
    #[inline]
    fn string(&mut self) -> Result<Raw<'a>, Fault> {
        let start = self.at + 1;
        let mut raw = Raw { bytes: b"", beyond_ascii: false, escapes: false, unicode_escapes: false };
        let mut high = 0;
        let mut at = start;
        loop {
            at = plain_end(self.text, at, &mut high);
            match self.text.get(at) {
                Some(b'"') => {
                    raw.bytes = &self.text[start..at];
                    raw.beyond_ascii = high & 0x8080_8080_8080_8080 != 0;
                    self.at = at + 1;
                    return Ok(raw);
                }
                Some(b'\\') => {
                    raw.escapes = true;
                    at += match self.text.get(at + 1) {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
                        Some(b'u') if hex4(self.text, at + 2).is_some() => {
                            raw.unicode_escapes = true;
                            6
                        }
                        _ => return self.fault("a string holds an unknown escape"),
                    };
                }
                Some(_) => return self.fault("a string holds a raw control character"),
                None => return self.fault("a string does not end"),
            }
        }
    }

    fn number(&mut self) -> Result<(), Fault> {
        let digits = |scanner: &mut Self| {
            let start = scanner.at;
            while scanner.text.get(scanner.at).is_some_and(u8::is_ascii_digit) {
                scanner.at += 1;
            }
            scanner.at - start
        };
        let next = |scanner: &Self| scanner.text.get(scanner.at).copied();
        if next(self) == Some(b'-') {
            self.at += 1;
        }
        let leading_zero = next(self) == Some(b'0');
        let whole = digits(self);
        if whole == 0 || leading_zero && whole > 1 {
            return self.fault("a number is malformed");
        }
        if next(self) == Some(b'.') {
            self.at += 1;
            if digits(self) == 0 {
                return self.fault("a number is malformed");
            }
        }
        if matches!(next(self), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(next(self), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if digits(self) == 0 {
                return self.fault("a number is malformed");
            }
        }
        Ok(())
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), Fault> {
        if self.text[self.at..].starts_with(word) {
            self.at += word.len();
            return Ok(());
        }
        self.fault("a value is expected")
    }

    fn fault<T>(&self, what: &'static str) -> Result<T, Fault> {
        Err(Fault { at: self.at, what })
    }
}

/// Where the next quote, backslash or control character (below U+0020) stands, or the end of the text. The bytes passed are
/// gathered into `high`, whose top bits tell whether any is beyond ASCII.
///
/// Most strings are short: eight bytes at a time, by the arithmetic on words that finds a byte equal to (or less than) a given one,
/// exact for the lowest such byte. What is longer than 64 bytes goes by blocks that the compiler makes vectors of.
#[inline]
fn plain_end(text: &[u8], from: usize, high: &mut u64) -> usize {
    let mut at = from;
    let mut words = 0;
    while let Some(word) = text.get(at..at + 8) {
        let word = u64::from_le_bytes([word[0], word[1], word[2], word[3], word[4], word[5], word[6], word[7]]);
        let stops = stops(word);
        if stops != 0 {
            let plain = (stops.trailing_zeros() / 8) as usize;
            *high |= word & ((1 << (8 * plain)) - 1);
            return at + plain;
        }
        *high |= word;
        at += 8;
        words += 1;
        if words == 8 {
            at = plain_blocks(text, at, high);
        }
    }
    while let Some(byte) = text.get(at).filter(|byte| !is_stop(**byte)) {
        *high |= u64::from(*byte);
        at += 1;
    }
    at
}

/// The top bit of each byte that is a quote, a backslash or a control character; what lies above the lowest may be wrong.
#[inline]
fn stops(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let zero_bytes = |word: u64| word.wrapping_sub(ONES) & !word;
    let quotes = zero_bytes(word ^ (ONES * b'"' as u64));
    let backslashes = zero_bytes(word ^ (ONES * b'\\' as u64));
    let controls = word.wrapping_sub(ONES * 0x20) & !word;
    (quotes | backslashes | controls) & (ONES * 0x80)
}

fn is_stop(byte: u8) -> bool {
    byte == b'"' || byte == b'\\' || byte < 0x20
}

/// Passes whole blocks in which nothing stops.
fn plain_blocks(text: &[u8], from: usize, high: &mut u64) -> usize {
    let mut at = from;
    for block in text.get(from..).unwrap_or_default().chunks_exact(64) {
        let (stop, all) = block.iter().fold((false, 0), |(stop, all), byte| (stop | is_stop(*byte), all | *byte));
        if stop {
            break;
        }
        *high |= u64::from(all);
        at += 64;
    }
    at
}

fn hex4(text: &[u8], at: usize) -> Option<u32> {
    let digits = text.get(at..at + 4)?;
    digits.iter().try_fold(0, |sum, digit| Some(sum * 16 + char::from(*digit).to_digit(16)?))
}

/// A member's name as it stands between its quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name<'a>(&'a [u8]);

impl<'a> Name<'a> {
    /// The name, its escapes undone; `None` where it is no UTF-8.
    pub fn text(self) -> Option<Cow<'a, str>> {
        unescape(self.0)
    }
}

/// The place of one value in a text that was walked.
#[derive(Clone, Copy, Debug)]
pub struct Value<'a> {
    text: &'a [u8],
    from: usize,
    to: usize,
}

impl<'a> Value<'a> {
    /// The one value of which `text` consists.
    pub fn of(text: &'a [u8]) -> Result<Value<'a>, Fault> {
        let mut scanner = Scanner::new(text);
        let value = scanner.value(&mut ())?;
        scanner.end().map(|()| value)
    }

    /// Its place in the text.
    pub fn range(&self) -> Range<usize> {
        self.from..self.to
    }

    /// Its bytes as written.
    pub fn raw(&self) -> &'a [u8] {
        &self.text[self.from..self.to]
    }

    fn first(&self) -> u8 {
        self.raw().first().copied().unwrap_or(0)
    }

    pub fn is_null(&self) -> bool {
        self.first() == b'n'
    }

    pub fn is_object(&self) -> bool {
        self.first() == b'{'
    }

    pub fn is_array(&self) -> bool {
        self.first() == b'['
    }

    pub fn is_string(&self) -> bool {
        self.first() == b'"'
    }

    /// An object or array with nothing in it, or an empty string.
    pub fn is_empty(&self) -> bool {
        let raw = self.raw();
        match self.first() {
            b'"' => raw.len() == 2,
            b'{' | b'[' => Scanner { text: raw, at: 1 }.peek().is_some_and(|byte| byte == raw[0] + 2),
            _ => false,
        }
    }

    /// `true` or `false`.
    pub fn as_bool(&self) -> Option<bool> {
        match self.first() {
            b't' => Some(true),
            b'f' => Some(false),
            _ => None,
        }
    }

    /// A whole number that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        std::str::from_utf8(self.raw()).ok()?.parse().ok()
    }

    /// A whole number.
    pub fn as_i64(&self) -> Option<i64> {
        std::str::from_utf8(self.raw()).ok()?.parse().ok()
    }

    /// A string, its escapes undone; `None` also where it is no UTF-8.
    pub fn as_str(&self) -> Option<Cow<'a, str>> {
        self.is_string().then(|| unescape(&self.raw()[1..self.raw().len() - 1])).flatten()
    }

    /// The members of an object; none of anything else.
    pub fn members(&self) -> Members<'a> {
        let mut scanner = Scanner { text: self.text, at: self.from };
        let open = self.is_object() && scanner.enter(b'{').is_ok();
        Members { scanner, first: true, open }
    }

    /// The elements of an array; none of anything else.
    pub fn elements(&self) -> Elements<'a> {
        let mut scanner = Scanner { text: self.text, at: self.from };
        let open = self.is_array() && scanner.enter(b'[').is_ok();
        Elements { scanner, first: true, open }
    }

    /// The member of this name; of several the last, as providers take it.
    pub fn get(&self, name: &str) -> Option<Value<'a>> {
        self.members().filter(|(here, _)| here == name).last().map(|(_, value)| value)
    }

    /// Tells `sink` of this value, until it has enough.
    pub fn walk(&self, sink: &mut impl Sink) -> ControlFlow<()> {
        Scanner { text: self.text, at: self.from }.walk(sink).unwrap_or(ControlFlow::Break(()))
    }
}

/// The members of one object, in order. Ends early where the text is cut off.
#[derive(Debug)]
pub struct Members<'a> {
    scanner: Scanner<'a>,
    first: bool,
    open: bool,
}

impl<'a> Iterator for Members<'a> {
    type Item = (Cow<'a, str>, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        while self.open {
            let Ok(Some(name)) = self.scanner.member(&mut self.first) else { break };
            let Ok(value) = self.scanner.value(&mut ()) else { break };
            if let Some(name) = name.text() {
                return Some((name, value));
            }
        }
        self.open = false;
        None
    }
}

/// The elements of one array, in order. Ends early where the text is cut off.
#[derive(Debug)]
pub struct Elements<'a> {
    scanner: Scanner<'a>,
    first: bool,
    open: bool,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        self.open = self.open && self.scanner.element(&mut self.first).unwrap_or(false);
        let value = if self.open { self.scanner.value(&mut ()).ok() } else { None };
        self.open = value.is_some();
        value
    }
}

/// Undoes the escapes of what stands between two quotes; half a surrogate pair becomes U+FFFD. `None` where it is no UTF-8.
pub fn unescape(raw: &[u8]) -> Option<Cow<'_, str>> {
    let text = std::str::from_utf8(raw).ok()?;
    if !raw.contains(&b'\\') {
        return Some(Cow::Borrowed(text));
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        let escape = rest.as_bytes().get(at + 1)?;
        let mut taken = 2;
        plain.push(match escape {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let (unit, length) = code_point(rest.as_bytes(), at)?;
                taken = length;
                unit
            }
            other => char::from(*other),
        });
        rest = rest.get(at + taken..)?;
    }
    plain.push_str(rest);
    Some(Cow::Owned(plain))
}

/// The character that the `\u` escape at `at` (and the low surrogate after it) stands for, and how many bytes it takes.
fn code_point(text: &[u8], at: usize) -> Option<(char, usize)> {
    let high = hex4(text, at + 2)?;
    if (0xD800..0xDC00).contains(&high) && text.get(at + 6..at + 8) == Some(b"\\u") {
        let low = hex4(text, at + 8)?;
        if (0xDC00..0xE000).contains(&low) {
            let point = 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
            return Some((char::from_u32(point).unwrap_or('\u{FFFD}'), 12));
        }
    }
    Some((char::from_u32(high).unwrap_or('\u{FFFD}'), 6))
}

/// A text as a JSON string, with its quotes.
pub fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, fault: Option<&str>) {
        assert_eq!(Value::of(text.as_bytes()).err().map(|fault| fault.what), fault, "{text}");
    }

    #[test]
    fn what_is_json() {
        for text in [
            "{}",
            " [ ] ",
            "[1,-0.5e+3,\"a\\\"b\\u00e9\",null,true,false]",
            "{\"a\":{\"b\":[{},[]]},\"c\":1}",
            "0",
            "\"\"",
            "-0",
            "1E5",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn what_is_not() {
        check("", Some("a value is expected"));
        check("{\"a\":1,}", Some("a member's name is expected"));
        check("[1,]", Some("a value is expected"));
        check("[1 2]", Some("a comma or the end of an object or array is expected"));
        check("{\"a\" 1}", Some("a colon is expected"));
        check("{'a':1}", Some("a member's name is expected"));
        check("{} x", Some("something follows after the end"));
        check("\"a", Some("a string does not end"));
        check("\"a\\", Some("a string holds an unknown escape"));
        check("\"\\x\"", Some("a string holds an unknown escape"));
        check("\"\\u12g4\"", Some("a string holds an unknown escape"));
        check("\"a\nb\"", Some("a string holds a raw control character"));
        check("01", Some("a number is malformed"));
        check("1.", Some("a number is malformed"));
        check("NaN", Some("a value is expected"));
        check("nul", Some("a value is expected"));
        check("{\"a\":1]", Some("a comma or the end of an object or array is expected"));
        check(&"[".repeat(DEPTH_MAX + 1), Some("it is nested too deeply"));
    }

    #[test]
    fn as_deep_as_allowed() {
        check(&format!("{}1{}", "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX)), None);
        check(&format!("{}1{}", "{\"a\":".repeat(DEPTH_MAX), "}".repeat(DEPTH_MAX)), None);
    }

    #[test]
    fn reads_lazily() {
        let text = br#"{"a": {"b": [1, "x\ud83d\ude00", {}]}, "n": 7, "a\u0062": "last", "ab": "\u4f60"}"#;
        let value = Value::of(text).unwrap();
        assert_eq!(value.get("n").unwrap().as_u64(), Some(7));
        assert_eq!(value.get("ab").unwrap().as_str().unwrap(), "你");
        let list: Vec<_> = value.get("a").unwrap().get("b").unwrap().elements().map(|v| v.raw().to_vec()).collect();
        assert_eq!(list.len(), 3);
        assert_eq!(unescape(&list[1][1..list[1].len() - 1]).unwrap(), "x😀");
        assert!(value.get("a").unwrap().get("b").unwrap().elements().last().unwrap().is_empty());
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                proptest::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|m| serde_json::Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn takes_whatever_serde_writes(json in any_json(), pretty: bool) {
            let text = if pretty { serde_json::to_string_pretty(&json).unwrap() } else { json.to_string() };
            prop_assert!(Value::of(text.as_bytes()).is_ok());
        }

        /// What we take, serde takes (but for UTF-8, numbers beyond f64 and half surrogate pairs); what we refuse, it refuses.
        #[test]
        fn agrees_with_serde(text in "[\\[\\]{}:,\"a\\\\ \n0-9eu.tfn-]{0,24}") {
            let ours = Value::of(text.as_bytes()).is_ok();
            prop_assert_eq!(ours, serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok());
        }

        #[test]
        fn nothing_panics(bytes: Vec<u8>) {
            if let Ok(value) = Value::of(&bytes) {
                let _strings: Vec<_> = value.members().map(|(_, v)| v.as_str()).collect();
            }
            let cut = Value { text: &bytes, from: 0, to: bytes.len() };
            let _names: Vec<_> = cut.members().collect();
            let _items: Vec<_> = cut.elements().collect();
        }
    }
}
