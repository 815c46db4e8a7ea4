//! How the configuration changes while the gateway runs.
//!
//! Every file that was read is watched, with the folders that an include pattern looks into: by the system's notices, which are quick,
//! and by a look at times, sizes and inodes of the *resolved* paths every half second, which nothing escapes (an editor's replace, the
//! symlink swap of a mounted ConfigMap, a network file system without notices). What changed is left to settle for a moment, so that
//! several files changed at once are one reload. The bytes decide: the same ones are no reload, and faulty ones leave the old snapshot
//! in force and are told of once.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::fault::Fault;
use super::files::{Look, OnDisk, Seen};
use super::load::{Attempt, attempt};
use super::snapshot::{Settings, Snapshot};
use crate::live::Lives;
use crate::words::Id;

/// How often the files are looked at, whatever the system's notices say: with settling and loading within the promised 2 s.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Files are settled when they stay the same for this long …
const SETTLE: Duration = Duration::from_millis(100);
/// … but are read after this many such moments in any case.
const SETTLE_ROUNDS_MAX: u32 = 6;

/// The configuration in force, and how to load the next.
pub struct Store {
    path: PathBuf,
    lives: Arc<Lives>,
    current: ArcSwap<Snapshot>,
    /// Held while loading, so that two reloads never overlap; never over an await.
    state: Mutex<State>,
    asked: AtomicBool,
    wake: Notify,
    environment: Environment,
}

type Environment = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

struct State {
    /// Of the bytes of the snapshot in force.
    digest: [u8; 32],
    /// Of the bytes of the last attempt, if that was faulty.
    faulty: Option<[u8; 32]>,
    /// Of the last attempt, faulty or not.
    disk: OnDisk,
}

/// What came of a look at the files.
#[derive(Debug)]
pub enum Reloaded {
    /// The bytes in force, or the faulty ones that were told of already; see [`Store::is_faulty`].
    Same,
    /// A new snapshot is in force. `needs_restart`: settings whose change counts only after a restart, and has none yet.
    New { notes: Vec<String>, needs_restart: Vec<&'static str> },
    /// The old snapshot stays in force.
    Faulty(Vec<Fault>),
}

impl Store {
    /// Loads for the first time.
    pub fn open(path: &Path, lives: Arc<Lives>) -> Result<Store, Vec<Fault>> {
        Store::open_with(path, lives, Box::new(|name| std::env::var(name).ok()))
    }

    pub(super) fn open_with(path: &Path, lives: Arc<Lives>, environment: Environment) -> Result<Store, Vec<Fault>> {
        let Attempt { result, disk, .. } = attempt(path, &lives, &*environment);
        let state = State { digest: disk.digest, faulty: None, disk };
        Ok(Store {
            path: path.to_owned(),
            lives,
            current: ArcSwap::from_pointee(result?),
            state: Mutex::new(state),
            asked: AtomicBool::new(false),
            wake: Notify::new(),
            environment,
        })
    }

    /// The snapshot in force, for a look; a request that keeps it takes [`Store::snapshot`].
    pub fn current(&self) -> Guard<Arc<Snapshot>> {
        self.current.load()
    }

    /// The snapshot in force, to keep.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// The live facts beside the snapshots.
    pub fn lives(&self) -> &Arc<Lives> {
        &self.lives
    }

    /// Whether the files, as last read, are faulty: an older snapshot is in force.
    pub fn is_faulty(&self) -> bool {
        self.state.lock().faulty.is_some()
    }

    /// Asks [`watch`] to read the files now (SIGHUP).
    pub fn reload_now(&self) {
        self.asked.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// Reads the files and puts what they say in force. Blocks: for a thread that may.
    pub fn reload(&self) -> Reloaded {
        let mut state = self.state.lock();
        let Attempt { result, disk, .. } = attempt(&self.path, &self.lives, &*self.environment);
        let digest = disk.digest;
        state.disk = disk;
        if digest == state.digest {
            state.faulty = None;
            return Reloaded::Same;
        }
        if state.faulty == Some(digest) {
            return Reloaded::Same;
        }
        let old = self.current.load_full();
        match result {
            Err(faults) => {
                state.faulty = Some(digest);
                self.forget(&[&old]);
                Reloaded::Faulty(faults)
            }
            Ok(mut new) => {
                let needs_restart = keep_what_needs_restart(&old.settings, &mut new.settings);
                let new = Arc::new(new);
                let notes = new.notes.clone();
                self.current.store(Arc::clone(&new));
                (state.digest, state.faulty) = (digest, None);
                self.forget(&[&old, &new]);
                Reloaded::New { notes, needs_restart }
            }
        }
    }

    /// Drops the live facts of accounts that are in none of `snapshots`. The last snapshot counts with the new one, so that a
    /// credential that is taken back at once finds its parkings again.
    fn forget(&self, snapshots: &[&Snapshot]) {
        let mut kept: HashSet<(Id, u64)> = HashSet::new();
        for snapshot in snapshots {
            let own = snapshot.users.values().flat_map(|user| &user.own_keys);
            // A set: the order does not matter.
            kept.extend(snapshot.accounts.values().chain(own).map(|account| (account.id.clone(), account.fingerprint)));
        }
        self.lives.retain(|id, fingerprint| kept.contains(&(id.clone(), fingerprint)));
    }

    /// Whether anything that was read looks otherwise than when it was read.
    fn has_changed(&self) -> bool {
        self.state.lock().disk.seen.iter().any(Seen::has_changed)
    }

    fn look(&self) -> Vec<Look> {
        self.state.lock().disk.seen.iter().map(|seen| Look::at(&seen.path)).collect()
    }
}

/// What is bound when the process starts stays as it is: the new settings get the old values, and the names of those that differ
/// are told.
fn keep_what_needs_restart(old: &Settings, new: &mut Settings) -> Vec<&'static str> {
    fn keep<T: Clone + PartialEq>(name: &'static str, old: &T, new: &mut T, told: &mut Vec<&'static str>) {
        if old != new {
            told.push(name);
            new.clone_from(old);
        }
    }
    let mut told = Vec::new();
    let places = |settings: &Settings| -> Vec<_> { settings.listen.iter().map(|one| (one.address, one.tls.is_some())).collect() };
    if places(old) != places(new) {
        keep("listen", &old.listen, &mut new.listen, &mut told);
    }
    let place = |settings: &Settings| settings.admin.as_ref().map(|admin| (admin.listen.address, admin.listen.tls.is_some()));
    if place(old) != place(new) {
        keep("admin", &old.admin, &mut new.admin, &mut told);
    }
    keep("metrics.listen", &old.metrics.listen, &mut new.metrics.listen, &mut told);
    keep("threads", &old.threads, &mut new.threads, &mut told);
    keep("run_dir", &old.run_dir, &mut new.run_dir, &mut told);
    keep("data_dir", &old.data_dir, &mut new.data_dir, &mut told);
    told
}

/// Watches for as long as it is polled, and tells `on` what came of each change. Files are read off the async workers.
pub async fn watch(store: Arc<Store>, on: impl Fn(&Reloaded)) {
    let noticed = Arc::new(Notify::new());
    let mut notices = follow(&store, Notices::new(Arc::clone(&noticed))).await;
    loop {
        let asked = store.asked.swap(false, Ordering::AcqRel);
        if asked || blocking(&store, Store::has_changed).await.unwrap_or(true) {
            settle(&store).await;
            if let Some(reloaded) = blocking(&store, Store::reload).await {
                on(&reloaded);
            }
            notices = follow(&store, notices).await;
        }
        tokio::select! {
            () = store.wake.notified() => {}
            // Other files of a watched folder (a log) may change all the time: a look each time, but not more often than this.
            () = noticed.notified() => tokio::time::sleep(SETTLE / 2).await,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// Waits until the files stay as they are, within bounds.
async fn settle(store: &Arc<Store>) {
    let mut look = None;
    for _ in 0..SETTLE_ROUNDS_MAX {
        let next = blocking(store, Store::look).await;
        if next.is_some() && next == look {
            break;
        }
        look = next;
        tokio::time::sleep(SETTLE).await;
    }
}

async fn blocking<T: Send + 'static>(store: &Arc<Store>, work: impl FnOnce(&Store) -> T + Send + 'static) -> Option<T> {
    let store = Arc::clone(store);
    tokio::task::spawn_blocking(move || work(&store)).await.ok()
}

/// The system's notices about the folders of what was read. Without them (no inotify left, a strange file system) looking is enough.
struct Notices {
    watcher: Option<RecommendedWatcher>,
    folders: HashSet<PathBuf>,
}

impl Notices {
    fn new(notices: Arc<Notify>) -> Notices {
        let told = move |event: notify::Result<notify::Event>| {
            // Reading a file is an event too: ours would wake us for ever.
            if event.map_or(true, |event| !matches!(event.kind, notify::EventKind::Access(_))) {
                notices.notify_one();
            }
        };
        Notices { watcher: notify::recommended_watcher(told).ok(), folders: HashSet::new() }
    }

    /// Watches exactly these folders.
    fn follow(&mut self, folders: HashSet<PathBuf>) {
        let Some(watcher) = &mut self.watcher else { return };
        for gone in self.folders.difference(&folders) {
            // A folder that is gone is watched no more anyway.
            watcher.unwatch(gone).ok();
        }
        let added: Vec<_> = folders.difference(&self.folders).cloned().collect();
        self.folders.retain(|folder| folders.contains(folder));
        for folder in added {
            if watcher.watch(&folder, RecursiveMode::NonRecursive).is_ok() {
                self.folders.insert(folder);
            }
        }
    }
}

/// Lets the notices follow what is read now: the folders of each file, as written and as resolved.
async fn follow(store: &Arc<Store>, mut notices: Notices) -> Notices {
    let moved = blocking(store, move |store| {
        let state = store.state.lock();
        let mut folders: HashSet<PathBuf> = state.disk.folders.iter().cloned().collect();
        for file in &state.disk.files {
            let resolved = std::fs::canonicalize(file).ok();
            folders.extend(
                [Some(file.clone()), resolved].into_iter().flatten().filter_map(|file| file.parent().map(Path::to_owned)),
            );
        }
        drop(state);
        let here = |folder: PathBuf| if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder };
        notices.follow(folders.into_iter().map(here).filter(|folder| folder.is_dir()).take(WATCHED_FOLDERS_MAX).collect());
        notices
    });
    moved.await.unwrap_or(Notices { watcher: None, folders: HashSet::new() })
}

/// The system's watches are few (8,192 for a user is a usual bound); the rest is looked at.
const WATCHED_FOLDERS_MAX: usize = 1_000;
