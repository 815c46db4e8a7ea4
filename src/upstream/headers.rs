//! What of a request reaches a provider, and what of its answer reaches the client: section 7 of the design.

use std::sync::Arc;

use http::HeaderValue;
use pingora::http::{RequestHeader, ResponseHeader};

use crate::config::snapshot::{Account, Auth, Endpoint};
use crate::words::{Dialect, Via};

/// Request headers that end here: hop by hop, credentials of any kind, addresses, and what names another owner.
fn ends_here(name: &str) -> bool {
    match name {
        "connection" | "keep-alive" | "te" | "trailer" | "transfer-encoding" | "upgrade" | "expect" => true,
        "authorization" | "x-api-key" | "x-goog-api-key" | "api-key" | "cookie" | "cookie2" => true,
        "sec-websocket-protocol" | "sec-websocket-key" | "sec-websocket-version" | "sec-websocket-extensions" => true,
        "forwarded" | "x-real-ip" | "via" | "x-http-method-override" | "host" | "content-length" => true,
        "openai-organization" | "openai-project" | "x-goog-user-project" | "chatgpt-account-id" => true,
        "accept-encoding" | "content-encoding" | "http2-settings" => true,
        _ => name.starts_with("x-forwarded-") || name.starts_with("proxy-") || name.starts_with("x-aicarpool-"),
    }
}

/// Answer headers that end here, whoever serves.
fn stays_here(name: &str) -> bool {
    match name {
        "connection" | "keep-alive" | "proxy-connection" | "te" | "trailer" | "upgrade" | "proxy-authenticate" => true,
        "set-cookie" | "set-cookie2" | "alt-svc" | "refresh" | "link" | "clear-site-data" => true,
        "strict-transport-security" | "www-authenticate" | "x-request-id" | "request-id" => true,
        "openai-organization" | "openai-project" | "anthropic-organization-id" | "x-goog-user-project" => true,
        "anthropic-project-id" | "anthropic-workspace-id" | "chatgpt-account-id" | "x-ms-client-request-id" => true,
        _ => name.starts_with("x-aicarpool-") || name.starts_with("proxy-"),
    }
}

/// Answer headers that tell other people's use of the account; kept where the account is the caller's own.
fn tells_others_use(name: &str) -> bool {
    name.starts_with("anthropic-ratelimit-")
        || name.starts_with("anthropic-fast-")
        || name.starts_with("anthropic-priority-")
        || name.starts_with("x-ratelimit-")
        || name.starts_with("x-codex-")
        || name.starts_with("msh-ratelimit-")
        || name.starts_with("ratelimit")
}

/// What goes into the request to a provider besides what the client sent.
pub struct Outgoing<'a> {
    pub account: &'a Account,
    pub dialect: Dialect,
    pub endpoint: &'a Endpoint,
    /// Below the endpoint's base, with a leading `/`.
    pub tail: &'a str,
    /// Without `?`.
    pub query: Option<&'a str>,
    /// Bytes of the body that will be sent; `None` for a request without a body.
    pub body: Option<usize>,
}

/// Turns the client's request header into the provider's.
///
/// # Errors
/// Where the path or a header value cannot be sent; the configuration and the routes have checked them.
pub fn outgoing(request: &mut RequestHeader, out: &Outgoing<'_>) -> pingora::Result<()> {
    let dropped: Vec<http::HeaderName> = request
        .headers
        .keys()
        .filter(|name| ends_here(name.as_str()) || out.account.headers.iter().any(|(own, _)| own == *name))
        .cloned()
        .collect();
    for name in &dropped {
        request.remove_header(name);
    }
    let path = match out.query {
        Some(query) => format!("{}{}?{query}", out.endpoint.path, out.tail),
        None => format!("{}{}", out.endpoint.path, out.tail),
    };
    let uri = http::Uri::try_from(path.as_str())
        .map_err(|e| pingora::Error::because(pingora::ErrorType::InternalError, "path for the provider", e))?;
    request.set_uri(uri);
    request.insert_header("host", host(out.endpoint))?;
    request.insert_header("accept-encoding", "identity")?;
    if let Some(length) = out.body {
        request.insert_header("content-length", length)?;
    }
    for (name, value) in &out.account.headers {
        request.insert_header(name.clone(), value.clone())?;
    }
    credential(request, out.account, out.dialect)
}

/// The `host` header of an endpoint: with its port where that is not the scheme's.
pub fn host(endpoint: &Endpoint) -> String {
    let name = if endpoint.host.contains(':') { format!("[{}]", endpoint.host) } else { endpoint.host.clone() };
    let usual = if endpoint.tls { 443 } else { 80 };
    if endpoint.port == usual { name } else { format!("{name}:{}", endpoint.port) }
}

/// Puts the account's credential where its service wants it (providers.md 3 to 14).
pub fn credential(request: &mut RequestHeader, account: &Account, dialect: Dialect) -> pingora::Result<()> {
    let Some(credential) = &account.credential else { return Ok(()) };
    let key = credential.expose();
    let auth = account.auth.as_ref().or(account.service.auth.as_ref());
    // A subscription token of Anthropic travels as a bearer, with a beta of its own beside the client's list (providers.md 4).
    if dialect == Dialect::Anthropic && key.starts_with("sk-ant-oat") && account.auth.is_none() {
        add_beta(request, "oauth-2025-04-20")?;
        return request.insert_header("authorization", secret_value(&format!("Bearer {key}"))?);
    }
    let by_dialect = match dialect {
        Dialect::Anthropic => Auth::XApiKey,
        Dialect::Openai => Auth::Bearer,
        Dialect::Gemini => Auth::XGoogApiKey,
    };
    match auth.unwrap_or(&by_dialect) {
        Auth::Bearer => request.insert_header("authorization", secret_value(&format!("Bearer {key}"))?),
        Auth::XApiKey => request.insert_header("x-api-key", secret_value(key)?),
        Auth::XGoogApiKey => request.insert_header("x-goog-api-key", secret_value(key)?),
        Auth::ApiKey => request.insert_header("api-key", secret_value(key)?),
        Auth::Header { name, prefix } => request.insert_header(name.clone(), secret_value(&format!("{prefix}{key}"))?),
        Auth::None => Ok(()),
    }
}

fn secret_value(text: &str) -> pingora::Result<HeaderValue> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| pingora::Error::explain(pingora::ErrorType::InternalError, "the account's credential is no header value"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn add_beta(request: &mut RequestHeader, beta: &str) -> pingora::Result<()> {
    let list: Vec<String> =
        request.headers.get_all("anthropic-beta").iter().filter_map(|v| v.to_str().ok().map(str::to_owned)).collect();
    if list.iter().any(|v| v.split(',').any(|one| one.trim() == beta)) {
        return Ok(());
    }
    let joined = list.into_iter().chain([beta.to_owned()]).collect::<Vec<_>>().join(",");
    request.insert_header("anthropic-beta", joined)
}

/// Takes out of an answer what the client must not see, puts our id in, and returns the provider's own id.
///
/// # Errors
/// Where our own id were no header value; it always is.
pub fn incoming(answer: &mut ResponseHeader, via: Via, request_id: &str) -> pingora::Result<Option<Arc<str>>> {
    let upstream_id = ["request-id", "x-request-id", "apim-request-id", "x-goog-request-id"]
        .iter()
        .find_map(|name| answer.headers.get(*name))
        .and_then(|value| value.to_str().ok())
        .filter(|id| sane_id(id))
        .map(Arc::from);
    let created = answer.status.as_u16() == 201;
    let dropped: Vec<http::HeaderName> = answer
        .headers
        .keys()
        .filter(|name| {
            let name = name.as_str();
            stays_here(name) || via != Via::Own && tells_others_use(name) || name == "location" && !created
        })
        .cloned()
        .collect();
    for name in &dropped {
        answer.remove_header(name);
    }
    answer.insert_header("x-request-id", request_id)?;
    if let Some(id) = &upstream_id {
        answer.insert_header("x-upstream-request-id", &**id)?;
    }
    Ok(upstream_id)
}

/// Whether a foreign request id may go into our log: visible ASCII, at most 128 of it.
pub fn sane_id(id: &str) -> bool {
    (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic())
}
