//! rustls with libp2p's certificates: TLS 1.3 only, both sides prove their keys, no name is sent, and no session is taken
//! up again, so each connection proves them anew.
//!
//! AES comes first where the processor does it in hardware: there ChaCha20 costs each side several times the CPU time a
//! byte.

use std::{any::Any, sync::Arc};

use libp2p_identity::{PeerId, PublicKey};
use rustls::{
    CertificateError as TlsCertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    SignatureScheme, SupportedCipherSuite,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{
        CryptoProvider,
        ring::{
            cipher_suite::{TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256},
            default_provider,
        },
        verify_tls13_signature_with_raw_key,
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        NoServerSessionStorage,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    version::TLS13,
};

use crate::{Certificate, CertificateError, GenerateError, PeerCertificate, parse::UnverifiedCertificate};

impl Certificate {
    /// For connections from anybody whose certificate is sound.
    ///
    /// # Errors
    ///
    /// [`GenerateError::Tls`].
    pub fn server_config(&self, alpn: &[u8]) -> Result<rustls::ServerConfig, GenerateError> {
        let provider = provider();
        let verifier = Verifier::new(&provider, None);
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(self.resolver.clone());
        config.alpn_protocols = vec![alpn.to_vec()];
        config.ignore_client_order = !prefers_aes();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// For a connection to one peer, or to whoever is there.
    ///
    /// # Errors
    ///
    /// [`GenerateError::Tls`].
    pub fn client_config(&self, peer: Option<PeerId>, alpn: &[u8]) -> Result<rustls::ClientConfig, GenerateError> {
        let provider = provider();
        let verifier = Verifier::new(&provider, peer);
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(self.resolver.clone());
        config.alpn_protocols = vec![alpn.to_vec()];
        config.enable_sni = false;
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

/// Why a handshake proved nobody's key.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// There is not exactly one certificate.
    #[error("the peer did not send one certificate")]
    NotOne,
    /// The certificate is not sound.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// The key that a handshake with one of the configurations of [`Certificate`] has proved, from what `quinn` gives as the
/// peer's identity. The certificate is not checked again: without all checks the handshake would have failed.
///
/// # Errors
///
/// [`PeerError`], when the identity comes from something else.
pub fn proved_key(identity: Option<Box<dyn Any>>) -> Result<PublicKey, PeerError> {
    let chain = identity.and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok());
    match chain.as_deref().map(Vec::as_slice) {
        Some([certificate]) => Ok(UnverifiedCertificate::read(certificate)?.host_key),
        _ => Err(PeerError::NotOne),
    }
}

/// Ring's cryptography, with its ciphers in the order that is best for this processor.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    const AES: [SupportedCipherSuite; 2] = [TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384];
    const CHACHA: SupportedCipherSuite = TLS13_CHACHA20_POLY1305_SHA256;
    let mut provider = default_provider();
    provider.cipher_suites =
        if prefers_aes() { [&AES[..], &[CHACHA]].concat() } else { [&[CHACHA], &AES[..]].concat() };
    Arc::new(provider)
}

/// Whether the processor does AES in hardware. Where it does not, ChaCha20 is the faster one, and a server on such a machine
/// insists on it.
fn prefers_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    false
}

/// Checks that a certificate is sound, and whose it is where that is known beforehand.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    peer: Option<PeerId>,
}

impl Verifier {
    fn new(provider: &Arc<CryptoProvider>, peer: Option<PeerId>) -> Arc<Self> {
        Arc::new(Self { provider: Arc::clone(provider), peer })
    }

    fn check(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        if !others.is_empty() {
            return Err(tls_error(PeerError::NotOne));
        }
        let algorithms = &self.provider.signature_verification_algorithms;
        let found = PeerCertificate::verify(certificate, now, algorithms).map_err(tls_error)?;
        match self.peer {
            Some(expected) if expected != found.host_key().to_peer_id() => {
                Err(TlsCertificateError::ApplicationVerificationFailure.into())
            }
            _ => Ok(()),
        }
    }

    fn check_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = UnverifiedCertificate::read(certificate).map_err(tls_error)?.public_key_info();
        verify_tls13_signature_with_raw_key(message, &key, signed, &self.provider.signature_verification_algorithms)
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn tls_error(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    TlsCertificateError::Other(OtherError(Arc::new(error))).into()
}

fn no_tls12() -> Error {
    Error::General("TLS 1.3 only".into())
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity, intermediates, now).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity, intermediates, now).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}
