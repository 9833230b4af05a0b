//! A Cairn peer: validation pipeline, sub-network services, JSON-RPC and metrics.
