//! The whole configuration, validated, indexed and immutable. A request takes what it needs of it (`Arc`s of its key, group and
//! accounts); a reload swaps the whole.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use globset::GlobMatcher;
use ipnet::IpNet;

use crate::live::AccountLive;
use crate::price::Book;
use crate::words::{Dialect, Factor, Id, Nanodollars, Operations, Secret, UnixMs};

/// Everything, as read at one moment.
#[derive(Debug)]
pub struct Snapshot {
    pub settings: Settings,
    pub services: HashMap<Id, Arc<Service>>,
    pub enterprises: HashMap<Id, Arc<Enterprise>>,
    pub accounts: HashMap<Id, Arc<Account>>,
    pub groups: HashMap<Id, Arc<Group>>,
    pub users: HashMap<Id, Arc<User>>,
    /// By the SHA-256 of the whole key.
    pub keys: HashMap<[u8; 32], Arc<Key>>,
    pub prices: Arc<Book>,
    /// Hex digits over the bytes of all files read.
    pub hash: String,
    /// Every file read, for the watcher: the main file, included ones, secrets, CA files, price files.
    pub files: Vec<PathBuf>,
    /// Folders in which an include pattern may find new files.
    pub folders: Vec<PathBuf>,
    pub loaded: UnixMs,
    /// Things that are allowed but deserve a word; printed by `check`, logged by `run`.
    pub notes: Vec<String>,
}

/// The sections that are no lists of entities.
#[derive(Clone, Debug)]
pub struct Settings {
    pub listen: Vec<Listen>,
    pub admin: Option<Admin>,
    /// 0 = as many as cores.
    pub threads: usize,
    pub timezone: jiff::tz::TimeZone,
    pub week_start: jiff::civil::Weekday,
    pub instance: String,
    /// Bytes of one decoded request body.
    pub max_body: u64,
    /// Bytes of all request bodies together; a quarter of it for one key.
    pub max_buffered: u64,
    pub client: Client,
    pub drain: Duration,
    pub grace: Duration,
    pub run_dir: PathBuf,
    pub data_dir: PathBuf,
    pub trusted_proxies: Vec<IpNet>,
    pub access_log: AccessLog,
    pub metering: Metering,
    pub health: Option<Duration>,
    pub unpriced: Unpriced,
    pub metrics: Metrics,
    /// `None` = off.
    pub heartbeat: Option<Duration>,
    /// `failover`'s defaults; a group holds its own copy with its overrides.
    pub failover: Failover,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Listen {
    pub address: SocketAddr,
    pub tls: Option<ListenTls>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ListenTls {
    pub cert: PathBuf,
    pub key: PathBuf,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    pub listen: Listen,
    /// `None` = all.
    pub allow_from: Option<Vec<IpNet>>,
    /// Further values of `Host` that are answered; loopback names always are on loopback.
    pub hosts: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Client {
    pub header_timeout: Duration,
    pub body_idle: Duration,
    pub write_idle: Duration,
    pub keep_alive: Duration,
    pub max_connections: usize,
    pub h2_streams: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub enum LogPath {
    Stdout,
    File(PathBuf),
    Off,
}

#[derive(Clone, Debug, PartialEq)]
pub struct AccessLog {
    pub path: LogPath,
    /// `None` = all; else the names of section 11's fields.
    pub fields: Option<Vec<String>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Metering {
    pub on_disconnect: OnDisconnect,
    pub disconnect_read: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDisconnect {
    Finish,
    Estimate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unpriced {
    Auto,
    Reject,
    Allow,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Metrics {
    pub users: bool,
    /// An address of its own for `/metrics`.
    pub listen: Option<SocketAddr>,
}

/// How long, how often; every field with the default of the design.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Failover {
    pub max_attempts: u32,
    /// From the arrival of the request: no new attempt begins later.
    pub deadline: Duration,
    pub timeouts: Timeouts,
}

/// The five timeouts, which may also stand at a service or an account.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timeouts {
    pub connect: Duration,
    pub first_byte: Duration,
    pub stream_start: Duration,
    pub idle: Duration,
    pub total: Duration,
}

/// Overrides of single timeouts: account over service over group.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TimeoutOverrides {
    pub connect: Option<Duration>,
    pub first_byte: Option<Duration>,
    pub stream_start: Option<Duration>,
    pub idle: Option<Duration>,
    pub total: Option<Duration>,
}

impl TimeoutOverrides {
    /// These, where given, else `base`.
    pub fn over(&self, base: Timeouts) -> Timeouts {
        Timeouts {
            connect: self.connect.unwrap_or(base.connect),
            first_byte: self.first_byte.unwrap_or(base.first_byte),
            stream_start: self.stream_start.unwrap_or(base.stream_start),
            idle: self.idle.unwrap_or(base.idle),
            total: self.total.unwrap_or(base.total),
        }
    }
}

/// A provider's service, built in or configured.
#[derive(Clone, Debug)]
pub struct Service {
    pub id: Id,
    /// Where the signals of its answers stand in the decision table: the built-in service it is or behaves like
    /// (`claude`, `openai`, `gemini`, `qwen` …), else its own id.
    pub kind: Id,
    pub endpoints: Endpoints,
    /// `None` = by dialect.
    pub auth: Option<Auth>,
    /// Whose entries of the price book apply (`anthropic`, `openai`, …).
    pub prices: Id,
    /// Model families that its accounts serve unless they say otherwise (`claude-*`); empty = all.
    pub families: Globs,
    pub timeouts: TimeoutOverrides,
    /// The service `demo`, answered inside the process.
    pub demo: bool,
}

/// Base URLs as the vendor's SDK takes them: openai with its version, anthropic and gemini without.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Endpoints {
    pub anthropic: Option<Arc<Endpoint>>,
    pub openai: Option<Arc<Endpoint>>,
    pub gemini: Option<Arc<Endpoint>>,
}

impl Endpoints {
    pub fn get(&self, dialect: Dialect) -> Option<&Arc<Endpoint>> {
        match dialect {
            Dialect::Anthropic => self.anthropic.as_ref(),
            Dialect::Openai => self.openai.as_ref(),
            Dialect::Gemini => self.gemini.as_ref(),
        }
    }
}

/// A base URL, taken apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    pub tls: bool,
    /// Name or address, without brackets and port.
    pub host: String,
    pub port: u16,
    /// Without a trailing `/`; empty for none.
    pub path: String,
}

/// How a credential travels.
#[derive(Clone, Debug, PartialEq)]
pub enum Auth {
    Bearer,
    XApiKey,
    XGoogApiKey,
    ApiKey,
    None,
    Header { name: http::HeaderName, prefix: String },
}

#[derive(Clone, Debug)]
pub struct Enterprise {
    pub id: Id,
    pub name: String,
    pub charge_factor: Factor,
    pub fixed_cost: Nanodollars,
    pub departments: Vec<Id>,
    pub projects: Vec<Id>,
}

/// One credential at one service.
#[derive(Debug)]
pub struct Account {
    pub id: Id,
    pub enterprise: Id,
    pub service: Arc<Service>,
    /// `None` where the service's auth is `none`, and for the demo.
    pub credential: Option<Secret>,
    /// The service's, overridden by the account's.
    pub endpoints: Endpoints,
    pub auth: Option<Auth>,
    /// Added to each request.
    pub headers: Vec<(http::HeaderName, http::HeaderValue)>,
    /// `None`: the service's families and its price-book entries, else all.
    pub models: Option<Globs>,
    /// Asked-for name → name sent; the first glob that matches counts.
    pub model_map: Vec<(Glob, Arc<str>)>,
    pub weight: u32,
    pub max_concurrency: Option<u32>,
    pub price_factor: Factor,
    pub price_by: PriceBy,
    pub default_model: Option<Arc<str>>,
    pub exclusive: bool,
    pub tls: AccountTls,
    /// Egress by CONNECT.
    pub proxy: Option<EgressProxy>,
    pub timeouts: TimeoutOverrides,
    pub enabled: bool,
    /// Of credential and endpoints.
    pub fingerprint: u64,
    pub live: Arc<AccountLive>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PriceBy {
    Answered,
    Sent,
}

#[derive(Clone, Debug, PartialEq)]
pub struct AccountTls {
    /// DER certificates that replace the system's roots.
    pub ca: Option<Arc<Vec<Vec<u8>>>>,
    /// Name sent and verified instead of the host.
    pub sni: Option<String>,
    pub verify: bool,
}

/// `http://[user:password@]host:port`.
#[derive(Clone, Debug)]
pub struct EgressProxy {
    pub host: String,
    pub port: u16,
    /// The value of `proxy-authorization`.
    pub authorization: Option<Secret>,
}

/// A pattern over model names with `*` and `?`, compared without case.
#[derive(Clone, Debug)]
pub struct Glob {
    pub text: Arc<str>,
    pub matcher: GlobMatcher,
}

impl Glob {
    /// The two common forms, a plain name and `prefix*`, are compared directly: a pool of a thousand accounts asks a thousand times.
    pub fn is_match(&self, name: &str) -> bool {
        let pattern = self.text.as_bytes();
        match pattern.iter().position(|byte| b"*?[]{}!\\".contains(byte)) {
            None => self.text.eq_ignore_ascii_case(name),
            Some(star) if pattern[star] == b'*' && star + 1 == pattern.len() => {
                name.as_bytes().get(..star).is_some_and(|head| head.eq_ignore_ascii_case(&pattern[..star]))
            }
            Some(_) => self.matcher.is_match(name),
        }
    }
}

/// A list of patterns.
#[derive(Clone, Debug, Default)]
pub struct Globs(pub Vec<Glob>);

impl Globs {
    pub fn is_match(&self, name: &str) -> bool {
        self.0.iter().any(|glob| glob.is_match(name))
    }
}

/// A carpool.
#[derive(Debug)]
pub struct Group {
    pub id: Id,
    pub enterprise: Arc<Enterprise>,
    pub department: Option<Id>,
    pub project: Option<Id>,
    pub mode: Mode,
    /// Highest first; see section 5.
    pub tiers: Vec<Tier>,
    /// Overrides the pools'.
    pub strategy: Option<Strategy>,
    pub sticky: bool,
    /// Place in the fair queue.
    pub priority_level: PriorityLevel,
    /// `None` = all.
    pub models: Option<Globs>,
    pub operations: Operations,
    pub wishes: Wishes,
    /// Asked-for model → further models, in order.
    pub model_fallbacks: Vec<(Glob, Vec<Arc<str>>)>,
    pub failover: Failover,
    pub max_members: Option<u32>,
    pub enabled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Dedicated,
    Shared,
    Hybrid,
}

/// A group's place in the fair queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PriorityLevel {
    High,
    Medium,
    Low,
}

/// Accounts that stand equal until the strategy orders them: the dedicated ones of one priority, or the pools of one priority.
#[derive(Debug)]
pub struct Tier {
    pub source: Source,
    pub priority: u32,
    /// The group's, else the pool's, else weighted.
    pub strategy: Strategy,
    pub members: Vec<Member>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Dedicated,
    Pools,
}

#[derive(Debug)]
pub struct Member {
    pub account: Arc<Account>,
    /// At least 1.
    pub weight: u32,
    /// 1 first.
    pub priority: u32,
    /// The pool it comes from.
    pub pool: Option<Id>,
    /// Millionths: for this group, no more of the account's concurrency than this share.
    pub max_usage: Option<u32>,
    /// Whether this group alone is bound to the account, directly or by a pool.
    pub sole: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Strategy {
    Weighted,
    RoundRobin,
    LeastConnections,
    Priority,
    Cost,
    Performance,
    UserPreference,
}

impl Strategy {
    pub const ALL: [Strategy; 7] = [
        Strategy::Weighted,
        Strategy::RoundRobin,
        Strategy::LeastConnections,
        Strategy::Priority,
        Strategy::Cost,
        Strategy::Performance,
        Strategy::UserPreference,
    ];
    pub fn name(self) -> &'static str {
        match self {
            Strategy::Weighted => "weighted",
            Strategy::RoundRobin => "round_robin",
            Strategy::LeastConnections => "least_connections",
            Strategy::Priority => "priority",
            Strategy::Cost => "cost",
            Strategy::Performance => "performance",
            Strategy::UserPreference => "user_preference",
        }
    }
}

/// Which `x-aicarpool-*` request headers count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wishes {
    pub service: bool,
    pub strategy: bool,
    pub tag: bool,
}

#[derive(Debug)]
pub struct User {
    pub id: Id,
    pub name: String,
    pub email: Option<String>,
    pub groups: Vec<Id>,
    pub role: Role,
    pub enabled: bool,
    /// Services, for strategy `user_preference`.
    pub preference: Vec<Id>,
    /// Her own credentials, by service: accounts with the id `own/<user>/<service>`.
    pub own_keys: Vec<Arc<Account>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Member,
    GroupAdmin,
    EnterpriseAdmin,
}

#[derive(Debug)]
pub struct Key {
    pub hash: [u8; 32],
    /// Its `name`, else the first 8 hex digits of its hash.
    pub name: Arc<str>,
    pub group: Arc<Group>,
    pub user: Arc<User>,
    /// `None` = all.
    pub services: Option<Vec<Id>>,
    pub models: Option<Globs>,
    pub operations: Option<Operations>,
    pub expires: Option<UnixMs>,
    pub allow_from: Option<Vec<IpNet>>,
    pub enabled: bool,
    /// Bytes of request bodies held for this key just now; a reload starts at zero.
    pub buffered: AtomicU64,
}

impl Key {
    /// Whether `address` may use this key.
    pub fn allows(&self, address: IpAddr) -> bool {
        self.allow_from.as_ref().is_none_or(|nets| nets.iter().any(|net| net.contains(&address)))
    }
}
