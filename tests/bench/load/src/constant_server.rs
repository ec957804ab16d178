//! A server for the self-test: it answers every request with the same bytes, as little work as that
//! can be. A thread for each connection.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use crate::channel::BUFFER_BYTES;
use crate::frame::{self, Frame, Violation, flag, kind, setting};

const STATUS_200: &[u8] = &[0x88];
/// Literal, and not to be entered into the table.
const GRPC_STATUS_0: &[u8] = b"\x00\x0bgrpc-status\x010";
/// How much is received before windows are opened again.
const WINDOW_STEP: usize = 1 << 24;

/// Serve `answer`, a framed message, on a free port of 127.0.0.1 until the program ends.
pub fn start(answer: Vec<u8>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let server = ConstantServer {
                answer: answer.clone(),
                output: Vec::new(),
                received_bytes: 0,
            };
            // It ends with the client's connection; the client says if that is too early.
            thread::spawn(move || server.serve(socket));
        }
    });
    Ok(address)
}

struct ConstantServer {
    answer: Vec<u8>,
    output: Vec<u8>,
    received_bytes: usize,
}

impl ConstantServer {
    fn serve(mut self, mut socket: TcpStream) -> io::Result<()> {
        socket.set_nodelay(true)?;
        let mut buffer = vec![0; BUFFER_BYTES];
        socket.read_exact(&mut buffer[..frame::PREFACE.len()])?;
        let window = 0x7fff_ffff;
        frame::put_settings(&mut self.output, &[(setting::INITIAL_WINDOW_SIZE, window)]);
        frame::put_number(&mut self.output, kind::WINDOW_UPDATE, 0, window - 65_535);
        let mut kept = 0;
        loop {
            socket.write_all(&self.output)?;
            self.output.clear();
            let count = socket.read(&mut buffer[kept..])?;
            if count == 0 {
                return Ok(());
            }
            let used = self
                .receive(&buffer[..kept + count])
                .map_err(|error| io::Error::other(error.0))?;
            buffer.copy_within(used..kept + count, 0);
            kept = kept + count - used;
        }
    }

    fn receive(&mut self, input: &[u8]) -> Result<usize, Violation> {
        let mut used = 0;
        while let Some(frame) = Frame::first(&input[used..])? {
            used += frame.bytes();
            match frame.kind {
                kind::DATA => self.receive_data(&frame),
                kind::SETTINGS if !frame.has(flag::ACK) => {
                    frame::put(&mut self.output, kind::SETTINGS, flag::ACK, 0, &[]);
                }
                _ => {}
            }
        }
        Ok(used)
    }

    fn receive_data(&mut self, frame: &Frame<'_>) {
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
        if frame.has(flag::END_STREAM) {
            let (out, id) = (&mut self.output, frame.stream);
            frame::put(out, kind::HEADERS, flag::END_HEADERS, id, STATUS_200);
            for piece in self.answer.chunks(frame::MAX_PAYLOAD_BYTES) {
                frame::put(out, kind::DATA, 0, id, piece);
            }
            let flags = flag::END_HEADERS | flag::END_STREAM;
            frame::put(out, kind::HEADERS, flags, id, GRPC_STATUS_0);
        }
    }
}
