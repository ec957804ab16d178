//! One HTTP/2 connection: bytes in, outcomes and bytes out. It knows nothing of sockets and clocks.

use std::collections::VecDeque;

use crate::exchange::Exchanges;
use crate::failure::Failure;
use crate::frame::{self, Frame, Violation, flag, kind, setting};
use crate::request_head::HeaderTable;
use crate::response_head::{Fields, ResponseHeads};
use crate::stream::{Pending, Stream, Streams};

const DEFAULT_WINDOW: i64 = 65_535;
const MAX_WINDOW: i64 = 0x7fff_ffff;
/// No more is put into the output before the peer has taken some: what waits goes through the cache.
const OUTPUT_BYTES: usize = 256 << 10;
/// How much is received before the connection's window is opened again.
const WINDOW_STEP: usize = 1 << 30;
const CANCEL: u32 = 8;

/// What became of a request.
pub type Outcome = (Pending, Result<(), Failure>);

/// A connection to a gRPC server.
pub struct Connection<'a> {
    exchanges: &'a Exchanges,
    streams: Streams,
    peer: Peer,
    /// How much more the peer takes on all streams together.
    window: i64,
    /// Streams with data left that their windows let through, in the order in which they started.
    line: VecDeque<u32>,
    table: HeaderTable,
    heads: ResponseHeads,
    /// A header block that goes on in the next frame: its stream, whether that ends, its bytes.
    block: Option<(u32, bool, Vec<u8>)>,
    received_bytes: usize,
    output: Vec<u8>,
    taken: usize,
    is_leaving: bool,
    refused: Vec<Pending>,
}

/// What the peer has announced.
#[derive(Debug)]
struct Peer {
    is_known: bool,
    max_streams: usize,
    initial_window: i64,
    max_payload: usize,
}

impl<'a> Connection<'a> {
    /// A new connection for `most` streams at a time. Its output begins with the preface, with the
    /// largest windows that there are.
    pub fn new(exchanges: &'a Exchanges, most: usize) -> Self {
        let mut output = frame::PREFACE.to_vec();
        let settings = [
            (setting::ENABLE_PUSH, 0),
            (setting::INITIAL_WINDOW_SIZE, MAX_WINDOW as u32),
        ];
        frame::put_settings(&mut output, &settings);
        frame::put_number(
            &mut output,
            kind::WINDOW_UPDATE,
            0,
            (MAX_WINDOW - DEFAULT_WINDOW) as u32,
        );
        Self {
            exchanges,
            streams: Streams::new(most),
            peer: Peer {
                is_known: false,
                max_streams: most,
                initial_window: DEFAULT_WINDOW,
                max_payload: frame::MAX_PAYLOAD_BYTES,
            },
            window: DEFAULT_WINDOW,
            line: VecDeque::new(),
            table: HeaderTable::Empty,
            heads: ResponseHeads::new(),
            block: None,
            received_bytes: 0,
            output,
            taken: 0,
            is_leaving: false,
            refused: Vec::new(),
        }
    }

    /// Whether the peer has sent its settings: nothing is sent before, for it is not known how.
    pub fn is_ready(&self) -> bool {
        self.peer.is_known
    }

    /// Whether the connection takes no new streams: the peer has said GOAWAY, or numbers ran out.
    pub fn is_leaving(&self) -> bool {
        self.is_leaving || !self.streams.has_ids()
    }

    /// How many requests are on their way.
    pub fn open_streams(&self) -> usize {
        self.streams.open()
    }

    /// Whether another request can be started when no more than `most` may be on their way.
    pub fn can_start(&self, most: usize) -> bool {
        self.is_ready()
            && !self.is_leaving()
            && self.streams.open() < most.min(self.peer.max_streams)
    }

    // Sending.

    /// Start a request. Its head goes out at once, its body as the peer's windows permit.
    pub fn start(&mut self, pending: Pending) {
        let stream = self.streams.open_next(pending, self.peer.initial_window);
        let id = stream.id;
        let at = self.output.len();
        frame::put_header(&mut self.output, 0, kind::HEADERS, flag::END_HEADERS, id);
        self.exchanges.head.put(&mut self.output, &mut self.table);
        let length = (self.output.len() - at - frame::HEADER_BYTES) as u32;
        self.output[at..at + 3].copy_from_slice(&length.to_be_bytes()[1..]);
        self.line.push_back(id);
        self.send_bodies();
    }

    /// What is to be written to the socket.
    pub fn output(&self) -> &[u8] {
        &self.output[self.taken..]
    }

    /// The first `count` bytes of the output have been written.
    pub fn take_output(&mut self, count: usize) {
        self.taken += count;
        if self.taken == self.output.len() {
            self.output.clear();
            self.taken = 0;
        } else if self.taken >= OUTPUT_BYTES {
            self.output.drain(..self.taken);
            self.taken = 0;
        }
        self.send_bodies();
    }

    /// Put bodies into the output until a window, the output or the line is at its end.
    fn send_bodies(&mut self) {
        while let Some(id) = self.line.front().copied() {
            if self.window <= 0 || self.output.len() - self.taken >= OUTPUT_BYTES {
                break;
            }
            let Some(stream) = self.streams.get(id) else {
                self.line.pop_front();
                continue;
            };
            let rest = &self.exchanges.get(stream.pending.exchange).request[stream.sent..];
            let most = stream.window.min(self.window).max(0) as usize;
            let length = rest.len().min(most).min(self.peer.max_payload);
            stream.is_stalled = length == 0;
            if length > 0 {
                let is_last = length == rest.len();
                let flags = if is_last { flag::END_STREAM } else { 0 };
                frame::put(&mut self.output, kind::DATA, flags, id, &rest[..length]);
                stream.sent += length;
                stream.window -= length as i64;
                self.window -= length as i64;
                if !is_last {
                    continue;
                }
            }
            self.line.pop_front();
        }
    }

    // Receiving.

    /// Take the frames that `input` begins with; what became of requests goes to `outcomes`. Says how
    /// many bytes that were: what is left is part of a frame, and must come again with the rest.
    pub fn receive(
        &mut self,
        input: &[u8],
        outcomes: &mut impl FnMut(Outcome),
    ) -> Result<usize, Violation> {
        let mut used = 0;
        while let Some(frame) = Frame::first(&input[used..])? {
            used += frame.bytes();
            self.receive_frame(&frame, outcomes)?;
        }
        self.send_bodies();
        Ok(used)
    }

    fn receive_frame(
        &mut self,
        frame: &Frame<'_>,
        outcomes: &mut impl FnMut(Outcome),
    ) -> Result<(), Violation> {
        if self.block.is_some() != (frame.kind == kind::CONTINUATION) {
            return Err(Violation(format!(
                "a frame of kind {} where none may be",
                frame.kind
            )));
        }
        match frame.kind {
            kind::DATA => self.receive_data(frame, outcomes)?,
            kind::HEADERS => {
                let is_end = frame.has(flag::END_STREAM);
                self.receive_block(frame, is_end, frame.content()?, outcomes)?;
            }
            kind::CONTINUATION => self.receive_continuation(frame, outcomes)?,
            kind::RST_STREAM => {
                let code = frame.number_at(0)?;
                self.finish(frame.stream, |_| Err(Failure::Reset(code)), outcomes);
            }
            kind::SETTINGS if !frame.has(flag::ACK) => self.receive_settings(frame)?,
            kind::PING if !frame.has(flag::ACK) => {
                frame::put(&mut self.output, kind::PING, flag::ACK, 0, frame.payload);
            }
            kind::GOAWAY => self.receive_goaway(frame)?,
            kind::WINDOW_UPDATE => self.receive_window_update(frame)?,
            kind::PUSH_PROMISE => return Err(Violation("a push, which is switched off".into())),
            _ => {}
        }
        Ok(())
    }

    fn receive_data(
        &mut self,
        frame: &Frame<'_>,
        outcomes: &mut impl FnMut(Outcome),
    ) -> Result<(), Violation> {
        self.received_bytes += frame.payload.len();
        if self.received_bytes >= WINDOW_STEP {
            frame::put_number(
                &mut self.output,
                kind::WINDOW_UPDATE,
                0,
                self.received_bytes as u32,
            );
            self.received_bytes = 0;
        }
        let data = frame.content()?;
        if let Some(stream) = self.streams.get(frame.stream) {
            stream.received.add(
                data,
                self.exchanges.get(stream.pending.exchange).answer.as_ref(),
            );
            if frame.has(flag::END_STREAM) {
                let failure = |stream: &Stream| Err(Failure::NotGrpc(stream.http_status));
                self.finish(frame.stream, failure, outcomes);
            }
        }
        Ok(())
    }

    fn receive_continuation(
        &mut self,
        frame: &Frame<'_>,
        outcomes: &mut impl FnMut(Outcome),
    ) -> Result<(), Violation> {
        let (id, is_end, mut block) = self.block.take().unwrap_or_default();
        if id != frame.stream {
            return Err(Violation(
                "a header block that goes on in another stream".into(),
            ));
        }
        block.extend_from_slice(frame.payload);
        self.receive_block(frame, is_end, &block, outcomes)
    }

    fn receive_block(
        &mut self,
        frame: &Frame<'_>,
        is_end: bool,
        block: &[u8],
        outcomes: &mut impl FnMut(Outcome),
    ) -> Result<(), Violation> {
        if !frame.has(flag::END_HEADERS) {
            self.block = Some((frame.stream, is_end, block.to_vec()));
            return Ok(());
        }
        // Decoded even if the stream has gone, for the table's sake.
        let fields = self.heads.decode(block)?;
        let Some(stream) = self.streams.get(frame.stream) else {
            return Ok(());
        };
        stream.http_status = fields.http_status.or(stream.http_status);
        if is_end {
            let status = status_of(fields, stream.http_status);
            let exchanges = self.exchanges;
            let outcome = |stream: &Stream| {
                status?;
                let answer = exchanges.get(stream.pending.exchange).answer.as_ref();
                stream.received.check(answer).map_err(Failure::WrongAnswer)
            };
            self.finish(frame.stream, outcome, outcomes);
        }
        Ok(())
    }

    fn finish(
        &mut self,
        id: u32,
        outcome: impl FnOnce(&Stream) -> Result<(), Failure>,
        outcomes: &mut impl FnMut(Outcome),
    ) {
        if let Some(stream) = self.streams.close(id) {
            let outcome = outcome(&stream);
            let is_sent = stream.sent == self.exchanges.get(stream.pending.exchange).request.len();
            if !is_sent && !matches!(outcome, Err(Failure::Reset(_))) {
                frame::put_number(&mut self.output, kind::RST_STREAM, id, CANCEL);
            }
            outcomes((stream.pending, outcome));
        }
    }

    fn receive_settings(&mut self, frame: &Frame<'_>) -> Result<(), Violation> {
        for (identifier, value) in frame.settings() {
            match identifier {
                setting::HEADER_TABLE_SIZE => self.table.allow(value),
                setting::MAX_CONCURRENT_STREAMS => self.peer.max_streams = value as usize,
                setting::INITIAL_WINDOW_SIZE => self.set_initial_window(i64::from(value))?,
                setting::MAX_FRAME_SIZE => self.peer.max_payload = value as usize,
                _ => {}
            }
        }
        self.peer.is_known = true;
        frame::put(&mut self.output, kind::SETTINGS, flag::ACK, 0, &[]);
        Ok(())
    }

    /// A change holds for the streams that are open, too.
    fn set_initial_window(&mut self, bytes: i64) -> Result<(), Violation> {
        let change = bytes - self.peer.initial_window;
        self.peer.initial_window = bytes;
        for stream in self.streams.iter_mut() {
            stream.window = opened(stream.window, change)?;
            if stream.is_stalled && stream.window > 0 {
                stream.is_stalled = false;
                self.line.push_back(stream.id);
            }
        }
        opened(bytes, 0).map(drop)
    }

    fn receive_window_update(&mut self, frame: &Frame<'_>) -> Result<(), Violation> {
        let bytes = i64::from(frame.number_at(0)?);
        if frame.stream == 0 {
            self.window = opened(self.window, bytes)?;
        } else if let Some(stream) = self.streams.get(frame.stream) {
            stream.window = opened(stream.window, bytes)?;
            if stream.is_stalled && stream.window > 0 {
                stream.is_stalled = false;
                self.line.push_back(frame.stream);
            }
        }
        Ok(())
    }

    // Leaving.

    fn receive_goaway(&mut self, frame: &Frame<'_>) -> Result<(), Violation> {
        let last = frame.number_at(0)? & MAX_WINDOW as u32;
        self.is_leaving = true;
        let refused = self.streams.close_above(last);
        self.refused
            .extend(refused.iter().map(|stream| stream.pending));
        Ok(())
    }

    /// The requests that the peer has not looked at before it went: they can be sent again.
    pub fn take_refused(&mut self) -> Vec<Pending> {
        std::mem::take(&mut self.refused)
    }

    /// Give up all requests that are on their way.
    pub fn abandon(&mut self) -> Vec<Pending> {
        self.streams
            .close_above(0)
            .iter()
            .map(|stream| stream.pending)
            .collect()
    }
}

fn status_of(fields: &Fields, http_status: Option<u16>) -> Result<(), Failure> {
    match fields.grpc_status {
        Some(0) if http_status == Some(200) => Ok(()),
        Some(0) | None => Err(Failure::NotGrpc(http_status)),
        Some(code) => Err(Failure::Status {
            code,
            message: fields.grpc_message.clone(),
        }),
    }
}

fn opened(window: i64, bytes: i64) -> Result<i64, Violation> {
    Some(window + bytes)
        .filter(|window| *window <= MAX_WINDOW)
        .ok_or_else(|| Violation("a window of 2 GiB".into()))
}

#[cfg(test)]
mod tests;
