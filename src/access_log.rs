//! What is told of each request: one JSON object a line (section 11 of the design).
//!
//! A line is made on the request's own thread, after the last byte, and put into that thread's buffer; one writer thread takes the
//! buffers when it is woken and writes them together. Full buffers drop lines and count them; nothing ever waits for the disk.

use std::cell::{Cell, RefCell};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::config::snapshot::LogPath;
use crate::settle::Record;
use crate::words::{Class, Outcome};

/// Lines wait in so many buffers; a thread always uses the same one.
const SHARDS: usize = 16;
/// A buffer holds at most so many bytes; beyond, lines are dropped and counted.
const SHARD_BYTES_MOST: usize = 8 * 1024 * 1024;
/// After it was woken the writer waits this long, so that lines are written together.
const GATHER: Duration = Duration::from_millis(5);
/// Of requests without a valid key at most so many lines are written in one second.
const UNKNOWN_PER_SECOND: u64 = 100;

macro_rules! fields {
    ($($name:ident)*) => {
        /// The fields of a line, in their order.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(non_camel_case_types, reason = "they are the names in the log")]
        pub enum Field { $($name),* }
        /// Their names, as `access_log.fields` takes them.
        pub const FIELDS: &[&str] = &[$(stringify!($name)),*];
    };
}

fields! {
    ts id client_id instance client user_agent method path enterprise department project group user key tags dialect operation
    model model_sent stream session status outcome error account service via upstream_id attempts limit usage basis cost charged
    priced provider_cost price_version request_bytes response_bytes ttfb_ms duration_ms queue_ms upstream_ms held_ms overhead_us
}

/// Which fields are written.
#[derive(Clone, Copy, Debug)]
pub struct Chosen(u64);

impl Chosen {
    /// Those named, or all. The configuration has checked the names.
    pub fn of(names: Option<&[String]>) -> Chosen {
        match names {
            None => Chosen(u64::MAX),
            Some(names) => Chosen(
                FIELDS.iter().enumerate().filter(|(_, f)| names.iter().any(|n| n == *f)).fold(0, |mask, (at, _)| mask | 1 << at),
            ),
        }
    }
    /// As a number, to be kept in an atomic.
    pub fn bits(self) -> u64 {
        self.0
    }
    pub fn from_bits(bits: u64) -> Chosen {
        Chosen(bits)
    }
    fn has(self, field: Field) -> bool {
        self.0 & 1 << field as u64 != 0
    }
}

/// Puts one record into `line`, with a line feed at its end.
pub fn write_line(line: &mut Vec<u8>, record: &Record, instance: &str, chosen: Chosen) {
    let mut object = Object { line, chosen, first: true };
    object.line.push(b'{');
    identity(&mut object, record, instance);
    request(&mut object, record);
    served(&mut object, record);
    bill(&mut object, record);
    times(&mut object, record);
    object.line.extend_from_slice(b"}\n");
}

fn identity(object: &mut Object<'_>, record: &Record, instance: &str) {
    if object.begin(Field::ts) {
        timestamp(object.line, record);
    }
    object.text(Field::id, Some(&record.id));
    object.text(Field::client_id, record.client_id.as_deref());
    object.text(Field::instance, Some(instance));
    if let Some(client) = record.client
        && object.begin(Field::client)
    {
        put(object.line, format_args!("\"{client}\""));
    }
    object.text(Field::user_agent, record.user_agent.as_deref());
    object.text(Field::method, Some(&record.method));
    object.text(Field::path, Some(&record.path));
    if let Some(key) = &record.key {
        let group = &key.group;
        object.text(Field::enterprise, Some(group.enterprise.id.as_str()));
        object.text(Field::department, group.department.as_ref().map(|id| id.as_str()));
        object.text(Field::project, group.project.as_ref().map(|id| id.as_str()));
        object.text(Field::group, Some(group.id.as_str()));
        object.text(Field::user, Some(key.user.id.as_str()));
        object.text(Field::key, Some(&key.name));
    }
    if !record.tags.is_empty() && object.begin(Field::tags) {
        for (at, (name, value)) in record.tags.iter().enumerate() {
            object.line.push(if at == 0 { b'{' } else { b',' });
            quote(object.line, name);
            object.line.push(b':');
            quote(object.line, value);
        }
        object.line.push(b'}');
    }
}

fn request(object: &mut Object<'_>, record: &Record) {
    object.text(Field::dialect, record.dialect.map(|d| d.name()));
    object.text(Field::operation, record.operation.map(|o| o.name()));
    object.text(Field::model, record.model.as_deref());
    object.text(Field::model_sent, record.model_sent.as_deref());
    if record.operation.is_some() && object.begin(Field::stream) {
        object.line.extend_from_slice(if record.stream { b"true" } else { b"false" });
    }
    if let Some(session) = record.session
        && object.begin(Field::session)
    {
        put(object.line, format_args!("\"{session:016x}\""));
    }
    object.number(Field::status, Some(u64::from(record.status)));
    object.text(Field::outcome, record.outcome.map(Outcome::name));
    object.text(Field::error, record.error.as_deref());
}

fn served(object: &mut Object<'_>, record: &Record) {
    if let Some(account) = &record.account {
        object.text(Field::account, Some(account.id.as_str()));
        object.text(Field::service, Some(account.service.id.as_str()));
    }
    object.text(Field::via, record.via.map(|v| v.name()));
    object.text(Field::upstream_id, record.upstream_id.as_deref());
    let told = record.attempts.len() > 1 || record.attempts.iter().any(|a| a.verdict != crate::words::Verdict::Accept);
    if told && object.begin(Field::attempts) {
        for (at, attempt) in record.attempts.iter().enumerate() {
            object.line.extend_from_slice(if at == 0 { b"[{\"account\":" } else { b",{\"account\":" });
            quote(object.line, attempt.account.as_str());
            if let Some(status) = attempt.status {
                put(object.line, format_args!(",\"status\":{status}"));
            }
            put(object.line, format_args!(",\"verdict\":\"{}\",\"ms\":{}", attempt.verdict.name(), attempt.ms));
            if let Some((cost, basis)) = attempt.bill {
                put(object.line, format_args!(",\"cost\":{},\"basis\":\"{}\"", cost.0, basis.name()));
            }
            object.line.push(b'}');
        }
        object.line.push(b']');
    }
}

fn bill(object: &mut Object<'_>, record: &Record) {
    let bill = &record.bill;
    if record.account.is_none() {
        return;
    }
    if !bill.usage.is_empty() && object.begin(Field::usage) {
        for (at, (class, count)) in bill.usage.iter().enumerate() {
            object.line.push(if at == 0 { b'{' } else { b',' });
            match class {
                Class::Seconds if count % 1000 != 0 => {
                    put(object.line, format_args!("\"seconds\":{}.{:03}", count / 1000, count % 1000));
                }
                Class::Seconds => put(object.line, format_args!("\"seconds\":{}", count / 1000)),
                _ => put(object.line, format_args!("\"{}\":{count}", class.name())),
            }
        }
        object.line.push(b'}');
    }
    object.text(Field::basis, Some(bill.basis.name()));
    object.number(Field::cost, Some(bill.cost.total.0));
    object.number(Field::charged, Some(bill.charged.0));
    if let Some(priced) = bill.priced
        && object.begin(Field::priced)
    {
        object.line.extend_from_slice(if priced { b"true" } else { b"false" });
    }
    object.number(Field::provider_cost, bill.provider_cost.map(|c| c.0));
    object.text(Field::price_version, bill.price_version.as_deref());
}

fn times(object: &mut Object<'_>, record: &Record) {
    let times = &record.times;
    object.number(Field::request_bytes, Some(record.request_bytes));
    object.number(Field::response_bytes, Some(record.response_bytes));
    object.number(Field::ttfb_ms, times.first_byte.map(ms));
    object.number(Field::duration_ms, Some(ms(times.total)));
    object.number(Field::queue_ms, (!times.queue.is_zero()).then(|| ms(times.queue)));
    object.number(Field::upstream_ms, times.upstream.map(ms));
    object.number(Field::held_ms, (ms(times.held) > 0).then(|| ms(times.held)));
    object.number(Field::overhead_us, times.overhead.map(|d| u64::try_from(d.as_micros()).unwrap_or(u64::MAX)));
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn timestamp(line: &mut Vec<u8>, record: &Record) {
    let (second, ms) = (record.ts.0.div_euclid(1000), record.ts.0.rem_euclid(1000));
    line.push(b'"');
    SECOND.with_borrow_mut(|known| {
        if known.0 != second || known.1.is_empty() {
            let moment = jiff::Timestamp::from_second(second).unwrap_or_default();
            *known = (second, format!("{moment:.0}").trim_end_matches('Z').to_owned());
        }
        line.extend_from_slice(known.1.as_bytes());
    });
    line.push(b'.');
    line.extend([ms / 100, ms / 10 % 10, ms % 10].map(|digit| b'0' + u8::try_from(digit).unwrap_or_default()));
    line.extend_from_slice(b"Z\"");
}

/// Writes a number; formatting machinery costs more than the digits.
fn digits(line: &mut Vec<u8>, mut number: u64) {
    let mut text = [0; 20];
    let mut at = text.len();
    loop {
        at -= 1;
        text[at] = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
        if number == 0 {
            break;
        }
    }
    line.extend_from_slice(&text[at..]);
}

struct Object<'a> {
    line: &'a mut Vec<u8>,
    chosen: Chosen,
    first: bool,
}

impl Object<'_> {
    /// Begins a member, if it is wanted.
    fn begin(&mut self, field: Field) -> bool {
        if !self.chosen.has(field) {
            return false;
        }
        if !std::mem::take(&mut self.first) {
            self.line.push(b',');
        }
        self.line.push(b'"');
        self.line.extend_from_slice(FIELDS[field as usize].as_bytes());
        self.line.extend_from_slice(b"\":");
        true
    }
    fn text(&mut self, field: Field, text: Option<&str>) {
        if let Some(text) = text
            && self.begin(field)
        {
            quote(self.line, text);
        }
    }
    fn number(&mut self, field: Field, number: Option<u64>) {
        if let Some(number) = number
            && self.begin(field)
        {
            digits(self.line, number);
        }
    }
}

fn put(line: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing into a vector does not fail.
    line.write_fmt(text).unwrap_or_default();
}

fn quote(line: &mut Vec<u8>, text: &str) {
    line.push(b'"');
    let bytes = text.as_bytes();
    let mut from = 0;
    for (at, byte) in bytes.iter().enumerate().filter(|(_, byte)| matches!(byte, b'"' | b'\\' | 0..0x20)) {
        line.extend_from_slice(&bytes[from..at]);
        from = at + 1;
        match byte {
            b'"' | b'\\' => line.extend_from_slice(&[b'\\', *byte]),
            _ => put(line, format_args!("\\u{byte:04x}")),
        }
    }
    line.extend_from_slice(&bytes[from..]);
    line.push(b'"');
}

// ------------------------------------------------------------------ the writer

/// Takes lines and writes them.
pub struct AccessLog {
    shards: [Mutex<Vec<u8>>; SHARDS],
    waiting: AtomicBool,
    writer: Mutex<Option<Thread>>,
    reopen: AtomicBool,
    flushed: (Mutex<u64>, Condvar),
    flush_wanted: AtomicU64,
    dropped: AtomicU64,
    unknown: Mutex<(i64, u64)>,
    path: LogPath,
}

thread_local! {
    /// The last second that was written, without its `Z`: many lines share one.
    static SECOND: RefCell<(i64, String)> = const { RefCell::new((0, String::new())) };
    static SHARD: Cell<usize> = const { Cell::new(usize::MAX) };
}

fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    SHARD.with(|cell| {
        if cell.get() == usize::MAX {
            cell.set(NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS);
        }
        cell.get()
    })
}

impl AccessLog {
    /// Opens the log and starts its writer.
    ///
    /// # Errors
    /// Where the file cannot be opened for appending.
    pub fn open(path: &LogPath) -> io::Result<Arc<AccessLog>> {
        let log = Arc::new(AccessLog {
            shards: Default::default(),
            waiting: AtomicBool::new(false),
            writer: Mutex::new(None),
            reopen: AtomicBool::new(false),
            flushed: (Mutex::new(0), Condvar::new()),
            flush_wanted: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            unknown: Mutex::new((0, 0)),
            path: path.clone(),
        });
        let Some(sink) = Sink::open(path)? else { return Ok(log) };
        let writing = Arc::clone(&log);
        let handle = thread::Builder::new().name("access-log".to_owned()).spawn(move || writing.write_on(sink))?;
        *log.writer.lock() = Some(handle.thread().clone());
        Ok(log)
    }

    /// Whether lines are wanted at all.
    pub fn is_on(&self) -> bool {
        self.path != LogPath::Off
    }

    /// Where it writes.
    pub fn path(&self) -> &LogPath {
        &self.path
    }

    /// Hands a record over. Of requests without a valid key only some are written; the rest is counted as dropped.
    pub fn tell(&self, record: &Record, instance: &str, chosen: Chosen) {
        if !self.is_on() || record.key.is_none() && !self.may_tell_unknown(record.ts.0 / 1000) {
            return;
        }
        {
            let mut lines = self.shards[shard()].lock();
            if lines.len() > SHARD_BYTES_MOST {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                return;
            }
            write_line(&mut lines, record, instance, chosen);
        }
        self.wake();
    }

    fn may_tell_unknown(&self, second: i64) -> bool {
        let mut unknown = self.unknown.lock();
        if unknown.0 != second {
            *unknown = (second, 0);
        }
        unknown.1 += 1;
        if unknown.1 > UNKNOWN_PER_SECOND {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        true
    }

    fn wake(&self) {
        if !self.waiting.swap(true, Ordering::AcqRel)
            && let Some(writer) = &*self.writer.lock()
        {
            writer.unpark();
        }
    }

    /// Lines that were not written: full buffers, and requests without a valid key beyond their bound.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Opens the file anew before the next line: for log rotation.
    pub fn reopen(&self) {
        self.reopen.store(true, Ordering::Release);
        self.wake();
    }

    /// Waits until all lines handed over before are written, at most for `patience`.
    pub fn flush(&self, patience: Duration) {
        if self.writer.lock().is_none() {
            return;
        }
        let wanted = self.flush_wanted.fetch_add(1, Ordering::AcqRel) + 1;
        self.waiting.store(false, Ordering::Release);
        self.wake();
        let mut flushed = self.flushed.0.lock();
        while *flushed < wanted {
            if self.flushed.1.wait_for(&mut flushed, patience).timed_out() {
                return;
            }
        }
    }

    fn write_on(&self, mut sink: Sink) {
        let mut lines = Vec::new();
        let mut failing = false;
        loop {
            while !self.waiting.load(Ordering::Acquire) {
                thread::park();
            }
            let wanted = self.flush_wanted.load(Ordering::Acquire);
            if *self.flushed.0.lock() >= wanted {
                thread::sleep(GATHER);
            }
            self.waiting.store(false, Ordering::Release);
            if self.reopen.swap(false, Ordering::AcqRel) {
                match Sink::open(&self.path) {
                    Ok(Some(new)) => sink = new,
                    Ok(None) => {}
                    Err(error) => tracing::error!("the access log cannot be opened anew ({error}); the old file is used on"),
                }
            }
            for shard in &self.shards {
                std::mem::swap(&mut *shard.lock(), &mut lines);
                if lines.is_empty() {
                    continue;
                }
                let written = sink.write(&lines);
                if let Err(error) = &written {
                    let lost = lines.iter().filter(|b| **b == b'\n').count() as u64;
                    self.dropped.fetch_add(lost, Ordering::Relaxed);
                    if !failing {
                        tracing::error!("the access log cannot be written ({error}); lines are dropped and counted");
                    }
                } else if failing {
                    tracing::info!("the access log is written again");
                }
                failing = written.is_err();
                lines.clear();
                lines.shrink_to(1024 * 1024);
            }
            *self.flushed.0.lock() = wanted;
            self.flushed.1.notify_all();
        }
    }
}

enum Sink {
    Stdout,
    File(File),
}

impl Sink {
    fn open(path: &LogPath) -> io::Result<Option<Sink>> {
        match path {
            LogPath::Off => Ok(None),
            LogPath::Stdout => Ok(Some(Sink::Stdout)),
            LogPath::File(path) => {
                let named = |e: io::Error, path: &PathBuf| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
                OpenOptions::new().create(true).append(true).open(path).map(|f| Some(Sink::File(f))).map_err(|e| named(e, path))
            }
        }
    }
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Sink::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(lines)?;
                out.flush()
            }
            Sink::File(file) => file.write_all(lines),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn a_refused_request_tells_what_is_known() {
        let record = Record {
            ts: crate::words::UnixMs(1_764_000_000_123),
            id: "00ff".to_owned(),
            method: "POST".to_owned(),
            path: "/v1/mess\"ages\n".to_owned(),
            status: 401,
            outcome: Some(Outcome::Refused),
            error: Some("unknown_key".to_owned()),
            ..Record::default()
        };
        let mut line = Vec::new();
        write_line(&mut line, &record, "here", Chosen::of(None));
        expect![[r#"
            {"ts":"2025-11-24T16:00:00.123Z","id":"00ff","instance":"here","method":"POST","path":"/v1/mess\"ages\u000a","status":401,"outcome":"refused","error":"unknown_key","request_bytes":0,"response_bytes":0,"duration_ms":0}
        "#]]
        .assert_eq(std::str::from_utf8(&line).unwrap());
    }

    #[test]
    fn only_chosen_fields_are_written() {
        let names = vec!["status".to_owned(), "id".to_owned()];
        let record = Record { id: "1".to_owned(), status: 200, ..Record::default() };
        let mut line = Vec::new();
        write_line(&mut line, &record, "here", Chosen::of(Some(&names)));
        assert_eq!(line, b"{\"id\":\"1\",\"status\":200}\n");
    }

    #[test]
    fn lines_reach_the_file_and_a_new_one_after_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let log = AccessLog::open(&LogPath::File(path.clone())).unwrap();
        let record = Record { id: "1".to_owned(), ..Record::default() };
        log.tell(&record, "here", Chosen::of(None));
        log.flush(Duration::from_secs(10));
        let moved = folder.path().join("access.log.1");
        std::fs::rename(&path, &moved).unwrap();
        log.reopen();
        log.flush(Duration::from_secs(10));
        log.tell(&record, "here", Chosen::of(None));
        log.flush(Duration::from_secs(10));
        let lines = |path| std::fs::read_to_string(path).unwrap().lines().count();
        assert_eq!((lines(&moved), lines(&path)), (1, 1));
    }
}
