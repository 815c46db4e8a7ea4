//! What all requests share: the rooms that keep something.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::access_log::{AccessLog, Chosen};
use crate::buffered::Buffered;
use crate::choose::Pins;
use crate::config::Store;
use crate::metrics::Metrics;
use crate::parking::Change;
use crate::running::Registry;
use crate::settle::Record;
use crate::upstream::peer::Peers;
use crate::words::Id;

/// The rooms, made once by `server`.
pub struct Rooms {
    pub config: Arc<Store>,
    pub peers: Peers,
    pub metrics: Metrics,
    pub log: Arc<AccessLog>,
    pub registry: Arc<Registry>,
    pub buffered: Arc<Buffered>,
    pub pins: Arc<Pins>,
    /// Which fields the access log has: a mask, so that a reload can change it.
    pub fields: AtomicU64,
}

impl Rooms {
    /// Says in log and metrics that an account, or a model of it, was parked or is well again.
    pub fn parking_changed(&self, account: &Id, change: &Change) {
        let of = |model: &Option<Arc<str>>| model.as_deref().map(|model| format!(" for {model}")).unwrap_or_default();
        match change {
            Change::Parked { model, reason, until, error, ban } => {
                let until = match jiff::Timestamp::from_millisecond(until.0) {
                    Ok(until) if !ban => format!("until {until:.0}"),
                    Ok(_) | Err(_) => "until it is unparked".to_owned(),
                };
                let error = error.as_deref().map(|error| format!(", {error}")).unwrap_or_default();
                tracing::warn!("account {account} is parked{} ({}{error}) {until}", of(model), reason.name());
            }
            Change::Recovered { model, reason, by } => {
                tracing::info!(
                    "account {account} is free again{} (it was parked for {}; by {})",
                    of(model),
                    reason.name(),
                    by.name()
                );
            }
        }
    }

    /// Tells of a settled request.
    pub fn tell(&self, record: &Record) {
        let snapshot = self.config.current();
        let settings = &snapshot.settings;
        self.metrics.count(record, settings.metrics.users);
        self.log.tell(record, &settings.instance, Chosen::from_bits(self.fields.load(Ordering::Relaxed)));
    }
}
