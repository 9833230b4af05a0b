//! What is in a record: its content, decoded under the component's limit.

use alloy_primitives::{B256, U256};
use content_types::header::DecodedHeader;

use crate::component::{ACCUMULATOR_LEN, Component, TOTAL_DIFFICULTY_LEN};
use crate::e2store::{RECORD_HEADER_LEN, RecordHeader, RecordType, Records};
use crate::error::{ArchiveRule, Mismatch};
use crate::index::Located;
use crate::snappy;

/// The stored bytes of a component's record, behind its header.
pub(crate) fn stored(records: Records<'_>, at: Located, component: Component) -> Result<Vec<u8>, ArchiveRule> {
    records.bytes(at.offset + RECORD_HEADER_LEN, u64::from(at.header.length), component.stored_limit())
}

/// The content of a compressed component's record.
pub(crate) fn read(records: Records<'_>, at: Located, component: Component) -> Result<Vec<u8>, ArchiveRule> {
    Ok(snappy::decode(&stored(records, at, component)?, component.limit())?)
}

/// Length of the content of a component's record, as the record claims it.
pub(crate) fn claimed_len(records: Records<'_>, at: Located, component: Component) -> Result<u64, ArchiveRule> {
    let length = u64::from(at.header.length);
    if component == Component::TotalDifficulty {
        return Ok(length);
    }
    let data = at.offset + RECORD_HEADER_LEN;
    let claimed = snappy::claimed_len::<ArchiveRule>(length, |chunk, prefix| {
        records.bytes(data + chunk, prefix as u64, prefix as u64)
    })?;
    let limit = component.limit() as u64;
    if claimed > limit { Err(ArchiveRule::TooLong { length: claimed, limit }) } else { Ok(claimed) }
}

/// The header in the record at `offset`.
pub(crate) fn read_header(records: Records<'_>, offset: u64) -> Result<DecodedHeader, ArchiveRule> {
    let at = Located { offset, header: records.header_of(offset, RecordType::HEADER)? };
    decode_header(read(records, at, Component::Header)?)
}

pub(crate) fn decode_header(rlp: Vec<u8>) -> Result<DecodedHeader, ArchiveRule> {
    DecodedHeader::decode(rlp.into()).map_err(|error| ArchiveRule::Header(Box::new(error)))
}

/// The total difficulty in a record.
pub(crate) fn read_total_difficulty(records: Records<'_>, at: Located) -> Result<U256, ArchiveRule> {
    check_length(at.header, TOTAL_DIFFICULTY_LEN)?;
    let bytes = records.array::<{ TOTAL_DIFFICULTY_LEN as usize }>(at.offset + RECORD_HEADER_LEN)?;
    Ok(U256::from_le_bytes(bytes))
}

/// The root in the accumulator record at `offset`.
pub(crate) fn read_accumulator(records: Records<'_>, offset: u64) -> Result<B256, ArchiveRule> {
    check_length(records.header_of(offset, RecordType::ACCUMULATOR)?, ACCUMULATOR_LEN)?;
    Ok(B256::new(records.array(offset + RECORD_HEADER_LEN)?))
}

fn check_length(header: RecordHeader, expected: u32) -> Result<(), ArchiveRule> {
    if header.length != expected {
        return Err(ArchiveRule::Length(Mismatch::new(u64::from(expected), u64::from(header.length))));
    }
    Ok(())
}
