//! The command line.

pub mod key_new;
