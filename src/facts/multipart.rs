//! A `multipart/form-data` body: uploads of files, pictures to edit, sound to transcribe.
//!
//! Lines end with CRLF as RFC 7578 wants it, and a boundary behind a bare LF is refused: some parsers would take it for one, and
//! what they read behind it would not be what we read.

use std::ops::Range;

use bytes::Bytes;
use http::HeaderMap;
use memchr::memmem;

use super::{Facts, ModelPlace, bad, guard_case, model_name};
use crate::words::Refusal;

/// Most parts of one body; the longest known has some 20.
const PARTS_MAX: usize = 1000;

/// Longest head of one part, and longest value of a field that is read, in bytes.
const HEAD_MAX: usize = 8 * 1024;
const FIELD_MAX: usize = 1024;

/// The boundary, if the headers say that the body is a form of parts.
pub(super) fn boundary(headers: &HeaderMap) -> Option<Result<String, Refusal>> {
    let value = headers.get("content-type")?.to_str().ok()?;
    let (kind, parameters) = value.split_once(';').unwrap_or((value, ""));
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let boundary = parameter(parameters, "boundary").filter(|text| (1..=70).contains(&text.len()));
    Some(boundary.ok_or_else(|| bad("content-type: multipart/form-data needs one boundary of 1 to 70 characters")))
}

/// Reads the fields that matter into `facts`.
pub(super) fn read(boundary: &[u8], body: &Bytes, facts: &mut Facts) -> Result<(), Refusal> {
    let mut parts = Parts::new(boundary, body)?;
    let (mut quality, mut size) = (None, None);
    while let Some((name, content)) = parts.next()? {
        guard_case(&name)?;
        let text = || field(&name, &body[content.clone()]);
        match name.as_str() {
            "model" if facts.model.is_some() => return Err(bad("the form has more than one field \"model\"")),
            "model" => {
                facts.model = Some(model_name(text()?)?);
                facts.edits.model = ModelPlace::Part(content);
            }
            "stream" => {
                facts.stream = match text()? {
                    "true" | "True" | "1" => true,
                    "false" | "False" | "0" | "" => false,
                    _ => return Err(bad("the field \"stream\" must be true or false")),
                }
            }
            "n" => facts.choices = text()?.parse().unwrap_or(1).max(1),
            "purpose" => facts.purpose = Some(text()?.to_string()),
            "quality" => quality = Some(text()?.to_string()),
            "size" => size = Some(text()?.to_string()),
            "prompt" => facts.text_bytes.count(&body[content]),
            _ => {}
        }
    }
    facts.image_kind = quality.zip(size).map(|(quality, size)| format!("{quality}/{size}"));
    Ok(())
}

fn field<'a>(name: &str, content: &'a [u8]) -> Result<&'a str, Refusal> {
    let text = std::str::from_utf8(content).ok().filter(|text| text.len() <= FIELD_MAX);
    text.ok_or_else(|| bad(format!("the field {name:?} must be text of at most {FIELD_MAX} bytes")))
}

/// A walk over the parts.
struct Parts<'a> {
    body: &'a [u8],
    /// Finds `\n--boundary`, which has this length.
    delimiter: memmem::Finder<'static>,
    length: usize,
    /// Behind a delimiter.
    at: usize,
    seen: usize,
}

impl<'a> Parts<'a> {
    fn new(boundary: &[u8], body: &'a [u8]) -> Result<Parts<'a>, Refusal> {
        let delimiter = [b"\n--", boundary].concat();
        let length = delimiter.len();
        let mut parts = Parts { body, delimiter: memmem::Finder::new(&delimiter).into_owned(), length, at: 0, seen: 0 };
        if body.starts_with(&delimiter[1..]) {
            parts.at = length - 1;
        } else {
            parts.pass_delimiter()?;
        }
        Ok(parts)
    }

    /// Passes the next delimiter; gives where the content before it ends.
    fn pass_delimiter(&mut self) -> Result<usize, Refusal> {
        let rest = self.body.get(self.at..).unwrap_or_default();
        let Some(found) = self.delimiter.find(rest).map(|found| self.at + found) else {
            return Err(bad("the form does not end with its boundary"));
        };
        if found == 0 || self.body[found - 1] != b'\r' {
            return Err(bad("the form's lines must end with CRLF"));
        }
        self.at = found + self.length;
        Ok(found - 1)
    }

    /// The next part's name and where its content stands.
    fn next(&mut self) -> Result<Option<(String, Range<usize>)>, Refusal> {
        let rest = &self.body[self.at..];
        if rest.starts_with(b"--") {
            return Ok(None);
        }
        let Some(padding) = memmem::find(&rest[..rest.len().min(70)], b"\r\n") else {
            return Err(bad("a boundary of the form is followed by something else than a line end"));
        };
        if !rest[..padding].iter().all(|b| matches!(b, b' ' | b'\t')) {
            return Err(bad("a boundary of the form is followed by something else than a line end"));
        }
        self.seen += 1;
        if self.seen > PARTS_MAX {
            return Err(bad(format!("the form has more than {PARTS_MAX} parts")));
        }
        // The line end behind the boundary counts as the first of an empty head, too.
        let head_at = self.at + padding;
        let window = &self.body[head_at..self.body.len().min(head_at + HEAD_MAX)];
        let Some(head_end) = memmem::find(window, b"\r\n\r\n") else {
            return Err(bad("the head of a part of the form does not end"));
        };
        let name = part_name(&window[..head_end])?;
        let start = head_at + head_end + 4;
        // An empty content's line end may be the one that ends the head.
        self.at = start - 2;
        let end = self.pass_delimiter()?.max(start);
        Ok(Some((name, start..end)))
    }
}

/// The name in a part's `content-disposition`. Everything that two parsers could read in two ways is refused.
fn part_name(head: &[u8]) -> Result<String, Refusal> {
    let unreadable = || bad("a part of the form has no readable content-disposition: form-data; name=…");
    let head = std::str::from_utf8(head).map_err(|_| unreadable())?;
    let mut name = None;
    for line in head.split("\r\n").filter(|line| !line.is_empty()) {
        let (field, value) = line.split_once(':').ok_or_else(unreadable)?;
        if field.is_empty() || field.contains([' ', '\t', '\n', '\r']) || value.contains(['\n', '\r']) {
            return Err(unreadable());
        }
        if field.eq_ignore_ascii_case("content-disposition") {
            let (kind, parameters) = value.split_once(';').ok_or_else(unreadable)?;
            let here = parameter(parameters, "name").ok_or_else(unreadable)?;
            if !kind.trim().eq_ignore_ascii_case("form-data") || name.replace(here).is_some() {
                return Err(unreadable());
            }
        }
    }
    name.ok_or_else(unreadable)
}

/// The one parameter of this name in `; a=b; c="d"`; `None` where it is missing, repeated, given as `name*`, or unreadable.
fn parameter(text: &str, wanted: &str) -> Option<String> {
    let mut found = None;
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ';']);
        if rest.is_empty() {
            return found;
        }
        let (name, after) = rest.split_once('=')?;
        let (value, after) = if let Some(quoted) = after.strip_prefix('"') { unquoted(quoted)? } else { token(after) };
        let name = name.trim();
        if name.strip_suffix('*').is_some_and(|name| name.eq_ignore_ascii_case(wanted)) {
            return None;
        }
        if name.eq_ignore_ascii_case(wanted) && found.replace(value).is_some() {
            return None;
        }
        rest = after;
    }
}

fn token(text: &str) -> (String, &str) {
    let end = text.find(';').unwrap_or(text.len());
    (text[..end].trim().to_string(), &text[end..])
}

/// What stands before the closing quote, its backslashes undone, and what follows.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}
