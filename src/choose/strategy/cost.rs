//! `cost`: cheapest for this request, by the book's price × the account's `price_factor`; what has no price comes last; ties by weight.
//!
//! The input is the estimate of this request's, the output its asked-for maximum: whoever names a large one weighs the output's price.

use std::sync::Arc;

use crate::choose::outside;
use crate::choose::plan::Wanted;
use crate::clock::Now;
use crate::config::snapshot::Account;

/// Tokens of output where the request names no maximum: an ordinary answer.
const OUTPUT: u64 = 1_000;

/// Nano-dollars that this request would cost at this account.
pub(crate) fn of(wanted: &Wanted, account: &Account, sent: Option<&Arc<str>>, now: Now) -> Option<u64> {
    let entry = outside::entry(&wanted.book, account, sent?)?;
    let output = wanted.max_output.unwrap_or(OUTPUT);
    outside::estimate(&entry, wanted.input, output, account, now)
}

pub(crate) fn rank(nanodollars: Option<u64>) -> u64 {
    nanodollars.unwrap_or(u64::MAX)
}
