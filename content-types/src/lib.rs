//! Keys, content IDs, encodings and proofs of the Portal Network's history, without I/O.
