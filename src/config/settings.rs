//! The sections that are no lists of entities, with their defaults.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use jiff::civil::Weekday;
use jiff::tz::TimeZone;

use super::address;
use super::fault::Wrong;
use super::files::Files;
use super::read::{Fields, Reader, Shape, Spot, Value};
use super::snapshot::{
    AccessLog, Admin, Client, Failover, Listen, ListenTls, LogPath, Metering, Metrics, OnDisconnect, Settings, Timeouts, Unpriced,
};
use super::tls;
use super::written::{self, ADMIN, ALERTS, ENTITIES, LEDGER, PLANS, QUOTAS, SHARED};

/// Everything that may stand at the top of the main file.
pub(super) const TOP: Shape = Shape {
    known: &[
        "listen",
        "admin",
        "threads",
        "timezone",
        "week_start",
        "include",
        "instance",
        "max_body",
        "max_buffered",
        "client",
        "drain",
        "grace",
        "run_dir",
        "data_dir",
        "trusted_proxies",
        "access_log",
        "counters",
        "ledger",
        "failover",
        "metering",
        "health",
        "prices",
        "unpriced",
        "metrics",
        "heartbeat",
        "services",
        "enterprises",
        "accounts",
        "pools",
        "groups",
        "users",
        "keys",
    ],
    later: &[("queue", QUOTAS), ("admin_tokens", ADMIN), ("plans", PLANS), ("alerts", ALERTS)],
};

/// The defaults of the design's section 3.
pub(super) const FAILOVER: Failover = Failover {
    max_attempts: 3,
    deadline: Duration::from_secs(60),
    timeouts: Timeouts {
        connect: Duration::from_secs(5),
        first_byte: Duration::from_secs(600),
        stream_start: Duration::from_secs(30),
        idle: Duration::from_secs(300),
        total: Duration::from_secs(3_600),
    },
};

const CLIENT: Client = Client {
    header_timeout: Duration::from_secs(10),
    body_idle: Duration::from_secs(30),
    write_idle: Duration::from_secs(60),
    keep_alive: Duration::from_secs(75),
    max_connections: 20_000,
    h2_streams: 128,
};

const MAX_BODY: u64 = 32 << 20;
const MAX_BUFFERED: u64 = 1 << 30;
const NO_TIME: &str = "give a time such as 30s";

/// The settings, and the price files that they name.
pub(super) struct Read {
    pub(super) settings: Settings,
    pub(super) price_files: Vec<(PathBuf, Spot, usize)>,
}

/// Reads the settings of the main file.
pub(super) fn read(fields: &Fields<'_, '_>) -> Read {
    let files = fields.value.reader.files;
    let listen =
        fields.read("listen", |value| if value.is_list() { value.list(listen) } else { listen(value).map(|one| vec![one]) });
    let default_listen = || vec![(Listen { address: SocketAddr::from(([127, 0, 0, 1], 4000)), tls: None }, fields.spot())];
    let listen = listen.unwrap_or_else(default_listen);
    if listen.is_empty() {
        fields.fault_at("listen", Wrong::Other { what: "lists no address", hint: "give at least one, such as 127.0.0.1:4000" });
    }
    let admin = fields.read("admin", admin).unwrap_or_else(|| {
        Some(Admin {
            listen: Listen { address: SocketAddr::from(([127, 0, 0, 1], 4001)), tls: None },
            allow_from: None,
            hosts: Vec::new(),
        })
    });
    let metrics = fields.read("metrics", metrics).unwrap_or(Metrics { users: false, listen: None });
    check_addresses(fields, &listen, admin.as_ref(), &metrics);
    counters_and_ledger(fields);
    let settings = Settings {
        listen: listen.into_iter().map(|(one, _)| one).collect(),
        admin,
        threads: fields.read("threads", |value| value.number(0..=1_024, "")).map_or(0, |threads| threads as usize),
        timezone: fields.read("timezone", timezone).unwrap_or(TimeZone::UTC),
        week_start: fields.read("week_start", week_start).unwrap_or(Weekday::Monday),
        instance: instance(fields),
        max_body: fields.read("max_body", |value| value.size("give the most that a request may send")).unwrap_or(MAX_BODY),
        max_buffered: fields
            .read("max_buffered", |value| value.size("give the most that all requests may hold"))
            .unwrap_or(MAX_BUFFERED),
        client: fields.read("client", client).unwrap_or(CLIENT),
        drain: fields.read("drain", |value| value.time()).unwrap_or(Duration::ZERO),
        grace: fields.read("grace", |value| value.time()).unwrap_or(Duration::from_secs(600)),
        run_dir: folder(fields, "run_dir", files, "run"),
        data_dir: folder(fields, "data_dir", files, "data"),
        trusted_proxies: fields.read("trusted_proxies", |value| value.list(|item| item.net())).unwrap_or_default(),
        access_log: fields.read("access_log", access_log).unwrap_or(AccessLog { path: LogPath::Stdout, fields: None }),
        metering: fields.read("metering", metering).unwrap_or(METERING),
        health: fields.read("health", health).unwrap_or(Some(Duration::from_secs(60))),
        unpriced: fields.read("unpriced", unpriced).unwrap_or(Unpriced::Auto),
        metrics,
        heartbeat: fields.read("heartbeat", heartbeat).unwrap_or(None),
        failover: fields.read("failover", written::failover).map_or(FAILOVER, |overrides| overrides.over(FAILOVER)),
    };
    note_sizes(fields, &settings);
    Read { settings, price_files: price_files(fields) }
}

/// Told of each included file: what only the main file may hold.
pub(super) fn only_in_main(fields: &Fields<'_, '_>) {
    for name in TOP.known {
        if fields.has(name) && !ENTITIES.contains(name) {
            fields.fault_at(name, Wrong::OnlyInMain);
        }
    }
}

impl written::FailoverOverrides {
    /// These, where given, else `base`.
    pub(super) fn over(&self, base: Failover) -> Failover {
        Failover {
            max_attempts: self.max_attempts.unwrap_or(base.max_attempts),
            deadline: self.deadline.unwrap_or(base.deadline),
            timeouts: self.timeouts.over(base.timeouts),
        }
    }
}

// ------------------------------------------------------------------ addresses

fn address(value: Value<'_, '_>) -> Option<SocketAddr> {
    value.parse(address::listening)
}

/// An address, or `{address, tls: {cert, key}}`.
fn listen(value: Value<'_, '_>) -> Option<(Listen, Spot)> {
    const SHAPE: Shape = Shape { known: &["address", "tls"], later: &[] };
    if value.is_scalar() {
        return Some((Listen { address: address(value)?, tls: None }, value.spot()));
    }
    let fields = value.fields(&SHAPE)?;
    let address = fields.require("address", "give one such as 127.0.0.1:4000", address);
    let tls = fields.read("tls", listen_tls);
    Some((Listen { address: address?, tls }, fields.spot()))
}

fn listen_tls(value: Value<'_, '_>) -> Option<ListenTls> {
    const SHAPE: Shape = Shape { known: &["cert", "key"], later: &[] };
    let fields = value.fields(&SHAPE)?;
    let path = |name: &str, hint: &'static str| fields.require(name, hint, |value| value.file_path());
    let cert = path("cert", "give the file of the certificate chain (PEM)");
    let key = path("key", "give the file of its private key (PEM)");
    let tls = ListenTls { cert: cert?, key: key? };
    tls::check_pair(&fields, &tls);
    Some(tls)
}

/// An address, `{address, tls, allow_from, hosts}`, or "off".
fn admin(value: Value<'_, '_>) -> Option<Option<Admin>> {
    const SHAPE: Shape = Shape { known: &["address", "tls", "allow_from", "hosts"], later: &[] };
    if value.written() == Some("off") {
        return Some(None);
    }
    if value.is_scalar() {
        return Some(Some(Admin { listen: listen(value)?.0, allow_from: None, hosts: Vec::new() }));
    }
    let fields = value.fields(&SHAPE)?;
    let address = fields.require("address", "give one such as 127.0.0.1:4001", address);
    let tls = fields.read("tls", listen_tls);
    let allow_from = fields.read("allow_from", |value| value.list(|item| item.net()));
    let hosts = fields.read("hosts", |value| value.list(|item| item.filled("name a host")));
    Some(Some(Admin { listen: Listen { address: address?, tls }, allow_from, hosts: hosts.unwrap_or_default() }))
}

fn metrics(value: Value<'_, '_>) -> Option<Metrics> {
    const SHAPE: Shape = Shape { known: &["users", "listen"], later: &[] };
    let fields = value.fields(&SHAPE)?;
    Some(Metrics { users: fields.read("users", |value| value.bool()).unwrap_or(false), listen: fields.read("listen", address) })
}

/// No two listeners at one address; port 0 asks the system for one, which is never the same.
fn check_addresses(fields: &Fields<'_, '_>, listen: &[(Listen, Spot)], admin: Option<&Admin>, metrics: &Metrics) {
    let reader = fields.value.reader;
    let mut taken: Vec<(SocketAddr, String)> = Vec::new();
    let mut take = |address: SocketAddr, name: String, spot: Spot| match taken
        .iter()
        .find(|(other, _)| *other == address && address.port() != 0)
    {
        Some((_, first)) => reader.fault(spot, &name, Wrong::AddressTaken { first: first.clone() }),
        None => taken.push((address, name)),
    };
    let single = listen.len() == 1;
    for (index, (one, spot)) in listen.iter().enumerate() {
        take(one.address, if single { "listen".into() } else { format!("listen[{index}]") }, *spot);
    }
    let spot_of = |name: &str| Spot { file: fields.value.file, line: fields.line_of(name) };
    if let Some(admin) = admin {
        take(admin.listen.address, "admin".into(), spot_of("admin"));
    }
    if let Some(address) = metrics.listen {
        take(address, "metrics.listen".into(), spot_of("metrics"));
    }
}

// ------------------------------------------------------------------ single settings

fn timezone(value: Value<'_, '_>) -> Option<TimeZone> {
    value.parse(|text| TimeZone::get(text).map_err(|_| "time zone; write one such as UTC or Asia/Shanghai".into()))
}

fn week_start(value: Value<'_, '_>) -> Option<Weekday> {
    value.choice(&[
        ("monday", Weekday::Monday),
        ("tuesday", Weekday::Tuesday),
        ("wednesday", Weekday::Wednesday),
        ("thursday", Weekday::Thursday),
        ("friday", Weekday::Friday),
        ("saturday", Weekday::Saturday),
        ("sunday", Weekday::Sunday),
    ])
}

/// The name in logs: as given, else the machine's name and the process id.
fn instance(fields: &Fields<'_, '_>) -> String {
    let given = fields.read("instance", |value| {
        let name = value.string()?;
        if name.len() <= 200 && !name.chars().any(char::is_control) {
            return Some(name);
        }
        value.fault(Wrong::NotThis {
            value: "this".into(),
            wanted: "name of an instance; write at most 200 plain characters".into(),
        });
        None
    });
    given.filter(|name| !name.trim().is_empty()).unwrap_or_else(|| {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = if host.trim().is_empty() { "aicarpool" } else { host.trim() };
        format!("{host}-{}", std::process::id())
    })
}

fn client(value: Value<'_, '_>) -> Option<Client> {
    const SHAPE: Shape = Shape {
        known: &["header_timeout", "body_idle", "write_idle", "keep_alive", "max_connections", "h2_streams"],
        later: &[],
    };
    let fields = value.fields(&SHAPE)?;
    let time = |name: &str, default| fields.read(name, |value| value.some_time(NO_TIME)).unwrap_or(default);
    let connections = fields.read("max_connections", |value| value.number(1..=10_000_000, "give 1 or more"));
    Some(Client {
        header_timeout: time("header_timeout", CLIENT.header_timeout),
        body_idle: time("body_idle", CLIENT.body_idle),
        write_idle: time("write_idle", CLIENT.write_idle),
        keep_alive: time("keep_alive", CLIENT.keep_alive),
        max_connections: connections.and_then(|count| usize::try_from(count).ok()).unwrap_or(CLIENT.max_connections),
        h2_streams: fields
            .read("h2_streams", |value| value.number_u32(1..=10_000, "give 1 or more"))
            .unwrap_or(CLIENT.h2_streams),
    })
}

/// As written, else `name` beside the main file.
fn folder(fields: &Fields<'_, '_>, field: &str, files: &Files, name: &str) -> PathBuf {
    fields.read(field, |value| value.file_path()).unwrap_or_else(|| files.folder(0).join(name))
}

fn access_log(value: Value<'_, '_>) -> Option<AccessLog> {
    const SHAPE: Shape = Shape { known: &["path", "fields"], later: &[] };
    let fields = value.fields(&SHAPE)?;
    let path = fields.read("path", |value| match &*value.text()?.text {
        "-" => Some(LogPath::Stdout),
        "off" => Some(LogPath::Off),
        _ => value.file_path().map(LogPath::File),
    });
    let wanted = fields.read("fields", |value| match value.written() {
        Some("all") => Some(None),
        Some(_) => {
            value.fault(Wrong::Wanted { wanted: "a list such as [ts, id, status], or all", found: "a single value" });
            None
        }
        None => value
            .list(|item| item.choice(&LOG_FIELDS.map(|name| (name, name))))
            .map(|names| Some(names.into_iter().map(str::to_owned).collect())),
    });
    Some(AccessLog { path: path.unwrap_or(LogPath::Stdout), fields: wanted.unwrap_or(None) })
}

/// The fields of an access-log line, as the design's section 11 lists them.
const LOG_FIELDS: [&str; 45] = [
    "ts",
    "id",
    "client_id",
    "instance",
    "client",
    "user_agent",
    "method",
    "path",
    "enterprise",
    "department",
    "project",
    "group",
    "user",
    "key",
    "tags",
    "dialect",
    "operation",
    "model",
    "model_sent",
    "stream",
    "session",
    "status",
    "outcome",
    "error",
    "account",
    "service",
    "via",
    "upstream_id",
    "attempts",
    "limit",
    "usage",
    "basis",
    "cost",
    "charged",
    "priced",
    "provider_cost",
    "price_version",
    "request_bytes",
    "response_bytes",
    "ttfb_ms",
    "duration_ms",
    "queue_ms",
    "upstream_ms",
    "held_ms",
    "overhead_us",
];

const METERING: Metering = Metering { on_disconnect: OnDisconnect::Finish, disconnect_read: Duration::from_secs(5) };

fn metering(value: Value<'_, '_>) -> Option<Metering> {
    const SHAPE: Shape = Shape { known: &["on_disconnect", "disconnect_read"], later: &[] };
    let fields = value.fields(&SHAPE)?;
    let choices = [("finish", OnDisconnect::Finish), ("estimate", OnDisconnect::Estimate)];
    Some(Metering {
        on_disconnect: fields.read("on_disconnect", |value| value.choice(&choices)).unwrap_or(METERING.on_disconnect),
        disconnect_read: fields.read("disconnect_read", |value| value.time()).unwrap_or(METERING.disconnect_read),
    })
}

fn health(value: Value<'_, '_>) -> Option<Option<Duration>> {
    const SHAPE: Shape = Shape { known: &["interval"], later: &[] };
    if value.written() == Some("off") {
        return Some(None);
    }
    let fields = value.fields(&SHAPE)?;
    let interval = fields
        .read("interval", |value| if value.written() == Some("off") { Some(None) } else { value.some_time(NO_TIME).map(Some) });
    Some(interval.unwrap_or(Some(Duration::from_secs(60))))
}

fn heartbeat(value: Value<'_, '_>) -> Option<Option<Duration>> {
    if value.written() == Some("off") {
        return Some(None);
    }
    let time = value.time()?;
    if time < Duration::from_secs(15) {
        let wanted = "heartbeat; write a time from 15s, or off".into();
        value.fault(Wrong::NotThis { value: format!("{:?}", value.written().unwrap_or_default()), wanted });
        return None;
    }
    Some(Some(time))
}

fn unpriced(value: Value<'_, '_>) -> Option<Unpriced> {
    value.choice(&[("auto", Unpriced::Auto), ("reject", Unpriced::Reject), ("allow", Unpriced::Allow)])
}

/// What is settled but not yet there: counters elsewhere than in memory, a ledger that is on.
fn counters_and_ledger(fields: &Fields<'_, '_>) {
    const COUNTERS: Shape = Shape {
        known: &["store"],
        later: &[
            ("url", SHARED),
            ("prefix", SHARED),
            ("timeout", SHARED),
            ("unavailable", SHARED),
            ("lease", SHARED),
            ("sentinel", SHARED),
            ("cluster", SHARED),
        ],
    };
    const LEDGER_SHAPE: Shape = Shape { known: &["url"], later: &[("retention", LEDGER)] };
    fields.read("counters", |value| {
        let counters = value.fields(&COUNTERS)?;
        let store = counters.get("store")?;
        if store.choice(&[("memory", false), ("redis", true)])? {
            store.fault(Wrong::NotYet { with: SHARED });
        }
        Some(())
    });
    fields.read("ledger", |value| {
        let url = value.fields(&LEDGER_SHAPE)?;
        let url = url.get("url")?;
        // What stands here may hold a password, so it is not quoted.
        if url.text()?.text.trim() != "off" {
            url.fault(Wrong::NotYet { with: LEDGER });
        }
        Some(())
    });
}

fn price_files(fields: &Fields<'_, '_>) -> Vec<(PathBuf, Spot, usize)> {
    let mut index = 0;
    let read = |item: Value<'_, '_>| {
        index += 1;
        Some((item.file_path()?, item.spot(), index - 1))
    };
    fields.read("prices", |value| value.list(read)).unwrap_or_default()
}

/// A body that one key could never send whole is allowed, but surely not meant.
fn note_sizes(fields: &Fields<'_, '_>, settings: &Settings) {
    let reader: &Reader<'_> = fields.value.reader;
    if settings.max_body > settings.max_buffered / 4 {
        reader.note(format!(
            "max_body ({} bytes) is more than a quarter of max_buffered ({} bytes), which is all that one key may hold: larger requests are refused",
            settings.max_body, settings.max_buffered
        ));
    }
}
