//! The peer of an account's endpoint: addresses, TLS, connection pool, egress proxy.
//!
//! Peers are made once per account endpoint and snapshot, and copied per attempt. Connections are pooled by `group_key`, which
//! stands for all that Pingora's own pool key leaves out (pingora.md 6).

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use pingora::upstreams::peer::HttpPeer;
use pingora::utils::tls::{WrappedX509, parse_x509};

use crate::config::snapshot::{Account, Endpoint, Timeouts};
use crate::upstream::connect_proxy::ConnectProxy;
use crate::upstream::names::Names;
use crate::words::{Dialect, Id};

/// How long an idle connection to a provider is kept. The shortest idle time seen at a provider's edge is 400 s
/// (anthropics/claude-code 89608).
const IDLE_KEPT: Duration = Duration::from_secs(90);
/// Parallel requests on one HTTP/2 connection; the provider's own lower limit counts.
const H2_STREAMS: usize = 100;
/// Finds dead HTTP/2 connections.
const H2_PING: Duration = Duration::from_secs(30);

/// Makes peers, and remembers what they need.
#[derive(Default)]
pub struct Peers {
    names: Arc<Names>,
    templates: DashMap<(Id, u64, Dialect), Arc<Template>>,
}

struct Template {
    peer: HttpPeer,
    host: String,
    port: u16,
}

impl Peers {
    /// Forgets what was made of the old snapshot; connections stay pooled, since their keys are made of what they stand for.
    pub fn reloaded(&self) {
        self.templates.clear();
    }

    /// The addresses to try for this account's endpoint: the egress proxy's, where it has one.
    ///
    /// # Errors
    /// Why the name does not resolve.
    pub async fn addresses(&self, account: &Account, endpoint: &Endpoint) -> Result<Vec<SocketAddr>, String> {
        match &account.proxy {
            Some(proxy) => self.names.addresses(&proxy.host, proxy.port).await,
            None => self.names.addresses(&endpoint.host, endpoint.port).await,
        }
    }

    /// The peer at `address`.
    pub fn peer(
        &self,
        account: &Account,
        dialect: Dialect,
        endpoint: &Endpoint,
        address: SocketAddr,
        timeouts: &Timeouts,
    ) -> Box<HttpPeer> {
        let key = (account.id.clone(), account.fingerprint, dialect);
        let known = self.templates.get(&key).map(|template| Arc::clone(&template));
        let template = known.filter(|t| t.host == endpoint.host && t.port == endpoint.port).unwrap_or_else(|| {
            let template = Arc::new(Template::new(account, endpoint));
            self.templates.insert(key, Arc::clone(&template));
            template
        });
        let mut peer = Box::new(template.peer.clone());
        peer._address = pingora::protocols::l4::socket::SocketAddr::Inet(address);
        peer.options.connection_timeout = Some(timeouts.connect);
        peer.options.total_connection_timeout = Some(timeouts.connect);
        peer.options.write_timeout = Some(timeouts.idle);
        // A net only: the client's session watches all times, but it is not asked any more once a body could not be sent.
        peer.options.read_timeout = Some(timeouts.total);
        peer
    }
}

impl Template {
    fn new(account: &Account, endpoint: &Endpoint) -> Template {
        let name = account.tls.sni.clone().unwrap_or_else(|| endpoint.host.clone());
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut peer = HttpPeer::new(nowhere, endpoint.tls, name);
        peer.group_key = group_key(account, endpoint);
        let options = &mut peer.options;
        options.idle_timeout = Some(IDLE_KEPT);
        options.max_h2_streams = H2_STREAMS;
        if endpoint.tls {
            options.set_http_version(2, 1);
            options.h2_ping_interval = Some(H2_PING);
            options.verify_cert = account.tls.verify;
            options.verify_hostname = account.tls.verify;
            options.ca = account.tls.ca.as_ref().map(|certificates| {
                certificates.iter().map(|der| WrappedX509::new(der.clone(), parse_x509)).collect::<Vec<_>>().into()
            });
        }
        if let Some(proxy) = &account.proxy {
            let host = if endpoint.host.contains(':') { format!("[{}]", endpoint.host) } else { endpoint.host.clone() };
            options.custom_l4 = Some(Arc::new(ConnectProxy {
                target: format!("{host}:{}", endpoint.port),
                authorization: proxy.authorization.clone(),
            }));
        }
        Template { peer, host: endpoint.host.clone(), port: endpoint.port }
    }
}

fn group_key(account: &Account, endpoint: &Endpoint) -> u64 {
    let mut hasher = DefaultHasher::new();
    account.id.hash(&mut hasher);
    endpoint.hash(&mut hasher);
    account.tls.ca.hash(&mut hasher);
    account.tls.sni.hash(&mut hasher);
    account.tls.verify.hash(&mut hasher);
    if let Some(proxy) = &account.proxy {
        (&proxy.host, proxy.port).hash(&mut hasher);
    }
    hasher.finish().max(1)
}
