//! Names to addresses, without ever blocking a worker.
//!
//! A name is resolved once and kept until its TTL ends; then the old addresses serve on while one task asks again, and the last
//! good ones are kept when that fails. All addresses of a name are tried, in rotation.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use dashmap::DashMap;
use hickory_resolver::TokioResolver;
use tokio::sync::OnceCell;

use crate::clock;

/// Answers are kept at least this long, whatever their TTL says, and asked for again this long after a failure.
const TTL_LEAST: Duration = Duration::from_secs(5);
/// Answers are asked for again after this long at the latest: a hosts file has no TTL.
const TTL_MOST: Duration = Duration::from_secs(300);
/// Names kept at the most; configured endpoints are far fewer.
const NAMES_MOST: usize = 10_000;

/// The resolver and what it knows.
#[derive(Default)]
pub struct Names {
    resolver: OnceCell<TokioResolver>,
    known: DashMap<Arc<str>, Arc<Name>>,
}

struct Name {
    answer: ArcSwap<Answer>,
    asking: AtomicBool,
    turn: AtomicUsize,
}

struct Answer {
    addresses: Vec<IpAddr>,
    until: Instant,
}

impl Names {
    /// The addresses of `host`, the next in turn first. Only the first request for a name waits for an answer, others at most
    /// for a fresh name server round trip in the background.
    ///
    /// # Errors
    /// What the resolver said, where nothing is known of the name.
    pub async fn addresses(self: &Arc<Self>, host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let known = self.known.get(host).map(|name| Arc::clone(&name));
        let name = match known {
            Some(name) => {
                self.refresh(host, &name);
                name
            }
            None => {
                let name = Arc::new(Name {
                    answer: ArcSwap::from_pointee(self.ask(host).await?),
                    asking: AtomicBool::new(false),
                    turn: AtomicUsize::new(0),
                });
                if self.known.len() >= NAMES_MOST {
                    self.known.clear();
                }
                self.known.insert(Arc::from(host), Arc::clone(&name));
                name
            }
        };
        let answer = name.answer.load();
        let count = answer.addresses.len().max(1);
        let turn = name.turn.fetch_add(1, Ordering::Relaxed) % count;
        let (tail, head) = answer.addresses.split_at(turn.min(answer.addresses.len()));
        Ok(head.iter().chain(tail).map(|address| SocketAddr::new(*address, port)).collect())
    }

    /// Asks again in the background where the answer's time is over.
    fn refresh(self: &Arc<Self>, host: &str, name: &Arc<Name>) {
        if name.answer.load().until > clock::steady() || name.asking.swap(true, Ordering::AcqRel) {
            return;
        }
        let (names, name, host) = (Arc::clone(self), Arc::clone(name), host.to_owned());
        tokio::spawn(async move {
            match names.ask(&host).await {
                Ok(answer) => name.answer.store(Arc::new(answer)),
                Err(error) => {
                    tracing::warn!("{host} does not resolve any more ({error}); going on with its last addresses");
                    let addresses = name.answer.load().addresses.clone();
                    name.answer.store(Arc::new(Answer { addresses, until: clock::steady() + TTL_LEAST }));
                }
            }
            name.asking.store(false, Ordering::Release);
        });
    }

    async fn ask(&self, host: &str) -> Result<Answer, String> {
        let resolver = self
            .resolver
            .get_or_try_init(|| async {
                TokioResolver::builder_tokio().and_then(|builder| builder.build()).map_err(|e| e.to_string())
            })
            .await?;
        let found = resolver.lookup_ip(host).await.map_err(|e| e.to_string())?;
        let mut addresses: Vec<IpAddr> = found.iter().collect();
        if addresses.is_empty() {
            return Err(format!("{host} has no address"));
        }
        // IPv4 first: there is no racing of families here, and hosts without IPv6 routes are the common case.
        addresses.sort_by_key(IpAddr::is_ipv6);
        let now = clock::steady();
        let until = found.valid_until().clamp(now + TTL_LEAST, now + TTL_MOST);
        Ok(Answer { addresses, until })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_stand_for_themselves() {
        let names = Arc::new(Names::default());
        assert_eq!(names.addresses("127.0.0.1", 80).await, Ok(vec!["127.0.0.1:80".parse().unwrap()]));
        assert_eq!(names.addresses("::1", 80).await, Ok(vec!["[::1]:80".parse().unwrap()]));
    }

    #[tokio::test]
    async fn localhost_resolves_by_the_hosts_file() {
        let names = Arc::new(Names::default());
        let found = names.addresses("localhost", 80).await.unwrap();
        assert!(found.iter().all(|a| a.ip().is_loopback()), "{found:?}");
    }
}
