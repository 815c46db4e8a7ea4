//! Changes while it runs.

use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::config::{Reloaded, watch};

fn main_with(key: &str, rest: &str) -> String {
    format!(
        "accounts: [{{id: a, service: claude, key: {key}}}]\ngroups: [{{id: g, binding: {{accounts: [a]}}}}]\n\
         users: [{{id: u, groups: [g]}}]\nkeys: [{{key: aicp_g_u_0123456789abcdef}}]\n{rest}"
    )
}

fn credential(store: &Store) -> String {
    store.current().accounts["a"].credential.as_ref().unwrap().expose().to_owned()
}

#[test]
fn the_bytes_decide() {
    let folder = Folder::new(&[("aicarpool.yaml", &main_with("one", ""))]);
    let store = folder.store("aicarpool.yaml");
    folder.write("aicarpool.yaml", main_with("one", ""));
    assert!(matches!(store.reload(), Reloaded::Same));
    folder.write("aicarpool.yaml", main_with("two", ""));
    assert!(matches!(store.reload(), Reloaded::New { .. }));
    assert_eq!(credential(&store), "two");
}

#[test]
fn a_faulty_file_changes_nothing_and_is_told_once() {
    let folder = Folder::new(&[("aicarpool.yaml", &main_with("one", ""))]);
    let store = folder.store("aicarpool.yaml");
    for bad in ["", "accounts: [", &main_with("two", "threads: -1\n"), "listen: 127.0.0.1:4000\n"] {
        folder.write("aicarpool.yaml", bad);
        assert!(matches!(store.reload(), Reloaded::Faulty(faults) if !faults.is_empty()), "{bad}");
        assert!(matches!(store.reload(), Reloaded::Same), "{bad}");
        assert!(store.is_faulty());
        assert_eq!(credential(&store), "one");
    }
    folder.write("aicarpool.yaml", main_with("one", ""));
    assert!(matches!(store.reload(), Reloaded::Same));
    assert!(!store.is_faulty());
}

#[test]
fn what_needs_a_restart_is_told_and_stays() {
    let folder = Folder::new(&[("aicarpool.yaml", &main_with("one", ""))]);
    let store = folder.store("aicarpool.yaml");
    let rest = "listen: 127.0.0.1:5000\nadmin: 127.0.0.1:5001\nthreads: 3\nrun_dir: r\ndata_dir: d\nmetrics: {listen: 127.0.0.1:5002}\ngrace: 1m\n";
    folder.write("aicarpool.yaml", main_with("one", rest));
    let Reloaded::New { needs_restart, .. } = store.reload() else { panic!() };
    assert_eq!(needs_restart, ["listen", "admin", "metrics.listen", "threads", "run_dir", "data_dir"]);
    let settings = store.current().settings.clone();
    assert_eq!((settings.listen[0].address.port(), settings.threads, settings.grace), (4000, 0, Duration::from_secs(60)));
}

#[test]
fn live_facts_survive_for_the_same_credential() {
    let folder = Folder::new(&[("aicarpool.yaml", &main_with("one", ""))]);
    let store = folder.store("aicarpool.yaml");
    let live = || Arc::clone(&store.current().accounts["a"].live);
    let first = live();
    folder.write("aicarpool.yaml", main_with("one", "grace: 1m\n"));
    store.reload();
    assert!(Arc::ptr_eq(&first, &live()));
    folder.write("aicarpool.yaml", main_with("two", ""));
    store.reload();
    assert!(!Arc::ptr_eq(&first, &live()), "a new credential starts afresh");
    folder.write("aicarpool.yaml", main_with("one", ""));
    store.reload();
    assert!(Arc::ptr_eq(&first, &live()), "one that is taken back at once is remembered");
    for key in ["two", "three", "one"] {
        folder.write("aicarpool.yaml", main_with(key, ""));
        store.reload();
    }
    assert!(!Arc::ptr_eq(&first, &live()), "nothing is kept for ever");
}

/// A store that is being watched; each outcome comes through `outcomes`.
struct Watched {
    store: Arc<Store>,
    outcomes: UnboundedReceiver<&'static str>,
    task: tokio::task::JoinHandle<()>,
}

impl Watched {
    fn new(folder: &Folder) -> Watched {
        let store = Arc::new(folder.store("aicarpool.yaml"));
        let (tell, outcomes) = unbounded_channel();
        let told = move |reloaded: &Reloaded| {
            let name = match reloaded {
                Reloaded::Same => "same",
                Reloaded::New { .. } => "new",
                Reloaded::Faulty(_) => "faulty",
            };
            tell.send(name).ok();
        };
        let task = tokio::spawn(watch(Arc::clone(&store), told));
        Watched { store, outcomes, task }
    }

    /// The next outcome, well within any test's patience; the promised 2 s are the bench's to measure.
    async fn next(&mut self) -> &'static str {
        tokio::time::timeout(Duration::from_secs(20), self.outcomes.recv()).await.unwrap().unwrap()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn an_editors_replace() {
    let folder = Folder::new(&[("aicarpool.yaml", &main_with("one", ""))]);
    let mut watched = Watched::new(&folder);
    folder.write(".aicarpool.yaml.swp", main_with("two", ""));
    std::fs::rename(folder.path(".aicarpool.yaml.swp"), folder.path("aicarpool.yaml")).unwrap();
    assert_eq!(watched.next().await, "new");
    assert_eq!(credential(&watched.store), "two");
    folder.write("aicarpool.yaml", "accounts:\n");
    assert_eq!(watched.next().await, "faulty");
    folder.write("aicarpool.yaml", main_with("two", ""));
    assert_eq!(watched.next().await, "same");
    assert!(!watched.store.is_faulty());
}

#[tokio::test]
async fn the_symlink_swap_of_a_mounted_config_map() {
    let folder = Folder::new(&[("..v1/aicarpool.yaml", &main_with("one", "")), ("..v2/aicarpool.yaml", &main_with("two", ""))]);
    symlink("..v1", folder.path("..data")).unwrap();
    symlink("..data/aicarpool.yaml", folder.path("aicarpool.yaml")).unwrap();
    let mut watched = Watched::new(&folder);
    symlink("..v2", folder.path("..data_tmp")).unwrap();
    std::fs::rename(folder.path("..data_tmp"), folder.path("..data")).unwrap();
    assert_eq!(watched.next().await, "new");
    assert_eq!(credential(&watched.store), "two");
}

#[tokio::test]
async fn secrets_included_files_and_new_ones() {
    let folder = Folder::new(&[
        ("aicarpool.yaml", &main_with("{file: secret}", "include: [conf.d/*.yaml, sub/*/*.yaml]\n")),
        ("secret", "one\n"),
        ("conf.d/b.yaml", "users: [{id: b, groups: [g]}]\n"),
    ]);
    let mut watched = Watched::new(&folder);
    folder.write("secret", "two\n");
    assert_eq!(watched.next().await, "new");
    assert_eq!(credential(&watched.store), "two");
    folder.write("conf.d/c.yaml", "users: [{id: c, groups: [g]}]\n");
    assert_eq!(watched.next().await, "new");
    assert!(watched.store.current().users.contains_key("c"));
    std::fs::remove_file(folder.path("conf.d/c.yaml")).unwrap();
    assert_eq!(watched.next().await, "new");
    assert!(!watched.store.current().users.contains_key("c"));
}

#[tokio::test]
async fn several_files_at_once_are_one_reload() {
    let folder = Folder::new(&[
        ("aicarpool.yaml", &main_with("one", "include: [conf.d/*.yaml]\n")),
        ("conf.d/b.yaml", "users: [{id: b, groups: [g]}]\n"),
    ]);
    let mut watched = Watched::new(&folder);
    // The user moves from one file to the other: either change alone is a fault or a loss.
    folder.write("conf.d/a.yaml", "users: [{id: b, groups: [g]}, {id: c, groups: [g]}]\n");
    folder.write("conf.d/b.yaml", "keys: [{key: aicp_g_b_0123456789abcdef}]\n");
    assert_eq!(watched.next().await, "new");
    assert!(watched.store.current().users.contains_key("c"));
    assert_eq!(watched.store.current().keys.len(), 2);
}

#[tokio::test]
async fn asked_for_by_signal() {
    let folder = Folder::new(&[("aicarpool.yaml", &main_with("one", ""))]);
    let mut watched = Watched::new(&folder);
    watched.store.reload_now();
    assert_eq!(watched.next().await, "same");
}
