//! What is parked: the account and its models, each with a track for each verdict; and the bounds on all of it.

use std::sync::Arc;

use super::growth::{Failure, UNKNOWN_WINDOW_MS, memory_ms};
use super::{By, Change, FAULTS_MAX, MODELS_MAX};
use crate::live::{Fault, Faults, Parking, Parkings, Place, Track};
use crate::words::{UnixMs, Verdict};

impl Parkings {
    pub(super) fn place(&self, key: Option<&Arc<str>>) -> Option<&Place> {
        match key {
            None => Some(&self.account),
            Some(model) => self.models.get(model),
        }
    }

    pub(super) fn place_mut(&mut self, key: Option<&Arc<str>>) -> Option<&mut Place> {
        match key {
            None => Some(&mut self.account),
            Some(model) => self.models.get_mut(model),
        }
    }

    /// The place for a failure, made if there is none; the model whose parking ends soonest makes room for it.
    pub(super) fn room(&mut self, key: Option<&Arc<str>>) -> &mut Place {
        let Some(model) = key else { return &mut self.account };
        if self.models.len() >= MODELS_MAX && !self.models.contains_key(model) {
            let until = |place: &Place| place.tracks.iter().filter_map(|track| track.parking.until).max();
            let soonest = self.models.iter().min_by_key(|(name, place)| (until(place), Arc::clone(name)));
            if let Some(soonest) = soonest.map(|(name, _)| Arc::clone(name)) {
                self.models.remove(&soonest);
            }
        }
        self.models.entry(Arc::clone(model)).or_default()
    }

    /// Every place with its key: the account, then the models by name.
    pub(super) fn places(&self) -> Vec<(Option<&Arc<str>>, &Place)> {
        let mut models: Vec<_> = self.models.iter().map(|(model, place)| (Some(model), place)).collect();
        models.sort_by_key(|(model, _)| *model);
        std::iter::once((None, &self.account)).chain(models).collect()
    }

    /// Does something with every place, in the order of [`Parkings::places`]; gathers what it tells.
    pub(super) fn each(&mut self, mut change: impl FnMut(Option<&Arc<str>>, &mut Place) -> Vec<Change>) -> Vec<Change> {
        let mut told = change(None, &mut self.account);
        let mut models: Vec<_> = self.models.iter_mut().collect();
        models.sort_by_key(|(model, _)| Arc::clone(model));
        told.extend(models.into_iter().flat_map(|(model, place)| change(Some(model), place)));
        told
    }
}

impl Track {
    fn begun(&self, key: Option<&Arc<str>>, now: UnixMs) -> Change {
        let Parking { until, reason, error, ban, .. } = self.parking.clone();
        let reason = reason.unwrap_or(Verdict::Server);
        Change::Parked { model: key.cloned(), reason, until: until.unwrap_or(now), error, ban }
    }
}

impl Place {
    pub(super) fn track(&mut self, reason: Verdict) -> Option<&mut Track> {
        self.tracks.iter_mut().find(|track| track.parking.reason == Some(reason))
    }

    pub(super) fn is_blank(&self) -> bool {
        self.tracks.is_empty() && self.unknown.is_none()
    }

    /// Whether this unknown 403 is the second within the window, by another caller than the first.
    pub(super) fn met_by_two(&mut self, caller: u64, now: UnixMs) -> bool {
        let other = self.unknown.is_some_and(|(at, who)| who != caller && now.since_ms(at) <= UNKNOWN_WINDOW_MS);
        self.unknown = Some((now, caller));
        other
    }

    /// Puts a failure into its track; tells if a parking begins, or becomes a ban.
    pub(super) fn fail(&mut self, failure: Failure, serial: u64, key: Option<&Arc<str>>, now: UnixMs) -> Option<Change> {
        let reason = failure.reason;
        if reason == Verdict::Server {
            self.remember_fault(&failure, serial, now);
        }
        if self.track(reason).is_none() {
            self.tracks.push(Track::new(reason));
        }
        let track = self.track(reason)?;
        let (was_parked, was_banned) = (track.active(now), track.parking.ban);
        track.fail(&failure, now);
        let news = track.active(now) && (!was_parked || track.parking.ban && !was_banned);
        track.told |= news;
        news.then(|| track.begun(key, now))
    }

    /// Keeps a server fault, so that it can be taken back; the oldest become part of what was before.
    pub(super) fn remember_fault(&mut self, failure: &Failure, serial: u64, now: UnixMs) {
        if self.faults.recent.is_empty() {
            self.faults.before = self.track(Verdict::Server).cloned();
        }
        self.faults.recent.push(Fault { serial, at: now, asked: failure.asked, error: failure.error.clone() });
        if self.faults.recent.len() > FAULTS_MAX {
            let oldest = self.faults.recent.remove(0);
            let before = self.faults.before.get_or_insert_with(|| Track::new(Verdict::Server));
            before.fail(&oldest.failure(), oldest.at);
        }
    }

    /// Takes a server fault out again, as if it had never been: what was before, and the others after it.
    pub(super) fn take_back(&mut self, serial: u64, key: Option<&Arc<str>>, now: UnixMs) -> Option<Change> {
        let at = self.faults.recent.iter().position(|fault| fault.serial == serial)?;
        self.faults.recent.remove(at);
        let told = self.track(Verdict::Server).is_some_and(|track| track.told);
        let mut track = self.faults.before.clone().unwrap_or_else(|| Track::new(Verdict::Server));
        self.faults.recent.iter().for_each(|fault| track.fail(&fault.failure(), fault.at));
        // Without it, what came after may weigh more than it did: a failure inside its parking is one after it.
        track.told = track.active(now);
        let change = match (told, track.told) {
            (true, false) => Some(Change::Recovered { model: key.cloned(), reason: Verdict::Server, by: By::TakenBack }),
            (false, true) => Some(track.begun(key, now)),
            (true, true) | (false, false) => None,
        };
        self.tracks.retain(|track| track.parking.reason != Some(Verdict::Server));
        if track.failed.is_some() {
            self.tracks.push(track);
        }
        change
    }

    /// Ends the parkings that `ends` names, whose growth is remembered; tells of those whose beginning was told.
    pub(super) fn end(&mut self, key: Option<&Arc<str>>, by: By, ends: impl Fn(&Track) -> bool) -> Vec<Change> {
        let mut ended = Vec::new();
        for track in self.tracks.iter_mut().filter(|track| ends(track)) {
            if let Some(reason) = track.parking.reason.filter(|_| track.told) {
                ended.push(Change::Recovered { model: key.cloned(), reason, by });
            }
            track.told = false;
            track.trying = false;
            // An end by time stays as it is: the window of the second server fault begins there.
            if by != By::Time {
                track.parking.until = None;
            }
        }
        ended
    }

    /// Forgets what is so long over that the next failure is a first one.
    pub(super) fn forget(&mut self, now: UnixMs) {
        self.tracks.retain(|track| {
            let last = track.failed.max(track.parking.until);
            track.active(now) || track.told || last.is_some_and(|last| now.since_ms(last) <= memory_ms(track.parking.reason))
        });
        self.unknown = self.unknown.filter(|(at, _)| now.since_ms(*at) <= UNKNOWN_WINDOW_MS);
        if self.track(Verdict::Server).is_none() {
            self.faults = Faults::default();
        }
    }

    /// Drops the tracks that `lifts` names, growth and all; tells of those whose beginning was told.
    pub(super) fn lift(&mut self, key: Option<&Arc<str>>, by: By, lifts: impl Fn(&Track) -> bool) -> Vec<Change> {
        let mut ended = Vec::new();
        self.tracks.retain(|track| {
            let lifted = lifts(track);
            if let Some(reason) = track.parking.reason.filter(|_| lifted && track.told) {
                ended.push(Change::Recovered { model: key.cloned(), reason, by });
            }
            !lifted
        });
        if self.track(Verdict::Server).is_none() {
            self.faults = Faults::default();
        }
        ended
    }
}
