//! One client's connection: a task that drives HTTP/2 and everything that happens on it.
//!
//! Nothing here waits for a single call. Each time round, the task writes all answers that have
//! come, lets h2 write and read, and hands everything that has arrived over at once.

mod ending;
mod streams;

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Instant;

use h2::{PingPong, Reason, RecvStream};
use http::Request;

use crate::calls::{Address, Arrival, Deadline, Reply};
use crate::deadlines::{Alarm, Deadlines};
use crate::framing::Body;
use crate::handshake::Http2;
use crate::held::HeldCount;
use crate::id_map::IdMap;
use crate::inlet::{Order, Phase};
use crate::lifetime::Lifetime;
use crate::reading::{MessageReader, Read, ReadyStreams};
use crate::request::{Head, read_head};
use crate::response::{Answer, Respond};
use crate::server::{Server, Target};
use crate::status::{Status, UNIMPLEMENTED};
use crate::streaming::Streaming;
use crate::tapped::ReadLog;
use crate::wire::Wire;
use crate::worker::Registration;

/// Above this many bytes that its client has not read, a connection takes no calls.
const UNSENT_LIMIT: usize = 4 << 20;

/// The server is told of changes from so many bytes on, and at the end of a round.
const HELD_STEP: usize = 64 * 1024;

/// The task of a connection whose handshake is done. Ready when it is over.
pub(crate) struct Connection {
    registration: Registration,
    server: Arc<Server>,
    h2: Http2,
    /// Under h2, which does not flush it.
    wire: Rc<RefCell<Wire>>,
    log: Rc<ReadLog>,
    /// What the client has begun and has had no answer to.
    streams: IdMap<u32, Stream>,
    /// The newest stream that h2 has handed over.
    last_stream: u32,
    /// Calls that have become complete in this round.
    arrivals: Vec<(Arrival, Respond)>,
    /// Whether h2 has been given something since it last wrote.
    has_written: bool,
    /// Streams whose messages have come in part, and now more.
    ready: Arc<ReadyStreams>,
    deadlines: Deadlines,
    alarm: Alarm,
    lifetime: Lifetime,
    /// To ask whether the client is there.
    pings: Option<PingPong>,
    /// Of requests that are not complete.
    received: HeldCount,
    /// Of answers that h2 has not written.
    unsent: HeldCount,
    /// What of both the server has been told.
    held_told: usize,
    phase: Phase,
    /// When to stop waiting for a client that does not go away.
    close_at: Option<Instant>,
    /// Whether the last frame of all has been handed to h2.
    is_leaving: bool,
}

/// A stream that has no answer yet.
struct Stream {
    respond: Respond,
    state: State,
}

enum State {
    /// Its message is not complete.
    Reading(Box<Reading>),
    /// Its call is in the table, under this id.
    Waiting(u64),
    /// Its method takes or gives many messages.
    Streaming(Box<Streaming>),
}

struct Reading {
    target: Target,
    deadline: Option<Deadline>,
    reader: MessageReader,
}

impl Stream {
    /// The id of its call, if it has one.
    fn call(&self) -> Option<u64> {
        match self.state {
            State::Waiting(id) => Some(id),
            State::Reading(_) | State::Streaming(_) => None,
        }
    }
}

impl Connection {
    pub(crate) fn new(
        registration: Registration,
        mut h2: Http2,
        wire: Rc<RefCell<Wire>>,
        log: Rc<ReadLog>,
    ) -> Self {
        let server = registration.worker.server.clone();
        Connection {
            lifetime: Lifetime::new(&server.options, Instant::now()),
            pings: h2.ping_pong(),
            server,
            registration,
            h2,
            wire,
            log,
            streams: IdMap::default(),
            last_stream: 0,
            arrivals: Vec::new(),
            has_written: false,
            ready: Arc::default(),
            deadlines: Deadlines::default(),
            alarm: Alarm::default(),
            received: HeldCount::default(),
            unsent: HeldCount::default(),
            held_told: 0,
            phase: Phase::Serving,
            close_at: None,
            is_leaving: false,
        }
    }

    /// Everything there is to do now. True when the connection is over.
    fn go_round(&mut self, cx: &mut Context<'_>) -> bool {
        if self.keep_time(cx) {
            return true;
        }
        loop {
            self.follow_orders();
            let is_over = self.drive(cx);
            self.read_on(cx);
            self.hand_over_arrivals();
            let is_sound = self.drop_reset_streams();
            if is_over || !is_sound {
                return true;
            }
            if !self.has_written {
                return self.is_broken(cx) || self.leave(cx);
            }
        }
    }

    /// Write what h2 has written. True when that is not possible any more.
    fn is_broken(&self, cx: &mut Context<'_>) -> bool {
        matches!(self.wire.borrow_mut().poll_flush(cx), Poll::Ready(Err(_)))
    }

    /// Let h2 write and read, and begin with the streams that have come. True when it is over.
    fn drive(&mut self, cx: &mut Context<'_>) -> bool {
        loop {
            self.has_written = false;
            if self.unsent.get() > UNSENT_LIMIT {
                if self.h2.poll_closed(cx).is_ready() {
                    return true;
                }
                if self.unsent.get() > UNSENT_LIMIT {
                    return false;
                }
            }
            match self.h2.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => self.begin(request, respond, cx),
                Poll::Ready(Some(Err(_)) | None) => return true,
                Poll::Pending => return false,
            }
        }
    }

    fn begin(&mut self, request: Request<RecvStream>, mut respond: Respond, cx: &mut Context<'_>) {
        let stream = respond.stream_id().as_u32();
        self.last_stream = stream;
        if self.log.take_reset(stream) {
            return;
        }
        if self.is_turning_away() {
            respond.send_reset(Reason::REFUSED_STREAM);
            return;
        }
        let (parts, body) = request.into_parts();
        match read_head(&parts, &self.server) {
            Ok(head) => self.begin_reading(stream, head, body, respond, cx),
            Err(refusal) => self.answer(respond, refusal),
        }
    }

    fn begin_reading(
        &mut self,
        stream: u32,
        head: Head,
        body: RecvStream,
        respond: Respond,
        cx: &mut Context<'_>,
    ) {
        let deadline = head
            .timeout
            .map(|timeout| Deadline::new(Instant::now(), timeout));
        if let Some(deadline) = deadline {
            self.deadlines.add(deadline.at, stream);
        }
        let limit = self.server.options.message_limit();
        let reader = MessageReader::new(body, head.encoding, limit, &self.received);
        if let Target::Stream(method) = head.target {
            self.begin_streaming(stream, method, reader, respond, cx);
            return;
        }
        let mut reading = Reading {
            target: head.target,
            deadline,
            reader,
        };
        // Headers and message mostly come together.
        match reading.reader.poll_read(cx, &self.server) {
            Poll::Ready(read) => self.end_reading(stream, respond, &reading, read),
            Poll::Pending => self.read_later(stream, respond, reading, cx),
        }
    }

    fn read_later(
        &mut self,
        stream: u32,
        respond: Respond,
        mut reading: Reading,
        cx: &Context<'_>,
    ) {
        if self.held() > self.held_told + HELD_STEP {
            self.tell_held();
        }
        let waker = self.ready.waker(stream, cx.waker());
        match reading
            .reader
            .poll_read(&mut Context::from_waker(&waker), &self.server)
        {
            Poll::Ready(read) => self.end_reading(stream, respond, &reading, read),
            Poll::Pending => {
                let state = State::Reading(Box::new(reading));
                self.streams.insert(stream, Stream { respond, state });
            }
        }
    }

    /// Go on with the streams on which something has come.
    fn read_on(&mut self, cx: &Context<'_>) {
        let mut streams = Vec::new();
        self.ready.take(&mut streams);
        for stream in streams {
            match self.streams.remove(&stream) {
                Some(Stream {
                    respond,
                    state: State::Reading(reading),
                }) => {
                    self.read_later(stream, respond, *reading, cx);
                }
                Some(Stream {
                    respond,
                    state: State::Streaming(streaming),
                }) => {
                    self.stream_on(stream, respond, streaming, cx);
                }
                Some(waiting) => {
                    self.streams.insert(stream, waiting);
                }
                None => {}
            }
        }
    }

    /// A unary call has its message, or will not get one.
    fn end_reading(&mut self, stream: u32, respond: Respond, reading: &Reading, read: Read) {
        match read {
            Read::Message(body) => self.arrive(stream, respond, reading, body),
            Read::End => {
                let text = "The method requires exactly one request message.";
                self.refuse(respond, &reading.target, Status::new(UNIMPLEMENTED, text));
            }
            Read::Refused(status) => self.refuse(respond, &reading.target, status),
            Read::Gone => {}
        }
    }

    fn arrive(&mut self, stream: u32, respond: Respond, reading: &Reading, body: Body) {
        match &reading.target {
            Target::Constant(message) => {
                let reply = Reply::Message(message.clone());
                self.answer(respond, Answer::Reply(reply));
            }
            Target::Unary(method) => {
                let arrival = Arrival {
                    method: *method,
                    body,
                    deadline: reading.deadline,
                    stream,
                };
                self.arrivals.push((arrival, respond));
            }
            Target::Stream(_) => unreachable!("streams are not read for one message"),
        }
    }

    fn refuse(&mut self, respond: Respond, target: &Target, status: Status) {
        if let Target::Unary(method) = target {
            self.server.calls.count_refused(*method, status.code);
        }
        self.answer(respond, Answer::status(status));
    }

    fn hand_over_arrivals(&mut self) {
        if self.arrivals.is_empty() {
            return;
        }
        self.tell_held();
        let held = self.server.held_bytes.load(Ordering::Relaxed);
        let address = self.address(0);
        let mut responds = Vec::with_capacity(self.arrivals.len());
        let mut results = Vec::with_capacity(self.arrivals.len());
        let arrivals = self.arrivals.drain(..).map(|(arrival, respond)| {
            responds.push((arrival.stream, respond));
            arrival
        });
        self.server
            .calls
            .accept(address, held, arrivals, |result| results.push(result));
        for ((stream, respond), result) in responds.into_iter().zip(results) {
            match result {
                Ok(id) => {
                    let state = State::Waiting(id);
                    self.streams.insert(stream, Stream { respond, state });
                }
                Err(status) => self.answer(respond, Answer::status(status)),
            }
        }
    }

    fn held(&self) -> usize {
        self.received.get() + self.unsent.get()
    }

    /// Tell the server of the change in what is held here.
    fn tell_held(&mut self) {
        let (held, told) = (self.held(), self.held_told);
        if held >= told {
            self.server
                .held_bytes
                .fetch_add(held - told, Ordering::Relaxed);
        } else {
            self.server
                .held_bytes
                .fetch_sub(told - held, Ordering::Relaxed);
        }
        self.held_told = held;
    }

    pub(crate) fn address(&self, stream: u32) -> Address {
        Address {
            thread: self.registration.worker.index,
            connection: self.registration.key,
            stream,
        }
    }

    fn follow_orders(&mut self) {
        let mut orders = Vec::new();
        self.registration.inlet.take(&mut orders);
        for order in orders {
            match order {
                Order::Reply(stream, reply) => {
                    if let Some(open) = self.streams.remove(&stream) {
                        self.answer(open.respond, Answer::Reply(reply));
                    }
                }
                Order::Message(stream, message) => self.send_message(stream, message),
                Order::End(stream, status) => self.end_stream(stream, &status),
            }
        }
        self.follow_phase();
    }

    /// Hand an answer to h2.
    fn answer(&mut self, respond: Respond, answer: Answer) {
        // Fails only when the client has given up.
        let _ = answer.write(respond, &self.unsent);
        self.has_written = true;
    }
}

impl Future for Connection {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.registration.inlet.register(cx.waker());
        if self.go_round(cx) {
            return Poll::Ready(());
        }
        self.tell_held();
        if self.lifetime.watches(self.unsent.get()) {
            self.note_signs(Instant::now());
        }
        self.set_alarm(cx);
        Poll::Pending
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut calls = Vec::new();
        for (_, open) in self.streams.drain() {
            match open.state {
                State::Waiting(id) => calls.push(id),
                State::Streaming(streaming) => streaming.abandon(&self.server),
                State::Reading(_) => {}
            }
        }
        self.server.calls.abandon(&calls);
        self.server
            .held_bytes
            .fetch_sub(self.held_told, Ordering::Relaxed);
    }
}
