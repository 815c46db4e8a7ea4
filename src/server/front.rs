//! The door: connections are counted and bounded, headers have to come in time, and then Pingora's proxy takes over.
//!
//! Pingora's own service would wait for a header a minute for each read of it, and for any number of connections.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream, ServerApp};
use pingora::protocols::ALPN;
use pingora::protocols::Stream;
use pingora::protocols::http::server::Session as HttpSession;
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Store;
use crate::gateway::{Connection, Gateway};

/// More permits than any `max_connections`: the bound is read anew for each connection, so that a reload can change it.
const PERMITS: usize = Semaphore::MAX_PERMITS;
/// What an HTTP/2 client's first bytes are.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) struct Front {
    pub proxy: Arc<HttpProxy<Gateway>>,
    pub config: Arc<Store>,
    connections: Arc<Semaphore>,
    /// Turns true when the process is to end: HTTP/2 clients are told to go away.
    pub leaving: ShutdownWatch,
}

impl Front {
    pub(super) fn new(proxy: HttpProxy<Gateway>, config: Arc<Store>, leaving: ShutdownWatch) -> Front {
        Front { proxy: Arc::new(proxy), config, connections: Arc::new(Semaphore::new(PERMITS)), leaving }
    }

    /// A place for a connection, unless `max_connections` are open.
    fn enter(&self, most: usize) -> Option<OwnedSemaphorePermit> {
        let permit = Arc::clone(&self.connections).try_acquire_owned().ok()?;
        (PERMITS - self.connections.available_permits() <= most).then_some(permit)
    }

    /// Requests of one HTTP/1.1 connection, one after the other.
    async fn http1(&self, stream: Stream, first_header: Duration, keep_alive: Duration) {
        let leaving = &self.leaving;
        let mut session = HttpSession::new_http1(stream);
        session.set_keepalive(if *leaving.borrow() { None } else { Some(keep_alive.as_secs().max(1)) });
        session.set_pipelining_enabled(true);
        let mut patience = first_header;
        let connection = Arc::new(Connection::default());
        loop {
            session.set_read_timeout(Some(first_header));
            connection.header_seen.store(false, Ordering::Release);
            session.set_connection_user_context(Some(Box::new(Arc::clone(&connection))));
            let mut request = std::pin::pin!(self.proxy.process_new_http(session, leaving));
            let reused = tokio::select! {
                biased;
                reused = &mut request => reused,
                () = tokio::time::sleep(patience) => {
                    // The header is late: the connection is dropped. Else the request takes as long as it takes.
                    if !connection.header_seen.load(Ordering::Acquire) {
                        return;
                    }
                    request.await
                }
            };
            let kept = connection.kept.lock().take();
            let reused = match reused {
                Some(reused) => Some(reused),
                None => go_on(kept).await,
            };
            let Some((stream, settings)) = reused.map(|reused| reused.consume()) else { return };
            session = HttpSession::new_http1(stream);
            if let Some(settings) = settings {
                settings.apply_to_session(&mut session);
            }
            patience = keep_alive + first_header;
        }
    }
}

/// Whether the client's first bytes are those of HTTP/2. Peeks no further than they agree with it: a whole request may be shorter.
/// `None` where the connection ended.
async fn begins_http2(stream: &mut Stream) -> Option<bool> {
    // `PRI ` is no method of HTTP/1.1; what begins so waits for the rest.
    for length in [1, 4, PREFACE.len()] {
        let mut first = [0; PREFACE.len()];
        let peeked = stream.try_peek(&mut first[..length]).await.ok()?;
        if !peeked || first[..length] != PREFACE[..length] {
            return Some(false);
        }
    }
    Some(true)
}

/// The next request's stream, of a session that was answered whole.
async fn go_on(kept: Option<Box<HttpSession>>) -> Option<ReusedHttpStream> {
    let session = kept?;
    let settings = HttpPersistentSettings::for_session(&session);
    let stream = session.finish().await.ok().flatten()?;
    Some(ReusedHttpStream::from_reusable_stream(stream, settings))
}

#[async_trait]
impl ServerApp for Front {
    async fn process_new(self: &Arc<Self>, mut stream: Stream, _shutdown: &ShutdownWatch) -> Option<Stream> {
        let client = self.config.current().settings.client.clone();
        let _place = self.enter(client.max_connections)?;
        let http2 = match stream.get_ssl_digest() {
            Some(_) => matches!(stream.selected_alpn_proto(), Some(ALPN::H2)),
            None => tokio::time::timeout(client.header_timeout, begins_http2(&mut stream)).await.ok()??,
        };
        if http2 {
            let mut leaving = self.leaving.clone();
            if *leaving.borrow() {
                leaving.mark_changed();
            }
            return self.proxy.process_new(stream, &leaving).await;
        }
        self.http1(stream, client.header_timeout, client.keep_alive).await;
        None
    }

    async fn cleanup(&self) {
        self.proxy.http_cleanup().await;
    }
}
