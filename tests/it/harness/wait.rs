//! Waiting for events, never for time to pass: everything is bounded, and what runs out says what it waited for.

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

/// How long a test waits for something that should happen at once. Long, since a busy machine is no fault.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The outcome of `future`; a test that waits longer than [`PATIENCE`] stops and says what it waited for.
pub async fn within<T>(what: impl Debug, future: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {PATIENCE:?} for {what:?}"),
    }
}

/// Looks again and again until `probe` has something; `Err` is what it saw instead, told when the time is over.
pub async fn until<T>(what: impl Debug, mut probe: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(instead) if Instant::now() > deadline => panic!("waited {PATIENCE:?} for {what:?}; instead: {instead}"),
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    }
}

/// A barrier between a test and a script: the script stops there, the test sees that it came, and lets it go on.
#[derive(Clone)]
pub struct Gate {
    came: Arc<Semaphore>,
    open: Arc<Semaphore>,
}

impl Gate {
    pub fn new() -> Gate {
        Gate { came: Arc::new(Semaphore::new(0)), open: Arc::new(Semaphore::new(0)) }
    }
    /// The script's side.
    pub async fn pass(&self) {
        self.came.add_permits(1);
        self.open.acquire().await.unwrap().forget();
    }
    /// Waits until a script stands at the gate (once for each).
    pub async fn reached(&self) {
        within("a script at the gate", self.came.acquire()).await.unwrap().forget();
    }
    /// Lets one script through.
    pub fn open(&self) {
        self.open.add_permits(1);
    }
    /// Lets every script through, now and later.
    pub fn open_wide(&self) {
        self.open.add_permits(1 << 20);
    }
}
