//! What must come back, and comparing with it while it arrives.

use std::fmt;
use std::str::FromStr;

/// The flag and the length that gRPC puts before a message.
pub const PREFIX_BYTES: usize = 5;

/// A message as gRPC sends it: not compressed, its length before it.
pub fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0], &length.to_be_bytes()[..], message].concat()
}

/// `f32:FROM:TO:TOLERANCE[@ANSWER]`: these bytes of an answer are little-endian float32 numbers,
/// each of which may be off by so much.
#[derive(Clone, Debug, PartialEq)]
pub struct Tolerance {
    from: i64,
    to: Option<i64>,
    by: f32,
    answer: Option<usize>,
}

impl FromStr for Tolerance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted =
            || format!("{text:?} is not f32:FROM:TO:TOLERANCE or f32:FROM:TO:TOLERANCE@ANSWER");
        let (range, answer) = match text.split_once('@') {
            Some((range, answer)) => (range, Some(answer.parse().map_err(|_| wanted())?)),
            None => (text, None),
        };
        let ["f32", from, to, by] = range.split(':').collect::<Vec<_>>()[..] else {
            return Err(wanted());
        };
        let offset = |text: &str| text.parse::<i64>().map_err(|_| wanted());
        let by: f32 = by.parse().map_err(|_| wanted())?;
        if !(by >= 0.0 && by.is_finite()) {
            return Err(format!("{text:?}: the tolerance must not be negative"));
        }
        let to = if to.is_empty() {
            None
        } else {
            Some(offset(to)?)
        };
        Ok(Self {
            from: offset(from)?,
            to,
            by,
            answer,
        })
    }
}

/// Whole numbers between two offsets of a framed message.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Floats {
    from: usize,
    to: usize,
    by: f32,
}

/// The answer to one of the requests.
#[derive(Debug)]
pub struct Answer {
    framed: Vec<u8>,
    floats: Vec<Floats>,
}

impl Answer {
    /// `message` is the answer numbered `index`. An error says which tolerance does not fit it.
    pub fn new(message: &[u8], index: usize, tolerances: &[Tolerance]) -> Result<Self, String> {
        let own = tolerances
            .iter()
            .filter(|one| one.answer.is_none_or(|answer| answer == index));
        let mut floats = own
            .map(|one| one.within(message.len(), index))
            .collect::<Result<Vec<_>, _>>()?;
        floats.sort_by_key(|range| range.from);
        if floats.windows(2).any(|pair| pair[0].to > pair[1].from) {
            return Err(format!("tolerances overlap in answer {index}"));
        }
        Ok(Self {
            framed: framed(message),
            floats,
        })
    }

    /// The message as gRPC sends it.
    pub fn framed(&self) -> &[u8] {
        &self.framed
    }

    /// How `got`, a whole framed message, differs by more than is tolerated.
    fn compare(&self, got: &[u8]) -> Result<(), Wrong> {
        let (wanted, message) = (self.framed.len() - PREFIX_BYTES, got.len() - PREFIX_BYTES);
        if wanted != message {
            return Err(Wrong::Length {
                wanted,
                got: message,
            });
        }
        let mut at = 0;
        while let Some(offset) = next_difference(&self.framed, got, at) {
            let end = self.end_of_tolerated(got, offset);
            at = end.ok_or(Wrong::Byte(offset.saturating_sub(PREFIX_BYTES)))?;
        }
        Ok(())
    }

    /// The end of the number at `offset`, if there is one and it is close enough.
    fn end_of_tolerated(&self, got: &[u8], offset: usize) -> Option<usize> {
        let floats = self
            .floats
            .iter()
            .find(|floats| (floats.from..floats.to).contains(&offset))?;
        let number = offset - (offset - floats.from) % 4;
        let is_close = (float(&self.framed, number) - float(got, number)).abs() <= floats.by;
        is_close.then_some(number + 4)
    }
}

impl Tolerance {
    fn within(&self, length: usize, index: usize) -> Result<Floats, String> {
        let absolute = |offset: i64| {
            let from_end = if offset < 0 { length as i64 } else { 0 };
            usize::try_from(offset + from_end)
                .ok()
                .filter(|offset| *offset <= length)
        };
        let (from, to) = (absolute(self.from), self.to.map_or(Some(length), absolute));
        match (from, to) {
            (Some(from), Some(to)) if from <= to && (to - from) % 4 == 0 => Ok(Floats {
                from: from + PREFIX_BYTES,
                to: to + PREFIX_BYTES,
                by: self.by,
            }),
            _ => Err(format!(
                "the tolerance for bytes {} to {} does not fit answer {index}, which has {length} bytes: \
                 they must be inside it, and a multiple of 4",
                self.from,
                self.to.map_or("the end".into(), |to| to.to_string()),
            )),
        }
    }
}

fn float(bytes: &[u8], at: usize) -> f32 {
    f32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// What has come of one answer: as long as it is what is expected, only how much.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// So many bytes, equal to those of the answer expected.
    Equal(usize),
    /// These bytes; they differ, or nothing is expected.
    Bytes(Vec<u8>),
}

/// How an answer is wrong.
#[derive(Debug, PartialEq, Eq)]
pub enum Wrong {
    /// No message came, or part of one.
    Incomplete(usize),
    /// It has another length.
    Length { wanted: usize, got: usize },
    /// It differs at this byte, not counting gRPC's prefix.
    Byte(usize),
}

impl fmt::Display for Wrong {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incomplete(got) => write!(formatter, "no whole message in {got} bytes"),
            Self::Length { wanted, got } => write!(formatter, "{got} bytes instead of {wanted}"),
            Self::Byte(offset) => write!(formatter, "it differs at byte {offset}"),
        }
    }
}

impl Received {
    /// Add what has arrived next.
    pub fn add(&mut self, data: &[u8], answer: Option<&Answer>) {
        match (self, answer) {
            (Self::Bytes(bytes), _) => bytes.extend_from_slice(data),
            (Self::Equal(count), Some(answer)) if answer.framed[*count..].starts_with(data) => {
                *count += data.len()
            }
            (this, answer) => {
                let equal = answer.map_or(&[][..], |answer| &answer.framed[..this.equal_bytes()]);
                *this = Self::Bytes([equal, data].concat());
            }
        }
    }

    /// Whether it is the whole answer expected, or any whole message if none is.
    pub fn check(&self, answer: Option<&Answer>) -> Result<(), Wrong> {
        match (self, answer) {
            (Self::Equal(count), Some(answer)) if *count == answer.framed.len() => Ok(()),
            (Self::Equal(count), _) => Err(Wrong::Incomplete(*count)),
            (Self::Bytes(bytes), _) if !is_whole(bytes) => Err(Wrong::Incomplete(bytes.len())),
            (Self::Bytes(bytes), Some(answer)) => answer.compare(bytes),
            (Self::Bytes(_), None) => Ok(()),
        }
    }

    fn equal_bytes(&self) -> usize {
        if let Self::Equal(count) = self {
            *count
        } else {
            0
        }
    }
}

fn is_whole(bytes: &[u8]) -> bool {
    bytes
        .split_first_chunk::<PREFIX_BYTES>()
        .is_some_and(|(prefix, message)| {
            u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize
                == message.len()
        })
}

fn next_difference(wanted: &[u8], got: &[u8], from: usize) -> Option<usize> {
    let mut pairs = wanted[from..].iter().zip(&got[from..]);
    pairs
        .position(|(wanted, got)| wanted != got)
        .map(|offset| from + offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(message: &[u8], tolerances: &[&str]) -> Answer {
        let tolerances: Vec<_> = tolerances
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        Answer::new(message, 0, &tolerances).unwrap()
    }

    fn check(answer: &Answer, pieces: &[&[u8]]) -> Result<(), Wrong> {
        let mut received = Received::Equal(0);
        for piece in pieces {
            received.add(piece, Some(answer));
        }
        received.check(Some(answer))
    }

    fn message(name: &[u8], numbers: [f32; 2]) -> Vec<u8> {
        [
            name,
            &numbers[0].to_le_bytes(),
            &numbers[1].to_le_bytes(),
            b"end",
        ]
        .concat()
    }

    #[test]
    fn an_equal_answer_is_right_however_it_is_cut() {
        let wanted = answer(b"hello", &[]);
        let bytes = framed(b"hello");

        for cut in 0..=bytes.len() {
            assert_eq!(check(&wanted, &[&bytes[..cut], &bytes[cut..]]), Ok(()));
        }
    }

    #[test]
    fn another_byte_is_wrong_however_it_is_cut() {
        let wanted = answer(b"hello", &[]);
        let bytes = framed(b"hellO");

        for cut in 0..=bytes.len() {
            assert_eq!(
                check(&wanted, &[&bytes[..cut], &bytes[cut..]]),
                Err(Wrong::Byte(4))
            );
        }
    }

    #[test]
    fn a_shorter_a_longer_and_no_answer_are_wrong() {
        let wanted = answer(b"hello", &[]);

        assert_eq!(
            check(&wanted, &[&framed(b"hell")]),
            Err(Wrong::Length { wanted: 5, got: 4 })
        );
        assert_eq!(
            check(&wanted, &[&framed(b"hello!")]),
            Err(Wrong::Length { wanted: 5, got: 6 })
        );
        assert_eq!(
            check(&wanted, &[&framed(b"hello"), b"!"]),
            Err(Wrong::Incomplete(11))
        );
        assert_eq!(
            check(&wanted, &[&framed(b"hello")[..7]]),
            Err(Wrong::Incomplete(7))
        );
        assert_eq!(check(&wanted, &[]), Err(Wrong::Incomplete(0)));
    }

    #[test]
    fn numbers_may_be_off_by_the_tolerance_and_nothing_else_may() {
        let wanted = answer(&message(b"id", [0.25, -1.0]), &["f32:2:-3:1e-4"]);
        let is_right =
            |name: &[u8], numbers| check(&wanted, &[&framed(&message(name, numbers))]).is_ok();

        assert!(is_right(b"id", [0.25, -1.0]));
        assert!(is_right(b"id", [0.250_05, -0.999_95]));
        assert!(!is_right(b"id", [0.2502, -1.0]));
        assert!(!is_right(b"id", [0.25, f32::NAN]));
        assert!(!is_right(b"iD", [0.25, -1.0]));
        let mut end = message(b"id", [0.25, -0.999_95]);
        end[10] = b'E';
        assert_eq!(check(&wanted, &[&framed(&end)]), Err(Wrong::Byte(10)));
    }

    #[test]
    fn a_number_that_is_none_must_be_the_same_none() {
        let wanted = answer(&message(b"", [f32::NAN, f32::INFINITY]), &["f32:0:8:1e-4"]);

        assert_eq!(
            check(
                &wanted,
                &[&framed(&message(b"", [f32::NAN, f32::INFINITY]))]
            ),
            Ok(())
        );
        assert_eq!(
            check(&wanted, &[&framed(&message(b"", [f32::NAN, 1.0]))]),
            Err(Wrong::Byte(7))
        );
    }

    #[test]
    fn ranges_count_from_the_start_or_the_end_and_hold_for_one_answer_or_all() {
        let parse = |text: &str| vec![text.parse::<Tolerance>().unwrap()];
        let floats = |text: &str, index| Answer::new(&[0; 20], index, &parse(text)).unwrap().floats;

        assert_eq!(
            floats("f32:4:12:0.5", 0),
            [Floats {
                from: 9,
                to: 17,
                by: 0.5
            }]
        );
        assert_eq!(
            floats("f32:-8::0.5", 0),
            [Floats {
                from: 17,
                to: 25,
                by: 0.5
            }]
        );
        assert_eq!(floats("f32:0:4:0.5@1", 1).len(), 1);
        assert_eq!(floats("f32:0:4:0.5@1", 0), []);
    }

    #[test]
    fn a_tolerance_that_does_not_fit_is_refused() {
        let refusal = |texts: &[&str]| {
            let tolerances: Vec<_> = texts.iter().map(|text| text.parse().unwrap()).collect();
            Answer::new(&[0; 10], 3, &tolerances).unwrap_err()
        };

        assert!(refusal(&["f32:0:6:1"]).contains("does not fit answer 3, which has 10 bytes"));
        assert!(refusal(&["f32:4:12:1"]).contains("bytes 4 to 12"));
        assert!(refusal(&["f32:-12:4:1"]).contains("bytes -12 to 4"));
        assert!(refusal(&["f32:0:8:1", "f32:4:8:1"]).contains("overlap"));
    }

    #[test]
    fn malformed_tolerances_are_refused() {
        for text in [
            "",
            "f64:0:8:1",
            "f32:0:8",
            "f32:a:8:1",
            "f32:0:8:x",
            "f32:0:8:-1",
            "f32:0:8:nan",
            "f32:0:8:1@x",
        ] {
            assert!(text.parse::<Tolerance>().is_err(), "{text}");
        }
    }

    #[test]
    fn without_an_answer_every_whole_message_is_right() {
        let mut received = Received::Equal(0);
        received.add(&framed(b"any"), None);

        assert_eq!(received.check(None), Ok(()));
        assert_eq!(Received::Equal(0).check(None), Err(Wrong::Incomplete(0)));
        received.add(b"more", None);
        assert_eq!(received.check(None), Err(Wrong::Incomplete(12)));
    }
}
