//! The calls between the network and Python, and who settles each one, once.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::endings::Endings;
use crate::framing::Body;
use crate::status::{CANCELLED, DEADLINE_EXCEEDED, Status};
use crate::waiting::{News, Waiting};

/// The part of an id that says where in the table a call is; the rest is a generation, so that no
/// id is used twice.
const INDEX_BITS: u32 = 20;

/// The largest number of calls that ids have room for.
pub(crate) const MOST_CALLS: usize = 1 << INDEX_BITS;

/// Where the answer to a call goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address {
    /// Index of the I/O thread.
    pub(crate) thread: usize,
    /// Of that thread.
    pub(crate) connection: u64,
    /// Of that connection, as HTTP/2 numbers them.
    pub(crate) stream: u32,
}

/// What a call is answered with.
#[derive(Debug)]
pub(crate) enum Reply {
    /// A message with its prefix; then status OK.
    Message(Bytes),
    /// An error without a message.
    Status(Status),
}

impl Reply {
    fn code(&self) -> u8 {
        match self {
            Reply::Message(_) => Status::OK.code,
            Reply::Status(status) => status.code,
        }
    }
}

/// A call whose request is complete.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// Index into the transport's methods.
    pub(crate) method: u32,
    pub(crate) body: Body,
    pub(crate) deadline: Option<Deadline>,
    /// As in `Address`.
    pub(crate) stream: u32,
}

/// When a client stops waiting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    /// A client that gives up from here on does so for its deadline: it measures from when it began
    /// and rounds what it sends up, so its own comes a little before ours.
    late_from: Instant,
}

impl Deadline {
    pub(crate) fn new(now: Instant, timeout: Duration) -> Self {
        let at = now + timeout;
        let tolerance = timeout / 50 + Duration::from_millis(10);
        Deadline {
            at,
            late_from: now + timeout.saturating_sub(tolerance),
        }
    }
}

/// What a table or queue takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Calls accepted and not answered, and calls or messages that Python has not seen. At most
    /// `MOST_CALLS`.
    pub(crate) calls: usize,
    /// Of those that Python has not seen, with what connections hold beside them.
    pub(crate) bytes: usize,
}

/// Everything that Python has not seen, as parallel lists.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// Oldest first.
    pub(crate) calls: Vec<Queued>,
    /// Ids handed out earlier that want no answer any more.
    pub(crate) cancelled: Vec<u64>,
    /// Whether this is the end.
    pub(crate) is_end: bool,
}

impl Taken {
    /// Whether there is anything to tell.
    pub(crate) fn is_news(&self) -> bool {
        self.is_end || !self.calls.is_empty() || !self.cancelled.is_empty()
    }
}

/// A call on its way to Python.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) id: u64,
    pub(crate) method: u32,
    pub(crate) body: Body,
    pub(crate) deadline: Option<Instant>,
}

/// The numbers of `Transport.stats` that the table knows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) accepted: u64,
    pub(crate) replied: u64,
    pub(crate) failed: u64,
    pub(crate) cancelled: u64,
    pub(crate) dropped_replies: u64,
    pub(crate) in_flight: usize,
    pub(crate) oldest_waiting: Duration,
    /// By method.
    pub(crate) endings: Vec<Endings>,
}

/// Hands accepted calls over as lists. A call belongs to whoever takes it out of the table first:
/// an answer, a deadline, or its client's giving up. Thread-safe; one lock.
#[derive(Debug)]
pub(crate) struct CallTable {
    table: Waiting<Table>,
}

impl CallTable {
    /// For so many methods; `bounds` are those of the buckets of times.
    pub(crate) fn new(methods: usize, limits: Limits, bounds: Vec<f64>) -> Self {
        let endings = vec![Endings::new(bounds.len() + 1); methods];
        CallTable {
            table: Waiting::new(Table {
                slots: Vec::new(),
                free: Vec::new(),
                limits,
                arrived: Vec::new(),
                arrived_bytes: 0,
                cancelled: Vec::new(),
                waiting_since: Instant::now(),
                is_refusing: false,
                is_closed: false,
                counters: Counters {
                    endings,
                    ..Counters::default()
                },
                bounds,
            }),
        }
    }

    /// Queue calls of one connection. `on_result` gets the id of each, or why it was refused.
    /// `held_bytes` is what connections hold.
    pub(crate) fn accept(
        &self,
        address: Address,
        held_bytes: usize,
        arrivals: impl Iterator<Item = Arrival>,
        mut on_result: impl FnMut(Result<u64, Status>),
    ) {
        let now = Instant::now();
        self.table.change(|table| {
            for arrival in arrivals {
                on_result(table.accept(arrival, address, held_bytes, now));
            }
        });
    }

    /// Take the calls that nobody has taken, out of these: their clients stopped waiting.
    pub(crate) fn abandon(&self, ids: &[u64]) {
        let now = Instant::now();
        self.table.change(|table| {
            for id in ids {
                table.abandon(*id, now, None);
            }
        });
    }

    /// Take a call whose deadline has passed. False if somebody else has taken it.
    pub(crate) fn expire(&self, id: u64) -> bool {
        let now = Instant::now();
        self.table
            .change(|table| table.abandon(id, now, Some(DEADLINE_EXCEEDED)))
    }

    /// Take the calls that still want their answer; `deliver` gets each with where it goes.
    pub(crate) fn claim(
        &self,
        replies: impl Iterator<Item = (u64, Reply)>,
        mut deliver: impl FnMut(Address, Reply),
    ) {
        let now = Instant::now();
        self.table.with(|table| {
            for (id, reply) in replies {
                match table.claim(id, reply.code(), now) {
                    Some(address) => deliver(address, reply),
                    None => table.counters.dropped_replies += 1,
                }
            }
        });
    }

    /// Take every call that is left and accept no more; `deliver` gets where each answer goes.
    /// Those not handed out never are.
    pub(crate) fn claim_rest(&self, code: u8, mut deliver: impl FnMut(Address)) {
        let now = Instant::now();
        self.table.change(|table| {
            table.is_refusing = true;
            for id in table.live_ids() {
                table.report_if_handed_out(id);
                if let Some(address) = table.claim(id, code, now) {
                    deliver(address);
                }
            }
        });
    }

    /// Take these calls, to answer them with an error. Returns those that nobody had taken.
    pub(crate) fn withdraw(&self, ids: &[u64], code: u8) -> Vec<u64> {
        let now = Instant::now();
        self.table.change(|table| {
            let mut withdrawn = Vec::new();
            for id in ids {
                table.report_if_handed_out(*id);
                if table.claim(*id, code, now).is_some() {
                    withdrawn.push(*id);
                }
            }
            withdrawn
        })
    }

    /// Hand over what has arrived, without waiting. The size of the bodies is no longer counted.
    pub(crate) fn take(&self) -> Taken {
        self.table.take(Table::take)
    }

    /// Hand over what has arrived once something has, or at `until` (None = for ever).
    pub(crate) fn wait(&self, until: Option<Instant>) -> Taken {
        self.table.wait(until, Table::take)
    }

    /// Whether nobody has taken these calls yet.
    pub(crate) fn alive(&self, ids: &[u64]) -> Vec<bool> {
        let is_alive = |table: &Table, id: &u64| table.call(*id).is_some();
        self.table
            .with(|table| ids.iter().map(|id| is_alive(table, id)).collect())
    }

    /// Nothing more will come.
    pub(crate) fn close(&self) {
        self.table.change(|table| {
            table.is_refusing = true;
            table.is_closed = true;
        });
    }

    /// Count a call that was refused before it was accepted.
    pub(crate) fn count_refused(&self, method: u32, code: u8) {
        let codes = |table: &mut Table| {
            table.counters.endings[method as usize].codes[usize::from(code)] += 1
        };
        self.table.with(codes);
    }

    /// Bytes of the bodies that Python has not taken.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.table.with(|table| table.arrived_bytes)
    }

    pub(crate) fn counters(&self) -> Counters {
        self.table.with(|table| table.counters())
    }

    /// See `Waiting::eventfd`.
    pub(crate) fn eventfd(&self) -> std::io::Result<std::os::fd::RawFd> {
        self.table.eventfd()
    }
}

#[derive(Debug)]
struct Table {
    slots: Vec<Slot>,
    /// Indices of slots without a call.
    free: Vec<u32>,
    limits: Limits,
    arrived: Vec<Queued>,
    arrived_bytes: usize,
    /// Handed out earlier, and not told of yet.
    cancelled: Vec<u64>,
    /// When the oldest of `arrived` came.
    waiting_since: Instant,
    /// After the grace of a stop.
    is_refusing: bool,
    is_closed: bool,
    counters: Counters,
    bounds: Vec<f64>,
}

#[derive(Debug)]
struct Slot {
    /// Of the call that is or was here last.
    generation: u64,
    call: Option<Call>,
}

/// A call that wants its answer.
#[derive(Debug)]
struct Call {
    method: u32,
    accepted_at: Instant,
    late_from: Option<Instant>,
    is_handed_out: bool,
    address: Address,
}

impl News for Table {
    fn has_news(&self) -> bool {
        self.is_closed || !self.arrived.is_empty() || !self.cancelled.is_empty()
    }
}

impl Table {
    fn accept(
        &mut self,
        arrival: Arrival,
        address: Address,
        held_bytes: usize,
        now: Instant,
    ) -> Result<u64, Status> {
        if let Some(refusal) = self.refusal(held_bytes + arrival.body.len()) {
            let endings = &mut self.counters.endings[arrival.method as usize];
            endings.codes[usize::from(refusal.code)] += 1;
            return Err(refusal);
        }
        if self.arrived.is_empty() {
            self.waiting_since = now;
        }
        let id = self.insert(Call {
            method: arrival.method,
            accepted_at: now,
            late_from: arrival.deadline.map(|deadline| deadline.late_from),
            is_handed_out: false,
            address: Address {
                stream: arrival.stream,
                ..address
            },
        });
        self.arrived_bytes += arrival.body.len();
        self.arrived.push(Queued {
            id,
            method: arrival.method,
            body: arrival.body,
            deadline: arrival.deadline.map(|deadline| deadline.at),
        });
        self.counters.accepted += 1;
        Ok(id)
    }

    /// Why a call is refused with which so many bytes come to those that Python has not seen.
    fn refusal(&self, further_bytes: usize) -> Option<Status> {
        if self.is_refusing {
            return Some(Status::shutting_down());
        }
        // Calls that were cancelled while they waited still hold their bodies.
        let calls = self.counters.in_flight.max(self.arrived.len());
        if calls >= self.limits.calls {
            return Some(Status::too_many_calls());
        }
        (self.arrived_bytes + further_bytes > self.limits.bytes).then(Status::too_many_bytes)
    }

    fn insert(&mut self, call: Call) -> u64 {
        self.counters.in_flight += 1;
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                call: None,
            });
            u32::try_from(self.slots.len() - 1).expect("below MOST_CALLS")
        });
        let slot = &mut self.slots[index as usize];
        slot.generation += 1;
        slot.call = Some(call);
        slot.generation << INDEX_BITS | u64::from(index)
    }

    fn call(&self, id: u64) -> Option<&Call> {
        let slot = self.slots.get(index_of(id))?;
        slot.call
            .as_ref()
            .filter(|_| slot.generation == id >> INDEX_BITS)
    }

    fn remove(&mut self, id: u64) -> Option<Call> {
        let slot = self.slots.get_mut(index_of(id))?;
        let call = slot.call.take_if(|_| slot.generation == id >> INDEX_BITS)?;
        self.free.push(index_of(id) as u32);
        self.counters.in_flight -= 1;
        Some(call)
    }

    fn abandon(&mut self, id: u64, now: Instant, code: Option<u8>) -> bool {
        self.report_if_handed_out(id);
        let Some(call) = self.remove(id) else {
            return false;
        };
        let is_late = call.late_from.is_some_and(|late_from| late_from <= now);
        let code = code.unwrap_or(if is_late {
            DEADLINE_EXCEEDED
        } else {
            CANCELLED
        });
        self.counters.cancelled += 1;
        self.count(&call, code, now);
        true
    }

    fn claim(&mut self, id: u64, code: u8, now: Instant) -> Option<Address> {
        let call = self.remove(id)?;
        if code == Status::OK.code {
            self.counters.replied += 1;
        } else {
            self.counters.failed += 1;
        }
        self.count(&call, code, now);
        Some(call.address)
    }

    fn report_if_handed_out(&mut self, id: u64) {
        if self.call(id).is_some_and(|call| call.is_handed_out) {
            self.cancelled.push(id);
        }
    }

    fn count(&mut self, call: &Call, code: u8, now: Instant) {
        let time = now.saturating_duration_since(call.accepted_at);
        self.counters.endings[call.method as usize].add(code, time, &self.bounds);
    }

    fn live_ids(&self) -> Vec<u64> {
        let id = |(index, slot): (usize, &Slot)| {
            slot.call
                .as_ref()
                .map(|_| slot.generation << INDEX_BITS | index as u64)
        };
        self.slots.iter().enumerate().filter_map(id).collect()
    }

    fn take(&mut self) -> Taken {
        let is_end = self.is_closed && self.arrived.is_empty() && self.cancelled.is_empty();
        let room = Vec::with_capacity(self.arrived.len());
        let mut calls = std::mem::replace(&mut self.arrived, room);
        self.arrived_bytes = 0;
        calls.retain(|call| self.hand_out(call.id));
        Taken {
            calls,
            cancelled: std::mem::take(&mut self.cancelled),
            is_end,
        }
    }

    /// False if the call was abandoned while it waited.
    fn hand_out(&mut self, id: u64) -> bool {
        let slot = &mut self.slots[index_of(id)];
        match &mut slot.call {
            Some(call) if slot.generation == id >> INDEX_BITS => {
                call.is_handed_out = true;
                true
            }
            _ => false,
        }
    }

    fn counters(&self) -> Counters {
        let oldest_waiting = match self.arrived.is_empty() {
            true => Duration::ZERO,
            false => self.waiting_since.elapsed(),
        };
        Counters {
            oldest_waiting,
            ..self.counters.clone()
        }
    }
}

fn index_of(id: u64) -> usize {
    (id & (MOST_CALLS as u64 - 1)) as usize
}
