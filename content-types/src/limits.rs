//! The largest values that are decoded or accepted, each with its unit and where it comes from.

/// Bytes of an RLP-encoded header (legacy history network, `MAX_HEADER_LENGTH`).
pub const MAX_HEADER_LENGTH: usize = 1 << 11;

/// Bytes of an SSZ-encoded header proof (legacy history network, `MAX_HEADER_PROOF_LENGTH`).
pub const MAX_HEADER_PROOF_LENGTH: usize = 1 << 10;

/// Headers in one answer to a request for ephemeral headers (legacy history network, `MAX_EPHEMERAL_HEADER_PAYLOAD`).
pub const MAX_EPHEMERAL_HEADER_PAYLOAD: usize = 256;

/// Bytes of an encoded block body. EIP-7934 caps a whole block at 8 MiB since Osaka; before, a block of 36 million gas
/// full of zero bytes at 4 gas each came to 9 MB.
pub const MAX_BODY_LENGTH: usize = 16 << 20;

/// Bytes of an encoded receipt list. Log data costs 8 gas a byte: 25 MB at 200 million gas a block.
pub const MAX_RECEIPTS_LENGTH: usize = 32 << 20;

/// Bytes of a node of a trie (state network, `TrieNode`).
pub const MAX_TRIE_NODE_LENGTH: usize = 1024;

/// Nodes of a proof (state network, `TrieProof`).
pub const MAX_TRIE_PROOF_NODES: usize = 65;

/// Bytes of a contract's code (state network, "Contract Code").
pub const MAX_CODE_LENGTH: usize = 32_768;

/// Bytes of an encoded proof: an offset and a node for each.
pub const MAX_STATE_PROOF_LENGTH: usize = MAX_TRIE_PROOF_NODES * (OFFSET_LENGTH + MAX_TRIE_NODE_LENGTH);

/// Bytes of an SSZ offset.
pub(crate) const OFFSET_LENGTH: usize = 4;

/// Bytes of an encoded header with its proof: two offsets and both parts.
pub const MAX_HEADER_WITH_PROOF_LENGTH: usize = 2 * OFFSET_LENGTH + MAX_HEADER_LENGTH + MAX_HEADER_PROOF_LENGTH;

/// Bytes of an encoded list of ephemeral headers: an offset and a header for each.
pub const MAX_EPHEMERAL_HEADERS_LENGTH: usize = MAX_EPHEMERAL_HEADER_PAYLOAD * (OFFSET_LENGTH + MAX_HEADER_LENGTH);

/// Bytes of an encoded ephemeral header as it is offered: an offset and the header.
pub const MAX_OFFERED_HEADER_LENGTH: usize = OFFSET_LENGTH + MAX_HEADER_LENGTH;
