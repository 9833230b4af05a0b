//! Peers to start from when none are named (Portal network specifications, `bootnodes.md`).

/// Mainnet's chain ID.
const MAINNET: u64 = 1;

const MAINNET_BOOTNODES: &[&str] = &[
    "enr:-Iu4QCV0e-_1Uw7p5mwRgx02z2zxnCGXCrWaBZspT0bZT6kcdA9nkWTHRsz2zt09SB2QJ46qhNjOKzQPMcz6MH1pq3MLY26CaWSCdjSCaXCEwiErIHDDAgIBiXNlY3AyNTZrMaEDF0wfAJ-f1UZtpG7RdNSiVhjDl_ktP1dsDioUcGO2f1ODdWRwgiOM",
    "enr:-Iu4QHs9DjoZ6gJHeOba6GbjXVl212tQsfX0TWrNeIXDLt42HHh8shfpUIzEZLSdnH9PIMox24uAYgmh4BAkhbb1_34LY26CaWSCdjSCaXCEwiErIXDDAgIBiXNlY3AyNTZrMaEDjj_JhExvBxl-vod_kHHqwBTJImdUAaxxOs1Sq6tE_4WDdWRwgiOM",
    "enr:-Iu4QK-LZl9h8CWy5HVxpglItcAePYvIj-8GgmUf6EvmwS3oS7CvzawF5v9gRfCNO3N5n74Qq6KbwdcebiQYPA4q4-ILY26CaWSCdjSCaXCEwiErQHDDAgIBiXNlY3AyNTZrMaECwlSJJWIYN54QhUJDfXaEqS2L6P4zVf7tfWMu-5CIu96DdWRwgiOM",
    "enr:-Iu4QIslS2Y6FEs0GrJEaz0N4bYPWV_KIL-5LwuCTKfyO8KRVy2y-MxBF-vOE9MwFNmeIkPZ1Qi5NE4QT6yxHofISzYLY26CaWSCdjSCaXCEwiErQXDDAgIBiXNlY3AyNTZrMaEDoxCxTcb2iHHqAIAFSQAm9dNI65REomVrHw5STD8mm1KDdWRwgiOM",
];

/// The node records of a chain's bootstrap nodes.
pub(crate) fn of(chain_id: u64) -> &'static [&'static str] {
    if chain_id == MAINNET { MAINNET_BOOTNODES } else { &[] }
}
