//! Loading: the main file, what it includes, and everything these name, into one snapshot or a list of all faults.

use std::path::{Path, PathBuf};

use super::check;
use super::fault::{Fault, Wrong};
use super::files::{Files, OnDisk};
use super::read::{self, Fields, Reader, Spot, Value};
use super::settings;
use super::snapshot::Snapshot;
use super::written::Written;
use super::yaml::{self, Node, TreeWrong};
use crate::clock;
use crate::live::Lives;

/// More files than this are a pattern gone wrong.
const INCLUDED_MAX: usize = 10_000;

/// Everything: faults in order of file and line.
pub fn load(path: &Path, lives: &Lives) -> Result<Snapshot, Vec<Fault>> {
    attempt(path, lives, &|name| std::env::var(name).ok()).result
}

/// One attempt to load: also a faulty one knows what it read, so that the watcher sees when that is mended.
pub(super) struct Attempt {
    pub(super) result: Result<Snapshot, Vec<Fault>>,
    pub(super) disk: OnDisk,
    /// What was read, in numbers.
    pub(super) counts: Counts,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) files: usize,
    pub(super) pools: usize,
}

pub(super) fn attempt(path: &Path, lives: &Lives, environment: &dyn Fn(&str) -> Option<String>) -> Attempt {
    let files = Files::default();
    let reader = Reader::new(&files, environment);
    let mut written = Written::default();
    let read = read_all(&reader, path, &mut written);
    let checked = read.map(|read| (check::check(&reader, &read, &written, lives), read.settings));
    let configurations = files.configurations();
    let (faults, notes) = reader.finish();
    let disk = files.finish();
    let counts = Counts { files: configurations, pools: written.pools.len() };
    let result = match checked {
        Some((checked, settings)) if faults.is_empty() => Ok(Snapshot {
            settings,
            services: checked.services,
            enterprises: checked.enterprises,
            accounts: checked.accounts,
            groups: checked.groups,
            users: checked.users,
            keys: checked.keys,
            prices: checked.prices,
            hash: disk.digest[..8].iter().map(|byte| format!("{byte:02x}")).collect(),
            files: disk.files.clone(),
            folders: disk.folders.clone(),
            loaded: clock::now().wall,
            notes,
        }),
        _ => Err(faults),
    };
    Attempt { result, disk, counts }
}

/// Reads the main file and those it includes. `None`: the main file holds no mapping, so there is nothing to go on with.
fn read_all(reader: &Reader<'_>, path: &Path, written: &mut Written) -> Option<settings::Read> {
    let main = reader.files.add(path);
    let text = text_of(reader, path, main, "name another with -c, or make it")?;
    let root = tree(reader, &text, main)?;
    let top = Value { node: &root, path: read::Path::Root, file: main, reader };
    let fields = top.fields(&settings::TOP)?;
    let settings = settings::read(&fields);
    written.take(&fields);
    let mut seen = vec![canonical(path)];
    for included in included(&fields) {
        if seen.contains(&canonical(&included)) {
            continue;
        }
        seen.push(canonical(&included));
        take_included(reader, &included, written);
    }
    let empty = written.accounts.is_empty() && written.groups.is_empty() && written.users.is_empty() && written.keys.is_empty();
    if empty && reader.is_clean() {
        top.fault(Wrong::NothingToServe);
    }
    Some(settings)
}

fn take_included(reader: &Reader<'_>, path: &Path, written: &mut Written) {
    let file = reader.files.add(path);
    let Some(text) = text_of(reader, path, file, "make it readable, or take it out of include") else { return };
    let Some(root) = tree(reader, &text, file) else { return };
    let top = Value { node: &root, path: read::Path::Root, file, reader };
    if let Some(fields) = top.fields(&settings::TOP) {
        settings::only_in_main(&fields);
        written.take(&fields);
    }
}

fn text_of(reader: &Reader<'_>, path: &Path, file: usize, hint: &'static str) -> Option<String> {
    let first = Spot { file, line: 1 };
    let wrong = |spot: Spot, wrong: Wrong| {
        reader.incomplete.set(true);
        reader.fault(spot, "", wrong);
        None
    };
    let bytes = match reader.files.configuration(path) {
        Ok(bytes) => bytes,
        Err(error) => return wrong(first, Wrong::Unreadable { error, hint }),
    };
    match String::from_utf8(bytes) {
        Ok(text) => Some(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text)),
        Err(error) => {
            let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let lines = 1 + memchr::memchr_iter(b'\n', before).count();
            wrong(Spot { file, line: u32::try_from(lines).unwrap_or(u32::MAX) }, Wrong::NotText)
        }
    }
}

/// The tree of a file; an empty one is a fault, since it is what a file is while it is being written.
fn tree<'t>(reader: &Reader<'_>, text: &'t str, file: usize) -> Option<Node<'t>> {
    let (root, faults) = yaml::parse(text);
    let broken = root.is_none() && !faults.is_empty();
    for fault in faults {
        let spot = Spot { file, line: fault.line };
        let wrong = match fault.wrong {
            TreeWrong::Wrong(wrong) => wrong,
            TreeWrong::GivenTwice { first } => Wrong::GivenTwice { first: reader.place(Spot { file, line: first }) },
        };
        reader.fault(spot, fault.path, wrong);
    }
    let root = root.filter(|root| !root.is_nothing());
    if root.is_none() {
        reader.incomplete.set(true);
        if !broken {
            reader.fault(Spot { file, line: 1 }, "", Wrong::EmptyFile);
        }
    }
    root
}

/// The files that `include` names, in order of the patterns and then of their names.
fn included(fields: &Fields<'_, '_>) -> Vec<PathBuf> {
    let mut all = Vec::new();
    fields.read("include", |value| value.list(|item| Some(all.extend(matches_of(item)?))));
    all
}

/// The files of one pattern. One that holds no `*`, `?` or `[` names a file that must be there.
fn matches_of(value: Value<'_, '_>) -> Option<Vec<PathBuf>> {
    let pattern = value.filled("name a file or a pattern such as conf.d/*.yaml")?;
    let files = value.reader.files;
    let folder = files.folder(value.file);
    if !pattern.contains(['*', '?', '[']) {
        let path = folder.join(&pattern);
        if path.exists() {
            return Some(vec![path]);
        }
        // Looked for, so that the watcher sees when it comes.
        files.configuration(&path).ok();
        value.reader.incomplete.set(true);
        value.fault(Wrong::NoSuchFile { pattern });
        return None;
    }
    // The folder of the main file is no pattern, whatever its name holds.
    let whole = match Path::new(&pattern).is_absolute() || folder.as_os_str().is_empty() {
        true => pattern.clone(),
        false => format!("{}/{pattern}", glob::Pattern::escape(&folder.to_string_lossy())),
    };
    watch_folders(files, &folder.join(&pattern));
    // Files that begin with a dot are editors' and Kubernetes' own.
    let options = glob::MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };
    let found = match glob::glob_with(&whole, options) {
        Ok(found) => found,
        Err(error) => {
            value.fault(Wrong::BadPattern { error: error.msg.to_owned() });
            return None;
        }
    };
    let found: Vec<PathBuf> = found.filter_map(Result::ok).filter(|path| !path.is_dir()).take(INCLUDED_MAX + 1).collect();
    if found.len() > INCLUDED_MAX {
        value.fault(Wrong::TooManyFiles);
        return None;
    }
    Some(found)
}

/// The folders in which a pattern may find more: the last one that is written plainly, and those that match further down.
fn watch_folders(files: &Files, pattern: &Path) {
    let special = |part: &std::ffi::OsStr| part.to_string_lossy().contains(['*', '?', '[']);
    let plain: PathBuf = pattern.iter().take_while(|part| !special(part)).collect();
    files.add_folder(if plain.as_os_str().is_empty() { PathBuf::from(".") } else { plain });
    let depth = pattern.iter().skip_while(|part| !special(part)).count();
    if depth > 1
        && let Some(parent) = pattern.parent()
        && let Ok(folders) = glob::glob(&parent.to_string_lossy())
    {
        folders
            .filter_map(Result::ok)
            .filter(|path| path.is_dir())
            .take(INCLUDED_MAX)
            .for_each(|folder| files.add_folder(folder));
    }
}

fn canonical(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}
