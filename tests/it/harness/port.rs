//! Ports for servers that we do not bind ourselves. They lie below the range from which outgoing connections take theirs, and a
//! lock file holds each, so that tests that run at the same time never choose the same.

use std::fs::{File, TryLockError};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

pub struct Port {
    pub number: u16,
    _lock: File,
}

static NEXT: AtomicU16 = AtomicU16::new(0);

impl Port {
    pub fn free() -> Port {
        let folder = std::env::temp_dir().join("aicarpool-test-ports");
        std::fs::create_dir_all(&folder).unwrap();
        let start = u16::try_from(std::process::id() % 1000).unwrap() * 17;
        for _ in 0..17_000 {
            let number = 12_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed) % 17_000) % 17_000;
            let lock = File::create(folder.join(number.to_string())).unwrap();
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(e)) => panic!("{e}"),
            }
            if TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Port { number, _lock: lock };
            }
        }
        panic!("no free port");
    }
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.number))
    }
}
