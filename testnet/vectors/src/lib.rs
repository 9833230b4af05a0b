//! Real chain data for tests: where it lies, and a test runner that counts a test as *ignored* when its data is
//! missing.
//!
//! The data is not part of the repository. It is looked for in the folder that `CAIRN_VECTORS` names, then in
//! `../shared/vectors` beside the checkout, then in `target/vectors`, where `scripts/fetch-vectors` puts the public
//! originals. The standard test harness decides what is ignored when it compiles; whether a file is there is known
//! only at run time, so tests that need data set `harness = false` and call [`run`] from `main`.
//!
//! ```no_run
//! use cairn_vectors::VectorTest;
//!
//! fn first_epoch(root: &std::path::Path) {
//!     assert!(root.join("era1/mainnet-00000-5ec1ffb8.era1").is_file());
//! }
//!
//! fn main() {
//!     cairn_vectors::run(vec![VectorTest::new("first_epoch", &["era1"], first_epoch)]);
//! }
//! ```

use std::path::{Path, PathBuf};

use libtest_mimic::{Arguments, Trial};

/// The environment variable that names the folder with the test data.
pub const VECTORS_VARIABLE: &str = "CAIRN_VECTORS";

/// A test that needs files below the vectors folder.
#[derive(Debug, Clone)]
pub struct VectorTest {
    name: &'static str,
    needs: &'static [&'static str],
    test: fn(&Path),
    on_demand: bool,
}

impl VectorTest {
    /// A test called `name` that runs `test` with the vectors folder, if every path in `needs` (relative to that
    /// folder) exists.
    pub fn new(name: &'static str, needs: &'static [&'static str], test: fn(&Path)) -> Self {
        Self { name, needs, test, on_demand: false }
    }

    /// The same test, run only when ignored tests are asked for (`-- --ignored`): it takes minutes.
    #[must_use]
    pub fn on_demand(self) -> Self {
        Self { on_demand: true, ..self }
    }

    fn into_trial(self, root: Option<&PathBuf>) -> Trial {
        let missing = match root {
            None => Some("the vectors folder"),
            Some(root) => self.needs.iter().copied().find(|path| !root.join(path).exists()),
        };
        if let Some(missing) = missing {
            announce_skip(self.name, missing);
        }
        let root = root.cloned().unwrap_or_default();
        Trial::test(self.name, move || {
            (self.test)(&root);
            Ok(())
        })
        .with_ignored_flag(missing.is_some() || self.on_demand)
    }
}

/// The vectors folder, if there is one.
pub fn folder() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os(VECTORS_VARIABLE) {
        return Some(PathBuf::from(named));
    }
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    [checkout.join("../shared/vectors"), checkout.join("target/vectors")].into_iter().find(|path| path.is_dir())
}

/// Runs the tests with the standard harness's command line and output, then exits the process.
pub fn run(tests: Vec<VectorTest>) -> ! {
    let root = folder();
    let trials = tests.into_iter().map(|test| test.into_trial(root.as_ref())).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit()
}

#[allow(clippy::print_stderr)]
fn announce_skip(name: &str, missing: &str) {
    eprintln!("SKIPPED {name}: {missing} is missing; set {VECTORS_VARIABLE} or run scripts/fetch-vectors");
}
