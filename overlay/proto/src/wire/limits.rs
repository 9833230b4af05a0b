//! Sizes and counts of the wire protocol. Those of lists and byte strings are the specification's; those of whole
//! messages follow from the largest discv5 packet.

/// Largest discv5 packet, bytes (discv5 wire specification).
pub const MAX_PACKET_BYTES: usize = 1280;

/// What discv5 puts around the payload of a TALKRESP, bytes: masking IV 16, static header 23, source node ID 32, message
/// type 1, RLP list header 3, request ID 9, RLP string header 3, GCM tag 16.
const TALK_OVERHEAD_BYTES: usize = 16 + 23 + 32 + 1 + 3 + 9 + 3 + 16;

/// Largest payload of a TALKREQ that reaches a peer with which there is a session, bytes: a TALKREQ also carries the
/// two bytes of the protocol ID and their RLP header.
pub const MAX_REQUEST_BYTES: usize = MAX_PACKET_BYTES - TALK_OVERHEAD_BYTES - 3;

/// What a handshake adds to a packet, bytes: signature and key sizes 2, signature 64, ephemeral key 33, and this node's record,
/// which has 300 at most.
const HANDSHAKE_BYTES: usize = 2 + 64 + 33 + 300;

/// Largest payload of a TALKREQ that arrives with the handshake, bytes, whatever the length of this node's record. Beside one of
/// 170 bytes 900 were measured to arrive, and 950 not to.
pub const MAX_FIRST_REQUEST_BYTES: usize = MAX_REQUEST_BYTES - HANDSHAKE_BYTES;

/// Largest content sent inside a CONTENT message, bytes. Other clients stop between 1165 and 1175; anything larger
/// goes over a stream.
pub const MAX_INLINE_CONTENT_BYTES: usize = 1165;

/// Largest response that Cairn sends, bytes: CONTENT with the largest inline content and its two selectors. It leaves
/// 10 bytes of the packet free.
pub const MAX_RESPONSE_BYTES: usize = MAX_INLINE_CONTENT_BYTES + 2;

/// Most ENRs in NODES and in CONTENT (`List[ByteList[2048], 32]`).
pub const MAX_ENRS: usize = 32;

/// Longest ENR in NODES and in CONTENT, bytes (`ByteList[2048]`).
pub const MAX_ENR_BYTES: usize = 2048;

/// Most distances in FINDNODES (`List[uint16, 256]`).
pub const MAX_DISTANCES: usize = 256;

/// Largest logarithmic distance: the two halves of the key space.
pub const MAX_LOG_DISTANCE: u16 = 256;

/// Longest content key, bytes (`ByteList[2048]`).
pub const MAX_CONTENT_KEY_BYTES: usize = 2048;

/// Longest content inside a CONTENT message that is accepted, bytes (`ByteList[2048]`).
pub const MAX_CONTENT_BYTES: usize = 2048;

/// Most content keys in one OFFER (`List[ByteList[2048], 64]`) and codes in one ACCEPT.
pub const MAX_OFFERED_KEYS: usize = 64;

/// Longest payload of PING and PONG, bytes (`ByteList[1100]`).
pub const MAX_PING_PAYLOAD_BYTES: usize = 1100;

/// Longest client description in ping payload 0, bytes (`MAX_CLIENT_INFO_BYTE_LENGTH`).
pub const MAX_CLIENT_INFO_BYTES: usize = 200;

/// Most extensions listed in ping payload 0 (`MAX_CAPABILITIES_LENGTH`).
pub const MAX_CAPABILITIES: usize = 400;

/// Longest text in ping payload 65535, bytes (`MAX_ERROR_BYTE_LENGTH`).
pub const MAX_ERROR_BYTES: usize = 300;

const _: () = assert!(MAX_RESPONSE_BYTES + TALK_OVERHEAD_BYTES <= MAX_PACKET_BYTES);
