//! TLS 1.3 between peers who know each other by their keys and by nothing else, as
//! [libp2p's TLS specification](https://github.com/libp2p/specs/blob/master/tls/tls.md) has it.
//!
//! A certificate is self-signed with a key made for the purpose. An extension in it holds the node's key (secp256k1, that
//! of its record) and that key's signature over the certificate's. So a handshake proves who is at the other end, and no
//! authority is asked.
//!
//! | module | what |
//! |---|---|
//! | `der` | the few ASN.1 elements of a certificate, strictly read and written; no I/O |
//! | `time` | a certificate's times as Unix seconds; no I/O |
//! | `parse` | a peer's certificate and the checks on it; no I/O |
//! | `generate` | a certificate of one's own |
//! | `config` | rustls with these certificates, and the order of ciphers |

mod config;
mod der;
mod generate;
mod parse;
mod time;

pub use config::{PeerError, proved_key, provider};
pub use generate::{Certificate, GenerateError};
pub use parse::{CertificateError, MAX_CERTIFICATE, PeerCertificate};
