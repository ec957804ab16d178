//! The load itself: connections, requests on them, phases in time. One thread, one loop.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use crate::channel::{BUFFER_BYTES, Channel};
use crate::cpu;
use crate::exchange::Exchanges;
use crate::failure::Failure;
use crate::poller::{Clock, Poller};
use crate::schedule::Schedule;
use crate::stream::Pending;
use crate::tally::{Rule, Tally};

/// How long servers may take to greet, and to answer after the load is over.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long before another attempt when a server does not take a connection.
const RETRY: Duration = Duration::from_millis(20);
/// How many requests an open loop has on their way on one connection at most. Others wait, and their
/// time runs meanwhile.
const OPEN_LOOP_STREAMS: usize = 1024;

/// What load to make.
#[derive(Debug)]
pub struct Plan {
    pub address: SocketAddr,
    /// None: in clear text.
    pub tls: Option<Arc<ClientConfig>>,
    pub connections: usize,
    /// Requests on their way on each connection, in a closed loop.
    pub streams: usize,
    /// Requests a second in an open loop.
    pub rate: Option<f64>,
    pub warmup: Duration,
    pub seconds: Duration,
    /// How long before a request is due the open loop stays awake.
    pub spin: Duration,
    /// Processes whose trees' processor time counts.
    pub pids: Vec<u32>,
}

/// What was measured.
#[derive(Debug)]
pub struct Measured {
    pub tally: Tally,
    pub seconds: f64,
    pub client_cpu_seconds: f64,
    pub server_cpu_seconds: Option<f64>,
}

/// Make the load that `plan` says. An error says what kept it from being made at all.
pub fn run(plan: &Plan, exchanges: &Exchanges) -> Result<Measured, String> {
    Load::new(plan, exchanges)?.run()
}

impl Plan {
    fn most_streams(&self) -> usize {
        if self.rate.is_some() {
            OPEN_LOOP_STREAMS
        } else {
            self.streams
        }
    }
}

/// One of the connections that the plan asks for, whichever channel it has at the moment.
#[derive(Debug, Default)]
struct Lane {
    channel: Option<usize>,
    waiting: VecDeque<Pending>,
    retry_at: u64,
}

impl Lane {
    fn send_again(&mut self, refused: Vec<Pending>) {
        for pending in refused.into_iter().rev() {
            self.waiting.push_front(pending);
        }
    }
}

struct Load<'a> {
    plan: &'a Plan,
    exchanges: &'a Exchanges,
    clock: Clock,
    poller: Poller,
    /// By token. A channel that the server asked to leave stays until its last answer.
    channels: Vec<Option<Channel<'a>>>,
    lanes: Vec<Lane>,
    /// Why a lane has lost its channel, the last time.
    loss: Option<String>,
    schedule: Option<Schedule>,
    /// Closed loop: whether answers are followed by new requests.
    is_refilling: bool,
    next_exchange: usize,
    tally: Tally,
    buffer: Vec<u8>,
    ready: Vec<usize>,
}

impl<'a> Load<'a> {
    fn new(plan: &'a Plan, exchanges: &'a Exchanges) -> Result<Self, String> {
        let clock = Clock::new();
        let spin = if plan.rate.is_some() {
            plan.spin
        } else {
            Duration::ZERO
        };
        let rule = if plan.rate.is_some() {
            Rule::Due
        } else {
            Rule::Answered
        };
        Ok(Self {
            plan,
            exchanges,
            clock,
            poller: Poller::new(clock, spin).map_err(|error| format!("epoll: {error}"))?,
            channels: Vec::new(),
            lanes: std::iter::repeat_with(Lane::default)
                .take(plan.connections)
                .collect(),
            loss: None,
            schedule: None,
            is_refilling: false,
            next_exchange: 0,
            tally: Tally::new(rule),
            buffer: vec![0; BUFFER_BYTES],
            ready: Vec::new(),
        })
    }

    // Phases.

    fn run(mut self) -> Result<Measured, String> {
        self.greet()?;
        self.load_for(self.plan.warmup)?;
        let (client, server, begin) = (
            cpu::thread_seconds(),
            self.server_seconds()?,
            self.clock.now(),
        );
        self.tally
            .measure(begin..begin + nanoseconds(self.plan.seconds));
        self.load_for(self.plan.seconds)?;
        let seconds = (self.clock.now() - begin) as f64 / 1e9;
        let client_cpu_seconds = cpu::thread_seconds() - client;
        let server_cpu_seconds = self
            .server_seconds()?
            .zip(server)
            .map(|(end, begin)| end - begin);
        self.drain()?;
        Ok(Measured {
            tally: self.tally,
            seconds,
            client_cpu_seconds,
            server_cpu_seconds,
        })
    }

    /// Connect, and wait until the server has said its settings on every connection.
    fn greet(&mut self) -> Result<(), String> {
        let address = self.plan.address;
        for lane in 0..self.lanes.len() {
            self.connect(lane)
                .map_err(|error| format!("cannot connect to {address}: {error}"))?;
        }
        let how = match self.plan.tls {
            None => "in clear text",
            Some(_) => "over TLS",
        };
        let refusal = |reason: &str| format!("no HTTP/2 {how} with {address}: {reason}");
        let end = self.clock.now() + nanoseconds(PATIENCE);
        while !self
            .channels
            .iter()
            .flatten()
            .all(|channel| channel.connection.is_ready())
        {
            self.turn(end)?;
            if let Some(reason) = &self.loss {
                return Err(refusal(reason));
            }
            if self.lanes.iter().any(|lane| lane.channel.is_none()) || self.clock.now() >= end {
                return Err(refusal("no SETTINGS came"));
            }
        }
        Ok(())
    }

    fn load_for(&mut self, time: Duration) -> Result<(), String> {
        let begin = self.clock.now();
        let end = begin + nanoseconds(time);
        self.schedule = self
            .plan
            .rate
            .map(|rate| Schedule::new(begin, rate, time.as_secs_f64()));
        self.is_refilling = self.plan.rate.is_none();
        if self.is_refilling {
            self.for_all_lanes();
        }
        while self.clock.now() < end {
            self.turn(end)?;
        }
        self.is_refilling = false;
        Ok(())
    }

    /// Wait for the answers that are still to come.
    fn drain(&mut self) -> Result<(), String> {
        let end = self.clock.now() + nanoseconds(PATIENCE);
        while self.is_anything_open() && self.clock.now() < end {
            self.turn(end)?;
        }
        let now = self.clock.now();
        let open = self
            .channels
            .iter_mut()
            .flatten()
            .flat_map(|channel| channel.connection.abandon());
        let waiting = self
            .lanes
            .iter_mut()
            .flat_map(|lane| lane.waiting.drain(..));
        for pending in open.chain(waiting) {
            self.tally.record((pending, Err(Failure::Unanswered)), now);
        }
        Ok(())
    }

    fn is_anything_open(&self) -> bool {
        let is_open = |channel: &Channel<'_>| channel.connection.open_streams() > 0;
        self.channels.iter().flatten().any(is_open)
            || self.lanes.iter().any(|lane| !lane.waiting.is_empty())
            || self
                .schedule
                .as_ref()
                .is_some_and(|schedule| schedule.next_due().is_some())
    }

    fn server_seconds(&self) -> Result<Option<f64>, String> {
        let pids = &self.plan.pids;
        if pids.is_empty() {
            Ok(None)
        } else {
            cpu::tree_seconds(pids).map(Some)
        }
    }

    // Turns.

    /// Wait for something to do, until `end` at the latest, and do it.
    fn turn(&mut self, end: u64) -> Result<(), String> {
        let deadline = self.deadline(end);
        let mut ready = std::mem::take(&mut self.ready);
        self.poller
            .wait(deadline, &mut ready)
            .map_err(|error| format!("epoll: {error}"))?;
        for token in ready.iter().copied() {
            self.serve(token);
        }
        self.ready = ready;
        self.hand_out();
        self.send_waiting();
        self.reconnect();
        Ok(())
    }

    fn deadline(&self, end: u64) -> u64 {
        let due = self.schedule.as_ref().and_then(Schedule::next_due);
        let lost = self.lanes.iter().filter(|lane| lane.channel.is_none());
        lost.map(|lane| lane.retry_at)
            .chain(due)
            .fold(end, u64::min)
    }

    fn serve(&mut self, token: usize) {
        let (tally, buffer, clock) = (&mut self.tally, &mut self.buffer, self.clock);
        let Some(channel) = self.channels[token].as_mut() else {
            return;
        };
        let result = channel.read(buffer, clock, &mut |outcome, now| {
            tally.record(outcome, now)
        });
        match result {
            Ok(()) => self.proceed(token),
            Err(reason) => self.lose(token, &reason),
        }
    }

    /// Start what can be started on a channel and write it.
    fn proceed(&mut self, token: usize) {
        let Some(channel) = self.channels[token].as_ref() else {
            return;
        };
        let (lane, is_leaving) = (channel.lane, channel.connection.is_leaving());
        let is_done = is_leaving && channel.connection.open_streams() == 0;
        if is_leaving {
            self.leave(token, lane);
        } else {
            self.fill(token, lane);
        }
        let flushed = self.channels[token]
            .as_mut()
            .map_or(Ok(()), |channel| channel.flush(&self.poller));
        if let Err(reason) = flushed {
            self.lose(token, &reason);
        } else if is_done {
            self.channels[token] = None;
        }
    }

    fn fill(&mut self, token: usize, lane: usize) {
        let most = self.plan.most_streams();
        let now = self.clock.now();
        let (count, next) = (self.exchanges.len(), &mut self.next_exchange);
        let Some(channel) = self.channels[token].as_mut() else {
            return;
        };
        while channel.connection.can_start(most) {
            let waiting = self.lanes[lane].waiting.pop_front();
            let fresh = || {
                *next = (*next + 1) % count;
                Pending {
                    exchange: *next,
                    begin: now,
                }
            };
            let Some(pending) = waiting.or_else(|| self.is_refilling.then(fresh)) else {
                break;
            };
            channel.connection.start(pending);
        }
    }

    fn for_all_lanes(&mut self) {
        for lane in 0..self.lanes.len() {
            if let Some(token) = self.lanes[lane].channel {
                self.proceed(token);
            }
        }
    }

    // Requests that wait.

    /// Hand out the requests of an open loop that are due, one connection after another.
    fn hand_out(&mut self) {
        let Some(schedule) = self.schedule.as_mut() else {
            return;
        };
        let now = self.clock.now();
        let (lanes, exchanges) = (self.lanes.len(), self.exchanges.len());
        while let Some((number, due)) = schedule.take_due(now) {
            let pending = Pending {
                exchange: number % exchanges,
                begin: due,
            };
            self.lanes[number % lanes].waiting.push_back(pending);
            self.tally.record_pacing(due, now);
        }
    }

    fn send_waiting(&mut self) {
        for lane in 0..self.lanes.len() {
            let token = self.lanes[lane].channel;
            if let Some(token) = token.filter(|_| !self.lanes[lane].waiting.is_empty()) {
                self.proceed(token);
            }
        }
    }

    // Connections that come and go.

    fn connect(&mut self, lane: usize) -> Result<(), String> {
        let (address, most) = (self.plan.address, self.plan.most_streams());
        let tls = self.plan.tls.as_ref();
        let opened = Channel::open(address, tls, self.exchanges, most, lane);
        let mut channel = opened.map_err(|error| error.to_string())?;
        let free = self.channels.iter().position(Option::is_none);
        let token = free.unwrap_or(self.channels.len());
        channel
            .watch(&self.poller, token)
            .map_err(|error| error.to_string())?;
        channel.flush(&self.poller)?;
        if free.is_none() {
            self.channels.push(None);
        }
        self.channels[token] = Some(channel);
        self.lanes[lane].channel = Some(token);
        Ok(())
    }

    /// The server has said GOAWAY: what it did not look at goes to the lane's next channel.
    fn leave(&mut self, token: usize, lane: usize) {
        if let Some(channel) = self.channels[token].as_mut() {
            self.lanes[lane].send_again(channel.connection.take_refused());
        }
        if self.lanes[lane].channel == Some(token) {
            self.lanes[lane].channel = None;
            self.tally.record_reconnection(true, self.clock.now());
        }
    }

    fn lose(&mut self, token: usize, reason: &str) {
        let Some(mut channel) = self.channels[token].take() else {
            return;
        };
        let now = self.clock.now();
        for pending in channel.connection.abandon() {
            self.tally
                .record((pending, Err(Failure::Connection(reason.into()))), now);
        }
        let lane = &mut self.lanes[channel.lane];
        lane.send_again(channel.connection.take_refused());
        if lane.channel == Some(token) {
            lane.channel = None;
            self.tally.record_reconnection(false, now);
            self.loss = Some(reason.into());
        }
    }

    /// Give every lane that has lost its channel a new one.
    fn reconnect(&mut self) {
        let now = self.clock.now();
        for lane in 0..self.lanes.len() {
            if self.lanes[lane].channel.is_none() && self.lanes[lane].retry_at <= now {
                if let Err(reason) = self.connect(lane) {
                    self.lanes[lane].retry_at = now + nanoseconds(RETRY);
                    self.tally.record_refusal(reason, now);
                }
            }
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    time.as_nanos() as u64
}
