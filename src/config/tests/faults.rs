//! Each kind of fault, as it is shown.
