//! The sum of all request bodies held just now: bounded in total, and a quarter of it for one key.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::snapshot::Key;
use crate::words::{Again, Code, Refusal};

/// The sum of all request bodies held just now, in bytes.
#[derive(Debug, Default)]
pub struct Buffered {
    bytes: AtomicU64,
}

/// A part of that sum; given back when dropped.
#[derive(Debug)]
pub struct Share {
    buffered: Arc<Buffered>,
    key: Arc<Key>,
    bytes: u64,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.buffered.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        self.key.buffered.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

impl Share {
    /// Nothing yet.
    pub fn new(buffered: &Arc<Buffered>, key: &Arc<Key>) -> Share {
        Share { buffered: Arc::clone(buffered), key: Arc::clone(key), bytes: 0 }
    }

    /// Grows to `bytes` in total, unless all bodies together would pass `most`, or those of one key a quarter of it.
    ///
    /// # Errors
    /// 503 `overloaded` where it does not fit.
    pub fn grow(&mut self, bytes: u64, most: u64) -> Result<(), Refusal> {
        let Some(more) = bytes.checked_sub(self.bytes).filter(|more| *more > 0) else { return Ok(()) };
        let all = self.buffered.bytes.fetch_add(more, Ordering::AcqRel).saturating_add(more);
        let mine = self.key.buffered.fetch_add(more, Ordering::AcqRel).saturating_add(more);
        self.bytes = bytes;
        if all <= most && mine <= most / 4 {
            return Ok(());
        }
        let whose = if all > most { "The gateway holds" } else { "Your key has the gateway hold" };
        Err(Refusal::new(Code::Overloaded, format!("{whose} as many request bodies as it may just now; try again in a moment."))
            .again(Again::Unknown))
    }

    /// Gives back what a smaller body does not need, or takes what a decoded one needs.
    ///
    /// # Errors
    /// 503 `overloaded` where it does not fit.
    pub fn set(&mut self, bytes: u64, most: u64) -> Result<(), Refusal> {
        if let Some(less) = self.bytes.checked_sub(bytes) {
            self.buffered.bytes.fetch_sub(less, Ordering::AcqRel);
            self.key.buffered.fetch_sub(less, Ordering::AcqRel);
            self.bytes = bytes;
            return Ok(());
        }
        self.grow(bytes, most)
    }
}
