//! AiCarpool: an AI gateway on Pingora. `docs/ARCHITECTURE.md` is the map; `gateway` is the life of a request.

pub mod access_log; // what is told of each request
pub mod admin; // the second port: health, metrics, accounts
pub mod buffered; // the sum of all request bodies
pub mod choose; // which account next
pub mod cli; // run, check, key, explain, accounts
pub mod clock; // time and chance
pub mod config; // what is written; is it right; what does it mean
pub mod demo; // the service `demo`
pub mod dialect; // wire formats: refusal bodies, error events, first meaningful event, model lists
pub mod facts; // what the body says
pub mod gateway; // the life of a request
pub mod health; // who is well again
pub mod json; // a forward scan over JSON text
pub mod key; // whose key is in this request
pub mod live; // what is going on just now, beside the snapshot
pub mod meter; // what was used, from the bytes
pub mod metrics; // every metric's name
pub mod parking; // who is set aside, why, until when
pub mod price; // what it costs, what is charged
pub mod quota; // which counters, how much; a lease or a refusal
pub mod rooms; // the rooms that keep something, together
pub mod route; // which operation
pub mod running; // the requests that run just now
pub mod server; // wiring, listeners, shutdown
pub mod settle; // the end of every request
pub mod sse; // framing of server-sent events
pub mod upstream; // how to reach an account; what its answer means
pub mod words; // what things are called
