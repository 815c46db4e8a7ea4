//! The requests that run just now: how many, and how to end one from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::task::Waker;

use dashmap::DashMap;
use futures::task::AtomicWaker;
use tokio::sync::Notify;

/// Why a request is ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    No,
    /// Its key, user or group is gone or disabled.
    Revoked,
    /// The process ends.
    Shutdown,
}

/// All requests in flight.
#[derive(Default)]
pub struct Registry {
    next: AtomicU64,
    /// By a number of our own: those that an account serves.
    requests: DashMap<u64, Arc<Running>>,
    count: AtomicUsize,
    /// Told whenever the count falls to zero.
    idle: Notify,
    draining: Arc<AtomicBool>,
}

/// One request in flight, as seen from outside.
pub struct Running {
    key: [u8; 32],
    ending: AtomicU8,
    waker: AtomicWaker,
    draining: Arc<AtomicBool>,
}

impl Running {
    /// Whether this request is to end now; remembers whom to wake when it is.
    pub fn ended(&self, waker: &Waker) -> Ending {
        self.waker.register(waker);
        self.ending()
    }

    /// Whether and why this request is to end.
    pub fn ending(&self) -> Ending {
        match self.ending.load(Ordering::Acquire) {
            0 => Ending::No,
            1 => Ending::Revoked,
            _ => Ending::Shutdown,
        }
    }

    /// Whether the process is about to end.
    pub fn draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    fn end(&self, ending: u8) {
        self.ending.store(ending, Ordering::Release);
        self.waker.wake();
    }
}

/// Counts a request for as long as it lives; panics and dropped connections included.
pub struct Counted(Arc<Registry>);

impl Drop for Counted {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

/// Takes a request out of the registry when dropped.
pub struct Entry {
    registry: Arc<Registry>,
    number: u64,
    pub running: Arc<Running>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.registry.requests.remove(&self.number);
    }
}

impl Registry {
    /// Counts a request from its first moment.
    pub fn count(self: &Arc<Self>) -> Counted {
        self.count.fetch_add(1, Ordering::AcqRel);
        Counted(Arc::clone(self))
    }

    /// Enters a request that goes to an account, under its key's hash.
    pub fn enter(self: &Arc<Self>, key: [u8; 32]) -> Entry {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let running =
            Arc::new(Running { key, ending: AtomicU8::new(0), waker: AtomicWaker::new(), draining: Arc::clone(&self.draining) });
        self.requests.insert(number, Arc::clone(&running));
        Entry { registry: Arc::clone(self), number, running }
    }

    /// Ends all requests whose key is not `good` any more; returns how many.
    pub fn revoke(&self, good: impl Fn(&[u8; 32]) -> bool) -> usize {
        let mut ended = 0;
        for entry in self.requests.iter().filter(|entry| !good(&entry.key)) {
            entry.end(1);
            ended += 1;
        }
        ended
    }

    /// Ends all requests: the process is about to go.
    pub fn end_all(&self) -> usize {
        let mut ended = 0;
        for entry in self.requests.iter() {
            entry.end(2);
            ended += 1;
        }
        ended
    }

    /// From now on answers carry `connection: close`.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Waits until none is in flight.
    pub async fn until_idle(&self) {
        loop {
            let idle = self.idle.notified();
            let mut idle = std::pin::pin!(idle);
            idle.as_mut().enable();
            if self.in_flight() == 0 {
                return;
            }
            idle.await;
        }
    }
}
