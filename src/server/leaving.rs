//! How the process ends: signals, draining, grace; and how it hands its sockets to the next one (section 13 of the design).
//!
//! Pingora's own grace period is a plain sleep of its full length; here the process goes as soon as nothing runs any more.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Mutex, watch};

use crate::rooms::Rooms;

/// After the sockets went to the next process, Pingora lets both accept for this long.
const BOTH_ACCEPT: Duration = Duration::from_secs(5);
/// What was cut at the end of the grace period has this long to be told and settled.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// After the last request: HTTP/2 connections write their last frames on tasks of their own.
const FLUSH: Duration = Duration::from_millis(200);

pub(super) struct Leaving {
    rooms: Arc<Rooms>,
    /// Told at once: answers close their connections, HTTP/2 clients are sent away.
    tell: watch::Sender<bool>,
    signals: Mutex<Signals>,
    upgrade_socket: PathBuf,
    background: Handle,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
}

impl Leaving {
    /// Takes the signals; call it on a runtime that lives as long as the process.
    pub(super) fn new(
        rooms: Arc<Rooms>,
        tell: watch::Sender<bool>,
        upgrade_socket: PathBuf,
        background: Handle,
    ) -> std::io::Result<Leaving> {
        let signals = Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
        };
        Ok(Leaving { rooms, tell, signals: Mutex::new(signals), upgrade_socket, background })
    }

    fn begin(&self) {
        self.rooms.registry.drain();
        self.tell.send_replace(true);
    }

    /// Ends the process once nothing runs, or when the grace period is over. `first` passes before that is looked at.
    fn exit_when_idle(&self, first: Duration) {
        let rooms = Arc::clone(&self.rooms);
        let grace = rooms.config.current().settings.grace;
        self.background.spawn(async move {
            tokio::time::sleep(first).await;
            if tokio::time::timeout(grace, rooms.registry.until_idle()).await.is_err() {
                let cut = rooms.registry.end_all();
                tracing::warn!("the grace period of {grace:?} is over: {cut} requests are ended");
                if tokio::time::timeout(LAST_WORDS, rooms.registry.until_idle()).await.is_err() {
                    tracing::warn!("{} requests did not end in time", rooms.registry.in_flight());
                }
            }
            tokio::time::sleep(FLUSH).await;
            finish(&rooms);
        });
    }
}

/// Writes what is left to write and ends the process.
#[expect(clippy::exit, reason = "the one place where the process ends; Pingora's main thread sleeps")]
fn finish(rooms: &Rooms) {
    rooms.log.flush(Duration::from_secs(5));
    rooms.pins.flush();
    tracing::info!("all requests have ended; good bye");
    std::process::exit(0);
}

#[async_trait]
impl ShutdownSignalWatch for Leaving {
    async fn recv(&self) -> ShutdownSignal {
        let mut signals = self.signals.lock().await;
        let upgrade = loop {
            let Signals { terminate, interrupt, quit } = &mut *signals;
            let upgrade = tokio::select! {
                _ = terminate.recv() => false,
                _ = interrupt.recv() => false,
                _ = quit.recv() => true,
            };
            if upgrade && !self.upgrade_socket.exists() {
                tracing::error!(
                    "SIGQUIT, but no new process waits at {}: going on; start it with `aicarpool run --upgrade`, which sends the signal itself",
                    self.upgrade_socket.display()
                );
                continue;
            }
            break upgrade;
        };
        self.begin();
        let rooms = Arc::clone(&self.rooms);
        let Signals { terminate, interrupt, .. } = std::mem::replace(
            &mut *signals,
            match fresh() {
                Ok(fresh) => fresh,
                Err(_) => return ShutdownSignal::FastShutdown,
            },
        );
        self.background.spawn(second_signal(terminate, interrupt, rooms));
        if upgrade {
            tracing::info!("handing the listening sockets to the new process");
            self.exit_when_idle(BOTH_ACCEPT + FLUSH);
            return ShutdownSignal::GracefulUpgrade;
        }
        let drain = self.rooms.config.current().settings.drain;
        tracing::info!("shutting down: new connections are served for {drain:?} more, then what runs may end");
        tokio::time::sleep(drain).await;
        self.exit_when_idle(FLUSH);
        ShutdownSignal::GracefulTerminate
    }
}

fn fresh() -> std::io::Result<Signals> {
    Ok(Signals {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
        quit: signal(SignalKind::quit())?,
    })
}

async fn second_signal(mut terminate: Signal, mut interrupt: Signal, rooms: Arc<Rooms>) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::warn!("a second signal: ending at once");
    finish(&rooms);
}
