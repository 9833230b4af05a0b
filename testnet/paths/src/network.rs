//! Hosts in namespaces of their own, and the thread that carries their packets.
//!
//! A device is made in this process's namespace and then moved: the descriptor, through which its packets are read and written, stays
//! here. One thread does it all, woken by the devices and by the router's next deadline, so packets are neither copied between
//! threads nor reordered.

use std::io::{PipeWriter, pipe};
use std::net::Ipv4Addr;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{ClockId, clock_gettime};
use tun_rs::{DeviceBuilder, SyncDevice};

use crate::namespace::{IpError, Namespace, ip, take_leftovers};
use crate::router::{Counts, HostId, Router};

/// Bytes of a packet, as on nearly all of the internet.
const MTU: usize = 1_500;
/// Packets that wait in a device until the router reads them. What the system drops there nobody counts, so it is a lot.
const DEVICE_QUEUE: usize = 10_000;
/// Packets that are read from a device before the next one has its turn, and before something is handed over.
const BATCH: usize = 64;
/// How much the thread goes before others: it needs little and must have it at once. Without the right to it, it does without.
const NICENESS: i32 = -10;
/// What the device is called in its namespace.
const DEVICE: &str = "path0";

/// No network with long paths.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A namespace could not be made or configured.
    #[error(transparent)]
    Namespace(#[from] IpError),
    /// No TUN device.
    #[error("no TUN device: {0}")]
    Device(std::io::Error),
    /// No thread or pipe for the router.
    #[error("no room for the router: {0}")]
    Machine(std::io::Error),
}

/// What the router did, and whether it kept up.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What became of the packets from each host to each, row by row.
    pub paths: Vec<Vec<Counts>>,
    /// Packets that led to no host.
    pub strayed: u64,
    /// Packets that a device did not take.
    pub refused: u64,
    /// How long after their time packets were handed over, on average and at most. If that is much, the machine was too busy for
    /// what was measured on it.
    pub late: (Duration, Duration),
    /// Processor time of the thread.
    pub busy: Duration,
}

impl Report {
    /// Of all paths together.
    pub fn total(&self) -> Counts {
        let mut total = Counts::default();
        self.paths.iter().flatten().for_each(|counts| total += *counts);
        total
    }
}

/// Hosts, and the router between them. All of it goes when it is dropped.
#[derive(Debug)]
pub struct PathNetwork {
    thread: Option<(JoinHandle<Report>, PipeWriter)>,
    hosts: Vec<Namespace>,
}

impl PathNetwork {
    /// Makes a namespace for each host of `router`, and begins to carry packets.
    ///
    /// # Errors
    /// [`SetupError`] where the machine gives no namespaces or devices.
    pub fn start(router: Router) -> Result<Self, SetupError> {
        take_leftovers();
        let (mut hosts, mut devices) = (Vec::new(), Vec::new());
        for host in router.hosts() {
            let namespace = Namespace::new()?;
            devices.push(device(&namespace, &host.addresses)?);
            hosts.push(namespace);
        }
        let (stopped, stop) = pipe().map_err(SetupError::Machine)?;
        let carry = move || {
            let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS);
            Carrier { router, devices, report: Report::default(), handed: 0, late: Duration::ZERO }.run(&stopped)
        };
        let thread = std::thread::Builder::new().name("paths".into()).spawn(carry).map_err(SetupError::Machine)?;
        Ok(Self { thread: Some((thread, stop)), hosts })
    }

    /// A host's namespace, to run programs in.
    pub fn host(&self, host: HostId) -> Option<&Namespace> {
        self.hosts.get(host.0)
    }

    /// Stops carrying packets and tells what was carried. Programs on the hosts should have ended: they reach nobody any more.
    pub fn stop(mut self) -> Report {
        self.join()
    }

    fn join(&mut self) -> Report {
        let Some((thread, stop)) = self.thread.take() else { return Report::default() };
        drop(stop);
        thread.join().unwrap_or_default()
    }
}

impl Drop for PathNetwork {
    fn drop(&mut self) {
        self.join();
    }
}

/// Whether this machine gives what it takes: a namespace and a TUN device.
///
/// # Errors
/// What it does not give.
pub fn probe() -> Result<(), SetupError> {
    take_leftovers();
    let _namespace = Namespace::new()?;
    let _device = DeviceBuilder::new().enable(false).build_sync().map_err(SetupError::Device)?;
    Ok(())
}

/// A device with these addresses in a namespace, the way out for everything else there.
fn device(namespace: &Namespace, addresses: &[Ipv4Addr]) -> Result<SyncDevice, SetupError> {
    // The system finds a name that is free here, where it stays for a moment.
    let device = DeviceBuilder::new().enable(false).build_sync().map_err(SetupError::Device)?;
    device.set_nonblocking(true).map_err(SetupError::Device)?;
    let name = device.name().map_err(SetupError::Device)?;
    ip(&["link", "set", "dev", &name, "netns", namespace.name(), "name", DEVICE], "")?;
    let mut lines = format!("link set {DEVICE} mtu {MTU} txqueuelen {DEVICE_QUEUE} up\n");
    for address in addresses {
        lines += &format!("address add {address}/32 dev {DEVICE}\n");
    }
    lines += &format!("route add default dev {DEVICE}");
    if let Some(address) = addresses.first() {
        lines += &format!(" src {address}");
    }
    namespace.configure(&(lines + "\n"))?;
    Ok(device)
}

/// What the thread works with.
struct Carrier {
    router: Router,
    devices: Vec<SyncDevice>,
    report: Report,
    handed: u32,
    late: Duration,
}

impl Carrier {
    /// Carries packets until the other end of the pipe is closed.
    fn run(mut self, stopped: &std::io::PipeReader) -> Report {
        let mut buffer = [0; MTU];
        loop {
            self.hand_over();
            let wait = self.router.next_deadline().map(|due| timespec(due.saturating_duration_since(Instant::now())));
            let (ready, is_stopped) = {
                let mut awaited: Vec<_> =
                    self.devices.iter().map(|device| PollFd::new(device, PollFlags::IN)).collect();
                awaited.push(PollFd::new(stopped, PollFlags::IN));
                match poll(&mut awaited, wait.as_ref()) {
                    Ok(_) | Err(rustix::io::Errno::INTR) => {}
                    Err(_) => break,
                }
                let mut ready: Vec<bool> = awaited.iter().map(|fd| !fd.revents().is_empty()).collect();
                let is_stopped = ready.pop().unwrap_or(true);
                (ready, is_stopped)
            };
            if is_stopped {
                break;
            }
            for (host, _) in ready.into_iter().enumerate().filter(|(_, is_ready)| *is_ready) {
                for _ in 0..BATCH {
                    let Ok(bytes) = self.devices[host].recv(&mut buffer) else { break };
                    self.router.handle_packet(Instant::now(), HostId(host), buffer[..bytes].to_vec());
                }
            }
        }
        self.told()
    }

    fn hand_over(&mut self) {
        let now = Instant::now();
        while let Some(handover) = self.router.poll_output(now) {
            let late = now.saturating_duration_since(handover.due);
            self.handed = self.handed.saturating_add(1);
            self.late = self.late.saturating_add(late);
            self.report.late.1 = self.report.late.1.max(late);
            // As on any network, what a host does not take is gone.
            if self.devices[handover.to.0].send(&handover.packet).is_err() {
                self.report.refused += 1;
            }
        }
    }

    fn told(mut self) -> Report {
        let hosts = (0..self.devices.len()).map(HostId);
        let row = |from| hosts.clone().map(|to| self.router.counts(from, to)).collect();
        self.report.paths = hosts.clone().map(row).collect();
        self.report.strayed = self.router.strayed();
        self.report.late.0 = self.late / self.handed.max(1);
        let busy = clock_gettime(ClockId::ThreadCPUTime);
        self.report.busy =
            Duration::new(busy.tv_sec.try_into().unwrap_or_default(), busy.tv_nsec.try_into().unwrap_or_default());
        self.report
    }
}

fn timespec(time: Duration) -> Timespec {
    Timespec { tv_sec: time.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: time.subsec_nanos().into() }
}
