//! TLS with [libp2p's certificates](https://github.com/libp2p/specs/blob/master/tls/tls.md), as that crate makes and checks
//! them. Only the order of ciphers is another: its own begins with ChaCha20, and where the processor does AES in hardware
//! that costs each side several times the CPU time a byte.

use std::sync::Arc;

use libp2p_identity::{Keypair, PeerId};
use libp2p_tls::certificate;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme, SupportedCipherSuite,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{
        CryptoProvider,
        aws_lc_rs::{
            cipher_suite::{TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256},
            default_provider,
            sign::any_ecdsa_type,
        },
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
    version::TLS13,
};

use super::IdentityError;

/// In order of preference: elliptic curves first, RSA only from whoever has nothing else.
const SCHEMES: [SignatureScheme; 9] = [
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ED25519,
    SignatureScheme::RSA_PSS_SHA512,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PKCS1_SHA512,
    SignatureScheme::RSA_PKCS1_SHA384,
    SignatureScheme::RSA_PKCS1_SHA256,
];

/// For connections from anybody whose certificate is sound.
pub(super) fn server_config(keypair: &Keypair) -> Result<rustls::ServerConfig, IdentityError> {
    let builder = rustls::ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13]);
    let mut config = builder
        .map_err(unusable)?
        .with_client_cert_verifier(Arc::new(Verifier { peer: None }))
        .with_cert_resolver(own_certificate(keypair)?);
    config.ignore_client_order = !prefers_aes();
    Ok(config)
}

/// For a connection to one peer.
pub(super) fn client_config(keypair: &Keypair, peer: PeerId) -> Result<rustls::ClientConfig, IdentityError> {
    let builder = rustls::ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13]);
    Ok(builder
        .map_err(unusable)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier { peer: Some(peer) }))
        .with_client_cert_resolver(own_certificate(keypair)?))
}

fn unusable(error: impl std::fmt::Display) -> IdentityError {
    IdentityError::Certificate(error.to_string())
}

fn own_certificate(keypair: &Keypair) -> Result<Arc<SingleCertAndKey>, IdentityError> {
    let (certificate, key) = certificate::generate(keypair).map_err(unusable)?;
    let key = any_ecdsa_type(&key).map_err(unusable)?;
    Ok(Arc::new(CertifiedKey::new(vec![certificate], key).into()))
}

fn provider() -> Arc<CryptoProvider> {
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
    peer: Option<PeerId>,
}

impl Verifier {
    fn check(&self, certificate: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Result<(), Error> {
        if !others.is_empty() {
            return Err(CertificateError::BadEncoding.into());
        }
        let found = certificate::parse(certificate)?.peer_id();
        match self.peer {
            Some(expected) if expected != found => Err(CertificateError::ApplicationVerificationFailure.into()),
            _ => Ok(()),
        }
    }
}

fn check_signature(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    certificate::parse(certificate)?.verify_signature(signed.scheme, message, signed.signature())?;
    Ok(HandshakeSignatureValid::assertion())
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
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity, intermediates).map(|()| ServerCertVerified::assertion())
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
        check_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.to_vec()
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
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity, intermediates).map(|()| ClientCertVerified::assertion())
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
        check_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.to_vec()
    }
}
