//! A peer's certificate, and the checks on it that libp2p's TLS specification asks for.

use libp2p_identity::PublicKey;
use rustls::{
    crypto::WebPkiSupportedAlgorithms,
    pki_types::{SubjectPublicKeyInfoDer, UnixTime},
};

use crate::{
    der::{self, DerReader, Element, MalformedDer},
    time,
};

/// The longest certificate that is read, in bytes: one by elliptic curves takes 400, one by RSA keys of 4096 bits 2,300.
pub const MAX_CERTIFICATE: usize = 4096;

/// The libp2p Public Key Extension, 1.3.6.1.4.1.53594.1.1.
pub(crate) const EXTENSION: [u8; 10] = [0x2b, 0x06, 0x01, 0x04, 0x01, 0x83, 0xa2, 0x5a, 0x01, 0x01];

/// What stands before the certificate's public key in what the node's key signs.
pub(crate) const SIGNED_PREFIX: &[u8] = b"libp2p-tls-handshake:";

/// X.509 version 3, the first with extensions.
pub(crate) const VERSION_3: u8 = 2;

/// DER's one value of "true".
pub(crate) const TRUE: u8 = 0xff;

/// Which rule a peer's certificate breaks.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// It is longer than [`MAX_CERTIFICATE`].
    #[error("the certificate has {0} bytes, more than {MAX_CERTIFICATE}")]
    TooLong(usize),
    /// It is no X.509 certificate of version 3 in DER.
    #[error("the certificate's {0} is malformed")]
    Malformed(&'static str),
    /// It has an extension of which nobody here knows what it means, but which is marked critical.
    #[error("the certificate has a critical extension that is unknown")]
    UnknownCritical,
    /// The libp2p Public Key Extension is not there.
    #[error("the certificate has no libp2p extension")]
    NoExtension,
    /// The libp2p Public Key Extension is there twice.
    #[error("the certificate has two libp2p extensions")]
    TwoExtensions,
    /// The node's key is none, or of a kind that is not supported.
    #[error("the certificate's host key is not usable: {0}")]
    HostKey(#[source] libp2p_identity::DecodingError),
    /// It is not valid yet, or not any more.
    #[error("the certificate is not valid at this time")]
    OutOfTime,
    /// Its key or signature is of a kind that is not supported: explicit curves and short hashes among others.
    #[error("the certificate's signature algorithm is not supported")]
    Algorithm,
    /// It is not signed with its own key.
    #[error("the certificate's self-signature is wrong")]
    SelfSignature,
    /// The node's key did not sign the certificate's key.
    #[error("the host key's signature is wrong")]
    HostSignature,
}

/// A certificate that has passed every check.
#[derive(Debug, Clone)]
pub struct PeerCertificate {
    host_key: PublicKey,
}

impl PeerCertificate {
    /// Reads and checks a certificate in DER.
    ///
    /// # Errors
    ///
    /// The first rule of [libp2p's TLS specification](https://github.com/libp2p/specs/blob/master/tls/tls.md), section
    /// "Peer Authentication", that it breaks.
    pub fn verify(der: &[u8], now: UnixTime, algorithms: &WebPkiSupportedAlgorithms) -> Result<Self, CertificateError> {
        let unverified = UnverifiedCertificate::read(der)?;
        unverified.check(now, algorithms)?;
        Ok(Self { host_key: unverified.host_key })
    }

    /// The node's key.
    #[must_use]
    pub fn host_key(&self) -> &PublicKey {
        &self.host_key
    }
}

/// A certificate of which nothing is known but that it can be read.
pub(crate) struct UnverifiedCertificate<'a> {
    signed: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
    not_before: i64,
    not_after: i64,
    public_key_info: &'a [u8],
    key_algorithm: &'a [u8],
    key: &'a [u8],
    pub(crate) host_key: PublicKey,
    host_signature: &'a [u8],
}

fn malformed(what: &'static str) -> impl Fn(MalformedDer) -> CertificateError {
    move |MalformedDer| CertificateError::Malformed(what)
}

impl<'a> UnverifiedCertificate<'a> {
    /// Reads a certificate (RFC 5280, section 4.1).
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, CertificateError> {
        if bytes.len() > MAX_CERTIFICATE {
            return Err(CertificateError::TooLong(bytes.len()));
        }
        let outer = sole(bytes).map_err(malformed("outer sequence"))?;
        let (body, algorithm, signature) = signed(&outer).map_err(malformed("outer sequence"))?;
        let mut fields = body.reader();
        head(&mut fields, &algorithm).map_err(malformed("head"))?;
        let (not_before, not_after) = validity(&mut fields).map_err(malformed("validity"))?;
        fields.expect(der::SEQUENCE).map_err(malformed("subject"))?;
        let public_key_info = fields.expect(der::SEQUENCE).map_err(malformed("public key"))?;
        let (key_algorithm, key) = public_key(&public_key_info).map_err(malformed("public key"))?;
        // The deprecated unique identifiers would stand here. Endpoints may refuse them.
        let extensions = extensions(fields).map_err(malformed("list of extensions"))?;
        let (host_key, host_signature) = host(extensions)?;
        Ok(Self {
            signed: body.whole,
            algorithm: algorithm.content,
            signature,
            not_before,
            not_after,
            public_key_info: public_key_info.whole,
            key_algorithm: key_algorithm.content,
            key,
            host_key,
            host_signature,
        })
    }

    /// The key that signs the handshake.
    pub(crate) fn public_key_info(&self) -> SubjectPublicKeyInfoDer<'a> {
        self.public_key_info.into()
    }

    /// Time and both signatures.
    fn check(&self, now: UnixTime, algorithms: &WebPkiSupportedAlgorithms) -> Result<(), CertificateError> {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if now < self.not_before || self.not_after < now {
            return Err(CertificateError::OutOfTime);
        }
        // All of them name their curve, and hash to 256 bits and more.
        let mut fitting = algorithms.all.iter().filter(|algorithm| {
            algorithm.public_key_alg_id().as_ref() == self.key_algorithm
                && algorithm.signature_alg_id().as_ref() == self.algorithm
        });
        let algorithm = fitting.next().ok_or(CertificateError::Algorithm)?;
        algorithm
            .verify_signature(self.key, self.signed, self.signature)
            .map_err(|_| CertificateError::SelfSignature)?;
        let signed = [SIGNED_PREFIX, self.public_key_info].concat();
        if self.host_key.verify(&signed, self.host_signature) { Ok(()) } else { Err(CertificateError::HostSignature) }
    }
}

/// The one element that the bytes are.
fn sole(bytes: &[u8]) -> Result<Element<'_>, MalformedDer> {
    let mut reader = DerReader(bytes);
    let element = reader.expect(der::SEQUENCE)?;
    reader.end().map(|()| element)
}

/// What is signed, how, and the signature.
fn signed<'a>(outer: &Element<'a>) -> Result<(Element<'a>, Element<'a>, &'a [u8]), MalformedDer> {
    let mut reader = outer.reader();
    let parts = (reader.expect(der::SEQUENCE)?, reader.expect(der::SEQUENCE)?, reader.bits()?);
    reader.end().map(|()| parts)
}

/// Version, serial number, signature algorithm (the same as outside) and issuer.
fn head(fields: &mut DerReader<'_>, algorithm: &Element<'_>) -> Result<(), MalformedDer> {
    let mut version = fields.expect(der::context(0))?.reader();
    let is_third = version.expect(der::INTEGER)?.content == [VERSION_3];
    version.end()?;
    fields.expect(der::INTEGER)?;
    let is_same = fields.expect(der::SEQUENCE)?.whole == algorithm.whole;
    fields.expect(der::SEQUENCE)?;
    if is_third && is_same { Ok(()) } else { Err(MalformedDer) }
}

fn validity(fields: &mut DerReader<'_>) -> Result<(i64, i64), MalformedDer> {
    let mut reader = fields.expect(der::SEQUENCE)?.reader();
    let times = (time::unix(&reader.next()?)?, time::unix(&reader.next()?)?);
    reader.end().map(|()| times)
}

/// Algorithm and bytes of a SubjectPublicKeyInfo.
fn public_key<'a>(info: &Element<'a>) -> Result<(Element<'a>, &'a [u8]), MalformedDer> {
    let mut reader = info.reader();
    let parts = (reader.expect(der::SEQUENCE)?, reader.bits()?);
    reader.end().map(|()| parts)
}

/// The list of extensions, with which a certificate ends. Without one there is nothing in it.
fn extensions(mut fields: DerReader<'_>) -> Result<DerReader<'_>, MalformedDer> {
    let Some(tagged) = fields.optional(der::context(3))? else { return fields.end().map(|()| DerReader(&[])) };
    fields.end()?;
    Ok(sole(tagged.content)?.reader())
}

/// The node's key and its signature, out of the one extension that counts.
fn host(mut extensions: DerReader<'_>) -> Result<(PublicKey, &[u8]), CertificateError> {
    let mut found = None;
    while !extensions.is_empty() {
        let (id, is_critical, value) = extension(&mut extensions).map_err(malformed("extension"))?;
        if id == EXTENSION {
            if found.replace(value).is_some() {
                return Err(CertificateError::TwoExtensions);
            }
        } else if is_critical {
            return Err(CertificateError::UnknownCritical);
        }
    }
    let (key, signature) =
        signed_key(found.ok_or(CertificateError::NoExtension)?).map_err(malformed("libp2p extension"))?;
    let key = PublicKey::try_decode_protobuf(key).map_err(CertificateError::HostKey)?;
    Ok((key, signature))
}

fn extension<'a>(extensions: &mut DerReader<'a>) -> Result<(&'a [u8], bool, &'a [u8]), MalformedDer> {
    let mut reader = extensions.expect(der::SEQUENCE)?.reader();
    let id = reader.expect(der::OID)?.content;
    let is_critical = match reader.optional(der::BOOLEAN)?.map(|critical| critical.content) {
        None => false,
        Some([TRUE]) => true,
        // "False" is the default, which DER leaves out.
        Some(_) => return Err(MalformedDer),
    };
    let value = reader.expect(der::OCTET_STRING)?.content;
    reader.end().map(|()| (id, is_critical, value))
}

/// The specification's SignedKey.
fn signed_key(value: &[u8]) -> Result<(&[u8], &[u8]), MalformedDer> {
    let mut reader = sole(value)?.reader();
    let parts = (reader.expect(der::OCTET_STRING)?.content, reader.expect(der::OCTET_STRING)?.content);
    reader.end().map(|()| parts)
}

#[cfg(test)]
mod tests;
