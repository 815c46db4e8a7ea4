//! Reading request bodies: bounded each, bounded together, and none for longer than its client keeps sending.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use pingora::protocols::http::server::Session as HttpSession;

use crate::config::snapshot::Key;
use crate::words::{Again, Code, Refusal};

/// A body whose length is announced is given that much room at once, up to this; a larger one grows as it comes.
const ROOM_AT_ONCE: u64 = 1024 * 1024;

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
    fn grow(&mut self, bytes: u64, most: u64) -> Result<(), Refusal> {
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

/// Why a body could not be read.
pub(crate) enum Unread {
    Refused(Refusal),
    /// The client left, or fell silent for longer than it may.
    Left,
}

/// Bounds of one body.
pub(crate) struct Bounds {
    pub max_body: u64,
    pub max_buffered: u64,
    pub body_idle: Duration,
}

/// Reads the whole body.
pub(crate) async fn read(
    session: &mut HttpSession,
    announced: Option<u64>,
    bounds: &Bounds,
    share: &mut Share,
) -> Result<Bytes, Unread> {
    if announced.is_some_and(|length| length > bounds.max_body) {
        return Err(Unread::Refused(too_large(bounds.max_body)));
    }
    let room = announced.unwrap_or(0).min(ROOM_AT_ONCE);
    share.grow(room, bounds.max_buffered).map_err(Unread::Refused)?;
    let mut first: Option<Bytes> = None;
    let mut whole = BytesMut::new();
    loop {
        let read = tokio::time::timeout(bounds.body_idle, session.read_request_body()).await;
        let chunk = match read {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None)) => break,
            Ok(Err(_)) | Err(_) => return Err(Unread::Left),
        };
        if first.is_none() && whole.is_empty() {
            first = Some(chunk);
        } else {
            if let Some(first) = first.take() {
                whole.reserve(usize::try_from(room).unwrap_or(0).max(first.len() + chunk.len()));
                whole.extend_from_slice(&first);
            }
            whole.extend_from_slice(&chunk);
        }
        let length = (whole.len() + first.as_ref().map_or(0, Bytes::len)) as u64;
        if length > bounds.max_body {
            return Err(Unread::Refused(too_large(bounds.max_body)));
        }
        share.grow(length, bounds.max_buffered).map_err(Unread::Refused)?;
    }
    Ok(first.unwrap_or_else(|| whole.freeze()))
}

fn too_large(max_body: u64) -> Refusal {
    Refusal::new(Code::BodyTooLarge, format!("The request body is larger than the {max_body} bytes that this gateway takes."))
}
