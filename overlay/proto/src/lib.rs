//! The Portal wire protocol, routing, lookups and gossip as state machines without I/O.
