//! The open streams of one connection, found by number without hashing.

use crate::answer::Received;

/// A request on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Which of the exchanges it belongs to.
    pub exchange: usize,
    /// Nanoseconds: when it was meant to be sent.
    pub begin: u64,
}

/// One request's stream.
#[derive(Debug)]
pub struct Stream {
    pub id: u32,
    pub pending: Pending,
    /// How much of the request's body has been sent.
    pub sent: usize,
    /// How much more the peer takes on this stream; SETTINGS may make it negative.
    pub window: i64,
    /// The peer's window is used up, and so the stream does not wait in line for sending.
    pub is_stalled: bool,
    /// `:status`, once it has come.
    pub http_status: Option<u16>,
    pub received: Received,
}

/// Streams by number.
///
/// A stream's slot follows from its number. If a slow stream still has the slot that the next
/// number would get, that number is left out, as HTTP/2 permits.
#[derive(Debug)]
pub struct Streams {
    slots: Vec<Option<Stream>>,
    open: usize,
    next_id: u32,
}

/// HTTP/2's numbers end here; a little is left for those that are left out.
const LAST_ID: u32 = 0x7fff_0000;

impl Streams {
    /// Room for `most` at a time.
    pub fn new(most: usize) -> Self {
        let slots = (most * 4).next_power_of_two();
        Self {
            slots: std::iter::repeat_with(|| None).take(slots).collect(),
            open: 0,
            next_id: 1,
        }
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        self.open
    }

    /// Whether numbers are left, on this connection.
    pub fn has_ids(&self) -> bool {
        self.next_id < LAST_ID
    }

    /// Open the next stream. The caller sees to it that there are no more than there is room for.
    pub fn open_next(&mut self, pending: Pending, window: i64) -> &mut Stream {
        while self.slots[self.slot(self.next_id)].is_some() {
            self.next_id += 2;
        }
        let (id, slot) = (self.next_id, self.slot(self.next_id));
        self.next_id += 2;
        self.open += 1;
        let received = Received::Equal(0);
        self.slots[slot].insert(Stream {
            id,
            pending,
            sent: 0,
            window,
            is_stalled: false,
            http_status: None,
            received,
        })
    }

    /// The open stream numbered `id`.
    pub fn get(&mut self, id: u32) -> Option<&mut Stream> {
        let slot = self.slot(id);
        self.slots[slot].as_mut().filter(|stream| stream.id == id)
    }

    /// Close the stream numbered `id`.
    pub fn close(&mut self, id: u32) -> Option<Stream> {
        let slot = self.slot(id);
        let closed = self.slots[slot].take_if(|stream| stream.id == id)?;
        self.open -= 1;
        Some(closed)
    }

    /// All open ones.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.slots.iter_mut().flatten()
    }

    /// Close all that are numbered higher than `last`, lowest number first.
    pub fn close_above(&mut self, last: u32) -> Vec<Stream> {
        let mut ids: Vec<u32> = self
            .iter_mut()
            .map(|stream| stream.id)
            .filter(|id| *id > last)
            .collect();
        ids.sort_unstable();
        ids.into_iter().filter_map(|id| self.close(id)).collect()
    }

    fn slot(&self, id: u32) -> usize {
        (id >> 1) as usize & (self.slots.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PENDING: Pending = Pending {
        exchange: 0,
        begin: 0,
    };

    fn open(streams: &mut Streams) -> u32 {
        streams.open_next(PENDING, 0).id
    }

    #[test]
    fn numbers_are_odd_and_rise() {
        let mut streams = Streams::new(4);

        assert_eq!(
            [open(&mut streams), open(&mut streams), open(&mut streams)],
            [1, 3, 5]
        );
    }

    #[test]
    fn a_stream_that_stays_open_is_kept_while_others_pass_it() {
        let mut streams = Streams::new(2);
        let slow = open(&mut streams);

        for _ in 0..100 {
            let id = open(&mut streams);
            assert_eq!(streams.close(id).unwrap().id, id);
            assert!(streams.close(id).is_none());
        }

        assert_eq!(streams.get(slow).unwrap().id, slow);
        assert_eq!(streams.open(), 1);
    }

    #[test]
    fn those_above_a_number_are_closed_in_order() {
        let mut streams = Streams::new(8);
        for _ in 0..5 {
            open(&mut streams);
        }

        let closed: Vec<u32> = streams
            .close_above(3)
            .iter()
            .map(|stream| stream.id)
            .collect();

        assert_eq!((closed, streams.open()), (vec![5, 7, 9], 2));
    }
}
