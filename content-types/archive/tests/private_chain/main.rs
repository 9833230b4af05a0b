//! Archives of a small private chain: every profile, every order, every kind of damage.

#![allow(clippy::unwrap_used)] // clippy's exception for tests covers only functions marked as such

mod chain;
mod conversion;
mod damage;
mod files;
mod layouts;
mod profiles;
mod resume;
mod witness;
