//! The uTP transport as a state machine without I/O.
