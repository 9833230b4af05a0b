//! The specification's test vectors, certificates of our own, and certificates with one thing wrong.

use libp2p_identity::{Keypair, secp256k1};
use proptest::prelude::*;
use rustls::{pki_types::CertificateDer, sign::SigningKey};

use super::*;
use crate::{
    Certificate,
    der::element,
    generate::{body, certificate_key, extension, public_key_info, sign},
    provider,
};

/// Of the specification's section "Test vectors".
const ED25519: &str = "308201ae30820156a0030201020204499602d2300a06082a8648ce3d040302302031123010060355040a13096c69627032702e696f310a300806035504051301313020170d3735303130313133303030305a180f34303936303130313133303030305a302031123010060355040a13096c69627032702e696f310a300806035504051301313059301306072a8648ce3d020106082a8648ce3d030107034200040c901d423c831ca85e27c73c263ba132721bb9d7a84c4f0380b2a6756fd601331c8870234dec878504c174144fa4b14b66a651691606d8173e55bd37e381569ea37c307a3078060a2b0601040183a25a0101046a3068042408011220a77f1d92fedb59dddaea5a1c4abd1ac2fbde7d7b879ed364501809923d7c11b90440d90d2769db992d5e6195dbb08e706b6651e024fda6cfb8846694a435519941cac215a8207792e42849cccc6cd8136c6e4bde92a58c5e08cfd4206eb5fe0bf909300a06082a8648ce3d0403020346003043021f50f6b6c52711a881778718238f650c9fb48943ae6ee6d28427dc6071ae55e702203625f116a7a454db9c56986c82a25682f7248ea1cb764d322ea983ed36a31b77";
const ECDSA: &str = "308201f63082019da0030201020204499602d2300a06082a8648ce3d040302302031123010060355040a13096c69627032702e696f310a300806035504051301313020170d3735303130313133303030305a180f34303936303130313133303030305a302031123010060355040a13096c69627032702e696f310a300806035504051301313059301306072a8648ce3d020106082a8648ce3d030107034200040c901d423c831ca85e27c73c263ba132721bb9d7a84c4f0380b2a6756fd601331c8870234dec878504c174144fa4b14b66a651691606d8173e55bd37e381569ea381c23081bf3081bc060a2b0601040183a25a01010481ad3081aa045f0803125b3059301306072a8648ce3d020106082a8648ce3d03010703420004bf30511f909414ebdd3242178fd290f093a551cf75c973155de0bb5a96fedf6cb5d52da7563e794b512f66e60c7f55ba8a3acf3dd72a801980d205e8a1ad29f2044730450220064ea8124774caf8f50e57f436aa62350ce652418c019df5d98a3ac666c9386a022100aa59d704a931b5f72fb9222cb6cc51f954d04a4e2e5450f8805fe8918f71eaae300a06082a8648ce3d04030203470030440220799395b0b6c1e940a7e4484705f610ab51ed376f19ff9d7c16757cfbf61b8d4302206205c03fbb0f95205c779be86581d3e31c01871ad5d1f3435bcf375cb0e5088a";
const SECP256K1: &str = "308201ba3082015fa0030201020204499602d2300a06082a8648ce3d040302302031123010060355040a13096c69627032702e696f310a300806035504051301313020170d3735303130313133303030305a180f34303936303130313133303030305a302031123010060355040a13096c69627032702e696f310a300806035504051301313059301306072a8648ce3d020106082a8648ce3d030107034200040c901d423c831ca85e27c73c263ba132721bb9d7a84c4f0380b2a6756fd601331c8870234dec878504c174144fa4b14b66a651691606d8173e55bd37e381569ea38184308181307f060a2b0601040183a25a01010471306f0425080212210206dc6968726765b820f050263ececf7f71e4955892776c0970542efd689d2382044630440220145e15a991961f0d08cd15425bb95ec93f6ffa03c5a385eedc34ecf464c7a8ab022026b3109b8a3f40ef833169777eb2aa337cfb6282f188de0666d1bcec2a4690dd300a06082a8648ce3d0403020349003046022100e1a217eeef9ec9204b3f774a08b70849646b6a1e6b8b27f93dc00ed58545d9fe022100b00dafa549d0f03547878338c7b15e7502888f6d45db387e5ae6b5d46899cef0";
const INVALID: &str = "308201f73082019da0030201020204499602d2300a06082a8648ce3d040302302031123010060355040a13096c69627032702e696f310a300806035504051301313020170d3735303130313133303030305a180f34303936303130313133303030305a302031123010060355040a13096c69627032702e696f310a300806035504051301313059301306072a8648ce3d020106082a8648ce3d030107034200040c901d423c831ca85e27c73c263ba132721bb9d7a84c4f0380b2a6756fd601331c8870234dec878504c174144fa4b14b66a651691606d8173e55bd37e381569ea381c23081bf3081bc060a2b0601040183a25a01010481ad3081aa045f0803125b3059301306072a8648ce3d020106082a8648ce3d03010703420004bf30511f909414ebdd3242178fd290f093a551cf75c973155de0bb5a96fedf6cb5d52da7563e794b512f66e60c7f55ba8a3acf3dd72a801980d205e8a1ad29f204473045022100bb6e03577b7cc7a3cd1558df0da2b117dfdcc0399bc2504ebe7de6f65cade72802206de96e2a5be9b6202adba24ee0362e490641ac45c240db71fe955f2c5cf8df6e300a06082a8648ce3d0403020348003045022100e847f267f43717358f850355bdcabbefb2cfbf8a3c043b203a14788a092fe8db022027c1d04a2d41fd6b57a7e8b3989e470325de4406e52e084e34a3fd56eef0d0df";

const NOW: u64 = 1_800_000_000;

fn verify_at(der: &[u8], seconds: u64) -> Result<PeerCertificate, CertificateError> {
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    PeerCertificate::verify(der, now, &provider().signature_verification_algorithms)
}

fn verify(der: &[u8]) -> Result<PeerCertificate, CertificateError> {
    verify_at(der, NOW)
}

fn host_of(secret: u8) -> Keypair {
    secp256k1::Keypair::from(secp256k1::SecretKey::try_from_bytes([secret; 32]).unwrap()).into()
}

fn host() -> Keypair {
    host_of(1)
}

/// The extension of a certificate with this key.
fn proof(key: &dyn SigningKey, host: &Keypair) -> Vec<u8> {
    let signature = host.sign(&[SIGNED_PREFIX, &public_key_info(key).unwrap()].concat()).unwrap();
    extension(&host.public().encode_protobuf(), &signature)
}

/// A certificate with these extensions, properly signed.
fn with_extensions(extensions: impl FnOnce(&dyn SigningKey) -> Vec<u8>) -> CertificateDer<'static> {
    let key = certificate_key().unwrap();
    sign(&*key, &body(&*key, &extensions(&*key)).unwrap()).unwrap()
}

/// One extension that means nothing.
fn foreign(critical: &[u8]) -> Vec<u8> {
    let id = element(der::OID, &[&[0x2a, 0x03, 0x04]]);
    element(der::SEQUENCE, &[&id, critical, &element(der::OCTET_STRING, &[b"?"])])
}

fn own(host: &Keypair) -> Vec<u8> {
    let certificate = Certificate::generate(host).unwrap();
    rustls::client::ResolvesClientCert::resolve(&*certificate.resolver, &[], &[]).unwrap().cert[0].to_vec()
}

#[test]
fn the_specification_s_valid_certificates_are_taken() {
    let vectors = [
        (SECP256K1, "16Uiu2HAkutTMoTzDw1tCvSRtu6YoixJwS46S1ZFxW8hSx9fWHiPs"),
        (ED25519, "12D3KooWM6CgA9iBFZmcYAHA6A2qvbAxqfkmrYiRQuz3XEsk4Ksv"),
    ];
    for (vector, expected) in vectors {
        let peer = verify(&hex::decode(vector).unwrap()).unwrap().host_key().to_peer_id();
        assert_eq!(peer.to_string(), expected);
    }
}

/// Host keys of the kind "ECDSA" are not built. The second of these has a wrong signature as well.
#[test]
fn the_specification_s_other_certificates_are_refused_for_their_host_keys() {
    for vector in [ECDSA, INVALID] {
        let error = verify(&hex::decode(vector).unwrap()).unwrap_err();
        assert!(matches!(error, CertificateError::HostKey(_)), "{error}");
        assert!(error.to_string().contains("is not enabled"), "{error}");
    }
}

#[test]
fn a_certificate_of_our_own_proves_the_key_that_made_it() {
    let host = host();
    let der = own(&host);
    assert!(der.len() < 400, "{} bytes", der.len());
    assert_eq!(verify(&der).unwrap().host_key(), &host.public());
    assert_ne!(own(&host), der, "a new key each time");
}

#[test]
fn a_signature_of_another_host_key_is_refused() {
    let (host, other) = (host_of(1), host_of(2));
    let signed_by_other = with_extensions(|key| {
        let signature = other.sign(&[SIGNED_PREFIX, &public_key_info(key).unwrap()].concat()).unwrap();
        extension(&host.public().encode_protobuf(), &signature)
    });
    assert!(matches!(verify(&signed_by_other), Err(CertificateError::HostSignature)));
    let of_another_certificate = with_extensions(|_| proof(&*certificate_key().unwrap(), &host));
    assert!(matches!(verify(&of_another_certificate), Err(CertificateError::HostSignature)));
}

#[test]
fn a_certificate_signed_by_another_key_is_refused() {
    let key = certificate_key().unwrap();
    let body = body(&*key, &proof(&*key, &host())).unwrap();
    assert!(verify(&sign(&*key, &body).unwrap()).is_ok());
    let signed_by_other = sign(&*certificate_key().unwrap(), &body).unwrap();
    assert!(matches!(verify(&signed_by_other), Err(CertificateError::SelfSignature)));
}

#[test]
fn a_certificate_counts_in_its_time_only() {
    let der = hex::decode(SECP256K1).unwrap();
    // From 1975-01-01 to 4096-01-01, at 13:00 both.
    for (seconds, is_valid) in
        [(157_813_199, false), (157_813_200, true), (67_090_165_200, true), (67_090_165_201, false)]
    {
        let verified = verify_at(&der, seconds);
        assert_eq!(verified.is_ok(), is_valid, "{seconds}");
        assert!(is_valid || matches!(verified, Err(CertificateError::OutOfTime)));
    }
}

#[test]
fn the_extension_is_there_once_and_others_only_if_they_do_not_matter() {
    let host = host();
    assert!(matches!(verify(&with_extensions(|_| Vec::new())), Err(CertificateError::NoExtension)));
    assert!(matches!(verify(&with_extensions(|_| foreign(&[]))), Err(CertificateError::NoExtension)));
    let twice = with_extensions(|key| [proof(key, &host), proof(key, &host)].concat());
    assert!(matches!(verify(&twice), Err(CertificateError::TwoExtensions)));
    let beside = |critical: &'static [u8]| with_extensions(|key| [foreign(critical), proof(key, &host)].concat());
    assert!(verify(&beside(&[])).is_ok());
    assert!(matches!(verify(&beside(&[der::BOOLEAN, 1, TRUE])), Err(CertificateError::UnknownCritical)));
    assert!(matches!(verify(&beside(&[der::BOOLEAN, 1, 0])), Err(CertificateError::Malformed("extension"))));
}

#[test]
fn what_is_too_long_is_not_read() {
    let long = vec![0; MAX_CERTIFICATE + 1];
    assert!(matches!(verify(&long), Err(CertificateError::TooLong(length)) if length == long.len()));
}

#[test]
fn no_byte_can_be_changed_left_out_or_added() {
    let der = own(&host());
    for at in 0..der.len() {
        let mut changed = der.clone();
        changed[at] ^= 1;
        assert!(verify(&changed).is_err(), "byte {at} changed");
        assert!(verify(&der[..at]).is_err(), "cut at {at}");
    }
    assert!(verify(&[&der[..], &[0]].concat()).is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(verify(&bytes).is_err());
    }

    #[test]
    fn a_damaged_certificate_is_read_without_panic(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let sound = hex::decode(SECP256K1).unwrap();
        let mut der = sound.clone();
        for (at, byte) in changes {
            der[at.index(sound.len())] = byte;
        }
        prop_assume!(der != sound);
        prop_assert!(verify(&der).is_err());
    }
}
