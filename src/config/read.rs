//! Reading a tree: paths, fields, and scalars of every kind the configuration knows, each with its fault.
//!
//! Nothing here stops at a fault: it is noted, the field is as if left out, and reading goes on at the next.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use globset::GlobBuilder;
use ipnet::IpNet;

use super::fault::{Fault, Nearest, Wrong};
use super::files::Files;
use super::snapshot::Glob;
use super::yaml::{Data, Entry, Node};
use crate::words::{Factor, Id, Secret, parse_decimal_nano};

/// Where a value stands, as `groups[2].binding.accounts[0]`: a chain on the stack, written out only for a fault.
#[derive(Clone, Copy)]
pub(super) enum Path<'p> {
    Root,
    Field(&'p Path<'p>, &'p str),
    Item(&'p Path<'p>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Field(Path::Root, name) => f.write_str(&shown_name(name)),
            Path::Field(parent, name) => write!(f, "{parent}.{}", shown_name(name)),
            Path::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// The name of a field as a fault shows it: one that is long or looks like a credential (a `:` forgotten or too many) is shortened.
pub(super) fn shown_name(name: &str) -> Cow<'_, str> {
    let secret = ["sk-", "aicp_", "AIza", "gsk_", "xai-"].iter().any(|start| name.starts_with(start));
    if name.len() <= 40 && !secret && !name.contains(|c: char| c.is_control()) {
        return Cow::Borrowed(name);
    }
    Cow::Owned(format!("{}…", name.chars().filter(|c| !c.is_control()).take(4).collect::<String>()))
}

/// A line of one of the files: where something was first given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) file: usize,
    pub(super) line: u32,
}

/// What all of reading and checking shares: the files, the environment, the faults so far.
pub(super) struct Reader<'e> {
    pub(super) files: &'e Files,
    pub(super) environment: &'e dyn Fn(&str) -> Option<String>,
    pub(super) nearest: Nearest,
    faults: RefCell<Vec<(usize, Fault)>>,
    notes: RefCell<Vec<String>>,
    /// Patterns by their text: a pattern costs some microseconds to make, and 100,000 keys may all have the same.
    globs: RefCell<HashMap<String, Glob>>,
    /// Some file could not be read or is no YAML, so that what is not there may stand in it.
    pub(super) incomplete: Cell<bool>,
}

impl<'e> Reader<'e> {
    pub(super) fn new(files: &'e Files, environment: &'e dyn Fn(&str) -> Option<String>) -> Reader<'e> {
        Reader {
            files,
            environment,
            nearest: Nearest::new(),
            faults: RefCell::default(),
            notes: RefCell::default(),
            globs: RefCell::default(),
            incomplete: Cell::new(false),
        }
    }

    pub(super) fn fault(&self, spot: Spot, path: impl fmt::Display, wrong: Wrong) {
        let fault = Fault { file: self.files.path(spot.file), line: spot.line as usize, path: path.to_string(), wrong };
        self.faults.borrow_mut().push((spot.file, fault));
    }

    pub(super) fn note(&self, note: String) {
        self.notes.borrow_mut().push(note);
    }

    pub(super) fn is_clean(&self) -> bool {
        self.faults.borrow().is_empty()
    }

    /// A place, as `conf/aicarpool.yaml:28`.
    pub(super) fn place(&self, spot: Spot) -> String {
        format!("{}:{}", self.files.path(spot.file).display(), spot.line)
    }

    /// All faults in order of file (as read) and line, and all notes.
    pub(super) fn finish(self) -> (Vec<Fault>, Vec<String>) {
        let mut faults = self.faults.into_inner();
        faults.sort_by(|(a_file, a), (b_file, b)| (a_file, a.line).cmp(&(b_file, b.line)));
        faults.dedup();
        (faults.into_iter().map(|(_, fault)| fault).collect(), self.notes.into_inner())
    }

    /// A pattern over model names, in which `*` and `?` alone are special.
    pub(super) fn glob(&self, text: &str) -> Result<Glob, String> {
        if let Some(glob) = self.globs.borrow().get(text) {
            return Ok(glob.clone());
        }
        if text.is_empty() || text.len() > 200 || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err("pattern over model names such as claude-*".into());
        }
        let mut pattern = String::with_capacity(text.len());
        for c in text.chars() {
            match c {
                '[' | ']' | '{' | '}' | '!' | '\\' => pattern.extend(['\\', c]),
                // "**" has a meaning of its own to globset, and two stars match what one does.
                '*' if pattern.ends_with('*') && !pattern.ends_with("\\*") => {}
                _ => pattern.push(c),
            }
        }
        let matcher = GlobBuilder::new(&pattern)
            .case_insensitive(true)
            .literal_separator(false)
            .backslash_escape(true)
            .build()
            .map_err(|_| "pattern over model names such as claude-*".to_owned())?
            .compile_matcher();
        let glob = Glob { text: text.into(), matcher };
        self.globs.borrow_mut().insert(text.to_owned(), glob.clone());
        Ok(glob)
    }
}

/// A value of the tree and where it stands.
#[derive(Clone, Copy)]
pub(super) struct Value<'n, 'p> {
    pub(super) node: &'n Node<'n>,
    pub(super) path: Path<'p>,
    pub(super) file: usize,
    pub(super) reader: &'n Reader<'n>,
}

/// A scalar: what it holds once variables are put in, and what a fault may quote of it.
pub(super) struct Text<'n> {
    pub(super) text: Cow<'n, str>,
    written: &'n str,
}

impl Text<'_> {
    /// As written (a variable by its name), in quotes.
    pub(super) fn quoted(&self) -> String {
        match self.written.char_indices().nth(60) {
            Some((end, _)) => format!("{:?}", format!("{}…", &self.written[..end])),
            None => format!("{:?}", self.written),
        }
    }
}

/// What a mapping may hold.
pub(super) struct Shape {
    pub(super) known: &'static [&'static str],
    /// Fields that a later version will know, and what they come with.
    pub(super) later: &'static [(&'static str, &'static str)],
}

impl<'n, 'p> Value<'n, 'p> {
    pub(super) fn spot(&self) -> Spot {
        Spot { file: self.file, line: self.node.line }
    }

    /// Notes a fault at this value.
    pub(super) fn fault(&self, wrong: Wrong) {
        self.reader.fault(self.spot(), self.path, wrong);
    }

    fn found(&self) -> &'static str {
        match &self.node.data {
            Data::Scalar { .. } => "a single value",
            Data::List(_) => "a list",
            Data::Map(_) => "a mapping",
        }
    }

    fn wanted(&self, wanted: &'static str) {
        self.fault(if self.node.is_nothing() { Wrong::Nothing } else { Wrong::Wanted { wanted, found: self.found() } });
    }

    pub(super) fn is_scalar(&self) -> bool {
        matches!(self.node.data, Data::Scalar { .. })
    }

    /// A scalar as it is written.
    pub(super) fn written(&self) -> Option<&'n str> {
        match &self.node.data {
            Data::Scalar { text, .. } => Some(text),
            Data::List(_) | Data::Map(_) => None,
        }
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(self.node.data, Data::List(_))
    }

    /// The fields of a mapping; those that `shape` does not know are told of.
    pub(super) fn fields(self, shape: &'static Shape) -> Option<Fields<'n, 'p>> {
        let entries = self.entries("a mapping such as {name: value}")?;
        let fields = Fields { value: self, entries, shape };
        for entry in entries {
            if shape.known.contains(&&*entry.name) {
                continue;
            }
            let spot = Spot { file: self.file, line: entry.line };
            let wrong = match shape.later.iter().find(|(name, _)| *name == entry.name) {
                Some((_, with)) => Wrong::NotYet { with },
                None => Wrong::UnknownField {
                    near: self.reader.nearest.of(&entry.name, shape.known.iter().copied()),
                    known: shape.known.join(", "),
                },
            };
            self.reader.fault(spot, Path::Field(&self.path, &entry.name), wrong);
        }
        Some(fields)
    }

    /// The entries of a mapping whose names are the user's own.
    pub(super) fn entries(&self, wanted: &'static str) -> Option<&'n [Entry<'n>]> {
        match &self.node.data {
            Data::Map(entries) => Some(entries),
            Data::List(_) | Data::Scalar { .. } => {
                self.wanted(wanted);
                None
            }
        }
    }

    /// Each entry of a mapping whose names are the user's own, read by `read`.
    pub(super) fn map<T>(
        self,
        wanted: &'static str,
        mut read: impl FnMut(&'n Entry<'n>, Value<'n, '_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let entries = self.entries(wanted)?;
        let each = |entry: &'n Entry<'n>| {
            let path = Path::Field(&self.path, &entry.name);
            read(entry, Value { node: &entry.value, path, ..self })
        };
        Some(entries.iter().filter_map(each).collect())
    }

    /// Each item of a list, read by `read`; faulty ones are left out.
    pub(super) fn list<T>(self, mut read: impl FnMut(Value<'n, '_>) -> Option<T>) -> Option<Vec<T>> {
        let Data::List(items) = &self.node.data else {
            self.wanted("a list such as [a, b]");
            return None;
        };
        let each = |(index, node): (usize, &'n Node<'n>)| read(Value { node, path: Path::Item(&self.path, index), ..self });
        Some(items.iter().enumerate().filter_map(each).collect())
    }

    /// A scalar, with its variables put in.
    pub(super) fn text(&self) -> Option<Text<'n>> {
        let Data::Scalar { text: written, .. } = &self.node.data else {
            self.wanted("a single value");
            return None;
        };
        if self.node.is_nothing() {
            self.fault(Wrong::Nothing);
            return None;
        }
        if !written.contains("${") {
            return Some(Text { text: Cow::Borrowed(written), written });
        }
        match substituted(written, self.reader.environment) {
            Ok(text) => Some(Text { text: Cow::Owned(text), written }),
            Err(wrong) => {
                self.fault(wrong);
                None
            }
        }
    }

    /// A scalar that is read by `read`, which says what is wanted where it is none.
    pub(super) fn parse<T>(&self, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text()?;
        match read(text.text.trim()) {
            Ok(value) => Some(value),
            Err(wanted) => {
                self.fault(Wrong::NotThis { value: text.quoted(), wanted });
                None
            }
        }
    }

    pub(super) fn string(&self) -> Option<String> {
        self.text().map(|text| text.text.into_owned())
    }

    /// A text that is not empty.
    pub(super) fn filled(&self, hint: &'static str) -> Option<String> {
        let text = self.string()?;
        if text.trim().is_empty() {
            self.fault(Wrong::EmptyText { hint });
            return None;
        }
        Some(text)
    }

    pub(super) fn bool(&self) -> Option<bool> {
        self.choice(&[("true", true), ("false", false)])
    }

    /// One of the words of a table.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&'static str, T)]) -> Option<T> {
        let text = self.text()?;
        let word = text.text.trim();
        let found = choices.iter().find(|(name, _)| *name == word).map(|(_, value)| *value);
        if found.is_none() {
            let names = choices.iter().map(|(name, _)| *name);
            let near = self.reader.nearest.of(word, names.clone());
            self.fault(Wrong::NotOneOf { value: text.quoted(), near, choices: names.collect::<Vec<_>>().join(", ") });
        }
        found
    }

    /// A whole number within `range`; `_` may stand between digits.
    pub(super) fn number(&self, range: RangeInclusive<u64>, zero: &'static str) -> Option<u64> {
        let text = self.text()?;
        let clean: String = text.text.trim().chars().filter(|c| *c != '_').collect();
        let digits = clean.strip_prefix(['-', '+']).unwrap_or(&clean);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            self.fault(Wrong::NotThis { value: text.quoted(), wanted: "whole number such as 20 or 20_000".into() });
            return None;
        }
        // What is too long for a u64 is out of any range.
        let number = digits.parse::<u64>().unwrap_or(u64::MAX);
        self.within(number, clean.starts_with('-'), &text, range, zero, |number| number.to_string())
    }

    pub(super) fn number_u32(&self, range: RangeInclusive<u32>, zero: &'static str) -> Option<u32> {
        let number = self.number(u64::from(*range.start())..=u64::from(*range.end()), zero)?;
        u32::try_from(number).ok()
    }

    /// What numbers, sizes and decimals have in common: `value` in `range`, told apart by why it is not.
    fn within(
        &self,
        value: u64,
        negative: bool,
        text: &Text<'_>,
        range: RangeInclusive<u64>,
        zero: &'static str,
        show: impl Fn(u64) -> String,
    ) -> Option<u64> {
        let value_shown = text.quoted();
        let wrong = match value {
            _ if negative => Wrong::Negative { value: value_shown, least: show(*range.start()) },
            0 if *range.start() > 0 => Wrong::Zero { hint: zero },
            value if range.contains(&value) => return Some(value),
            _ => Wrong::OutOfRange { value: value_shown, least: show(*range.start()), most: show(*range.end()) },
        };
        self.fault(wrong);
        None
    }

    /// Bytes: `512B`, `64KB`, `32MB`, `1GB` (1024-based), or a bare number of bytes; at least 1.
    pub(super) fn size(&self, zero: &'static str) -> Option<u64> {
        let size = self.parse(|text| size_of(text).ok_or_else(|| "size; write one such as 64KB, 32MB or 1GB".into()))?;
        if size == 0 {
            self.fault(Wrong::Zero { hint: zero });
            return None;
        }
        Some(size)
    }

    /// `500ms`, `30s`, `5m`, `1h`.
    pub(super) fn time(&self) -> Option<Duration> {
        self.parse(|text| time_of(text).ok_or_else(|| "time; write one such as 500ms, 30s, 5m or 1h (at most 8760h)".into()))
    }

    /// A time that is more than none.
    pub(super) fn some_time(&self, zero: &'static str) -> Option<Duration> {
        let time = self.time()?;
        if time.is_zero() {
            self.fault(Wrong::Zero { hint: zero });
            return None;
        }
        Some(time)
    }

    /// `80%` or `0.8`, in millionths: more than none and at most all.
    pub(super) fn share(&self) -> Option<u32> {
        let text = self.text()?;
        let written = text.text.trim();
        let (number, unit) = match written.strip_suffix('%') {
            Some(number) => (number, 100_000),
            None => (written, 1_000),
        };
        let millionths = parse_decimal_nano(number)
            .ok()
            .filter(|nano| nano % unit == 0)
            .map(|nano| if unit == 1_000 { nano / 1_000 } else { nano / 100_000 });
        match millionths.and_then(|value| u32::try_from(value).ok()) {
            Some(0) => self.fault(Wrong::Zero { hint: "give a share above it, such as 80%, or take it out of the list" }),
            Some(share) if share <= 1_000_000 => return Some(share),
            _ => self.fault(Wrong::NotThis {
                value: text.quoted(),
                wanted: "share; write one from 0 to all, such as 80% or 0.8".into(),
            }),
        }
        None
    }

    /// An exact decimal in units of 1e-9, at most `most`.
    pub(super) fn decimal(&self, most: u64) -> Option<u64> {
        let text = self.text()?;
        match parse_decimal_nano(&text.text) {
            Ok(nano) if nano <= most => return Some(nano),
            Ok(_) => {
                let most = format!("{}", most / Factor::SCALE);
                self.fault(Wrong::OutOfRange { value: text.quoted(), least: "0".into(), most });
            }
            Err(_) if text.text.trim().starts_with('-') => {
                self.fault(Wrong::Negative { value: text.quoted(), least: "0".into() })
            }
            Err(_) => {
                let wanted = "decimal number such as 12.50 (digits, at most nine of them after the point)".into();
                self.fault(Wrong::NotThis { value: text.quoted(), wanted });
            }
        }
        None
    }

    pub(super) fn id(&self) -> Option<Id> {
        self.parse(|text| {
            let wanted = "id; write 1 to 63 of a-z, 0-9 and -, beginning with a letter or digit";
            if Id::is_valid(text) { Ok(Id::from(text)) } else { Err(wanted.into()) }
        })
    }

    /// A pattern over model names.
    pub(super) fn glob(&self) -> Option<Glob> {
        self.parse(|text| self.reader.glob(text))
    }

    /// The name of a model, as it is sent.
    pub(super) fn model(&self) -> Option<Arc<str>> {
        self.parse(|text| {
            let plain =
                !text.is_empty() && text.len() <= 200 && !text.chars().any(|c| c.is_whitespace() || c.is_control() || c == '*');
            if plain { Ok(Arc::from(text)) } else { Err("name of a model, without * or spaces".into()) }
        })
    }

    /// A network (`10.0.0.0/8`) or a single address.
    pub(super) fn net(&self) -> Option<IpNet> {
        self.parse(|text| {
            let net = text.parse().ok().or_else(|| text.parse::<std::net::IpAddr>().ok().map(IpNet::from));
            net.ok_or_else(|| "network; write one such as 192.168.0.0/16 or a single address".into())
        })
    }

    /// A path, relative to the file it stands in.
    pub(super) fn file_path(&self) -> Option<PathBuf> {
        let path = self.filled("give a path")?;
        Some(self.reader.files.folder(self.file).join(FilePath::new(&path)))
    }

    /// A credential: text, or `{file: path}` whose trailing newline does not count. `None` inside: it is empty.
    pub(super) fn secret(self) -> Option<Option<Secret>> {
        if self.is_scalar() {
            return self.checked_secret(&self.text()?.text);
        }
        const FILE: Shape = Shape { known: &["file"], later: &[] };
        // The names of what stands here may be the credential itself, so none of them is shown.
        let Data::Map(entries) = &self.node.data else {
            self.wanted("the credential, as ${NAME} or {file: path}");
            return None;
        };
        if entries.len() != 1 || entries[0].name != "file" {
            self.fault(Wrong::BadSecret { hint: "write key: ${NAME} or key: {file: path}" });
            return None;
        }
        let fields = self.fields(&FILE)?;
        let value = fields.get("file")?;
        let path = value.file_path()?;
        match self.reader.files.secret(&path) {
            Ok(text) => value.checked_secret(text.trim_end_matches(['\n', '\r'])),
            Err(error) => {
                let hint = "make the file, or mend the path (it is relative to this file)";
                value.fault(Wrong::BadFile { file: path.display().to_string(), error, hint });
                None
            }
        }
    }

    fn checked_secret(&self, text: &str) -> Option<Option<Secret>> {
        if text.is_empty() {
            return Some(None);
        }
        // It becomes part of a header, so it may hold what a header may: no newline, no blank at its ends.
        if text.len() > 16_384 || !text.bytes().all(|b| (0x20..0x7f).contains(&b)) || text.trim() != text {
            self.fault(Wrong::BadSecret { hint: "it may hold printable ASCII in one line, without blanks around it" });
            return None;
        }
        Some(Some(Secret::new(text.to_owned())))
    }
}

/// The fields of a mapping.
#[derive(Clone, Copy)]
pub(super) struct Fields<'n, 'p> {
    pub(super) value: Value<'n, 'p>,
    entries: &'n [Entry<'n>],
    shape: &'static Shape,
}

impl<'n, 'p> Fields<'n, 'p> {
    pub(super) fn spot(&self) -> Spot {
        self.value.spot()
    }

    pub(super) fn get<'s>(&'s self, name: &'s str) -> Option<Value<'n, 's>> {
        let entry = self.entries.iter().find(|entry| entry.name == name)?;
        Some(Value {
            node: &entry.value,
            path: Path::Field(&self.value.path, name),
            file: self.value.file,
            reader: self.value.reader,
        })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|entry| entry.name == name)
    }

    /// What `read` makes of the field; `None` where it is left out or faulty.
    pub(super) fn read<'s, T>(&'s self, name: &'s str, read: impl FnOnce(Value<'n, 's>) -> Option<T>) -> Option<T> {
        self.get(name).and_then(read)
    }

    /// Whether the field may be there under a wrong name, which is told already.
    pub(super) fn is_misspelt(&self, name: &str) -> bool {
        let known = |name: &str| self.shape.known.contains(&name) || self.shape.later.iter().any(|(later, _)| *later == name);
        let mut strange = self.entries.iter().map(|entry| &*entry.name).filter(|name| !known(name));
        strange.any(|strange| self.value.reader.nearest.of(strange, self.shape.known.iter().copied()).as_deref() == Some(name))
    }

    /// As [`Fields::read`]; that the field is left out is a fault.
    pub(super) fn require<'s, T>(
        &'s self,
        name: &'s str,
        hint: &'static str,
        read: impl FnOnce(Value<'n, 's>) -> Option<T>,
    ) -> Option<T> {
        if !self.has(name) && !self.is_misspelt(name) {
            self.fault_at(name, Wrong::Missing { hint });
        }
        self.read(name, read)
    }

    /// Notes a fault at a field, or where its mapping begins if it is left out.
    pub(super) fn fault_at(&self, name: &str, wrong: Wrong) {
        let path = Path::Field(&self.value.path, name);
        let spot = self.get(name).map_or(self.spot(), |value| value.spot());
        self.value.reader.fault(spot, path, wrong);
    }

    /// The line of a field, else that of its mapping.
    pub(super) fn line_of(&self, name: &str) -> u32 {
        self.get(name).map_or(self.value.node.line, |value| value.node.line)
    }
}

/// Puts variables in: `${NAME}`, `${NAME:-default}` (where it is unset or empty), `$${` for a plain `${`.
fn substituted(written: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<String, Wrong> {
    let mut text = String::with_capacity(written.len());
    let mut rest = written;
    while let Some(start) = rest.find("${") {
        if rest[..start].ends_with('$') {
            text.push_str(&rest[..start - 1]);
            text.push_str("${");
            rest = &rest[start + 2..];
            continue;
        }
        text.push_str(&rest[..start]);
        let (inner, after) = rest[start + 2..].split_once('}').ok_or(Wrong::BadVariable)?;
        let (name, default) = inner.split_once(":-").map_or((inner, None), |(name, default)| (name, Some(default)));
        let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let bad =
            name.is_empty() || name.len() > 200 || !name.chars().all(letter) || name.starts_with(|c: char| c.is_ascii_digit());
        if bad || default.is_some_and(|default| default.contains("${")) {
            return Err(Wrong::BadVariable);
        }
        match (environment(name), default) {
            (Some(value), Some(default)) if value.is_empty() => text.push_str(default),
            (Some(value), _) => text.push_str(&value),
            (None, Some(default)) => text.push_str(default),
            (None, None) => return Err(Wrong::Unset { name: name.to_owned() }),
        }
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

/// A whole number and the unit behind it.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let digits: String = text[..end].chars().filter(|c| *c != '_').collect();
    Some((digits.parse().ok()?, text[end..].trim()))
}

fn size_of(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let bytes: u64 = match unit.to_ascii_uppercase().as_str() {
        "" | "B" => 1,
        "KB" | "KIB" => 1 << 10,
        "MB" | "MIB" => 1 << 20,
        "GB" | "GIB" => 1 << 30,
        "TB" | "TIB" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(bytes).filter(|size| *size <= 1 << 50)
}

fn time_of(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let ms: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        // None at all needs no unit.
        "" if number == 0 => 1,
        _ => return None,
    };
    // A year is beyond any use here, and far below what a clock can add.
    number.checked_mul(ms).filter(|ms| *ms <= 8_760 * 3_600_000).map(Duration::from_millis)
}
