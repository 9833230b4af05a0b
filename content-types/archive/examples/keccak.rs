//! Keccak-256 of a file as one message, on one core: a floor for `scripts/bench-swarm`, as `sha1sum` is one for torrents.
//!
//! ```text
//! keccak FILE
//! ```

#![allow(clippy::print_stdout, reason = "a measurement prints")]

use std::{env, error::Error, fs::File, io::Read};

use alloy_primitives::Keccak256;

const CHUNK: usize = 256 << 10;

fn main() -> Result<(), Box<dyn Error>> {
    let mut file = File::open(env::args_os().nth(1).ok_or("keccak FILE")?)?;
    let (mut hasher, mut chunk) = (Keccak256::new(), vec![0; CHUNK]);
    while let bytes @ 1.. = file.read(&mut chunk)? {
        hasher.update(&chunk[..bytes]);
    }
    println!("{:x}", hasher.finalize());
    Ok(())
}
