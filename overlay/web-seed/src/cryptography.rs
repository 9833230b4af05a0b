//! TLS takes the cryptography provider that the process has.

/// Gives TLS a cryptography provider, unless the process has one.
pub(crate) fn install() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Fails only when another thread was quicker, and then there is one.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}
