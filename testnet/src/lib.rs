//! Many peers at once: local networks for tests, the demonstration and benchmarks.
