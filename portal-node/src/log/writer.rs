//! Writes lines on a thread of its own. Whoever logs does not wait: a reader that stops reading, a disk that is full, a pipe
//! whose other end is gone cost lines, and nothing else. Lines that were lost are counted, and told of when it works again.

use std::{
    io::{self, Write},
    mem,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use tracing_subscriber::fmt::MakeWriter;

/// Bytes of lines that wait to be written, at most.
const MAX_WAITING: usize = 1 << 20;

/// How often lines that were left out are told of.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// How long is waited for a reader that takes nothing at the moment.
const BUSY: Duration = Duration::from_millis(50);

/// Hands lines to the thread.
#[derive(Clone)]
pub(super) struct LineWriter(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<u8>,
    is_writing: bool,
    is_finished: bool,
    /// Lines that nobody will read.
    lost: u64,
}

impl LineWriter {
    /// Starts the thread, which writes to `sink` and calls `report` now and then.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(sink: impl Write + Send + 'static, report: impl Fn() + Send + 'static) -> io::Result<Self> {
        let writer = Self(Arc::default());
        let shared = Arc::clone(&writer.0);
        thread::Builder::new().name("log".into()).spawn(move || shared.write_all(sink, &report))?;
        Ok(writer)
    }

    /// Waits until everything is written, or so long, and ends the thread.
    pub(super) fn finish(&self, patience: Duration) {
        let until = Instant::now() + patience;
        let mut queue = self.0.queue.lock();
        queue.is_finished = true;
        self.0.changed.notify_all();
        while queue.is_writing || !queue.waiting.is_empty() {
            if self.0.changed.wait_until(&mut queue, until).timed_out() {
                return;
            }
        }
    }
}

impl Write for LineWriter {
    /// Takes one whole line, or several.
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let mut queue = self.0.queue.lock();
        if queue.waiting.len() + lines.len() > MAX_WAITING {
            queue.lost += count(lines);
        } else {
            queue.waiting.extend_from_slice(lines);
            self.0.changed.notify_all();
        }
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for LineWriter {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Shared {
    fn write_all(&self, mut sink: impl Write, report: &impl Fn()) {
        let mut next_report = Instant::now() + REPORT_INTERVAL;
        let mut is_cut = false;
        loop {
            let lines = {
                let mut queue = self.queue.lock();
                while queue.waiting.is_empty() && !queue.is_finished {
                    if self.changed.wait_until(&mut queue, next_report).timed_out() {
                        break;
                    }
                }
                if queue.waiting.is_empty() && queue.is_finished {
                    return;
                }
                queue.is_writing = true;
                mem::take(&mut queue.waiting)
            };
            let written = if lines.is_empty() { Ok(()) } else { write(&mut sink, &lines, &mut is_cut) };
            let lost = {
                let mut queue = self.queue.lock();
                queue.is_writing = false;
                if let Err(lost) = written {
                    queue.lost += lost;
                }
                self.changed.notify_all();
                if written.is_ok() && !lines.is_empty() { mem::take(&mut queue.lost) } else { 0 }
            };
            // These are lines too. They are written in the next round.
            if lost > 0 {
                tracing::warn!(lines = lost, "lines of the log were lost, for they could not be written");
            }
            if Instant::now() >= next_report {
                next_report = Instant::now() + REPORT_INTERVAL;
                report();
            }
        }
    }
}

/// Writes all of it; how many lines were lost if that does not work. `is_cut` says whether the last line that was written has
/// no end.
fn write(sink: &mut impl Write, lines: &[u8], is_cut: &mut bool) -> Result<(), u64> {
    let whole = if mem::take(is_cut) { [b"\n", lines].concat() } else { lines.to_vec() };
    let mut rest = &whole[..];
    while !rest.is_empty() {
        match sink.write(rest) {
            Ok(0) => break,
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Standard error is shared, and another program may have made it one that does not wait.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(BUSY),
            Err(_) => break,
        }
    }
    if rest.is_empty() && sink.flush().is_ok() {
        return Ok(());
    }
    let written = whole.len() - rest.len();
    *is_cut = written > 0 && whole.get(written - 1) != Some(&b'\n');
    Err(count(rest))
}

fn count(lines: &[u8]) -> u64 {
    lines.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// What a sink does with what it is given.
    enum Turn {
        Take(usize),
        Refuse(io::ErrorKind),
    }

    /// A sink that takes turns as it is told, and then everything.
    struct Sink {
        turns: mpsc::Receiver<Turn>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = match self.turns.recv() {
                Ok(Turn::Take(most)) => bytes.len().min(most),
                Ok(Turn::Refuse(kind)) => return Err(kind.into()),
                Err(_) => bytes.len(),
            };
            self.written.lock().extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn start() -> (LineWriter, mpsc::Sender<Turn>, Arc<Mutex<Vec<u8>>>) {
        let (turn, turns) = mpsc::channel();
        let written = Arc::<Mutex<Vec<u8>>>::default();
        let writer = LineWriter::start(Sink { turns, written: Arc::clone(&written) }, || {}).unwrap();
        (writer, turn, written)
    }

    #[test]
    fn lines_come_in_order_and_whole() {
        let (mut writer, turn, written) = start();
        turn.send(Turn::Take(3)).unwrap();
        turn.send(Turn::Refuse(io::ErrorKind::WouldBlock)).unwrap();
        drop(turn);
        for line in ["first\n", "second\n", "third\n"] {
            writer.write_all(line.as_bytes()).unwrap();
        }
        writer.finish(PATIENCE);
        assert_eq!(*written.lock(), b"first\nsecond\nthird\n");
    }

    #[test]
    fn a_reader_that_takes_nothing_holds_up_nobody() {
        let (mut writer, turn, written) = start();
        let line = [b"x".repeat(999), b"\n".to_vec()].concat();
        let lines = 2 * MAX_WAITING / line.len();
        for _ in 0..lines {
            writer.write_all(&line).unwrap();
        }
        let lost = writer.0.queue.lock().lost;
        assert!(lost > 0, "more came than may wait");
        drop(turn);
        writer.finish(PATIENCE);
        assert_eq!(written.lock().len() / line.len(), lines - lost as usize);
    }

    #[test]
    fn a_line_that_was_cut_does_not_spoil_the_next() {
        let (mut writer, turn, written) = start();
        turn.send(Turn::Take(4)).unwrap();
        turn.send(Turn::Refuse(io::ErrorKind::BrokenPipe)).unwrap();
        writer.write_all(b"a line that is cut\n").unwrap();
        while writer.0.queue.lock().lost == 0 {
            thread::yield_now();
        }
        drop(turn);
        writer.write_all(b"whole\n").unwrap();
        writer.finish(PATIENCE);
        assert_eq!(*written.lock(), b"a li\nwhole\n");
        assert_eq!(writer.0.queue.lock().lost, 0, "it was told of");
    }
}
