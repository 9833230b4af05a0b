//! The same body or receipts in another encoding, exactly: there and back gives the same bytes.
//!
//! Nothing is checked against a header. The input is walked through as strictly as for validation, so that whatever
//! is accepted has one form in each encoding.

use super::body::BodyParts;
use super::error::BrokenRule;
use super::receipts::Receipt;
use super::{BlockPlace, BodyEncoding, Malformed, ReceiptsEncoding};

/// Writes `body`, which is in the encoding `from`, in the encoding `to`.
///
/// # Errors
///
/// The body does not follow the rules of `from`, or is longer than `to` can say.
pub fn body(from: BodyEncoding, to: BodyEncoding, body: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::new();
    let parts = BodyParts::read(from, body)?;
    parts.write(to, &mut out).map_err(|rule| BrokenRule::new(0, rule).at(BlockPlace::Body))?;
    Ok(out)
}

/// Writes `receipts`, which are in the encoding `from`, in the encoding `to`: blooms are left out or computed anew.
///
/// # Errors
///
/// The list does not follow the rules of `from`, has a bloom that is not that of the logs, or is longer than `to` can
/// say.
pub fn receipts(from: ReceiptsEncoding, to: ReceiptsEncoding, receipts: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::new();
    let list = Receipt::read_list(from, receipts)?;
    Receipt::write_list(&list, to, &mut out).map_err(|rule| BrokenRule::new(0, rule).at(BlockPlace::Receipts))?;
    Ok(out)
}
