//! What providers keep — stored responses, files, batches, containers — lives at the account that made it. The pins remember which,
//! and for whom, so that a later request finds it and nobody else's.
//!
//! An id is kept as the first half of its SHA-256: 16 bytes, whatever its length. A pin lasts [`KEPT_DAYS`] days, or until
//! [`PINS_MAX`] newer ones have come. Over restarts they stand in a file (see `file`); losing its last second costs a client one 404.
//!
//! Another group's id is "not found", like one that nobody knows: ids tell nothing. One that nobody knows may still have been made
//! before pins were kept, or by hand; it is let through only to accounts that this group alone can reach, since whatever is there
//! is its own.

mod file;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use self::file::Writer;
use super::tiers;
use crate::config::snapshot::Key;
use crate::words::{Code, Id, Refusal, UnixMs, Via};

/// Pins in memory, at most; some 60 MB.
const PINS_MAX: usize = 1_000_000;
/// How long OpenAI keeps a stored response (and Anthropic a batch's results about as long).
const KEPT_DAYS: i64 = 30;
const KEPT_MS: i64 = KEPT_DAYS * 24 * 3_600_000;
/// A pin noted again within this time by the same owner is not written anew.
const REFRESH_MS: i64 = 24 * 3_600_000;

/// Which accounts can hold what a request points to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It points to nothing.
    Any,
    /// The account that made it.
    Account(Id),
    /// Nobody knows: only accounts that this group, or this user, alone can reach. Also for lists of files and batches.
    Sole,
}

/// Where something is kept, and for whom.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pin {
    pub account: Id,
    pub enterprise: Id,
    pub group: Id,
    pub user: Id,
}

/// The pins of this instance.
#[derive(Debug)]
pub struct Pins {
    table: Arc<Mutex<Table>>,
    /// None: they do not outlive the process.
    writer: Option<Writer>,
}

/// An id, hashed.
type Hash = u128;

#[derive(Debug)]
struct Table {
    pins: HashMap<Hash, Kept>,
    /// In the order in which they came, to forget the oldest; entries that a newer note has replaced are passed over.
    order: VecDeque<(Hash, i64)>,
    /// Each pin's content once, however many ids share it.
    contents: HashSet<Arc<Pin>>,
    max: usize,
}

#[derive(Debug)]
struct Kept {
    pin: Arc<Pin>,
    /// When it was noted, in ms since 1970.
    at: i64,
}

impl Pins {
    /// Pins that end with the process.
    pub fn in_memory() -> Pins {
        Pins { table: Arc::new(Mutex::new(Table::new(PINS_MAX))), writer: None }
    }

    /// Pins that are kept in `data_dir`, read in now. A thread of their own writes; it ends when they are dropped.
    pub fn open(data_dir: &Path, now: UnixMs) -> io::Result<Pins> {
        let table = Arc::new(Mutex::new(Table::new(PINS_MAX)));
        let writer = Writer::start(data_dir, &table, now)?;
        Ok(Pins { table, writer: Some(writer) })
    }

    /// Waits until all that was noted is written, at most for a few seconds.
    pub fn flush(&self) {
        if let Some(writer) = &self.writer {
            writer.flush();
        }
    }

    /// Notes that `account` made what `id` names, for the key's group and user.
    pub fn note(&self, id: &str, account: &Id, key: &Key, now: UnixMs) {
        let group = &key.group;
        let enterprise = group.enterprise.id.clone();
        let pin = Pin { account: account.clone(), enterprise, group: group.id.clone(), user: key.user.id.clone() };
        let hash = hash(id);
        let noted = self.table.lock().note(hash, pin, now);
        if let (Some(pin), Some(writer)) = (noted, &self.writer) {
            writer.write(hash, pin, now);
        }
    }

    /// Where what `id` names is kept, if it is known.
    pub fn find(&self, id: &str, now: UnixMs) -> Option<Arc<Pin>> {
        self.table.lock().find(hash(id), now)
    }

    /// Which accounts can hold all that `ids` name, as this key may see it; a refusal where there is no such account.
    pub fn reach<'a>(&self, ids: impl IntoIterator<Item = &'a str>, key: &Key, now: UnixMs) -> Result<Reach, Refusal> {
        let mut reach = Reach::Any;
        let mut unknown = None;
        for id in ids {
            match self.find(id, now) {
                None => unknown = Some(id),
                Some(pin) if !may_see(&pin, key) => return Err(not_found(id, key)),
                Some(pin) => match &reach {
                    Reach::Account(other) if *other != pin.account => return Err(apart(key)),
                    Reach::Any | Reach::Sole | Reach::Account(_) => reach = Reach::Account(pin.account.clone()),
                },
            }
        }
        match (reach, unknown) {
            (reach, None) => Ok(reach),
            (Reach::Account(account), Some(id)) if !is_sole(key, &account) => Err(not_found(id, key)),
            (Reach::Account(account), Some(_)) => Ok(Reach::Account(account)),
            (Reach::Any | Reach::Sole, Some(id)) if !tiers::all(key).any(|seat| seat.sole) => Err(not_found(id, key)),
            (Reach::Any | Reach::Sole, Some(_)) => Ok(Reach::Sole),
        }
    }
}

/// A group sees what it made; what a user's own credential made, only that user, and through the same group.
fn may_see(pin: &Pin, key: &Key) -> bool {
    let same_group = pin.group == key.group.id && pin.enterprise == key.group.enterprise.id;
    let is_own = tiers::all(key).any(|seat| seat.via == Via::Own && seat.account.id == pin.account);
    same_group && (is_own || !pin.account.as_str().starts_with("own/"))
}

/// Whether the key reaches the account and no other group does.
fn is_sole(key: &Key, account: &Id) -> bool {
    tiers::all(key).any(|seat| seat.account.id == *account && seat.sole)
}

fn not_found(id: &str, key: &Key) -> Refusal {
    let id: String = id.chars().filter(|c| !c.is_control()).take(100).collect();
    Refusal::new(Code::UnknownPath, format!("{id:?} is not known to group {}", key.group.id))
}

fn apart(key: &Key) -> Refusal {
    let what = format!(
        "the stored ids in this request of group {} were made at different accounts; make them anew in one go",
        key.group.id
    );
    Refusal::new(Code::BadRequest, what)
}

fn hash(id: &str) -> Hash {
    let digest = Sha256::digest(id.as_bytes());
    digest.iter().take(16).fold(0, |hash, byte| hash << 8 | Hash::from(*byte))
}

impl Table {
    fn new(max: usize) -> Table {
        Table { pins: HashMap::new(), order: VecDeque::new(), contents: HashSet::new(), max }
    }

    /// Notes a pin, and returns it if that changes anything worth writing down. The first owner of an id keeps it: providers
    /// never give an id twice, so whoever notes another's id is told it by a provider that is not honest.
    fn note(&mut self, hash: Hash, pin: Pin, now: UnixMs) -> Option<Arc<Pin>> {
        self.forget(now);
        if let Some(kept) = self.pins.get(&hash)
            && is_fresh(kept.at, now)
            && (*kept.pin != pin || now.0 - kept.at < REFRESH_MS)
        {
            return None;
        }
        let pin = self.content(pin);
        self.pins.insert(hash, Kept { pin: Arc::clone(&pin), at: now.0 });
        self.order.push_back((hash, now.0));
        Some(pin)
    }

    fn content(&mut self, pin: Pin) -> Arc<Pin> {
        if let Some(content) = self.contents.get(&pin) {
            return Arc::clone(content);
        }
        let content = Arc::new(pin);
        self.contents.insert(Arc::clone(&content));
        content
    }

    fn find(&self, hash: Hash, now: UnixMs) -> Option<Arc<Pin>> {
        self.pins.get(&hash).filter(|kept| is_fresh(kept.at, now)).map(|kept| Arc::clone(&kept.pin))
    }

    /// Forgets what is too old, and the oldest where there is no room for one more.
    fn forget(&mut self, now: UnixMs) {
        while let Some((hash, at)) = self.order.front().copied() {
            let is_latest = self.pins.get(&hash).is_some_and(|kept| kept.at == at);
            if is_latest && is_fresh(at, now) && self.pins.len() < self.max && self.order.len() < 2 * self.max {
                return;
            }
            self.order.pop_front();
            if is_latest && let Some(kept) = self.pins.remove(&hash) {
                self.forget_content(kept.pin);
            }
        }
    }

    /// Forgets the content that no pin shares any more.
    fn forget_content(&mut self, pin: Arc<Pin>) {
        // One for this handle, one for the set.
        if Arc::strong_count(&pin) <= 2 {
            self.contents.remove(&pin);
        }
    }
}

fn is_fresh(at: i64, now: UnixMs) -> bool {
    now.0.saturating_sub(at) < KEPT_MS
}
