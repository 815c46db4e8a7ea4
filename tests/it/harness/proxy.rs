//! An egress proxy: answers CONNECT, and carries bytes to a fixed place whatever name was asked for.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use super::h1;

pub struct Proxy {
    pub address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// Carries to `target`; with `None` every CONNECT is refused with 403.
    pub async fn to(target: Option<SocketAddr>) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let noted = heads.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(carry(stream, target, noted.clone()));
            }
        });
        Proxy { address, heads, task }
    }
    /// The heads that it got, as they were.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

async fn carry(mut client: TcpStream, target: Option<SocketAddr>, heads: Arc<Mutex<Vec<String>>>) {
    let mut buffer = BytesMut::new();
    let Some(head) = h1::read_head(&mut client, &mut buffer).await else { return };
    heads.lock().unwrap().push(String::from_utf8_lossy(&head).into_owned());
    let refused = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n";
    // What goes wrong on either side ends both: that is all a tunnel does.
    let Some(target) = target else { return drop(client.write_all(refused).await) };
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    if client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.is_ok() && server.write_all(&buffer).await.is_ok() {
        drop(tokio::io::copy_bidirectional(&mut client, &mut server).await);
    }
}
