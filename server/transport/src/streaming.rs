//! Streams of messages, handed to Python one by one.

use std::task::{Context, Poll};

use bytes::Bytes;
use h2::SendStream;

use crate::held::{HeldBytes, HeldCount};
use crate::reading::{MessageReader, Read};
use crate::response::{Respond, head, status_only, trailers};
use crate::server::Server;
use crate::status::Status;

/// Both sides of a stream of messages.
#[derive(Debug)]
pub(crate) struct Streaming {
    /// In the message queue.
    id: u64,
    /// Index into the streaming methods.
    method: u32,
    /// None when the client has finished sending.
    reader: Option<MessageReader>,
    /// None before the first message.
    sender: Option<SendStream<HeldBytes>>,
}

/// What is left of a stream after reading.
#[derive(Debug)]
pub(crate) enum Next {
    /// More may come.
    Open,
    /// It ends with this status.
    Refused(Status),
    /// The client has given up.
    Gone,
}

impl Streaming {
    /// `id` is the message queue's.
    pub(crate) fn new(id: u64, method: u32, reader: MessageReader) -> Self {
        Streaming {
            id,
            method,
            reader: Some(reader),
            sender: None,
        }
    }

    /// Queue the messages that have come.
    pub(crate) fn read_on(&mut self, cx: &mut Context<'_>, server: &Server) -> Next {
        while let Some(reader) = &mut self.reader {
            let Poll::Ready(read) = reader.poll_read(cx, server) else {
                return Next::Open;
            };
            let message = match read {
                Read::Message(body) => Some(body.into_bytes()),
                Read::End => None,
                Read::Refused(status) => return Next::Refused(status),
                Read::Gone => return Next::Gone,
            };
            if message.is_none() {
                self.reader = None;
            }
            if !server.messages.push(self.id, self.method, message) {
                return Next::Refused(Status::too_many_calls());
            }
        }
        Next::Open
    }

    /// Send a message, with its prefix.
    pub(crate) fn send(&mut self, respond: &mut Respond, message: Bytes, held: &HeldCount) {
        if self.sender.is_none() {
            self.sender = respond.send_response(head(), false).ok();
        }
        if let Some(sender) = &mut self.sender {
            // Fails only when the client has given up.
            let _ = sender.send_data(HeldBytes::new(held, message), false);
        }
    }

    /// Send the end.
    pub(crate) fn end(self, mut respond: Respond, status: &Status) {
        // Either fails only when the client has given up.
        let _ = match self.sender {
            Some(mut sender) => sender.send_trailers(trailers(status)),
            None => respond.send_response(status_only(status), true).map(drop),
        };
    }

    /// Tell Python that the client has given up.
    pub(crate) fn abandon(&self, server: &Server) {
        server.messages.abandon(self.id, self.method);
    }
}
