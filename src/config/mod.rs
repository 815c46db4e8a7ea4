//! The configuration: what is written (`written`, `settings`), whether it is right (`check`), what it means (`snapshot`), and how it
//! changes while the gateway runs (`reload`). `yaml` and `read` turn text into values with places, `fault` holds the words for
//! everything that can be wrong.

mod address;
mod check;
mod fault;
mod files;
mod load;
mod read;
pub mod reload;
mod report;
mod services;
mod settings;
pub mod snapshot;
#[cfg(test)]
mod tests;
mod tls;
mod written;
mod yaml;

pub use fault::{Fault, Wrong};
pub use load::load;
pub use reload::{Reloaded, Store, watch};
pub use report::check_command;
