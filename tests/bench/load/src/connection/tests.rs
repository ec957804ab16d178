use super::*;
use crate::answer::framed;
use crate::request_head::{RequestHead, Scheme};

const OK: &[u8] = b"\x00\x0bgrpc-status\x010";
const NOT_FOUND: &[u8] = b"\x00\x0bgrpc-status\x015\x00\x0cgrpc-message\x04none";
const STATUS_200: &[u8] = &[0x88];
const END_HEADERS: u8 = flag::END_HEADERS;
const END: u8 = flag::END_HEADERS | flag::END_STREAM;

/// Requests of `bytes` bytes, with "answer" as the answer.
fn exchanges(bytes: usize) -> Exchanges {
    let head = RequestHead::new(Scheme::Http, "/a/b", "h", None);
    Exchanges::new(head, &[vec![7; bytes]], &[b"answer".to_vec()], &[]).unwrap()
}

/// A connection after a server with `settings` has greeted.
fn connected<'a>(exchanges: &'a Exchanges, settings: &[(u16, u32)]) -> Connection<'a> {
    let mut connection = Connection::new(exchanges, 8);
    sent(&mut connection);
    receive(&mut connection, |out| frame::put_settings(out, settings)).unwrap();
    sent(&mut connection);
    connection
}

fn start(connection: &mut Connection<'_>) {
    connection.start(Pending {
        exchange: 0,
        begin: 0,
    });
}

/// Give the connection what `put` makes; what became of its requests.
fn receive(
    connection: &mut Connection<'_>,
    put: impl FnOnce(&mut Vec<u8>),
) -> Result<Vec<Result<(), Failure>>, Violation> {
    let (mut input, mut outcomes) = (Vec::new(), Vec::new());
    put(&mut input);
    let used = connection.receive(&input, &mut |(_, outcome)| outcomes.push(outcome))?;
    assert_eq!(used, input.len());
    Ok(outcomes)
}

/// Kind, flags, stream and length of each frame in the output, which is taken.
fn sent(connection: &mut Connection<'_>) -> Vec<(u8, u8, u32, usize)> {
    let output = connection.output().to_vec();
    connection.take_output(output.len());
    let mut rest = output.strip_prefix(frame::PREFACE).unwrap_or(&output);
    let mut frames = Vec::new();
    while let Some(frame) = Frame::first(rest).unwrap() {
        frames.push((frame.kind, frame.flags, frame.stream, frame.payload.len()));
        rest = &rest[frame.bytes()..];
    }
    frames
}

/// Kind, flags, stream and length of the DATA frames in the output, which is taken.
fn sent_data(connection: &mut Connection<'_>) -> Vec<(u8, u32, usize)> {
    let frames = sent(connection)
        .into_iter()
        .filter(|frame| frame.0 == kind::DATA);
    frames
        .map(|(_, flags, stream, length)| (flags, stream, length))
        .collect()
}

fn put_answer(out: &mut Vec<u8>, stream: u32, message: &[u8], trailers: &[u8]) {
    frame::put(out, kind::HEADERS, END_HEADERS, stream, STATUS_200);
    frame::put(out, kind::DATA, 0, stream, &framed(message));
    frame::put(out, kind::HEADERS, END, stream, trailers);
}

// What comes back.

#[test]
fn nothing_starts_before_the_settings_have_come() {
    let exchanges = exchanges(3);
    let mut connection = Connection::new(&exchanges, 8);

    assert!(!connection.can_start(8));
    assert!(connection.output().starts_with(frame::PREFACE));
    receive(&mut connection, |out| frame::put_settings(out, &[])).unwrap();
    assert!(connection.can_start(8));
}

#[test]
fn a_request_is_a_head_and_data_and_the_right_answer_is_right() {
    let exchanges = exchanges(3);
    let mut connection = connected(&exchanges, &[]);
    start(&mut connection);

    let frames = sent(&mut connection);
    let outcomes = receive(&mut connection, |out| put_answer(out, 1, b"answer", OK)).unwrap();

    assert_eq!((frames[0].0, frames[0].2), (kind::HEADERS, 1));
    assert_eq!(frames[1..], [(kind::DATA, flag::END_STREAM, 1, 8)]);
    assert_eq!((outcomes, connection.open_streams()), (vec![Ok(())], 0));
}

#[test]
fn a_later_head_is_a_few_indices() {
    let exchanges = exchanges(3);
    let mut connection = connected(&exchanges, &[]);

    start(&mut connection);
    start(&mut connection);

    let frames = sent(&mut connection);
    assert!(frames[0].3 > 50);
    assert_eq!((frames[2].0, frames[2].3), (kind::HEADERS, 7));
}

#[test]
fn answers_come_in_any_order_and_cut_anywhere() {
    let exchanges = exchanges(3);
    let mut bytes = Vec::new();
    for stream in [3, 1] {
        put_answer(&mut bytes, stream, b"answer", OK);
    }

    for cut in 0..bytes.len() {
        let mut connection = connected(&exchanges, &[]);
        start(&mut connection);
        start(&mut connection);
        let mut right = 0;
        let used = connection
            .receive(&bytes[..cut], &mut |_| right += 1)
            .unwrap();
        connection
            .receive(&bytes[used..], &mut |(_, outcome)| {
                right += i32::from(outcome.is_ok())
            })
            .unwrap();
        assert_eq!((right, connection.open_streams()), (2, 0));
    }
}

#[test]
fn every_way_to_fail_is_told_apart() {
    let exchanges = exchanges(3);
    let outcome = |put: &dyn Fn(&mut Vec<u8>)| {
        let mut connection = connected(&exchanges, &[]);
        start(&mut connection);
        receive(&mut connection, put)
            .unwrap()
            .pop()
            .unwrap()
            .unwrap_err()
            .to_string()
    };

    let wrong = outcome(&|out| put_answer(out, 1, b"ansWer", OK));
    let status = outcome(&|out| {
        frame::put(
            out,
            kind::HEADERS,
            END,
            1,
            &[STATUS_200, NOT_FOUND].concat(),
        )
    });
    let late_status = outcome(&|out| put_answer(out, 1, b"answer", NOT_FOUND));
    let missing =
        outcome(&|out| frame::put(out, kind::HEADERS, END, 1, &[STATUS_200, OK].concat()));
    let plain = outcome(&|out| frame::put(out, kind::HEADERS, END, 1, &[0x8d]));
    let reset = outcome(&|out| frame::put_number(out, kind::RST_STREAM, 1, 2));
    let cut = outcome(&|out| frame::put(out, kind::DATA, flag::END_STREAM, 1, &framed(b"answer")));

    assert_eq!(wrong, "wrong answer: it differs at byte 3");
    assert_eq!([status, late_status], ["grpc-status 5: none"; 2]);
    assert_eq!(missing, "wrong answer: no whole message in 0 bytes");
    assert_eq!(plain, "HTTP status 404 without a grpc-status");
    assert_eq!(reset, "the server reset the stream with error code 2");
    assert_eq!(cut, "the stream ended without a grpc-status");
}

#[test]
fn a_header_block_may_go_on_in_other_frames() {
    let exchanges = exchanges(3);
    let mut connection = connected(&exchanges, &[]);
    start(&mut connection);

    let outcomes = receive(&mut connection, |out| {
        frame::put(out, kind::HEADERS, END_HEADERS, 1, STATUS_200);
        frame::put(out, kind::DATA, 0, 1, &framed(b"answer"));
        frame::put(out, kind::HEADERS, flag::END_STREAM, 1, &OK[..4]);
        frame::put(out, kind::CONTINUATION, 0, 1, &OK[4..9]);
        frame::put(out, kind::CONTINUATION, END_HEADERS, 1, &OK[9..]);
    });

    assert_eq!(outcomes.unwrap(), [Ok(())]);
}

#[test]
fn what_comes_for_a_stream_that_has_gone_is_ignored() {
    let exchanges = exchanges(3);
    let mut connection = connected(&exchanges, &[]);
    start(&mut connection);
    receive(&mut connection, |out| put_answer(out, 1, b"answer", OK)).unwrap();

    let outcomes = receive(&mut connection, |out| {
        frame::put_number(out, kind::RST_STREAM, 1, 0);
        frame::put_number(out, kind::WINDOW_UPDATE, 1, 100);
        put_answer(out, 1, b"answer", OK);
    });

    assert_eq!(outcomes.unwrap(), []);
}

#[test]
fn violations_are_told() {
    let exchanges = exchanges(3);
    let violation = |put: &dyn Fn(&mut Vec<u8>)| {
        let mut connection = connected(&exchanges, &[]);
        start(&mut connection);
        receive(&mut connection, put).unwrap_err().to_string()
    };

    assert!(
        violation(&|out| frame::put(out, kind::CONTINUATION, 0, 1, &[]))
            .contains("where none may be")
    );
    assert!(violation(&|out| frame::put(out, kind::PUSH_PROMISE, 0, 1, &[])).contains("a push"));
    assert!(
        violation(&|out| frame::put_number(out, kind::WINDOW_UPDATE, 0, 0x7fff_ffff))
            .contains("2 GiB")
    );
    assert!(
        violation(&|out| frame::put(out, kind::WINDOW_UPDATE, 0, 0, &[1])).contains("malformed")
    );
}

// Obedience.

#[test]
fn pings_and_settings_are_acknowledged_and_their_acknowledgements_are_not() {
    let exchanges = exchanges(3);
    let mut connection = connected(&exchanges, &[]);

    receive(&mut connection, |out| {
        frame::put(out, kind::PING, 0, 0, b"12345678");
        frame::put_settings(out, &[]);
        frame::put(out, kind::PING, flag::ACK, 0, b"12345678");
        frame::put(out, kind::SETTINGS, flag::ACK, 0, &[]);
    })
    .unwrap();

    assert_eq!(
        sent(&mut connection),
        [
            (kind::PING, flag::ACK, 0, 8),
            (kind::SETTINGS, flag::ACK, 0, 0)
        ]
    );
}

#[test]
fn no_more_streams_are_open_than_the_server_takes() {
    let exchanges = exchanges(3);
    let mut connection = connected(&exchanges, &[(setting::MAX_CONCURRENT_STREAMS, 2)]);

    start(&mut connection);
    assert!(connection.can_start(8));
    start(&mut connection);

    assert!(!connection.can_start(8));
}

#[test]
fn a_body_waits_for_the_streams_window() {
    let exchanges = exchanges(95);
    let mut connection = connected(&exchanges, &[(setting::INITIAL_WINDOW_SIZE, 40)]);
    start(&mut connection);

    let first = sent_data(&mut connection);
    receive(&mut connection, |out| {
        frame::put_number(out, kind::WINDOW_UPDATE, 1, 50)
    })
    .unwrap();
    let second = sent_data(&mut connection);
    receive(&mut connection, |out| {
        frame::put_settings(out, &[(setting::INITIAL_WINDOW_SIZE, 100)])
    })
    .unwrap();
    let third = sent_data(&mut connection);

    assert_eq!(first, [(0, 1, 40)]);
    assert_eq!(second, [(0, 1, 50)]);
    assert_eq!(third, [(flag::END_STREAM, 1, 10)]);
}

#[test]
fn a_stream_that_waits_does_not_hold_up_others() {
    let exchanges = exchanges(95);
    let mut connection = connected(&exchanges, &[(setting::INITIAL_WINDOW_SIZE, 0)]);
    start(&mut connection);
    start(&mut connection);

    receive(&mut connection, |out| {
        frame::put_number(out, kind::WINDOW_UPDATE, 3, 100)
    })
    .unwrap();

    assert_eq!(sent_data(&mut connection), [(flag::END_STREAM, 3, 100)]);
}

#[test]
fn a_window_that_has_shrunk_below_zero_must_be_paid_back() {
    let exchanges = exchanges(95);
    let mut connection = connected(&exchanges, &[(setting::INITIAL_WINDOW_SIZE, 60)]);
    start(&mut connection);
    sent(&mut connection);

    receive(&mut connection, |out| {
        frame::put_settings(out, &[(setting::INITIAL_WINDOW_SIZE, 10)])
    })
    .unwrap();
    receive(&mut connection, |out| {
        frame::put_number(out, kind::WINDOW_UPDATE, 1, 50)
    })
    .unwrap();
    let nothing = sent_data(&mut connection);
    receive(&mut connection, |out| {
        frame::put_number(out, kind::WINDOW_UPDATE, 1, 7)
    })
    .unwrap();

    assert_eq!(nothing, []);
    assert_eq!(sent_data(&mut connection), [(0, 1, 7)]);
}

#[test]
fn all_streams_together_obey_the_connections_window() {
    let exchanges = exchanges(39_995);
    let mut connection = connected(&exchanges, &[]);
    let bytes = |frames: Vec<(u8, u32, usize)>| frames.iter().map(|frame| frame.2).sum::<usize>();
    start(&mut connection);
    start(&mut connection);

    let first = bytes(sent_data(&mut connection));
    receive(&mut connection, |out| {
        frame::put_number(out, kind::WINDOW_UPDATE, 0, 20_000)
    })
    .unwrap();
    let second = bytes(sent_data(&mut connection));

    assert_eq!((first, second), (65_535, 80_000 - 65_535));
}

#[test]
fn no_frame_is_larger_than_the_server_takes() {
    let exchanges = exchanges(40_000);
    let mut connection = connected(&exchanges, &[]);

    start(&mut connection);

    let lengths: Vec<usize> = sent_data(&mut connection)
        .iter()
        .map(|frame| frame.2)
        .collect();
    assert_eq!(lengths, [16_384, 16_384, 7237]);
}

#[test]
fn a_large_body_goes_out_piece_by_piece_and_whole() {
    let exchanges = exchanges(8 << 20);
    let mut connection = connected(&exchanges, &[(setting::INITIAL_WINDOW_SIZE, 0x7fff_ffff)]);
    receive(&mut connection, |out| {
        frame::put_number(out, kind::WINDOW_UPDATE, 0, 1 << 30)
    })
    .unwrap();
    start(&mut connection);

    let (mut bytes, mut largest) = (0, 0);
    while !connection.output().is_empty() {
        largest = largest.max(connection.output().len());
        let count = connection.output().len().min(100_000);
        connection.take_output(count);
        bytes += count;
    }

    assert!(bytes > 8 << 20);
    assert!(largest < 2 * OUTPUT_BYTES);
}

#[test]
fn an_answer_before_the_whole_request_cancels_the_rest() {
    let exchanges = exchanges(95);
    let mut connection = connected(&exchanges, &[(setting::INITIAL_WINDOW_SIZE, 40)]);
    start(&mut connection);
    sent(&mut connection);

    let early = |out: &mut Vec<u8>| {
        frame::put(
            out,
            kind::HEADERS,
            END,
            1,
            &[STATUS_200, NOT_FOUND].concat(),
        )
    };
    receive(&mut connection, early).unwrap();

    assert_eq!(sent(&mut connection), [(kind::RST_STREAM, 0, 1, 4)]);
}

#[test]
fn a_gibibyte_of_answers_opens_the_window_again() {
    let exchanges = exchanges(3);
    let mut connection = connected(&exchanges, &[]);
    let data = vec![0; frame::MAX_PAYLOAD_BYTES];

    for _ in 0..WINDOW_STEP / frame::MAX_PAYLOAD_BYTES {
        assert_eq!(connection.output(), b"");
        receive(&mut connection, |out| {
            frame::put(out, kind::DATA, 0, 99, &data)
        })
        .unwrap();
    }

    assert_eq!(sent(&mut connection), [(kind::WINDOW_UPDATE, 0, 0, 4)]);
}

// Leaving.

#[test]
fn what_the_server_has_not_looked_at_can_be_sent_again_and_the_rest_is_still_answered() {
    let exchanges = exchanges(3);
    let mut connection = connected(&exchanges, &[]);
    for begin in [10, 20, 30] {
        connection.start(Pending { exchange: 0, begin });
    }

    receive(&mut connection, |out| {
        frame::put(out, kind::GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0])
    })
    .unwrap();
    let refused: Vec<u64> = connection
        .take_refused()
        .iter()
        .map(|pending| pending.begin)
        .collect();
    let outcomes = receive(&mut connection, |out| put_answer(out, 1, b"answer", OK)).unwrap();

    assert_eq!((refused, outcomes), (vec![20, 30], vec![Ok(())]));
    assert!(connection.is_leaving() && !connection.can_start(8));
}

#[test]
fn abandoning_gives_back_what_is_open() {
    let exchanges = exchanges(3);
    let mut connection = connected(&exchanges, &[]);
    start(&mut connection);
    start(&mut connection);

    assert_eq!(connection.abandon().len(), 2);
    assert_eq!(connection.open_streams(), 0);
}
