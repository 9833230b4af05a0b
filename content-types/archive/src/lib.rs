//! Era1 and ere archive files: read in place, written, verified.
