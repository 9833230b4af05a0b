//! What ranges are made of: which record of an archive each component is that goes over QUIC, and under which key the
//! sub-networks have it.

use cairn_archive::Component as Record;
use cairn_swarm::geometry::Component;
use content_types::{ContentKey, history, legacy_history};

/// Its record in an archive; the proof that goes with a header over QUIC is a record of its own there.
pub(crate) const fn record_of(component: Component) -> Record {
    match component {
        Component::Headers => Record::Header,
        Component::Bodies => Record::Body,
        Component::Receipts => Record::Receipts,
    }
}

/// The key of a block's part in the encoding that ranges are made of: headers by number, bodies as RLP and slim receipts.
pub(crate) fn key_of(component: Component, number: u64) -> ContentKey {
    match component {
        Component::Headers => legacy_history::ContentKey::HeaderByNumber(number).into(),
        Component::Bodies => history::ContentKey::BlockBody { number }.into(),
        Component::Receipts => history::ContentKey::BlockReceipts { number }.into(),
    }
}

/// What the History network has a component as; `None` of headers, which it has none of.
pub(crate) const fn content_type_of(component: Component) -> Option<history::ContentType> {
    match component {
        Component::Headers => None,
        Component::Bodies => Some(history::ContentType::BlockBody),
        Component::Receipts => Some(history::ContentType::BlockReceipts),
    }
}
