//! Reading request bodies: bounded each, bounded together, and none for longer than its client keeps sending.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use pingora::protocols::http::server::Session as HttpSession;

use crate::buffered::Share;
use crate::words::{Code, Refusal};

/// A body whose length is announced is given that much room at once, up to this; a larger one grows as it comes.
const ROOM_AT_ONCE: u64 = 1024 * 1024;

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
