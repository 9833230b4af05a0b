//! What a room is: the folder of one sub-network, with everything that tells it from others.
//!
//! A room has a [`Key`] (keys, limits, what it takes to check a value, labels) and a [`Spec`] (names, ping extensions, policies).
//! The registry, [`crate::sub_network`], gathers the rooms; it has a line for each.

mod key;
pub(crate) mod methods;
mod spec;
#[cfg(test)]
mod tests;

pub use key::{BlockPart, Evidence, Form, Key, KeyError, Subject};
pub use methods::Methods;
pub use spec::{RadiusSteps, Retention, Spec, Spread, StoredForm, ping_extension};
