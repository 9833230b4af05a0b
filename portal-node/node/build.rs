//! Tells the crate which commit and which compiler it is built of: both belong into what a node says of itself.

use std::path::Path;
use std::process::Command;

/// What stands for the commit where there is no git, or where asking it would compile the crate anew after each commit.
const NO_COMMIT: &str = "unknown";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Builds for development are not handed out.
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = is_release.then(commit).flatten().unwrap_or_else(|| NO_COMMIT.to_owned());
    println!("cargo:rustc-env=CAIRN_COMMIT={commit}");
    println!("cargo:rustc-env=CAIRN_COMPILER={}", compiler().unwrap_or_else(|| "rustc".to_owned()));
}

/// The first eight digits of the commit, if this is a checkout of the project and not a copy within something else's.
fn commit() -> Option<String> {
    let top = output("git", &["rev-parse", "--show-toplevel"])?;
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().ok()?;
    if Path::new(&top).canonicalize().ok()? != project {
        return None;
    }
    if let Some(log) = output("git", &["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo:rerun-if-changed={log}");
    }
    output("git", &["rev-parse", "--short=8", "HEAD"])
}

/// The compiler's name and version, such as `rustc1.95.0`.
fn compiler() -> Option<String> {
    let version = output(&std::env::var("RUSTC").ok()?, &["--version"])?;
    let mut words = version.split_whitespace();
    Some(format!("{}{}", words.next()?, words.next()?))
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (output.status.success() && !text.is_empty()).then(|| text.to_owned())
}
