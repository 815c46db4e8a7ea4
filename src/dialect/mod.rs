//! Wire formats: how a refusal looks, how a stream that broke off ends, when a stream has begun to mean something, and how
//! models are listed. What the three dialects' own paths are stands in `route`.

use bytes::Bytes;

pub use failure::{Failure, error_in_json};
pub use first::{First, FirstEvent};
pub use models::{ModelEntry, model_entry, model_list};
pub use refusal::{Row, refusal, row};
pub use stream::{error_event, heartbeat};

mod failure;
mod first;
mod models;
mod refusal;
mod stream;

/// An answer of the gateway's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// `content-type` is among them, `content-length` is not.
    pub headers: Vec<(&'static str, String)>,
    pub body: Bytes,
}
