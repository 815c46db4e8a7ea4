//! Every metric's name, in one place (section 11 of the design). Labels are bounded: they come from the configuration and from the
//! price book, never from a client.

use std::cell::{OnceCell, RefCell};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::config::snapshot::{Account, Group};
use crate::settle::Record;
use crate::words::{Class, Code, Dialect, Outcome, Verdict};

/// Users counted by name at the most, with `metrics: {users: true}`; the rest is `other`.
const USERS_MOST: usize = 1_000;
/// Models without a price that are warned of, once each.
const UNPRICED_MOST: usize = 1_000;

/// All metrics of the gateway.
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    requests_of_users: IntCounterVec,
    charged_of_users: IntCounterVec,
    tokens: IntCounterVec,
    cost: IntCounterVec,
    charged: IntCounterVec,
    duration: Histogram,
    first_byte: Histogram,
    overhead: Histogram,
    attempts: IntCounterVec,
    failovers: IntCounterVec,
    refusals: IntCounterVec,
    unpriced: IntCounterVec,
    implausible: IntCounterVec,
    pub account_in_flight: IntGaugeVec,
    pub account_parked: IntGaugeVec,
    pub reloads: IntCounter,
    pub reload_failed: Gauge,
    pub keys: Gauge,
    pub info: IntGaugeVec,
    pub loaded: Gauge,
    pub cert_expiry: GaugeVec,
    pub log_dropped: IntCounter,
    users: Mutex<HashSet<Arc<str>>>,
    unpriced_models: Mutex<HashSet<String>>,
}

/// The counters of requests that are alike, looked up once a thread: finding each by its labels costs as much as choosing an account.
struct Series {
    requests: IntCounter,
    tokens: [OnceCell<IntCounter>; Class::COUNT],
    cost: OnceCell<IntCounter>,
    charged: OnceCell<IntCounter>,
    /// What [`Who`] points to is kept alive, so that its addresses stay theirs.
    _alive: Alive,
}

/// What [`Who`]'s addresses belong to.
struct Alive {
    _group: Option<Arc<Group>>,
    _account: Option<Arc<Account>>,
    _entry: Option<Arc<str>>,
}

/// What makes requests alike: addresses stand for the configuration's objects.
#[derive(PartialEq, Eq, Hash)]
struct Who {
    metrics: usize,
    group: usize,
    account: usize,
    entry: usize,
    has_model: bool,
    dialect: Option<Dialect>,
    status: u16,
    outcome: Option<Outcome>,
}

impl Who {
    fn of(metrics: &Metrics, record: &Record) -> Who {
        Who {
            metrics: std::ptr::from_ref(metrics).addr(),
            group: record.key.as_ref().map_or(0, |key| Arc::as_ptr(&key.group).addr()),
            account: record.account.as_ref().map_or(0, |account| Arc::as_ptr(account).addr()),
            entry: record.bill.entry.as_ref().map_or(0, |entry| entry.as_ptr().addr()),
            has_model: record.model.is_some(),
            dialect: record.dialect,
            status: record.status,
            outcome: record.outcome,
        }
    }
}

/// Kinds of requests remembered by one thread; beyond, it starts anew.
const SERIES_MOST: usize = 1_024;

thread_local! {
    static SERIES: RefCell<HashMap<Who, Series>> = RefCell::default();
}

/// From half a millisecond to an hour: answers take minutes.
const SECONDS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0,
    1800.0, 3600.0,
];
/// From 10 µs to a second: what the gateway itself adds.
const OVERHEAD_SECONDS: &[f64] = &[
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_15, 0.000_2, 0.000_3, 0.000_5, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
    0.25, 1.0,
];

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// Where a name is given twice; a test would show it.
    pub fn new() -> prometheus::Result<Metrics> {
        let make = Make { registry: Registry::new() };
        let traffic: &[&str] = &["enterprise", "group", "service", "model"];
        let metrics = Metrics {
            requests: make.counters(
                "requests_total",
                "Requests, by their end.",
                &["enterprise", "group", "service", "dialect", "model", "status", "outcome"],
            )?,
            requests_of_users: make.counters(
                "user_requests_total",
                "Requests of each user (metrics.users).",
                &["group", "user"],
            )?,
            charged_of_users: make.counters(
                "user_charged_nanodollars_total",
                "What each user's requests were charged, in nano-dollars (metrics.users).",
                &["group", "user"],
            )?,
            tokens: make.counters(
                "tokens_total",
                "Tokens (and images, searches, seconds), each in exactly one class.",
                &["enterprise", "group", "service", "model", "class"],
            )?,
            cost: make.counters("cost_nanodollars_total", "Cost by the price book, in nano-dollars.", traffic)?,
            charged: make.counters("charged_nanodollars_total", "What groups were charged, in nano-dollars.", traffic)?,
            duration: make.histogram("request_duration_seconds", "From the request's header to the last byte.", SECONDS)?,
            first_byte: make.histogram(
                "time_to_first_byte_seconds",
                "From the request's header to the first byte sent.",
                SECONDS,
            )?,
            overhead: make.histogram(
                "overhead_seconds",
                "What the gateway itself added before the first byte.",
                OVERHEAD_SECONDS,
            )?,
            attempts: make.counters("attempts_total", "Tries at accounts, by verdict.", &["account", "verdict"])?,
            failovers: make.counters(
                "failovers_total",
                "Attempts that were followed by another, by verdict.",
                &["group", "verdict"],
            )?,
            refusals: make.counters("refusals_total", "Requests that the gateway refused.", &["code", "group"])?,
            unpriced: make.counters("unpriced_requests_total", "Requests to models without a price.", &["model"])?,
            implausible: make.counters(
                "usage_implausible_total",
                "Answers whose figures gave way to the estimate.",
                &["account"],
            )?,
            account_in_flight: make.gauges("account_in_flight", "Attempts in flight on this instance.", &["account"])?,
            account_parked: make.gauges(
                "account_parked",
                "1 while the account, or a model of it, is set aside.",
                &["account", "reason"],
            )?,
            reloads: make.counter("config_reload_total", "Reloads that came into force.")?,
            reload_failed: make
                .gauge("config_reload_failed", "1 while the files on disk are faulty and an older configuration is in force.")?,
            keys: make.gauge("config_keys", "Keys in the configuration in force.")?,
            info: make.gauges("config_info", "1, with the hash of the configuration in force.", &["hash"])?,
            loaded: make.gauge("config_loaded_timestamp_seconds", "When the configuration in force was loaded.")?,
            cert_expiry: make.float_gauges(
                "cert_expiry_seconds",
                "Seconds until a certificate of `listen` ends.",
                &["address"],
            )?,
            log_dropped: make.counter("access_log_dropped_total", "Lines that were not written.")?,
            users: Mutex::default(),
            unpriced_models: Mutex::default(),
            registry: make.registry,
        };
        let build = IntGaugeVec::new(Opts::new("build_info", "1, with the version.").namespace("aicarpool"), &["version"])?;
        metrics.registry.register(Box::new(build.clone()))?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(metrics)
    }

    /// Counts a settled request; `users`: also by user.
    pub fn count(&self, record: &Record, users: bool) {
        let key = record.key.as_deref();
        let group = key.map_or("", |k| k.group.id.as_str());
        let enterprise = key.map_or("", |k| k.group.enterprise.id.as_str());
        let service = record.account.as_deref().map_or("", |a| a.service.id.as_str());
        let dialect = record.dialect.map_or("", |d| d.name());
        let bill = &record.bill;
        let model = match (&bill.entry, &record.model) {
            (Some(entry), _) => entry,
            (None, Some(_)) => "other",
            (None, None) => "",
        };
        let outcome = record.outcome.map_or("", |o| o.name());
        let status = Digits::of(record.status);
        let series = |children: &Series| {
            children.requests.inc();
            for (class, count) in bill.usage.iter() {
                let count = if class == Class::Seconds { count.div_ceil(1000) } else { count };
                let counter = children.tokens[class as usize]
                    .get_or_init(|| self.tokens.with_label_values(&[enterprise, group, service, model, class.name()]));
                counter.inc_by(count);
            }
            let lost: u64 = record.attempts.iter().filter_map(|a| a.bill).map(|(cost, _)| cost.0).sum();
            let labels = &[enterprise, group, service, model];
            if record.account.is_some() && bill.cost.total.0 + lost > 0 {
                children.cost.get_or_init(|| self.cost.with_label_values(labels)).inc_by(bill.cost.total.0 + lost);
            }
            if record.account.is_some() && bill.charged.0 > 0 {
                children.charged.get_or_init(|| self.charged.with_label_values(labels)).inc_by(bill.charged.0);
            }
        };
        let make = || Series {
            requests: self.requests.with_label_values(&[enterprise, group, service, dialect, model, status.as_str(), outcome]),
            tokens: Default::default(),
            cost: OnceCell::new(),
            charged: OnceCell::new(),
            _alive: Alive {
                _group: key.map(|key| Arc::clone(&key.group)),
                _account: record.account.clone(),
                _entry: bill.entry.clone(),
            },
        };
        SERIES.with_borrow_mut(|known| {
            if known.len() >= SERIES_MOST {
                known.clear();
            }
            series(known.entry(Who::of(self, record)).or_insert_with(make));
        });
        self.duration.observe(record.times.total.as_secs_f64());
        if let Some(time) = record.times.first_byte {
            self.first_byte.observe(time.as_secs_f64());
        }
        if let Some(time) = record.times.overhead {
            self.overhead.observe(time.as_secs_f64());
        }
        self.count_attempts(record, group);
        if bill.priced == Some(false) {
            self.count_unpriced(record);
        }
        if bill.implausible
            && let Some(account) = &record.account
        {
            self.implausible.with_label_values(&[account.id.as_str()]).inc();
        }
        if users && let Some(key) = key {
            let user = self.user_label(key.user.id.as_str());
            self.requests_of_users.with_label_values(&[group, &user]).inc();
            self.charged_of_users.with_label_values(&[group, &user]).inc_by(bill.charged.0);
        }
    }

    fn count_attempts(&self, record: &Record, group: &str) {
        for (at, attempt) in record.attempts.iter().enumerate() {
            self.attempts.with_label_values(&[attempt.account.as_str(), attempt.verdict.name()]).inc();
            if at + 1 < record.attempts.len() {
                self.failovers.with_label_values(&[group, attempt.verdict.name()]).inc();
            }
        }
    }

    /// Warns once for each model. By name it is counted only where the configuration names it: labels never come from a client.
    fn count_unpriced(&self, record: &Record) {
        let model = record.model_sent.as_deref().unwrap_or_default();
        let named = record.account.as_ref().is_some_and(|account| {
            let listed = account.models.as_ref().is_some_and(|globs| globs.0.iter().any(|glob| &*glob.text == model));
            listed || account.model_map.iter().any(|(_, to)| &**to == model)
        });
        self.unpriced.with_label_values(&[if named { model } else { "other" }]).inc();
        let mut warned = self.unpriced_models.lock();
        if warned.len() < UNPRICED_MOST && warned.insert(model.to_owned()) {
            tracing::warn!("model {model:?} has no price: its requests cost 0; add it to a file of `prices`");
        }
    }

    fn user_label(&self, user: &str) -> Arc<str> {
        let mut users = self.users.lock();
        match users.get(user) {
            Some(known) => Arc::clone(known),
            None if users.len() < USERS_MOST => {
                let new: Arc<str> = Arc::from(user);
                users.insert(Arc::clone(&new));
                new
            }
            None => Arc::from("other"),
        }
    }

    /// Counts a refusal by the gateway.
    pub fn refused(&self, code: Code, group: &str) {
        self.refusals.with_label_values(&[crate::dialect::row(code).name, group]).inc();
    }

    /// A parking of `account` for `reason` began or ended.
    pub fn parked(&self, account: &str, reason: Verdict, parked: bool) {
        self.account_parked.with_label_values(&[account, reason.name()]).set(i64::from(parked));
    }

    /// The text form.
    pub fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!("metrics cannot be written: {error}");
        }
        text
    }
}

/// A status as text, without an allocation.
struct Digits([u8; 5], usize);

impl Digits {
    fn of(mut number: u16) -> Digits {
        let mut digits = [0; 5];
        let mut at = 5;
        loop {
            at -= 1;
            digits[at] = b'0' + u8::try_from(number % 10).unwrap_or_default();
            number /= 10;
            if number == 0 {
                return Digits(digits, at);
            }
        }
    }
    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0[self.1..]).unwrap_or_default()
    }
}

struct Make {
    registry: Registry,
}

impl Make {
    fn opts(name: &str, help: &str) -> Opts {
        Opts::new(name, help).namespace("aicarpool")
    }
    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
        let metric = IntCounterVec::new(Make::opts(name, help), labels)?;
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
    fn counter(&self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        let metric = IntCounter::with_opts(Make::opts(name, help))?;
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
        let metric = IntGaugeVec::new(Make::opts(name, help), labels)?;
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
    fn float_gauges(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<GaugeVec> {
        let metric = GaugeVec::new(Make::opts(name, help), labels)?;
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
    fn gauge(&self, name: &str, help: &str) -> prometheus::Result<Gauge> {
        let metric = Gauge::with_opts(Make::opts(name, help))?;
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> prometheus::Result<Histogram> {
        let opts = HistogramOpts::new(name, help).namespace("aicarpool").buckets(buckets.to_vec());
        let metric = Histogram::with_opts(opts)?;
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_names_register_once() {
        let text = String::from_utf8(Metrics::new().unwrap().text()).unwrap();
        assert!(text.contains("aicarpool_build_info"), "{text}");
    }

    #[test]
    fn statuses_are_written_as_they_are() {
        for status in [0u16, 7, 200, 529, 65535] {
            assert_eq!(Digits::of(status).as_str(), status.to_string());
        }
    }
}
