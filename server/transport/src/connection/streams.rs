//! Streaming methods on a connection.

use std::task::Context;

use bytes::Bytes;

use super::{Connection, HELD_STEP, State, Stream};
use crate::reading::MessageReader;
use crate::response::Respond;
use crate::status::Status;
use crate::streaming::{Next, Streaming};

impl Connection {
    pub(super) fn begin_streaming(
        &mut self,
        stream: u32,
        method: u32,
        reader: MessageReader,
        respond: Respond,
        cx: &Context<'_>,
    ) {
        let id = self.server.messages.open(self.address(stream));
        let streaming = Box::new(Streaming::new(id, method, reader));
        self.stream_on(stream, respond, streaming, cx);
    }

    pub(super) fn stream_on(
        &mut self,
        stream: u32,
        respond: Respond,
        mut streaming: Box<Streaming>,
        cx: &Context<'_>,
    ) {
        let waker = self.ready.waker(stream, cx.waker());
        match streaming.read_on(&mut Context::from_waker(&waker), &self.server) {
            Next::Open => {
                let state = State::Streaming(streaming);
                self.streams.insert(stream, Stream { respond, state });
            }
            Next::Refused(status) => {
                streaming.abandon(&self.server);
                streaming.end(respond, &status);
            }
            Next::Gone => streaming.abandon(&self.server),
        }
    }

    pub(super) fn send_message(&mut self, stream: u32, message: Bytes) {
        if self.held() > self.held_told + HELD_STEP {
            self.tell_held();
        }
        // Nothing else keeps Python from sending more than a client reads. One that has read all
        // that was sent is not to suffer for others.
        if self.unsent.get() > 0 && self.server.is_full() {
            self.refuse_stream(stream, &Status::too_many_bytes());
            return;
        }
        if let Some(Stream {
            respond,
            state: State::Streaming(streaming),
        }) = self.streams.get_mut(&stream)
        {
            streaming.send(respond, message, &self.unsent);
        }
    }

    /// End a stream with an error that Python has not asked for.
    fn refuse_stream(&mut self, stream: u32, status: &Status) {
        if let Some(Stream {
            respond,
            state: State::Streaming(streaming),
        }) = self.streams.remove(&stream)
        {
            streaming.abandon(&self.server);
            streaming.end(respond, status);
        }
    }

    pub(super) fn end_stream(&mut self, stream: u32, status: &Status) {
        if let Some(Stream {
            respond,
            state: State::Streaming(streaming),
        }) = self.streams.remove(&stream)
        {
            streaming.end(respond, status);
        }
    }
}
