//! What all requests share: the rooms that keep something.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::body::Buffered;
use super::running::Registry;
use crate::access_log::{AccessLog, Chosen};
use crate::choose::Pins;
use crate::config::Store;
use crate::metrics::Metrics;
use crate::parking::Change;
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
        let model = change.model.as_deref().map(|model| format!(" for model {model}")).unwrap_or_default();
        let reason = change.reason.name();
        if change.parked {
            let until = change.until.and_then(|until| jiff::Timestamp::from_millisecond(until.0).ok());
            let until = until.map_or_else(|| "an operator unparks it".to_owned(), |until| format!("{until:.0}"));
            tracing::warn!("account {account} is parked{model} ({reason}) until {until}");
        } else {
            tracing::info!("account {account} is well again{model} (it was parked for {reason})");
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
