//! Services and accounts as they are written.

use std::sync::Arc;

use super::{
    Named, OAUTH, Origin, QUOTAS, TIMEOUTS, WrittenEndpoints, endpoints, factor, globs, id_of, name_of, timeouts, weight,
};
use crate::config::address::{self, ProxyFault};
use crate::config::fault::Wrong;
use crate::config::read::{self, Located, Shape, Spot, Value};
use crate::config::snapshot::{Auth, EgressProxy, Glob, Globs, PriceBy, TimeoutOverrides};
use crate::config::yaml::Entry;
use crate::words::{Factor, Secret};

pub(in crate::config) struct Service {
    pub(in crate::config) origin: Origin,
    pub(in crate::config) id: Named,
    pub(in crate::config) endpoints: WrittenEndpoints,
    pub(in crate::config) auth: Option<Auth>,
    pub(in crate::config) prices: Option<Named>,
    pub(in crate::config) timeouts: TimeoutOverrides,
}

pub(in crate::config) const SERVICE: Shape = Shape {
    known: &["id", "endpoints", "auth", "prices", TIMEOUTS[0], TIMEOUTS[1], TIMEOUTS[2], TIMEOUTS[3], TIMEOUTS[4]],
    later: &[],
};

pub(super) fn service(value: Value<'_, '_>, index: usize) -> Option<Service> {
    let fields = value.fields(&SERVICE)?;
    let id = id_of(&fields);
    let (endpoints, auth) = (endpoints(&fields), fields.read("auth", auth));
    let prices = fields.read("prices", |value| value.id().map(|id| Named::of(id, value)));
    let timeouts = timeouts(&fields);
    Some(Service { origin: Origin { spot: fields.spot(), index }, id: id?, endpoints, auth, prices, timeouts })
}

fn auth(value: Value<'_, '_>) -> Option<Auth> {
    const SHAPE: Shape = Shape { known: &["header", "prefix"], later: &[] };
    const WORDS: [(&str, u8); 5] = [("bearer", 0), ("x-api-key", 1), ("x-goog-api-key", 2), ("api-key", 3), ("none", 4)];
    if value.is_scalar() {
        return value.choice(&WORDS).map(|word| match word {
            0 => Auth::Bearer,
            1 => Auth::XApiKey,
            2 => Auth::XGoogApiKey,
            3 => Auth::ApiKey,
            _ => Auth::None,
        });
    }
    let fields = value.fields(&SHAPE)?;
    let name = fields.require("header", "name the header that carries the credential", |value| {
        let text = value.string()?;
        let name = address::credential_header(text.trim());
        name.map_err(|hint| value.fault(Wrong::BadHeader { hint })).ok()
    });
    let prefix = fields.read("prefix", |value| {
        let text = value.string()?;
        if text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
            return Some(text);
        }
        value.fault(Wrong::BadHeader { hint: "a prefix is printable ASCII" });
        None
    });
    Some(Auth::Header { name: name?, prefix: prefix.unwrap_or_default() })
}

pub(in crate::config) struct Account {
    pub(in crate::config) origin: Origin,
    pub(in crate::config) id: Named,
    pub(in crate::config) enterprise: Option<Named>,
    pub(in crate::config) service: Option<Named>,
    pub(in crate::config) key: WrittenSecret,
    pub(in crate::config) endpoints: WrittenEndpoints,
    pub(in crate::config) headers: Vec<(http::HeaderName, http::HeaderValue)>,
    pub(in crate::config) models: Option<Globs>,
    pub(in crate::config) model_map: Vec<(Glob, Arc<str>)>,
    pub(in crate::config) weight: Option<u32>,
    pub(in crate::config) max_concurrency: Option<u32>,
    pub(in crate::config) price_factor: Option<Factor>,
    pub(in crate::config) price_by: PriceBy,
    pub(in crate::config) default_model: Option<Arc<str>>,
    pub(in crate::config) exclusive: bool,
    pub(in crate::config) tls: WrittenTls,
    pub(in crate::config) proxy: Option<EgressProxy>,
    pub(in crate::config) timeouts: TimeoutOverrides,
    pub(in crate::config) enabled: bool,
}

/// A field that may hold a credential.
#[derive(Clone, Debug)]
pub(in crate::config) enum WrittenSecret {
    Absent,
    /// Faulty, and told so.
    Faulty,
    Empty(Spot),
    Given(Secret, Spot),
}

/// `tls` of an account, its file not yet read.
#[derive(Clone, Debug, Default)]
pub(in crate::config) struct WrittenTls {
    pub(in crate::config) ca: Option<(Located, Spot)>,
    pub(in crate::config) sni: Option<String>,
    pub(in crate::config) verify: Option<bool>,
    pub(in crate::config) spot: Option<Spot>,
}

pub(in crate::config) const ACCOUNT: Shape = Shape {
    known: &[
        "id",
        "enterprise",
        "service",
        "key",
        "endpoints",
        "headers",
        "models",
        "model_map",
        "weight",
        "max_concurrency",
        "price_factor",
        "price_by",
        "default_model",
        "exclusive",
        "tls",
        "proxy",
        "enabled",
        TIMEOUTS[0],
        TIMEOUTS[1],
        TIMEOUTS[2],
        TIMEOUTS[3],
        TIMEOUTS[4],
    ],
    later: &[("quotas", QUOTAS), ("limits", QUOTAS), ("oauth", OAUTH)],
};

pub(super) fn account(value: Value<'_, '_>, index: usize) -> Option<Account> {
    let fields = value.fields(&ACCOUNT)?;
    let id = id_of(&fields);
    let service = fields.require("service", "name its service, such as claude, openai or gemini", name_of);
    let key = match secret(fields.get("key")) {
        // Told already: what is meant stands there under another name.
        WrittenSecret::Absent if fields.has("oauth") || fields.is_misspelt("key") => WrittenSecret::Faulty,
        key => key,
    };
    Some(Account {
        origin: Origin { spot: fields.spot(), index },
        enterprise: fields.read("enterprise", name_of),
        service,
        key,
        endpoints: endpoints(&fields),
        headers: fields.read("headers", |value| value.map("a mapping such as {x-team: acme}", header)).unwrap_or_default(),
        models: fields.read("models", globs),
        model_map: fields
            .read("model_map", |value| value.map("a mapping such as {claude-*: kimi-k2}", mapping))
            .unwrap_or_default(),
        weight: fields.read("weight", weight),
        max_concurrency: fields.read("max_concurrency", |value| {
            value.number_u32(
                1..=1_000_000,
                "give 1 or more, or leave it out for no bound; to stop using the account set enabled: false",
            )
        }),
        price_factor: fields.read("price_factor", factor),
        price_by: fields
            .read("price_by", |value| value.choice(&[("answered", PriceBy::Answered), ("sent", PriceBy::Sent)]))
            .unwrap_or(PriceBy::Answered),
        default_model: fields.read("default_model", |value| value.model()),
        exclusive: fields.read("exclusive", |value| value.bool()).unwrap_or(true),
        tls: fields.read("tls", tls).unwrap_or_default(),
        proxy: fields.read("proxy", proxy),
        timeouts: timeouts(&fields),
        enabled: fields.read("enabled", |value| value.bool()).unwrap_or(true),
        id: id?,
    })
}

pub(super) fn secret(value: Option<Value<'_, '_>>) -> WrittenSecret {
    let Some(value) = value else { return WrittenSecret::Absent };
    match value.secret() {
        None => WrittenSecret::Faulty,
        Some(None) => WrittenSecret::Empty(value.spot()),
        Some(Some(secret)) => WrittenSecret::Given(secret, value.spot()),
    }
}

fn header(entry: &Entry<'_>, value: Value<'_, '_>) -> Option<(http::HeaderName, http::HeaderValue)> {
    let name = address::added_header(&entry.name).map_err(|hint| value.fault(Wrong::BadHeader { hint })).ok();
    let text = match value.secret()? {
        Some(secret) => secret,
        None => Secret::new(String::new()),
    };
    let mut text = http::HeaderValue::from_str(text.expose()).ok()?;
    text.set_sensitive(true);
    Some((name?, text))
}

fn mapping(entry: &Entry<'_>, value: Value<'_, '_>) -> Option<(Glob, Arc<str>)> {
    let glob = value.reader.glob(&entry.name);
    let glob =
        glob.map_err(|wanted| value.fault(Wrong::NotThis { value: format!("{:?}", read::shown_name(&entry.name)), wanted })).ok();
    let sent = value.model();
    Some((glob?, sent?))
}

fn tls(value: Value<'_, '_>) -> Option<WrittenTls> {
    const SHAPE: Shape = Shape { known: &["ca", "sni", "verify"], later: &[] };
    let fields = value.fields(&SHAPE)?;
    let ca = fields.read("ca", |value| value.file_path().map(|path| (path, value.spot())));
    let sni = fields.read("sni", |value| {
        let name = value.filled("name the host to ask for, or leave it out for the endpoint's own")?;
        value.parse(
            |text| if address::is_dns_name(text) { Ok(()) } else { Err("name of a host such as api.example.com".into()) },
        )?;
        Some(name.trim().to_owned())
    });
    let verify = fields.read("verify", |value| value.bool());
    Some(WrittenTls { ca, sni, verify, spot: Some(fields.spot()) })
}

fn proxy(value: Value<'_, '_>) -> Option<EgressProxy> {
    let Some(secret) = value.secret()? else {
        value.fault(Wrong::EmptyText { hint: "give http://host:port, or leave it out" });
        return None;
    };
    address::proxy(secret.expose()).map_err(|ProxyFault(hint)| value.fault(Wrong::BadUrl { hint })).ok()
}
