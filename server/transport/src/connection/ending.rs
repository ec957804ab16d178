//! What comes to an end on a connection: streams that are late or given up, and the connection.

use std::task::Context;
use std::time::Instant;

use h2::{Ping, Reason};

use super::{Connection, State, Stream};
use crate::handshake::MAX_PENDING_RESETS;
use crate::inlet::Phase;
use crate::lifetime::{Signs, Step};
use crate::response::Answer;
use crate::server::FLUSH;
use crate::status::{Status, UNAVAILABLE};

impl Connection {
    /// Forget the streams that were reset. False if too many were that have not come.
    pub(super) fn drop_reset_streams(&mut self) -> bool {
        if self.log.resets.borrow().is_empty() {
            return true;
        }
        let mut calls = Vec::new();
        for stream in self.log.take_resets(self.last_stream) {
            match self.streams.remove(&stream).map(|open| open.state) {
                Some(State::Waiting(id)) => calls.push(id),
                Some(State::Streaming(streaming)) => streaming.abandon(&self.server),
                Some(State::Reading(_)) | None => {}
            }
        }
        self.server.calls.abandon(&calls);
        let streams = self.server.options.max_concurrent_streams as usize;
        self.log.resets.borrow().len() <= streams + MAX_PENDING_RESETS
    }

    /// Do what is due by the clock. True when the connection is over.
    pub(super) fn keep_time(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.alarm.has_rung(cx) {
            return false;
        }
        let now = Instant::now();
        while let Some(stream) = self.deadlines.pop_late(now) {
            self.end_late_stream(stream);
        }
        self.note_signs(now);
        while let Some(step) = self.lifetime.step(now) {
            match step {
                Step::Ping => self.send_ping(cx),
                Step::GoAway => self.registration.inlet.set_phase(Phase::Draining),
                Step::Refuse => self.registration.inlet.set_phase(Phase::Closing),
                Step::Close => return true,
            }
        }
        false
    }

    pub(super) fn note_signs(&mut self, now: Instant) {
        self.lifetime.note(Signs {
            now,
            has_read: self.log.has_read.take(),
            is_busy: !self.streams.is_empty(),
            unsent: self.unsent.get(),
            sent: self.wire.borrow().sent,
        });
    }

    pub(super) fn send_ping(&mut self, cx: &mut Context<'_>) {
        if let Some(pings) = &mut self.pings {
            // The answer to the last one, if it has come, has to be taken first. If it has not, the
            // client is about to be closed.
            let _ = pings.poll_pong(cx);
            let _ = pings.send_ping(Ping::opaque());
        }
    }

    pub(super) fn end_late_stream(&mut self, stream: u32) {
        let Some(open) = self.streams.remove(&stream) else {
            return;
        };
        let status = Status::deadline_exceeded();
        match open.state {
            State::Waiting(id) if !self.server.calls.expire(id) => {
                self.streams.insert(stream, open); // its answer is on its way
            }
            State::Waiting(_) => self.answer(open.respond, Answer::status(status)),
            State::Reading(reading) => self.refuse(open.respond, &reading.target, status),
            State::Streaming(streaming) => {
                streaming.abandon(&self.server);
                streaming.end(open.respond, &status);
            }
        }
    }

    /// Move on where the thread has said so.
    pub(super) fn follow_phase(&mut self) {
        let phase = self.registration.inlet.phase();
        if phase == self.phase {
            return;
        }
        self.phase = phase;
        self.close_at = Some(Instant::now() + FLUSH);
        self.log.is_leaving.set(true);
        // h2 sends no other PING before its farewell is answered, and that is hidden from it.
        self.lifetime.no_more_pings();
        self.h2.graceful_shutdown();
        if phase == Phase::Closing {
            self.refuse_rest();
        }
    }

    /// Answer what nobody has answered. Answers that are on their way still come.
    pub(super) fn refuse_rest(&mut self) {
        let calls: Vec<u64> = self.streams.values().filter_map(Stream::call).collect();
        let withdrawn = self.server.calls.withdraw(&calls, UNAVAILABLE);
        let is_over = |open: &Stream| open.call().is_none_or(|call| withdrawn.contains(&call));
        let streams: Vec<u32> = self
            .streams
            .iter()
            .filter(|(_, open)| is_over(open))
            .map(|(id, _)| *id)
            .collect();
        for stream in streams {
            let Some(open) = self.streams.remove(&stream) else {
                continue;
            };
            let status = Status::shutting_down();
            match open.state {
                State::Streaming(streaming) => {
                    streaming.abandon(&self.server);
                    streaming.end(open.respond, &status);
                }
                _ => self.answer(open.respond, Answer::status(status)),
            }
        }
    }

    /// Leave if nothing is left to do on a connection that is on its way out. True when it is over.
    pub(super) fn leave(&mut self, cx: &mut Context<'_>) -> bool {
        if self.phase == Phase::Serving {
            return false;
        }
        if self.is_leaving {
            return self.is_turning_away();
        }
        let is_time = self.is_turning_away();
        if !self.streams.is_empty() || self.unsent.get() > 0 {
            return is_time && self.phase == Phase::Closing;
        }
        let is_free = self.phase == Phase::Closing || self.log.has_heard.get() || is_time;
        if is_free {
            self.is_leaving = true;
            // The last frames may wait for a client that reads nothing.
            self.close_at = Some(Instant::now() + FLUSH);
            self.h2.abrupt_shutdown(Reason::NO_ERROR);
            return self.h2.poll_closed(cx).is_ready();
        }
        false
    }

    /// Whether streams are turned away: the client has had time to hear that it should go.
    pub(super) fn is_turning_away(&self) -> bool {
        self.close_at.is_some_and(|at| at <= Instant::now())
    }

    pub(super) fn set_alarm(&mut self, cx: &mut Context<'_>) {
        let streams = &self.streams;
        self.deadlines
            .tidy(streams.len(), |stream| streams.contains_key(&stream));
        // A connection that should have gone by now goes in the round that ends its last stream.
        let close_at = self.close_at.filter(|at| *at > Instant::now());
        let times = [self.deadlines.next(), self.lifetime.next(), close_at];
        let next = times.into_iter().flatten().min();
        if let Some(next) = next {
            self.alarm.set(next, cx);
        }
    }
}
