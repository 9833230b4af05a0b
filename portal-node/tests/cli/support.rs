//! A synthetic chain on disk, and `cairn` processes that work on it.

use std::{
    ffi::OsStr,
    fs,
    io::{self, BufRead, BufReader, Read},
    path::PathBuf,
    process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use cairn_synthetic::{SyntheticChain, SyntheticConfig};
use serde_json::Value;
use tempfile::TempDir;

/// When a process counts as hanging. Nothing here takes a hundredth of it on a quiet machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(300);
/// Flags of a peer that keeps to itself.
const ALONE: [&str; 4] = ["--listen", "127.0.0.1:0", "--nat", "none"];

/// What `work` returns; a panic if it hangs.
pub(crate) fn in_time<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(DEADLINE).unwrap_or_else(|error| panic!("{what}: {error}"))
}

/// A chain, its files, and a folder for what the processes make.
pub(crate) struct World {
    pub(crate) chain: SyntheticChain,
    pub(crate) archives: Vec<PathBuf>,
    folder: TempDir,
}

impl World {
    /// 96 blocks of every fork in one ere file.
    pub(crate) fn new() -> Self {
        Self::of(SyntheticConfig::small())
    }

    /// 48 blocks from before the merge in one era1 file.
    pub(crate) fn before_the_merge() -> Self {
        Self::of(SyntheticConfig {
            bellatrix_blocks: 0,
            capella_blocks: 0,
            deneb_blocks: 0,
            ..SyntheticConfig::small()
        })
    }

    pub(crate) fn of(config: SyntheticConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let chain = SyntheticChain::new(config).unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("archives")).unwrap();
        let archives = chain.write_archives(at("archives")).unwrap();
        testnet::demo::write_trust_lists(chain.trust_lists(), chain.spec(), &at("trust")).unwrap();
        fs::write(at("chain.json"), chain.spec().to_json()).unwrap();
        Self { chain, archives, folder }
    }

    /// A path in this world's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `cairn` with nothing of the machine's settings, on this chain, with data in the folder `data`.
    pub(crate) fn cairn(&self, data: &str) -> Call {
        Call::new(self.path("home")).arg("--chain").arg(self.path("chain.json")).arg("--data-dir").arg(self.path(data))
    }

    /// The same with this world's trust lists.
    pub(crate) fn trusting(&self, data: &str) -> Call {
        self.cairn(data).arg("--trust").arg(self.path("trust"))
    }

    /// Starts a storage peer.
    pub(crate) fn run(&self, data: &str, bootnodes: &str) -> Peer {
        Peer::start(self.trusting(data).arg("run"), bootnodes)
    }

    /// Starts a peer that serves the chain's archives.
    pub(crate) fn seed(&self, data: &str, bootnodes: &str) -> Peer {
        Peer::start(self.trusting(data).arg("seed").arg(&self.archives[0]), bootnodes)
    }

    /// `cairn fetch` from the network of `peer`.
    pub(crate) fn fetch(&self, peer: &Peer) -> Call {
        self.trusting("fetcher").arg("fetch").alone().args(["--bootnodes", &peer.enr()])
    }
}

/// A command line to be run.
pub(crate) struct Call(Command);

impl Call {
    /// `cairn` without any environment but a home folder.
    pub(crate) fn new(home: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cairn"));
        command.env_clear().env("HOME", home).stdin(Stdio::null());
        Self(command)
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.0.arg(arg);
        self
    }

    pub(crate) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.0.args(args);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    /// On loopback, on a free port.
    pub(crate) fn alone(self) -> Self {
        self.args(ALONE)
    }

    /// With so many file descriptors at most, the three of every process among them.
    pub(crate) fn with_descriptors(self, limit: u32) -> Self {
        let mut command = Command::new("sh");
        command.env_clear().args(["-c", &format!("ulimit -n {limit}; exec \"$0\" \"$@\"")]).stdin(Stdio::null());
        command.arg(self.0.get_program()).args(self.0.get_args());
        command.envs(self.0.get_envs().filter_map(|(name, value)| Some((name, value?))));
        Self(command)
    }

    /// With a pipe as standard output whose other end is closed.
    pub(crate) fn unread(mut self) -> Self {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        self.0.stdout(writer);
        self
    }

    /// With a pipe as standard error of which nobody reads anything any more.
    pub(crate) fn unread_log(mut self) -> Self {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        self.0.stderr(writer);
        self
    }

    /// With this file as standard error.
    pub(crate) fn log_into(mut self, file: fs::File) -> Self {
        self.0.stderr(file);
        self
    }

    /// With this file as standard output.
    pub(crate) fn into_file(mut self, file: fs::File) -> Self {
        self.0.stdout(file);
        self
    }

    /// Runs it with a reader that goes away after the first line, as `| head -1` does: that line, and how it ended.
    pub(crate) fn read_once(mut self) -> (String, Ended) {
        let what = format!("{:?}", self.0);
        let run = move || {
            let mut child = self.0.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let mut line = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
            (line, child.wait_with_output().unwrap())
        };
        let (line, output) = in_time(&what, run);
        (line, Ended::of(output, what))
    }

    /// Starts it, with nobody to listen to it.
    pub(crate) fn spawn(mut self) -> Child {
        self.0.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Sends it a signal once its log says `text`, and waits for its end.
    pub(crate) fn signalled(mut self, signal: &'static str, text: &'static str) -> Ended {
        let what = format!("{:?}", self.0);
        let run = move || {
            let mut child = self.0.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let (mut log, mut said) = (BufReader::new(child.stderr.take().unwrap()), String::new());
            while !said.contains(text) {
                assert_ne!(log.read_line(&mut said).unwrap(), 0, "the log ended before {text:?}: {said}");
            }
            let kill = format!("kill -{signal} {}", child.id());
            assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success(), "{kill}");
            log.read_to_string(&mut said).unwrap();
            (child.wait_with_output().unwrap(), said)
        };
        let (output, err) = in_time(&what, run);
        Ended { err, ..Ended::of(output, what) }
    }

    /// Runs it to its end.
    pub(crate) fn end(mut self) -> Ended {
        let what = format!("{:?}", self.0);
        let output = in_time(&what, move || self.0.output().unwrap());
        Ended::of(output, what)
    }
}

/// A process that ended.
pub(crate) struct Ended {
    code: Option<i32>,
    out: Vec<u8>,
    err: String,
    what: String,
}

impl Ended {
    fn of(output: Output, what: String) -> Self {
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        Self { code: output.status.code(), out: output.stdout, err, what }
    }

    /// Standard output, if it went well.
    pub(crate) fn bytes(self) -> Vec<u8> {
        self.exits(0).out
    }

    /// Standard output as text, if it went well.
    pub(crate) fn text(self) -> String {
        String::from_utf8(self.bytes()).unwrap()
    }

    /// Standard output as one JSON document, if it went well.
    pub(crate) fn json(self) -> Value {
        self.exits(0).parsed()
    }

    /// Standard output as one JSON document, however it went.
    pub(crate) fn parsed(self) -> Value {
        serde_json::from_slice(&self.out)
            .unwrap_or_else(|error| panic!("{}: {error}: {}", self.what, String::from_utf8_lossy(&self.out)))
    }

    /// Checks the exit code.
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}\n{}", self.what, String::from_utf8_lossy(&self.out), self.err);
        self
    }

    /// Standard output, however it went.
    pub(crate) fn out(self) -> Vec<u8> {
        self.out
    }

    /// What went to standard error.
    pub(crate) fn complaint(&self) -> &str {
        &self.err
    }

    /// Checks that the last line of the error text says something.
    pub(crate) fn ends_with(self, text: &str) -> Self {
        let last = self.err.lines().last().unwrap_or_default();
        assert!(last.contains(text), "{}: no {text:?} at the end of: {}", self.what, self.err);
        self
    }

    /// Checks that the error text says something.
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(self.err.contains(text), "{}: no {text:?} in: {}", self.what, self.err);
        self
    }
}

/// A running peer. It is killed when dropped.
pub(crate) struct Peer {
    child: Option<Child>,
    log: Option<BufReader<ChildStderr>>,
    announced: Value,
    rest: mpsc::Receiver<String>,
}

impl Peer {
    /// Starts `call` with JSON-RPC on a free port and waits until the peer has announced itself.
    pub(crate) fn start(call: Call, bootnodes: &str) -> Self {
        Self::start_at("127.0.0.1:0", call, bootnodes)
    }

    /// The same with discv5 at an address.
    pub(crate) fn start_at(listen: &str, call: Call, bootnodes: &str) -> Self {
        let call = call.args(["--listen", listen, "--nat", "none", "--rpc", "127.0.0.1:0", "--json"]);
        let mut command = call.args(["--bootnodes", bootnodes]).0;
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut log = child.stderr.take().map(BufReader::new);
        let (line, stdout) = in_time("announcement", move || {
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            (line, stdout)
        });
        let announced = serde_json::from_str(&line).unwrap_or_else(|error| {
            let mut why = String::new();
            let _ = child.kill();
            let _ = log.take().map(|mut log| log.read_to_string(&mut why));
            panic!("{error}: {line:?}: {why}")
        });
        Self { child: Some(child), log, announced, rest: rest_of(stdout) }
    }

    /// Starts `call` with nobody to read what it announces.
    pub(crate) fn start_unread(call: Call, bootnodes: &str) -> Self {
        let mut command = call.unread().alone().args(["--rpc", "none", "--bootnodes", bootnodes]).0;
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = child.stderr.take().map(BufReader::new);
        Self { child: Some(child), log, announced: Value::Null, rest: rest_of(io::empty()) }
    }

    /// Starts `call` as [`Peer::start`] does, with its log wherever `call` sends it.
    pub(crate) fn start_unlogged(call: Call, bootnodes: &str) -> Self {
        let mut command = call.alone().args(["--rpc", "127.0.0.1:0", "--json", "--bootnodes", bootnodes]).0;
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let (line, stdout) = in_time("announcement", move || {
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            (line, stdout)
        });
        Self { child: Some(child), log: None, announced: serde_json::from_str(&line).unwrap(), rest: rest_of(stdout) }
    }

    /// A field of what it announced.
    pub(crate) fn announced(&self, field: &str) -> &Value {
        &self.announced[field]
    }

    pub(crate) fn enr(&self) -> String {
        self.announced["enr"].as_str().unwrap().to_owned()
    }

    pub(crate) fn rpc_url(&self) -> String {
        format!("http://{}", self.announced["rpc"].as_str().unwrap())
    }

    /// Reads the log until a line says `text`; that line.
    pub(crate) fn wait_for_log(&mut self, text: &'static str) -> String {
        self.log_until(text).pop().unwrap_or_default()
    }

    /// Reads the log until a line says `text`; all lines up to that one.
    pub(crate) fn log_until(&mut self, text: &'static str) -> Vec<String> {
        let mut log = self.log.take().unwrap();
        let (log, lines) = in_time(text, move || {
            let mut lines: Vec<String> = Vec::new();
            while !lines.last().is_some_and(|line| line.contains(text)) {
                let mut line = String::new();
                assert_ne!(log.read_line(&mut line).unwrap(), 0, "the log ended before {text:?}");
                lines.push(line);
            }
            (log, lines)
        });
        self.log = Some(log);
        lines
    }

    /// Sends a signal and waits for the end: how it ended, and what it printed after the announcement.
    pub(crate) fn stop(mut self, signal: &str) -> (ExitStatus, String) {
        let mut child = self.child.take().unwrap();
        let log = self.log.take();
        let kill = format!("kill -{signal} {}", child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success(), "{kill}");
        let status = in_time(&kill, move || {
            // A full pipe would keep the peer from its last words.
            let drained = thread::spawn(|| log.map(|mut log| log.read_to_end(&mut Vec::new())));
            let status = child.wait().unwrap();
            drop(drained.join());
            status
        });
        (status, self.rest.recv_timeout(DEADLINE).unwrap())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn rest_of(mut stdout: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut rest = String::new();
        let _ = stdout.read_to_string(&mut rest);
        let _ = sender.send(rest);
    });
    receiver
}
