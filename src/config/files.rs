//! The files that a configuration consists of: read once each, remembered with their bytes, so that the watcher knows what to
//! watch and "same bytes" can be told.

use std::cell::RefCell;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Configuration files beyond this are refused: 100,000 keys are 13 MB.
const CONFIGURATION_BYTES_MAX: u64 = 256 << 20;
const SECRET_BYTES_MAX: u64 = 64 << 10;
/// Certificates, price files.
const OTHER_BYTES_MAX: u64 = 16 << 20;

/// The configuration files by number (0 is the main one), and all others that were read on their account.
#[derive(Debug, Default)]
pub(super) struct Files {
    configurations: RefCell<Vec<PathBuf>>,
    others: RefCell<Vec<PathBuf>>,
    folders: RefCell<Vec<PathBuf>>,
    digest: RefCell<Sha256>,
}

impl Files {
    /// Gives a configuration or price file its number; the one it has, if it has one.
    pub(super) fn add(&self, path: &Path) -> usize {
        let mut configurations = self.configurations.borrow_mut();
        if let Some(number) = configurations.iter().position(|other| other == path) {
            return number;
        }
        configurations.push(path.to_owned());
        configurations.len() - 1
    }

    pub(super) fn path(&self, file: usize) -> PathBuf {
        self.configurations.borrow().get(file).cloned().unwrap_or_default()
    }

    pub(super) fn configurations(&self) -> usize {
        self.configurations.borrow().len()
    }

    /// The folder that relative paths in a file start from.
    pub(super) fn folder(&self, file: usize) -> PathBuf {
        self.path(file).parent().map(Path::to_owned).unwrap_or_default()
    }

    /// A folder in which new files may turn up.
    pub(super) fn add_folder(&self, folder: PathBuf) {
        let mut folders = self.folders.borrow_mut();
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }

    pub(super) fn configuration(&self, path: &Path) -> Result<Vec<u8>, String> {
        self.bytes(path, CONFIGURATION_BYTES_MAX)
    }

    pub(super) fn secret(&self, path: &Path) -> Result<String, String> {
        let bytes = self.other(path, SECRET_BYTES_MAX)?;
        String::from_utf8(bytes).map_err(|_| "is no text".to_owned())
    }

    pub(super) fn certificate(&self, path: &Path) -> Result<Vec<u8>, String> {
        self.other(path, OTHER_BYTES_MAX)
    }

    pub(super) fn prices(&self, path: &Path) -> Result<String, String> {
        let bytes = self.other(path, OTHER_BYTES_MAX)?;
        String::from_utf8(bytes).map_err(|_| "is no UTF-8 text".to_owned())
    }

    fn other(&self, path: &Path, most: u64) -> Result<Vec<u8>, String> {
        self.others.borrow_mut().push(path.to_owned());
        self.bytes(path, most)
    }

    fn bytes(&self, path: &Path, most: u64) -> Result<Vec<u8>, String> {
        let result = read_at_most(path, most);
        let mut digest = self.digest.borrow_mut();
        digest.update(path.as_os_str().as_encoded_bytes());
        match &result {
            Ok(bytes) => {
                digest.update([0]);
                digest.update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
                digest.update(bytes);
            }
            Err(error) => {
                digest.update([1]);
                digest.update(error);
            }
        }
        result
    }

    /// Every file read (or looked for), the folders to watch, and the digest over all their bytes.
    pub(super) fn finish(self) -> (Vec<PathBuf>, Vec<PathBuf>, [u8; 32]) {
        let mut files = self.configurations.into_inner();
        files.extend(self.others.into_inner());
        let mut seen = std::collections::HashSet::new();
        files.retain(|file| seen.insert(file.clone()));
        (files, self.folders.into_inner(), self.digest.into_inner().finalize().into())
    }
}

fn read_at_most(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let file = std::fs::File::open(path).map_err(|error| plain(&error))?;
    let about = file.metadata().map_err(|error| plain(&error))?;
    if about.is_dir() {
        return Err("is a folder".into());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(about.len().min(most)).unwrap_or(0));
    file.take(most + 1).read_to_end(&mut bytes).map_err(|error| plain(&error))?;
    if bytes.len() as u64 > most {
        return Err(format!("is larger than {} KB", most >> 10));
    }
    Ok(bytes)
}

/// An error of the system in its own words, without its number.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
