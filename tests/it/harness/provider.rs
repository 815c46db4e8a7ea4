//! A stub provider inside the test's process. It does to each request what its script says, byte for byte, and keeps all
//! that it received.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::script::Script;
use super::wait::until;
use super::wire::{Authority, Wire};
use super::{answers, provider_h1, provider_h2};

/// One request as the provider got it.
#[derive(Clone, Debug)]
pub struct Received {
    /// Which connection it came on, from 0 in the order of their arrival.
    pub connection: usize,
    pub http2: bool,
    pub sni: Option<String>,
    pub method: String,
    /// As it stood in the request line (HTTP/2: `:path`).
    pub target: String,
    /// In wire order, names as written.
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
    /// The body came to its proper end.
    pub whole: bool,
    pub head_at: Instant,
    pub answered_at: Option<Instant>,
    /// The script came to its end.
    pub done: bool,
    /// The other side left before that.
    pub left: bool,
}

impl Received {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap()
    }
    pub fn query(&self) -> Option<&str> {
        self.target.split_once('?').map(|(_, q)| q)
    }
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
    /// The credential, wherever a provider takes it.
    pub fn credential(&self) -> &str {
        let bearer = self.header("authorization").map(|v| v.trim_start_matches("Bearer "));
        bearer.or(self.header("x-api-key")).or(self.header("x-goog-api-key")).or(self.header("api-key")).unwrap_or("")
    }
}

type Answerer = Arc<dyn Fn(&Received) -> Script + Send + Sync>;
type Early = Arc<dyn Fn(&Received) -> Option<Script> + Send + Sync>;

pub(super) struct Shared {
    requests: Mutex<Vec<Received>>,
    queue: Mutex<VecDeque<Script>>,
    early: Mutex<Early>,
    otherwise: Mutex<Answerer>,
    pub(super) connections: AtomicUsize,
    pub(super) failed_handshakes: AtomicUsize,
}

impl Shared {
    /// Notes a request whose head has arrived; hands out its number, and what to do with it if that is settled by now.
    pub(super) fn begin(&self, received: Received) -> (usize, Option<Script>) {
        let queued = self.queue.lock().unwrap().pop_front();
        let early = self.early.lock().unwrap().clone();
        let script = queued.or_else(|| early(&received));
        let mut requests = self.requests.lock().unwrap();
        requests.push(received);
        (requests.len() - 1, script)
    }
    /// What to do with a request that is here with its body.
    pub(super) fn decide(&self, number: usize) -> Script {
        let received = self.requests.lock().unwrap()[number].clone();
        let otherwise = self.otherwise.lock().unwrap().clone();
        otherwise(&received)
    }
    pub(super) fn note(&self, number: usize, change: impl FnOnce(&mut Received)) {
        if let Some(request) = self.requests.lock().unwrap().get_mut(number) {
            change(request);
        }
    }
}

pub struct Provider {
    pub address: SocketAddr,
    tls: bool,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The names that a provider's certificate is for, unless a test says otherwise.
pub const NAMES: &[&str] = &["127.0.0.1", "localhost", "provider.test"];

impl Provider {
    /// HTTP/1.1 without TLS.
    pub async fn plain() -> Provider {
        Provider::start(None).await
    }
    /// HTTP/1.1 over TLS.
    pub async fn tls_h1(authority: &Authority) -> Provider {
        Provider::start(Some(authority.identity(NAMES).acceptor(&["http/1.1"]))).await
    }
    /// HTTP/2 over TLS, and nothing else.
    pub async fn tls_h2(authority: &Authority) -> Provider {
        Provider::start(Some(authority.identity(NAMES).acceptor(&["h2"]))).await
    }
    pub async fn with(acceptor: TlsAcceptor) -> Provider {
        Provider::start(Some(acceptor)).await
    }

    async fn start(acceptor: Option<TlsAcceptor>) -> Provider {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            requests: Mutex::default(),
            queue: Mutex::default(),
            early: Mutex::new(Arc::new(|_| None)),
            otherwise: Mutex::new(Arc::new(answers::plausible)),
            connections: AtomicUsize::new(0),
            failed_handshakes: AtomicUsize::new(0),
        });
        let tls = acceptor.is_some();
        let task = tokio::spawn(accept(listener, acceptor, shared.clone()));
        Provider { address, tls, shared, task }
    }

    /// What it does with its next request that no earlier script takes.
    pub fn then(&self, script: Script) -> &Provider {
        self.shared.queue.lock().unwrap().push_back(script);
        self
    }
    /// What it does with every request for which no script is queued; at first a plausible answer.
    pub fn always(&self, script: Script) -> &Provider {
        self.answers(move |_| script.clone())
    }
    /// The same, decided by the whole request.
    pub fn answers(&self, answerer: impl Fn(&Received) -> Script + Send + Sync + 'static) -> &Provider {
        *self.shared.otherwise.lock().unwrap() = Arc::new(answerer);
        self
    }

    /// What it does with requests for which no script is queued, decided by the head alone; `None` leaves it to `answers`.
    pub fn answers_early(&self, answerer: impl Fn(&Received) -> Option<Script> + Send + Sync + 'static) -> &Provider {
        *self.shared.early.lock().unwrap() = Arc::new(answerer);
        self
    }

    /// The origin: `http://127.0.0.1:port`.
    pub fn origin(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.address)
    }
    /// The origin by another name that stands in its certificate.
    pub fn origin_as(&self, name: &str) -> String {
        format!("{}://{name}:{}", if self.tls { "https" } else { "http" }, self.address.port())
    }
    /// All that it received so far, also what is not yet whole.
    pub fn requests(&self) -> Vec<Received> {
        self.shared.requests.lock().unwrap().clone()
    }
    /// Those that came with this credential.
    pub fn requests_of(&self, credential: &str) -> Vec<Received> {
        self.shared.requests.lock().unwrap().iter().filter(|r| r.credential() == credential).cloned().collect()
    }
    /// Waits until `count` requests have come whole (or been left by the other side).
    pub async fn received(&self, count: usize) -> Vec<Received> {
        until(format!("{count} requests at the provider"), async || {
            let requests = self.requests();
            let whole = requests.iter().filter(|r| r.whole || r.left).count();
            if whole >= count { Ok(requests) } else { Err(format!("{} came, {whole} of them whole", requests.len())) }
        })
        .await
    }
    /// The last request; there must be one.
    pub fn last(&self) -> Received {
        self.requests().pop().expect("the provider received nothing")
    }
    /// Waits until the other side has left request `number` before the script's end.
    pub async fn left(&self, number: usize) {
        until(format!("the gateway to leave request {number}"), async || match self.requests().get(number) {
            Some(request) if request.left => Ok(()),
            Some(request) => Err(format!("request {number} goes on (done: {})", request.done)),
            None => Err(format!("request {number} never came")),
        })
        .await
    }
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
    pub fn failed_handshakes(&self) -> usize {
        self.shared.failed_handshakes.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream, acceptor.clone(), shared.clone()));
    }
}

async fn serve(stream: TcpStream, acceptor: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let connection = shared.connections.fetch_add(1, Ordering::SeqCst);
    stream.set_nodelay(true).unwrap();
    let wire = match acceptor {
        None => Wire::Plain(stream),
        Some(acceptor) => match acceptor.accept(stream).await {
            Ok(stream) => Wire::Tls(Box::new(tokio_rustls::TlsStream::Server(stream))),
            Err(_) => {
                shared.failed_handshakes.fetch_add(1, Ordering::SeqCst);
                return;
            }
        },
    };
    if wire.alpn() == "h2" {
        provider_h2::serve(wire, connection, shared).await;
    } else {
        provider_h1::serve(wire, connection, shared).await;
    }
}

/// An address where nothing listens: connecting is refused at once.
pub struct NobodyThere {
    pub address: SocketAddr,
    _port: super::port::Port,
}

impl NobodyThere {
    pub fn new() -> NobodyThere {
        let port = super::port::Port::free();
        NobodyThere { address: port.address(), _port: port }
    }
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }
}
