//! The second port: metrics, health, and what the accounts are doing. It changes nothing; `aicarpool accounts unpark` goes through
//! the control socket, which only the operator's user may open.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use http::{Response, StatusCode, header};
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;

use crate::clock;
use crate::config::snapshot::Snapshot;
use crate::health;
use crate::parking;
use crate::rooms::Rooms;

/// Answers on the admin port.
pub struct Admin {
    pub rooms: Arc<Rooms>,
    /// Only `/metrics`: an address of its own.
    pub metrics_only: bool,
    /// Brings the metrics that are looked up, not counted, up to date.
    pub refresh: Arc<dyn Fn() + Send + Sync>,
}

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let client = session.client_addr().and_then(|a| a.as_inet()).map(std::net::SocketAddr::ip);
        let snapshot = self.rooms.config.current();
        let request = session.req_header();
        if !self.metrics_only && !may_come(client, &snapshot) {
            return text(StatusCode::FORBIDDEN, "this address may not use the admin port (admin.allow_from)\n");
        }
        if request.method != http::Method::GET && request.method != http::Method::HEAD {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        }
        match request.uri.path() {
            "/metrics" => {
                (self.refresh)();
                let mut answer = Response::new(self.rooms.metrics.text());
                let kind = header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                answer.headers_mut().insert(header::CONTENT_TYPE, kind);
                with_length(answer)
            }
            _ if self.metrics_only => text(StatusCode::NOT_FOUND, "only /metrics is served here\n"),
            "/healthz" => text(StatusCode::OK, "ok\n"),
            "/readyz" => match health::ready(&self.rooms) {
                Ok(()) => text(StatusCode::OK, "ready\n"),
                Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, &format!("{why}\n")),
            },
            "/api/accounts" => {
                let host = request.headers.get("host").and_then(|v| v.to_str().ok()).unwrap_or_default();
                if !client.is_some_and(|ip| ip.to_canonical().is_loopback()) || !host_is_good(host, &snapshot) {
                    return text(
                        StatusCode::FORBIDDEN,
                        "without admin tokens this answers only on loopback, to a Host that is loopback or stands in admin.hosts\n",
                    );
                }
                let mut answer = Response::new(accounts_json(&snapshot).into_bytes());
                answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
                with_length(answer)
            }
            _ => text(StatusCode::NOT_FOUND, "here are /metrics, /healthz, /readyz and /api/accounts\n"),
        }
    }
}

fn may_come(client: Option<IpAddr>, snapshot: &Snapshot) -> bool {
    let Some(nets) = snapshot.settings.admin.as_ref().and_then(|admin| admin.allow_from.as_ref()) else { return true };
    client.is_some_and(|ip| nets.iter().any(|net| net.contains(&ip.to_canonical())))
}

fn host_is_good(host: &str, snapshot: &Snapshot) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, _)) => name,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let loopback = name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let listed = snapshot.settings.admin.as_ref().is_some_and(|admin| admin.hosts.iter().any(|h| h.eq_ignore_ascii_case(name)));
    loopback || listed
}

fn text(status: StatusCode, body: &str) -> Response<Vec<u8>> {
    let mut answer = Response::new(body.as_bytes().to_vec());
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/plain; charset=utf-8"));
    with_length(answer)
}

fn with_length(mut answer: Response<Vec<u8>>) -> Response<Vec<u8>> {
    let length = header::HeaderValue::from(answer.body().len());
    answer.headers_mut().insert(header::CONTENT_LENGTH, length);
    answer
}

/// What each account is doing: never a secret.
pub fn accounts_json(snapshot: &Snapshot) -> String {
    let now = clock::now();
    let mut accounts: Vec<_> = snapshot.accounts.values().collect();
    accounts.sort_by(|a, b| a.id.cmp(&b.id));
    let list: Vec<serde_json::Value> = accounts
        .into_iter()
        .map(|account| {
            let parked: Vec<serde_json::Value> = parking::list(&account.live, now)
                .into_iter()
                .map(|(model, parking)| {
                    serde_json::json!({
                        "model": model.as_deref(),
                        "reason": parking.reason.map(|reason| reason.name()),
                        "error": parking.error,
                        "since": parking.since.map(|at| at.0),
                        "until": parking.until.filter(|_| !parking.ban).map(|at| at.0),
                        "ban": parking.ban,
                    })
                })
                .collect();
            serde_json::json!({
                "id": account.id.as_str(),
                "enterprise": account.enterprise.as_str(),
                "service": account.service.id.as_str(),
                "enabled": account.enabled,
                "in_flight": account.live.in_flight(),
                "max_concurrency": account.max_concurrency,
                "parked": parked,
            })
        })
        .collect();
    serde_json::json!({ "accounts": list }).to_string()
}
