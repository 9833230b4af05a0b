//! Network namespaces, made and taken away by `ip` of iproute2.
//!
//! Their names begin with [`PREFIX`] and the number of the process that made them. A process that was killed leaves nothing but such
//! names, for its devices went with it; whoever makes namespaces next takes them away ([`take_leftovers`]).

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// What the names of all namespaces begin with.
pub const PREFIX: &str = "cairn-paths-";
/// The environment variable that tells a program in which role it was started.
pub const ROLE_VARIABLE: &str = "CAIRN_PATHS_ROLE";
/// Where `ip` keeps the names.
const NAMES: &str = "/run/netns";
/// Namespaces of one process.
const MAX_NAMESPACES: usize = 1_000;

/// `ip` failed.
#[derive(Debug, thiserror::Error)]
pub enum IpError {
    /// It could not be started.
    #[error("ip of iproute2 cannot be started: {0}")]
    Start(#[from] std::io::Error),
    /// It said no.
    #[error("ip {command}: {said}")]
    Refused {
        /// What it was asked.
        command: String,
        /// What it said.
        said: String,
    },
}

/// A network namespace. It has nothing in it but a loopback device, until something is moved there. Goes when it is dropped; processes
/// that still run in it keep what they have and reach nobody.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// A new one, with its loopback device up.
    ///
    /// # Errors
    /// [`IpError`] where `ip` is not there or may not.
    pub fn new() -> Result<Self, IpError> {
        let process = std::process::id();
        let mut last = None;
        for number in 0..MAX_NAMESPACES {
            let name = format!("{PREFIX}{process}-{number}");
            if Path::new(NAMES).join(&name).exists() {
                continue;
            }
            // Somebody else in this process may just have taken the name: then there is a next one.
            match ip(&["netns", "add", &name], "") {
                Ok(()) => {
                    let namespace = Self { name };
                    namespace.configure("link set lo up\n")?;
                    return Ok(namespace);
                }
                Err(error) if Path::new(NAMES).join(&name).exists() => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        let full = || IpError::Refused { command: "netns add".into(), said: "no name is free".into() };
        Err(last.unwrap_or_else(full))
    }

    /// Its name, as `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs lines of `ip -batch` in it.
    ///
    /// # Errors
    /// [`IpError`] says which line failed.
    pub fn configure(&self, lines: &str) -> Result<(), IpError> {
        ip(&["-n", &self.name, "-batch", "-"], lines)
    }

    /// A command that runs in it.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// This very program in it, in a role ([`crate::trial::role`]). It has a pipe as standard input, and should end when that does:
    /// then it outlives nobody.
    ///
    /// # Errors
    /// The system's, when the program's path is not known.
    pub fn this_program(&self, role: &str) -> std::io::Result<Command> {
        let mut command = self.command(std::env::current_exe()?);
        command.env(ROLE_VARIABLE, role).stdin(Stdio::piped());
        Ok(command)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Nothing can be done about it here. What stays is a name, which the next process takes away.
        let _ = ip(&["netns", "delete", &self.name], "");
    }
}

/// Takes away what processes have left that are no more. Who is alive keeps its own.
pub fn take_leftovers() {
    let Ok(names) = std::fs::read_dir(NAMES) else { return };
    for name in names.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        if let Some(process) = owner(&name)
            && !Path::new("/proc").join(process.to_string()).exists()
        {
            let _ = ip(&["netns", "delete", &name], "");
        }
    }
}

/// The process that made a namespace of this name.
fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split_once('-')?.0.parse().ok()
}

/// Runs `ip` and gives it `lines` to read.
pub(crate) fn ip(arguments: &[&str], lines: &str) -> Result<(), IpError> {
    let mut child = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // If it reads nothing it has something to say.
        let _ = input.write_all(lines.as_bytes());
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(IpError::Refused { command: arguments.join(" "), said })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_whose_it_is() {
        assert_eq!(owner(&format!("{PREFIX}4711-0")), Some(4_711));
        assert_eq!([owner("blue"), owner(PREFIX), owner(&format!("{PREFIX}x-0"))], [None; 3]);
    }
}
