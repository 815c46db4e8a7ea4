//! What the tests stand on: the gateway as a process, a stub provider that can misbehave, clients under exact control.

pub mod answers;
pub mod client;
pub mod gateway;
pub mod h1;
pub mod log;
pub mod metrics;
pub mod port;
pub mod provider;
mod provider_h1;
mod provider_h2;
pub mod proxy;
pub mod requests;
pub mod script;
pub mod setups;
pub mod wait;
pub mod wire;

pub use client::{Answer, Client, Form, H2Client, Request};
pub use gateway::{Gateway, KEY};
pub use metrics::Metrics;
pub use provider::{NobodyThere, Provider};
pub use script::{Framing, Script, Step};
pub use wait::{Gate, until};
pub use wire::Authority;
