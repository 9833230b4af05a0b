//! A synthetic chain of any length with its own trust roots and archive files.
