//! What `aicarpool check` prints.

use std::fmt::Write as _;
use std::path::Path;

use super::load::{Attempt, attempt};
use super::snapshot::Snapshot;
use crate::live::Lives;

/// Checks the configuration: the text to print and the code to exit with. Every fault is a line and the code 1; without faults it is
/// 0, the first line counts what was read, and a line for each thing that is allowed but deserves a word may follow.
pub fn check_command(path: &Path) -> (String, i32) {
    report(path, &attempt(path, &Lives::default(), &|name| std::env::var(name).ok()))
}

pub(super) fn report(path: &Path, attempt: &Attempt) -> (String, i32) {
    match &attempt.result {
        Ok(snapshot) => (summary(path, snapshot, attempt), 0),
        Err(faults) => (faults.iter().map(|fault| format!("{fault}\n")).collect(), 1),
    }
}

fn summary(path: &Path, snapshot: &Snapshot, attempt: &Attempt) -> String {
    let many = |count: usize, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
    let counts = [
        many(snapshot.accounts.len(), "account"),
        many(attempt.counts.pools, "pool"),
        many(snapshot.groups.len(), "group"),
        many(snapshot.users.len(), "user"),
        many(snapshot.keys.len(), "key"),
    ];
    let mut text = format!("{} is fine: {} in {}\n", path.display(), counts.join(", "), many(attempt.counts.files, "file"));
    for note in &snapshot.notes {
        // Writing to a String does not fail.
        let _ = writeln!(text, "note: {note}");
    }
    text
}
