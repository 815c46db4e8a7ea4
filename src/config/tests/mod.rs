//! Tests of the configuration: what loads, each kind of fault, reload.

mod faults;
mod loading;
mod reloading;

use std::path::{Path, PathBuf};

use super::Store;
use super::load::{Attempt, attempt};
use crate::live::Lives;

/// A folder with files, and an environment of its own.
pub(super) struct Folder {
    folder: tempfile::TempDir,
    environment: Vec<(&'static str, &'static str)>,
}

impl Folder {
    pub(super) fn new(files: &[(&str, &str)]) -> Folder {
        let folder = tempfile::tempdir().unwrap();
        let made = Folder { folder, environment: Vec::new() };
        files.iter().for_each(|(name, text)| made.write(name, text));
        made
    }

    pub(super) fn with(mut self, name: &'static str, value: &'static str) -> Folder {
        self.environment.push((name, value));
        self
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(super) fn attempt(&self, main: &str) -> Attempt {
        self.attempt_with(main, &Lives::default())
    }

    pub(super) fn attempt_with(&self, main: &str, lives: &Lives) -> Attempt {
        let environment =
            |name: &str| self.environment.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        attempt(&self.path(main), lives, &environment)
    }

    pub(super) fn store(&self, main: &str) -> Store {
        let environment = self.environment.clone();
        let of = move |name: &str| environment.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Store::open_with(&self.path(main), std::sync::Arc::default(), Box::new(of)).unwrap()
    }

    /// The faults as they are shown, the folder's own path taken out.
    pub(super) fn faults(&self, main: &str) -> String {
        match self.attempt(main).result {
            Ok(_) => "none\n".to_owned(),
            Err(faults) => self.shown(&faults.iter().map(|fault| format!("{fault}\n")).collect::<String>()),
        }
    }

    pub(super) fn shown(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.folder.path().display()), "")
    }
}

/// The project's own folder.
pub(super) fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
