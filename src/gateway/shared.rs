//! What the filters of one request and its client session ([`super::downstream`]) both need.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use pingora::protocols::http::HttpTask;
use pingora::protocols::http::server::Session as HttpSession;

use super::downstream::Writing;
use super::trial::Trial;
use crate::clock;
use crate::dialect;
use crate::running::{Ending, Running};
use crate::words::{Dialect, Operation};

/// Times of the current attempt and of the request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Until the header (of a stream: `stream_start_timeout`).
    pub first_byte: Duration,
    pub idle: Duration,
    /// Of the request, from its arrival.
    pub total: Duration,
    /// How long to read on after the client left; zero = not at all.
    pub after_left: Duration,
    pub heartbeat: Option<Duration>,
}

pub(crate) struct Shared {
    pub arrived: Instant,
    /// What is sent: set anew where the next account wants another model name.
    pub body: Mutex<Bytes>,
    pub trial: Mutex<Trial>,
    limits: Mutex<Limits>,
    dialect: Dialect,
    operation: Operation,
    /// Set from outside; see [`Ending`].
    running: Arc<Running>,
    /// Part of a final answer went to the client.
    pub begun: AtomicBool,
    /// Microseconds from arrival to the first byte sent to the client; 0 = none yet.
    first_byte_us: AtomicU64,
    held_us: AtomicU64,
    /// The client has seen part of a line.
    within_line: AtomicBool,
    left: AtomicBool,
    by_us: AtomicBool,
    back: Mutex<Back>,
}

#[derive(Default)]
struct Back {
    session: Option<Box<HttpSession>>,
    writing: Option<Writing>,
}

impl Shared {
    pub(crate) fn new(body: Bytes, trial: Trial, limits: Limits, running: Arc<Running>) -> Shared {
        Shared {
            arrived: trial.arrived.steady,
            body: Mutex::new(body),
            dialect: trial.route.dialect,
            operation: trial.route.operation,
            trial: Mutex::new(trial),
            limits: Mutex::new(limits),
            running,
            begun: AtomicBool::new(false),
            first_byte_us: AtomicU64::new(0),
            held_us: AtomicU64::new(0),
            within_line: AtomicBool::new(false),
            left: AtomicBool::new(false),
            by_us: AtomicBool::new(false),
            back: Mutex::default(),
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        *self.limits.lock()
    }

    pub(crate) fn set_limits(&self, limits: Limits) {
        *self.limits.lock() = limits;
    }

    /// Notes the first byte that went to the client.
    pub(crate) fn first_byte_sent(&self) {
        if self.first_byte_us.load(Ordering::Relaxed) == 0 && self.begun.load(Ordering::Relaxed) {
            let us = clock::steady().saturating_duration_since(self.arrived).as_micros();
            self.first_byte_us.store(u64::try_from(us).unwrap_or(u64::MAX).max(1), Ordering::Relaxed);
        }
    }

    /// From arrival to the first byte sent, if one was.
    pub(crate) fn first_byte(&self) -> Option<Duration> {
        match self.first_byte_us.load(Ordering::Relaxed) {
            0 => None,
            us => Some(Duration::from_micros(us)),
        }
    }

    /// Adds to the time for which an answer was held back.
    pub(crate) fn held(&self, time: Duration) {
        self.held_us.fetch_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn held_time(&self) -> Duration {
        Duration::from_micros(self.held_us.load(Ordering::Relaxed))
    }

    /// Whether this request is to end now; remembers whom to wake when it is.
    pub(crate) fn ended(&self, waker: &Waker) -> Ending {
        self.running.ended(waker)
    }

    pub(crate) fn ending(&self) -> Ending {
        self.running.ending()
    }

    pub(crate) fn draining(&self) -> bool {
        self.running.draining()
    }

    pub(crate) fn heartbeat(&self) -> Option<&'static [u8]> {
        dialect::heartbeat(self.dialect, self.operation, true)
    }

    /// Whether an interim answer (103) goes on to the client. A 100 does not: the gateway gave its own.
    pub(crate) fn passes_interim(&self, task: &HttpTask) -> bool {
        matches!(task, HttpTask::Header(header, _) if header.status.as_u16() != 100)
    }

    /// The client left: its place at the account is free at once.
    pub(crate) fn client_left(&self) {
        self.left.store(true, Ordering::Relaxed);
        self.trial.lock().free_place();
    }

    pub(crate) fn has_left(&self) -> bool {
        self.left.load(Ordering::Relaxed)
    }

    pub(crate) fn answered_by_us(&self) {
        self.by_us.store(true, Ordering::Relaxed);
    }

    /// Whether the answer was written by the gateway.
    pub(crate) fn is_by_us(&self) -> bool {
        self.by_us.load(Ordering::Relaxed)
    }

    pub(super) fn is_within_line(&self) -> bool {
        self.within_line.load(Ordering::Relaxed)
    }

    pub(super) fn set_within_line(&self, within: bool) {
        self.within_line.store(within, Ordering::Relaxed);
    }

    pub(super) fn hand_back(&self, session: Option<Box<HttpSession>>, writing: Option<Writing>) {
        let mut back = self.back.lock();
        back.session = session;
        back.writing = writing;
    }

    /// The client's session, after its wrapper was dropped; a write under way is finished first.
    pub(crate) async fn take_back(&self) -> Option<Box<HttpSession>> {
        let Back { session, writing } = std::mem::take(&mut *self.back.lock());
        match (session, writing) {
            (Some(session), _) => Some(session),
            (None, Some(writing)) => {
                let (session, result) = writing.await;
                if result.is_err() {
                    self.left.store(true, Ordering::Relaxed);
                }
                self.first_byte_sent();
                Some(session)
            }
            (None, None) => None,
        }
    }
}
