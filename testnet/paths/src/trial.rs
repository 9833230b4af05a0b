//! Tests on such a network. The standard harness decides what is ignored when it compiles; what a machine gives is known at run time
//! only. So such tests set `harness = false` and call [`run`] from `main`, which says aloud what it skips and counts it as ignored.
//!
//! Hosts need programs that run on them. A test's executable starts itself there in a role, which [`role`] tells in `main`, before
//! [`run`]:
//!
//! ```no_run
//! use cairn_paths::trial::{self, Trial};
//!
//! match trial::role().as_deref() {
//!     Some("server") => { /* runs on a host, until its standard input ends */ }
//!     _ => trial::run(vec![Trial::new("a_long_path", || { /* starts a PathNetwork */ })]),
//! }
//! ```

use libtest_mimic::Arguments;

use crate::namespace::ROLE_VARIABLE;
use crate::network::probe;

/// A test that needs a network with long paths.
#[derive(Debug, Clone)]
pub struct Trial {
    name: &'static str,
    test: fn(),
    on_demand: bool,
}

impl Trial {
    /// A test called `name`.
    pub fn new(name: &'static str, test: fn()) -> Self {
        Self { name, test, on_demand: false }
    }

    /// The same test, run only when ignored tests are asked for (`-- --ignored`): it takes minutes.
    #[must_use]
    pub fn on_demand(self) -> Self {
        Self { on_demand: true, ..self }
    }
}

/// The role in which this program was started, if it was ([`crate::namespace::Namespace::this_program`]).
pub fn role() -> Option<String> {
    std::env::var(ROLE_VARIABLE).ok()
}

/// Runs the tests with the standard harness's command line and output, then exits the process.
pub fn run(tests: Vec<Trial>) -> ! {
    let missing = probe().err();
    let trial = |test: Trial| {
        if let Some(missing) = &missing {
            announce_skip(test.name, &missing.to_string());
        }
        libtest_mimic::Trial::test(test.name, move || {
            (test.test)();
            Ok(())
        })
        .with_ignored_flag(missing.is_some() || test.on_demand)
    };
    libtest_mimic::run(&Arguments::from_args(), tests.into_iter().map(trial).collect()).exit()
}

#[allow(clippy::print_stderr)]
fn announce_skip(name: &str, missing: &str) {
    eprintln!("SKIPPED {name}: it takes root, /dev/net/tun and ip of iproute2: {missing}");
}
