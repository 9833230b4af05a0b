//! Cairn's tracker against libp2p's own implementation of everything, QUIC and certificates included: see `tests/`.
