//! Egress through an HTTP proxy: `CONNECT host:port`, then whatever the account speaks runs over the tunnel.

use async_trait::async_trait;
use pingora::connectors::l4::Connect;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::l4::stream::Stream;
use pingora::{Error, ErrorType, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::words::Secret;

/// The head of a proxy's answer may be this long.
const HEAD_MOST: usize = 16 * 1024;

/// Makes tunnels to one target. The peer's address is the proxy's, since the pool compares it with the socket's.
#[derive(Debug)]
pub struct ConnectProxy {
    /// `host:port` of the provider.
    pub target: String,
    /// The value of `proxy-authorization`.
    pub authorization: Option<Secret>,
}

#[async_trait]
impl Connect for ConnectProxy {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        let address =
            address.as_inet().ok_or_else(|| Error::explain(ErrorType::SocketError, "an egress proxy has an internet address"))?;
        let fault = |what: String| Error::explain(ErrorType::ConnectError, what);
        let mut tcp = TcpStream::connect(address).await.map_err(|e| fault(format!("egress proxy {address}: {e}")))?;
        tcp.set_nodelay(true).map_err(|e| fault(format!("egress proxy {address}: {e}")))?;
        let authorization = match &self.authorization {
            Some(value) => format!("proxy-authorization: {}\r\n", value.expose()),
            None => String::new(),
        };
        let target = &self.target;
        let head = format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n{authorization}\r\n");
        tcp.write_all(head.as_bytes()).await.map_err(|e| fault(format!("egress proxy {address}: {e}")))?;
        let status = read_status(&mut tcp).await.map_err(|e| fault(format!("egress proxy {address}: {e}")))?;
        if !(200..300).contains(&status) {
            return Err(fault(format!("egress proxy {address} answered {status} to CONNECT {target}")));
        }
        Ok(tcp.into())
    }
}

/// Reads to the blank line, one byte at a time so that nothing of the tunnel is taken along.
async fn read_status(tcp: &mut TcpStream) -> std::result::Result<u16, String> {
    let mut head = Vec::with_capacity(128);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > HEAD_MOST {
            return Err("its answer has no end".to_owned());
        }
        head.push(tcp.read_u8().await.map_err(|e| e.to_string())?);
    }
    let line = head.split(|b| *b == b'\r').next().unwrap_or_default();
    std::str::from_utf8(line)
        .ok()
        .and_then(|line| line.strip_prefix("HTTP/1."))
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| "its answer is no HTTP/1.1".to_owned())
}
