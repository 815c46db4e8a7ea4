//! What it costs, what is charged.

/// The price book: built-in entries and the operator's overrides.
#[derive(Debug, Default)]
pub struct Book;
