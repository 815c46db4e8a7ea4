//! The attempts of one request, which together may show that the request is at fault.

use std::sync::Arc;

use super::{Change, key_of, noted, refresh};
use crate::clock::{Chance, Now};
use crate::live::AccountLive;
use crate::upstream::verdict::Judgement;
use crate::words::{Id, Verdict};

/// What the attempts of one request noted: knows when none of it counts. One for each request; every attempt that failed is
/// told to it, and [`Notes::end`] is called when no further attempt follows.
#[derive(Debug, Default)]
pub struct Notes {
    faults: Vec<Noted>,
    attempts: usize,
    /// The status and error of all attempts so far, while they are alike.
    alike: Option<(u16, Option<String>)>,
}

/// A server fault that may be taken back.
#[derive(Debug)]
pub(super) struct Noted {
    pub(super) account: Id,
    pub(super) live: Arc<AccountLive>,
    pub(super) key: Option<Arc<str>>,
    pub(super) serial: u64,
}

/// One failed attempt.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    pub account: &'a Id,
    pub live: &'a Arc<AccountLive>,
    pub judgement: &'a Judgement,
    /// 0 where there was no answer.
    pub status: u16,
    /// As sent.
    pub model: &'a str,
    /// Names the key: a hash.
    pub caller: u64,
}

impl Notes {
    /// Notes a failed attempt (any verdict but `accept`) at once; tells what began by it.
    pub fn failed(&mut self, attempt: Attempt<'_>, now: Now, chance: &mut Chance) -> Option<Change> {
        let Attempt { account, live, judgement, status, model, caller } = attempt;
        // The same account comes once more: that attempt is the one that counts.
        if judgement.verdict == Verdict::Reused {
            return None;
        }
        let (serial, change) = noted(live, judgement, model, caller, now, chance);
        let this = (status, judgement.error.clone());
        let server = judgement.verdict == Verdict::Server && (500..=599).contains(&status);
        self.alike = (server && (self.attempts == 0 || self.alike.as_ref() == Some(&this))).then_some(this);
        self.attempts += 1;
        if let Some(serial) = serial {
            let key = key_of(&judgement.scope, model);
            self.faults.push(Noted { account: account.clone(), live: Arc::clone(live), key, serial });
        }
        change
    }

    /// The last attempt is over; `served` if an answer was accepted. Where all attempts, two or more, ended in the same 5xx
    /// with the same error, they are taken back; tells what ended by it, with the account.
    pub fn end(self, served: bool, now: Now) -> Vec<(Id, Change)> {
        if served || self.attempts < 2 || self.alike.is_none() {
            return Vec::new();
        }
        self.faults.into_iter().filter_map(|noted| Some((noted.account.clone(), noted.take_back(now)?))).collect()
    }
}

impl Noted {
    pub(super) fn take_back(&self, now: Now) -> Option<Change> {
        let mut parkings = self.live.parkings.lock();
        let place = parkings.place_mut(self.key.as_ref());
        let change = place.and_then(|place| place.take_back(self.serial, self.key.as_ref(), now.wall));
        parkings.models.retain(|_, place| !place.is_blank());
        refresh(&self.live, &parkings, now.wall);
        change
    }
}
