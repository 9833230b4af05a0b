//! A certificate of one's own: a fresh P-256 key, signed by the node's key.

use std::sync::Arc;

use libp2p_identity::Keypair;
use ring::{
    rand::{SecureRandom, SystemRandom},
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair},
};
use rustls::{
    SignatureScheme,
    crypto::ring::sign::any_ecdsa_type,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::{CertifiedKey, SigningKey, SingleCertAndKey},
};

use crate::{
    der::{self, element},
    parse::{EXTENSION, SIGNED_PREFIX, TRUE, VERSION_3},
};

/// ecdsa-with-SHA256, 1.2.840.10045.4.3.2 (RFC 5758, section 3.2).
const ECDSA_WITH_SHA256: [u8; 8] = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];

/// Valid at all times: whoever has a wrong clock can still talk to others, and the key proves all that counts.
const NOT_BEFORE: &[u8] = b"750101000000Z";
const NOT_AFTER: &[u8] = b"40960101000000Z";

/// Bytes of a serial number. It has no use, but is to differ.
const SERIAL: usize = 8;

/// Why no certificate could be made.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// The system gave no randomness, or a signature failed for want of it.
    #[error("the system gives no randomness")]
    Random,
    /// The node's key does not sign.
    #[error("the host key does not sign: {0}")]
    HostKey(#[from] libp2p_identity::SigningError),
    /// The TLS library takes neither key nor settings.
    #[error("the TLS library refuses: {0}")]
    Tls(#[from] rustls::Error),
}

/// The own certificate with its key, for any number of connections.
#[derive(Debug, Clone)]
pub struct Certificate {
    pub(crate) resolver: Arc<SingleCertAndKey>,
}

impl Certificate {
    /// A new certificate that proves the possession of `host`.
    ///
    /// # Errors
    ///
    /// [`GenerateError`].
    pub fn generate(host: &Keypair) -> Result<Self, GenerateError> {
        let key = certificate_key()?;
        let signature = host.sign(&[SIGNED_PREFIX, &public_key_info(&*key)?].concat())?;
        let body = body(&*key, &extension(&host.public().encode_protobuf(), &signature))?;
        let certificate = sign(&*key, &body)?;
        Ok(Self { resolver: Arc::new(CertifiedKey::new(vec![certificate], key).into()) })
    }
}

/// A key for certificates alone.
pub(crate) fn certificate_key() -> Result<Arc<dyn SigningKey>, GenerateError> {
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
        .map_err(|_| GenerateError::Random)?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.as_ref().to_vec()));
    Ok(any_ecdsa_type(&key)?)
}

/// The key's SubjectPublicKeyInfo.
pub(crate) fn public_key_info(key: &dyn SigningKey) -> Result<Vec<u8>, GenerateError> {
    let info = key.public_key().ok_or_else(|| rustls::Error::General("a key without its public half".to_owned()))?;
    Ok(info.to_vec())
}

/// The libp2p Public Key Extension, critical as others have it.
pub(crate) fn extension(host_key: &[u8], signature: &[u8]) -> Vec<u8> {
    let signed_key =
        element(der::SEQUENCE, &[&element(der::OCTET_STRING, &[host_key]), &element(der::OCTET_STRING, &[signature])]);
    let id = element(der::OID, &[&EXTENSION]);
    let critical = element(der::BOOLEAN, &[&[TRUE]]);
    element(der::SEQUENCE, &[&id, &critical, &element(der::OCTET_STRING, &[&signed_key])])
}

/// The part of a certificate that is signed (RFC 5280, section 4.1.2), with these extensions. Nobody looks at names, so
/// they are empty.
pub(crate) fn body(key: &dyn SigningKey, extensions: &[u8]) -> Result<Vec<u8>, GenerateError> {
    let mut serial = [0; SERIAL];
    SystemRandom::new().fill(&mut serial).map_err(|_| GenerateError::Random)?;
    // Positive, and in its shortest form.
    serial[0] = serial[0] & 0x7f | 0x40;
    let name = element(der::SEQUENCE, &[]);
    let validity = element(
        der::SEQUENCE,
        &[&element(der::UTC_TIME, &[NOT_BEFORE]), &element(der::GENERALIZED_TIME, &[NOT_AFTER])],
    );
    Ok(element(
        der::SEQUENCE,
        &[
            &element(der::context(0), &[&element(der::INTEGER, &[&[VERSION_3]])]),
            &element(der::INTEGER, &[&serial]),
            &algorithm(),
            &name,
            &validity,
            &name,
            &public_key_info(key)?,
            &element(der::context(3), &[&element(der::SEQUENCE, &[extensions])]),
        ],
    ))
}

/// The certificate of a signed body.
pub(crate) fn sign(key: &dyn SigningKey, body: &[u8]) -> Result<CertificateDer<'static>, GenerateError> {
    let signer = key.choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256]);
    let signer = signer.ok_or_else(|| rustls::Error::General("a key of another curve".to_owned()))?;
    let signature = signer.sign(body)?;
    Ok(element(der::SEQUENCE, &[body, &algorithm(), &der::bits(&signature)]).into())
}

fn algorithm() -> Vec<u8> {
    element(der::SEQUENCE, &[&element(der::OID, &[&ECDSA_WITH_SHA256])])
}
