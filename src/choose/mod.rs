//! Which account next.
//!
//! A request's accounts stand in **tiers**: its user's own keys, then the binding's, highest first. A [`Plan`] names them one at a
//! time: within a tier as the strategy ranks them and the session's hash orders equals, a lower tier only when none above is left,
//! the fallbacks of a model only when none is left for it. Where a request points to something that an account keeps, [`Pins`]
//! knows which. Everything is decided in memory from the key, the live facts and chance; nothing is stored between requests but
//! the pins and the turns of `round_robin`.
//!
//! Invariants: a plan names no account twice; it names none that is not bound by the key's group or the user's own; a disabled
//! account, one that does not speak the dialect, serve the model or is not allowed to the key is never named, whatever else fails.

mod explain;
mod models;
mod outside;
mod pins;
mod plan;
mod refuse;
mod serving;
mod sticky;
mod strategy;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod tiers;

pub use explain::{Question, explain};
pub use models::{Listed, model, models};
pub use outside::{Entry, Ticket};
pub use pins::{Pin, Pins, Reach};
pub use plan::{Ask, Candidate, Plan};
pub use refuse::strategy_named;
pub use strategy::performance::note_first_byte;
