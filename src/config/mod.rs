//! The configuration: what is written (`written`), whether it is right (`check`), what it means (`snapshot`), and how it changes
//! while the gateway runs (`reload`).

pub mod snapshot;
