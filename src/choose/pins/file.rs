//! The file of the pins, `pins` in `data_dir`: a first line that names its form, then a line for each pin,
//!
//! ```text
//! aicarpool-pins 1
//! 1795251600000 0f1e2d3c4b5a69788796a5b4c3d2e1f0 claude-1 acme frontend alice
//! ```
//!
//! that is: moment in ms, hash of the id, account, enterprise, group, user. None of them can hold a blank. Lines are only ever added,
//! by one thread, once a second or when many wait; at [`LINES_MAX`] lines the file becomes `pins.old`, in place of the one before, so
//! that both together hold what the memory holds. A start reads both and writes them anew if half of it is of no more use.
//!
//! Two processes may have the file open, while one takes over from the other: both add to it, and each reads what the other added.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use super::{Hash, PINS_MAX, Pin, Table, is_fresh};
use crate::words::{Id, UnixMs};

const FORM: &str = "aicarpool-pins 1\n";
/// Lines of one file, after which the next is begun.
const LINES_MAX: usize = if cfg!(test) { 100 } else { PINS_MAX };
/// Pins that wait to be written; beyond, they are kept in memory only.
const WAITING_MAX: usize = 10_000;
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// Read at once.
const BLOCK: usize = 1 << 20;
/// A longer line is none of ours: an id has at most 63 letters, an own account's at most 131.
const LINE_MAX: usize = 1_024;

/// [`Writer::flush`] waits this long at the most.
const FLUSH_MOST: Duration = Duration::from_secs(3);

/// The thread that writes.
#[derive(Debug)]
pub(super) struct Writer {
    lines: Option<SyncSender<Line>>,
    /// How many lines were handed over and written; for `flush`.
    counts: Arc<(AtomicU64, AtomicU64)>,
    thread: Option<JoinHandle<()>>,
    /// Whether the thread fell behind, so that it is said once.
    behind: AtomicBool,
}

/// One line of the file.
#[derive(Debug)]
struct Line {
    at: i64,
    hash: Hash,
    pin: Arc<Pin>,
}

impl Writer {
    /// Reads the files into `table` and starts the thread.
    pub(super) fn start(folder: &Path, table: &Arc<Mutex<Table>>, now: UnixMs) -> io::Result<Writer> {
        fs::create_dir_all(folder)?;
        let mut log = Log::open(folder, table, now)?;
        let (lines, waiting) = sync_channel(WAITING_MAX);
        let table = Arc::clone(table);
        let counts = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
        let written = Arc::clone(&counts);
        let run = move || write_all(&mut log, &waiting, &table, &written.1);
        let thread = std::thread::Builder::new().name("pins".into()).spawn(run)?;
        Ok(Writer { lines: Some(lines), counts, thread: Some(thread), behind: AtomicBool::new(false) })
    }

    pub(super) fn write(&self, hash: Hash, pin: Arc<Pin>, now: UnixMs) {
        let sent = self.lines.as_ref().is_some_and(|lines| lines.try_send(Line { at: now.0, hash, pin }).is_ok());
        self.counts.0.fetch_add(u64::from(sent), Ordering::AcqRel);
        let was_behind = self.behind.swap(!sent, Ordering::Relaxed);
        if !sent && !was_behind {
            tracing::warn!("pins come faster than data_dir takes them; some will not outlive this process");
        }
    }
}

impl Writer {
    /// Waits until all lines handed over are written, within [`FLUSH_MOST`].
    pub(super) fn flush(&self) {
        let wanted = self.counts.0.load(Ordering::Acquire);
        let step = WRITE_EVERY / 20;
        for _ in 0..FLUSH_MOST.as_millis() / step.as_millis().max(1) {
            if self.counts.1.load(Ordering::Acquire) >= wanted {
                return;
            }
            std::thread::sleep(step);
        }
    }
}

impl Drop for Writer {
    /// Writes what waits.
    fn drop(&mut self) {
        self.lines = None;
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// Writes until nobody can send any more, and reads what another process wrote meanwhile.
fn write_all(log: &mut Log, waiting: &Receiver<Line>, table: &Mutex<Table>, written: &AtomicU64) {
    let mut failing = false;
    loop {
        let first = waiting.recv_timeout(WRITE_EVERY);
        let ended = matches!(first, Err(RecvTimeoutError::Disconnected));
        if first.is_ok() {
            // Lets more come together.
            std::thread::sleep(WRITE_EVERY / 10);
        }
        let lines: Vec<Line> = first.into_iter().chain(waiting.try_iter().take(WAITING_MAX)).collect();
        let done = log.add(&lines).and_then(|()| log.follow(table));
        if let Err(error) = &done
            && !failing
        {
            tracing::warn!("cannot keep pins in {}: {error}", log.path.display());
        }
        failing = done.is_err();
        written.fetch_add(lines.len() as u64, Ordering::AcqRel);
        if ended {
            return;
        }
    }
}

/// The open file.
struct Log {
    path: PathBuf,
    file: File,
    /// How far it has been read.
    read: u64,
    /// Lines read from it.
    lines: usize,
}

impl Log {
    /// Reads what there is, writes it anew if that is worth while, and opens it for more.
    fn open(folder: &Path, table: &Mutex<Table>, now: UnixMs) -> io::Result<Log> {
        let path = folder.join("pins");
        set_aside_other_form(&path)?;
        let older = path.with_extension("old");
        let mut found = Found::default();
        for path in [&older, &path] {
            read_file(path, &mut |line| found.take(line, table, now))?;
        }
        if found.corrupt > 0 {
            tracing::warn!("{} of {} lines of {} cannot be read and are passed over", found.corrupt, found.lines, path.display());
        }
        if found.corrupt > 0 || found.lines > 2 * table.lock().pins.len() + 1_000 {
            rewrite(&path, &table.lock())?;
            remove_if_there(&older)?;
        }
        let mut log = Log { file: open_to_add(&path)?, path, read: 0, lines: 0 };
        log.follow(table)?;
        Ok(log)
    }

    fn add(&mut self, lines: &[Line]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        if self.lines >= LINES_MAX {
            // Where the other process has made room already, its new file is not to take the old one's place.
            if self.is_in_place() {
                fs::rename(&self.path, self.path.with_extension("old"))?;
            }
            self.reopen()?;
        }
        // One write, so that the lines of two processes do not mix.
        self.file.write_all(lines.iter().map(Line::text).collect::<String>().as_bytes())
    }

    /// Reads on: what we added ourselves (which changes nothing) and what another process did, also to a file that it began.
    fn follow(&mut self, table: &Mutex<Table>) -> io::Result<()> {
        self.read_on(table)?;
        let is_ours =
            fs::metadata(&self.path).is_ok_and(|there| self.file.metadata().is_ok_and(|ours| there.ino() == ours.ino()));
        if !is_ours {
            self.reopen()?;
            self.read_on(table)?;
        }
        Ok(())
    }

    /// Whether the open file is still the one of that name.
    fn is_in_place(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|there| self.file.metadata().is_ok_and(|ours| there.ino() == ours.ino()))
    }

    fn read_on(&mut self, table: &Mutex<Table>) -> io::Result<()> {
        let lines = &mut self.lines;
        self.read = read_lines(&self.file, self.read, &mut |line| {
            *lines += 1;
            if let Some(line) = Line::parse(line) {
                table.lock().note(line.hash, Pin::clone(&line.pin), UnixMs(line.at));
            }
        })?;
        Ok(())
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.file = open_to_add(&self.path)?;
        (self.read, self.lines) = (0, 0);
        Ok(())
    }
}

/// What a start found.
#[derive(Default)]
struct Found {
    lines: usize,
    corrupt: usize,
}

impl Found {
    fn take(&mut self, line: &[u8], table: &Mutex<Table>, now: UnixMs) {
        if line == FORM.trim_end().as_bytes() || line.is_empty() {
            return;
        }
        self.lines += 1;
        match Line::parse(line) {
            Some(line) if is_fresh(line.at, now) => {
                table.lock().note(line.hash, Pin::clone(&line.pin), UnixMs(line.at));
            }
            Some(_) => {}
            None => self.corrupt += 1,
        }
    }
}

impl Line {
    fn text(&self) -> String {
        let Pin { account, enterprise, group, user } = &*self.pin;
        format!("{} {:032x} {account} {enterprise} {group} {user}\n", self.at, self.hash)
    }

    fn parse(line: &[u8]) -> Option<Line> {
        let mut words = std::str::from_utf8(line).ok()?.split(' ');
        let at = words.next()?.parse().ok()?;
        let hash = words.next().filter(|hex| hex.len() == 32).and_then(|hex| Hash::from_str_radix(hex, 16).ok())?;
        let account = words.next().filter(|text| is_account(text))?;
        let mut id = || words.next().filter(|text| Id::is_valid(text)).map(Id::from);
        let (enterprise, group, user) = (id()?, id()?, id()?);
        words.next().is_none().then(|| Line { at, hash, pin: Arc::new(Pin { account: account.into(), enterprise, group, user }) })
    }
}

/// An account's id, or `own/<user>/<service>`.
fn is_account(text: &str) -> bool {
    match text.strip_prefix("own/").and_then(|own| own.split_once('/')) {
        Some((user, service)) => Id::is_valid(user) && Id::is_valid(service),
        None => Id::is_valid(text),
    }
}

/// A file of a later version is not ours to change: it gets out of the way.
fn set_aside_other_form(path: &Path) -> io::Result<()> {
    let Ok(mut file) = File::open(path) else { return Ok(()) };
    let mut start = [0; FORM.len()];
    let is_other = file.read_exact(&mut start).is_ok() && start.starts_with(b"aicarpool-pins ") && start != *FORM.as_bytes();
    if is_other {
        let aside = path.with_extension("other");
        tracing::warn!("{} is of another version; it is now {}, and pins begin anew", path.display(), aside.display());
        fs::rename(path, aside)?;
    }
    Ok(())
}

/// Opens the file, made with its first line if there is none, to add lines to it. An unfinished last line gets its end.
fn open_to_add(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    let length = file.metadata()?.len();
    let mut last = [0];
    if length == 0 {
        file.write_all(FORM.as_bytes())?;
    } else if file.read_exact_at(&mut last, length - 1).is_ok() && last != *b"\n" {
        file.write_all(b"\n")?;
    }
    Ok(file)
}

/// Puts all that the table holds, oldest first, in the place of the file.
fn rewrite(path: &Path, table: &Table) -> io::Result<()> {
    let fresh = path.with_extension("new");
    remove_if_there(&fresh)?;
    let mut out = io::BufWriter::new(OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?);
    out.write_all(FORM.as_bytes())?;
    for (hash, at) in &table.order {
        if let Some(kept) = table.pins.get(hash).filter(|kept| kept.at == *at) {
            out.write_all(Line { at: *at, hash: *hash, pin: Arc::clone(&kept.pin) }.text().as_bytes())?;
        }
    }
    out.into_inner()?.sync_all()?;
    fs::rename(fresh, path)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn read_file(path: &Path, each: &mut dyn FnMut(&[u8])) -> io::Result<()> {
    match File::open(path) {
        Ok(file) => read_lines(&file, 0, each).map(|_| ()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Calls `each` with every whole line from `from` on, without its end, and returns where the last one ended. What is too long for a
/// line is handed on cut.
fn read_lines(file: &File, from: u64, each: &mut dyn FnMut(&[u8])) -> io::Result<u64> {
    let mut block = vec![0; BLOCK];
    let mut line = Vec::new();
    let (mut at, mut ended) = (from, from);
    loop {
        let count = file.read_at(&mut block, at)?;
        if count == 0 {
            return Ok(ended);
        }
        let mut rest = &block[..count];
        while let Some(end) = memchr::memchr(b'\n', rest) {
            extend(&mut line, &rest[..end]);
            each(&line);
            line.clear();
            rest = &rest[end + 1..];
            ended = at + (count - rest.len()) as u64;
        }
        extend(&mut line, rest);
        at += count as u64;
    }
}

/// Adds to a line, up to what a line can be and one byte more, which makes it none.
fn extend(line: &mut Vec<u8>, bytes: &[u8]) {
    let room = (LINE_MAX + 1).saturating_sub(line.len());
    line.extend_from_slice(&bytes[..bytes.len().min(room)]);
}
