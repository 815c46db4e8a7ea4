//! The files that a configuration consists of: read once each, remembered with their bytes, so that the watcher knows what to
//! watch and "same bytes" can be told.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Configuration files beyond this are refused: 100,000 keys are 13 MB.
const CONFIGURATION_BYTES_MAX: u64 = 256 << 20;
const SECRET_BYTES_MAX: u64 = 64 << 10;
/// Certificates, price files.
const OTHER_BYTES_MAX: u64 = 16 << 20;

/// The configuration files by number (0 is the main one), and what of the disk was looked at on their account.
#[derive(Debug, Default)]
pub(super) struct Files {
    configurations: RefCell<Vec<PathBuf>>,
    seen: RefCell<Vec<Seen>>,
    folders: RefCell<Vec<PathBuf>>,
    digest: RefCell<Sha256>,
}

/// A file or folder as it was just before it was read: when it looks otherwise, it is to be read again.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
    pub(super) path: PathBuf,
    pub(super) look: Look,
}

/// Where a path leads (symlinks followed) and when that last changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Look {
    Nothing,
    There { device: u64, inode: u64, size: u64, modified: (i64, i64), changed: (i64, i64) },
}

impl Look {
    pub(super) fn at(path: &Path) -> Look {
        std::fs::metadata(path).map_or(Look::Nothing, |about| Look::of(&about))
    }

    fn of(about: &Metadata) -> Look {
        Look::There {
            device: about.dev(),
            inode: about.ino(),
            size: about.size(),
            modified: (about.mtime(), about.mtime_nsec()),
            changed: (about.ctime(), about.ctime_nsec()),
        }
    }
}

impl Seen {
    /// Whether it looks otherwise now.
    pub(super) fn has_changed(&self) -> bool {
        Look::at(&self.path) != self.look
    }
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

    /// A folder in which new files may turn up; told before it is read.
    pub(super) fn add_folder(&self, folder: PathBuf) {
        let mut folders = self.folders.borrow_mut();
        if !folders.contains(&folder) {
            self.seen.borrow_mut().push(Seen { look: Look::at(&folder), path: folder.clone() });
            folders.push(folder);
        }
    }

    pub(super) fn configuration(&self, path: &Path) -> Result<Vec<u8>, String> {
        self.bytes(path, CONFIGURATION_BYTES_MAX)
    }

    pub(super) fn secret(&self, path: &Path) -> Result<String, String> {
        let bytes = self.bytes(path, SECRET_BYTES_MAX)?;
        String::from_utf8(bytes).map_err(|_| "is no text".to_owned())
    }

    pub(super) fn certificate(&self, path: &Path) -> Result<Vec<u8>, String> {
        self.bytes(path, OTHER_BYTES_MAX)
    }

    pub(super) fn prices(&self, path: &Path) -> Result<String, String> {
        let bytes = self.bytes(path, OTHER_BYTES_MAX)?;
        String::from_utf8(bytes).map_err(|_| "is no UTF-8 text".to_owned())
    }

    fn bytes(&self, path: &Path, most: u64) -> Result<Vec<u8>, String> {
        let (look, result) = read_at_most(path, most);
        self.seen.borrow_mut().push(Seen { path: path.to_owned(), look });
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

    /// What was looked at, the folders among it, and the digest over the bytes of all files.
    pub(super) fn finish(self) -> OnDisk {
        let folders = self.folders.into_inner();
        let seen = self.seen.into_inner();
        let mut once = HashSet::new();
        let files =
            seen.iter().map(|seen| &seen.path).filter(|path| !folders.contains(path) && once.insert(*path)).cloned().collect();
        OnDisk { files, folders, digest: self.digest.into_inner().finalize().into(), seen }
    }
}

/// What a configuration consists of on the disk.
#[derive(Debug)]
pub(super) struct OnDisk {
    pub(super) files: Vec<PathBuf>,
    pub(super) folders: Vec<PathBuf>,
    pub(super) digest: [u8; 32],
    pub(super) seen: Vec<Seen>,
}

fn read_at_most(path: &Path, most: u64) -> (Look, Result<Vec<u8>, String>) {
    let mut look = Look::Nothing;
    let mut read = || -> Result<Vec<u8>, String> {
        let file = File::open(path).map_err(|error| plain(&error))?;
        let about = file.metadata().map_err(|error| plain(&error))?;
        look = Look::of(&about);
        if about.is_dir() {
            return Err("is a folder".into());
        }
        let mut bytes = Vec::with_capacity(usize::try_from(about.len().min(most)).unwrap_or(0));
        file.take(most + 1).read_to_end(&mut bytes).map_err(|error| plain(&error))?;
        if bytes.len() as u64 > most {
            return Err(format!("is larger than {} KB", most >> 10));
        }
        Ok(bytes)
    };
    let result = read();
    (look, result)
}

/// An error of the system in its own words, without its number.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
