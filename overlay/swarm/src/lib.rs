//! The swarm: whole ranges of history from many peers at once, over QUIC. `PROTOCOL.md` beside this crate says what goes
//! over the wire.
//!
//! | module | what |
//! |---|---|
//! | [`geometry`] | runs and parts: what peers hold, announce and ask for |
//! | [`wire`] | what goes over the streams of a connection |
//! | [`download`] | what is asked of whom: picker, request queues, endgame; no I/O |
//! | [`choker`] | who is served; no I/O |
//! | `congestion` | how much may be on its way at once; no I/O |
//! | [`quic`] | the driver: connections, and the state machines' steps done over them |

pub mod choker;
mod congestion;
pub mod download;
pub mod geometry;
pub mod quic;
mod random;
pub mod wire;
