//! (corpus)
