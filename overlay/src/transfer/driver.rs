//! The one task that moves packets: it keeps their order, and nothing is spawned for a packet.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::pace::PacketTicket;
use super::state::{Outgoing, StreamTable};
use crate::transport::{ProtocolId, TalkRequest, Transport};

/// Packets taken from the queue before what they caused is sent.
const BATCH: usize = 64;

/// How long a shutdown waits until the last packets have left, the RESETs of what was open. They are a courtesy: without
/// them the peers time out.
const STOP_PATIENCE: Duration = Duration::from_millis(500);

pub(super) struct Driver {
    transport: Arc<dyn Transport>,
    state: Arc<Mutex<StreamTable>>,
    packets: mpsc::Receiver<TalkRequest>,
    /// Packets that the peer has not answered. Polled in the order they were pushed, which is the order on the wire.
    in_flight: FuturesUnordered<BoxFuture<'static, PacketTicket>>,
    outgoing: VecDeque<Outgoing>,
    timer: Pin<Box<Sleep>>,
    stopping: Pin<Box<WaitForCancellationFutureOwned>>,
    /// When it ends whatever is unsent, once it is to stop.
    ends: Option<Instant>,
}

impl Driver {
    pub(super) fn new(
        transport: Arc<dyn Transport>,
        state: Arc<Mutex<StreamTable>>,
        packets: mpsc::Receiver<TalkRequest>,
        stopping: CancellationToken,
    ) -> Self {
        Self {
            transport,
            state,
            packets,
            in_flight: FuturesUnordered::new(),
            outgoing: VecDeque::new(),
            timer: Box::pin(tokio::time::sleep_until(Instant::now())),
            stopping: Box::pin(stopping.cancelled_owned()),
            ends: None,
        }
    }

    /// Takes what is there without waiting; whether anything was.
    fn receive(&mut self, state: &mut StreamTable, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut received = false;
        for _ in 0..BATCH {
            let Poll::Ready(Some(request)) = self.packets.poll_recv(cx) else { break };
            received = true;
            let (contact, packet) = (request.contact.clone(), request.body.clone());
            // Answered empty at once: the sender counts what is unanswered.
            drop(request);
            if let Some(contact) = contact {
                state.receive(contact, packet, now.into_std());
            }
        }
        received
    }

    fn send(&mut self) {
        for Outgoing { to, packet, ticket } in self.outgoing.drain(..) {
            self.in_flight.push(self.transport.send(&to, &ProtocolId::UTP, packet).map(move |()| ticket).boxed());
        }
    }

    /// Arms the timer for the next deadline; whether that is over already.
    fn poll_timer(&mut self, next: Option<std::time::Instant>, cx: &mut Context<'_>) -> bool {
        let Some(deadline) = next.map(Instant::from_std) else { return false };
        if self.timer.deadline() != deadline {
            self.timer.as_mut().reset(deadline);
        }
        self.timer.as_mut().poll(cx).is_ready()
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let shared = this.state.clone();
        loop {
            let now = Instant::now();
            let mut state = shared.lock();
            // While it runs, the driver need not be woken by what it does itself.
            state.clear_driver();
            if this.ends.is_none() && this.stopping.as_mut().poll(cx).is_ready() {
                this.ends = Some(now + STOP_PATIENCE);
                state.stop(now.into_std());
            }
            let mut progress = this.receive(&mut state, cx, now);
            while let Poll::Ready(Some(ticket)) = this.in_flight.poll_next_unpin(cx) {
                state.answered(ticket);
                progress = true;
            }
            state.handle_timeouts(now.into_std());
            state.poll_transmit(now.into_std(), &mut this.outgoing);
            let next_deadline = state.next_deadline().into_iter().chain(this.ends.map(Instant::into_std)).min();
            // What was handed over may wait on its way out until it is answered.
            let has_unsent = this.ends.is_some() && (!this.in_flight.is_empty() || state.has_unsent());
            state.set_driver(cx.waker());
            let wakers = state.take_wakers();
            drop(state);
            for waker in wakers {
                waker.wake();
            }
            progress |= !this.outgoing.is_empty();
            this.send();
            if this.ends.is_some_and(|ends| now >= ends || !(progress || has_unsent)) {
                return Poll::Ready(());
            }
            if !progress && !this.poll_timer(next_deadline, cx) {
                return Poll::Pending;
            }
        }
    }
}
