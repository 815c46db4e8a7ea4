//! The end of every request: what was used, what it costs, what is charged, and the one record of it all.
//!
//! A [`Record`] grows while the request lives; facts that never became known stay out of the log. It is settled exactly once, from
//! Pingora's `logging`, which every request reaches.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::snapshot::{Account, Group, Key, PriceBy};
use crate::price::{self, Ask, Book, Cost, Entry, Scope};
use crate::words::{Basis, Dialect, Id, Metered, Nanodollars, Operation, Outcome, UnixMs, Usage, Verdict, Via};

/// Everything that is told of one request: the access log's line, and what the metrics count.
#[derive(Debug, Default)]
pub struct Record {
    pub ts: UnixMs,
    /// 32 hex digits.
    pub id: String,
    pub client_id: Option<String>,
    pub client: Option<IpAddr>,
    pub user_agent: Option<String>,
    pub method: String,
    pub path: String,
    pub key: Option<Arc<Key>>,
    pub tags: Vec<(String, String)>,
    pub dialect: Option<Dialect>,
    pub operation: Option<Operation>,
    pub model: Option<Arc<str>>,
    pub model_sent: Option<Arc<str>>,
    pub stream: bool,
    pub session: Option<u64>,
    pub status: u16,
    pub outcome: Option<Outcome>,
    pub error: Option<String>,
    pub account: Option<Arc<Account>>,
    pub via: Option<Via>,
    pub upstream_id: Option<Arc<str>>,
    pub attempts: Vec<Attempt>,
    pub bill: Bill,
    pub request_bytes: u64,
    pub response_bytes: u64,
    pub times: Times,
}

/// One try at one account, as the log tells it.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub account: Id,
    pub status: Option<u16>,
    pub verdict: Verdict,
    pub ms: u64,
    /// Where it was abandoned after its body was sent: what it burdens the account with.
    pub bill: Option<(Nanodollars, Basis)>,
}

/// What a request used and costs.
#[derive(Clone, Debug, Default)]
pub struct Bill {
    pub usage: Usage,
    pub basis: Basis,
    pub cost: Cost,
    pub charged: Nanodollars,
    /// `None` where nothing was to be priced.
    pub priced: Option<bool>,
    pub provider_cost: Option<Nanodollars>,
    pub price_version: Option<Arc<str>>,
    /// The id of the price-book entry: the one name of a model that metrics use.
    pub entry: Option<Arc<str>>,
    pub implausible: bool,
}

/// How long things took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    pub first_byte: Option<Duration>,
    pub total: Duration,
    /// Waiting in the queue.
    pub queue: Duration,
    /// From the request sent on to the provider's header, over all attempts.
    pub upstream: Option<Duration>,
    /// Held back until the first meaningful event.
    pub held: Duration,
    /// What the gateway itself added before the first byte.
    pub overhead: Option<Duration>,
}

/// What the price of a request depends on besides its usage.
pub struct Pricing<'a> {
    pub book: &'a Book,
    pub account: &'a Account,
    pub group: &'a Group,
    pub via: Via,
    pub model_sent: &'a str,
    /// The book's entry for it, where it is known already.
    pub entry: Option<&'a Arc<Entry>>,
    /// Whether usage of this operation is charged at all.
    pub metered: bool,
    /// Whether a provider accepted the request: then the enterprise's fixed cost counts.
    pub accepted: bool,
    pub now: UnixMs,
}

/// Prices what a meter found.
pub fn bill(found: &Metered, pricing: &Pricing<'_>) -> Bill {
    let account = pricing.account;
    let scope =
        Scope { account: account.id.as_str(), service: account.service.id.as_str(), provider: account.service.prices.as_str() };
    let ask = Ask {
        scope,
        sent: pricing.model_sent,
        entry: pricing.entry,
        by_answer: account.price_by == PriceBy::Answered,
        price_factor: account.price_factor,
        now: pricing.now,
    };
    let found_price = price::price_all(pricing.book, &ask, found);
    let used = found.basis != Basis::None && !found.usage.is_empty();
    let (cost, priced) = if used { (found_price.cost, Some(found_price.priced)) } else { (Cost::default(), None) };
    let enterprise = &pricing.group.enterprise;
    let fixed = if pricing.accepted && pricing.metered { enterprise.fixed_cost } else { Nanodollars(0) };
    let charged = match pricing.via {
        Via::Own => Nanodollars(0),
        Via::Dedicated | Via::Pool => price::charged(cost.total, fixed, enterprise.charge_factor),
    };
    Bill {
        usage: found.usage,
        basis: found.basis,
        cost,
        charged,
        priced,
        provider_cost: found.provider_cost,
        price_version: priced.map(|_| Arc::clone(pricing.book.version())),
        entry: found_price.entry.map(|entry| Arc::clone(&entry.id)),
        implausible: found.implausible,
    }
}
