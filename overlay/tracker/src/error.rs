//! Why a tracker can fail to start.

use std::{io, net::SocketAddr};

/// Why a tracker did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The secret key is zero or not below the order of the curve.
    #[error("the secret key is no secp256k1 secret key")]
    SecretKey,
    /// The UDP port could not be opened.
    #[error("cannot listen on UDP {address}: {source}")]
    Listen {
        /// The address from the configuration.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The transport could not be set up.
    #[error("cannot set up the QUIC transport: {0}")]
    Transport(String),
}
