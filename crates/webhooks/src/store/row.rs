//! One delivery as a row.
//!
//! Key: webhook (16 bytes, big-endian), record, item and kind of the event, so that a scan goes in log order. Value: a
//! version byte, numbers of fixed width in little-endian, then the body that every attempt sends.

use bytes::Bytes;
use ledger::{EventId, EventKind, Timestamp, WebhookId};

use crate::{Error, Failure};

/// An event's place in the log.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub lsn: u64,
    pub item: u32,
    pub kind: EventKind,
}

/// Where a delivery stands.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// To be tried at this time.
    Pending {
        due: Timestamp,
    },
    Delivered {
        at: Timestamp,
    },
    /// Not to be tried any more.
    Failed {
        at: Timestamp,
    },
}

impl State {
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Pending { .. } => "pending",
            State::Delivered { .. } => "delivered",
            State::Failed { .. } => "failed",
        }
    }

    pub const fn is_pending(self) -> bool {
        matches!(self, State::Pending { .. })
    }
}

/// The last attempt.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub at: Timestamp,
    /// Status of the answer, or why there was none.
    pub result: Result<u16, Failure>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub webhook: WebhookId,
    pub place: Place,
    /// The same on every attempt.
    pub id: EventId,
    /// The object that the event is about.
    pub subject: u128,
    pub created_at: Timestamp,
    pub state: State,
    /// Attempts since it was made, or since it was last asked to be sent again.
    pub attempts: u32,
    pub last: Option<Attempt>,
    pub body: Bytes,
}

pub(super) const KEY_BYTES: usize = 16 + 8 + 4 + 1;
const VERSION: u8 = 1;
const HEAD_BYTES: usize = 1 + 1 + 8 + 16 + 16 + 8 + 4 + 1 + 8 + 2;

pub(super) fn encode_key(webhook: WebhookId, place: Place) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    key[..16].copy_from_slice(&webhook.raw().to_be_bytes());
    key[16..24].copy_from_slice(&place.lsn.to_be_bytes());
    key[24..28].copy_from_slice(&place.item.to_be_bytes());
    key[28] = place.kind as u8;
    key
}

pub(super) fn decode_key(key: &[u8]) -> Result<(WebhookId, Place), Error> {
    parse_key(key).ok_or(Error::Damaged { what: "a key is none" })
}

fn parse_key(key: &[u8]) -> Option<(WebhookId, Place)> {
    let mut input = Input(key);
    let webhook = WebhookId::from_raw(u128::from_be_bytes(input.array()?));
    let lsn = u64::from_be_bytes(input.array()?);
    let item = u32::from_be_bytes(input.array()?);
    let [kind] = input.array()?;
    let kind = EventKind::from_number(kind)?;
    input.0.is_empty().then_some((webhook, Place { lsn, item, kind }))
}

impl Row {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD_BYTES + self.body.len());
        let (state, at) = match self.state {
            State::Pending { due } => (0, due),
            State::Delivered { at } => (1, at),
            State::Failed { at } => (2, at),
        };
        out.extend([VERSION, state]);
        out.extend(at.millis().to_le_bytes());
        out.extend(self.id.raw().to_le_bytes());
        out.extend(self.subject.to_le_bytes());
        out.extend(self.created_at.millis().to_le_bytes());
        out.extend(self.attempts.to_le_bytes());
        let (result, last_at, status) = match self.last {
            None => (0, 0, 0),
            Some(Attempt { at, result: Ok(status) }) => (1, at.millis(), status),
            Some(Attempt { at, result: Err(failure) }) => (2 + failure as u8, at.millis(), 0),
        };
        out.push(result);
        out.extend(last_at.to_le_bytes());
        out.extend(status.to_le_bytes());
        out.extend(&self.body);
        out
    }

    pub(super) fn decode(key: &[u8], value: &[u8]) -> Result<Row, Error> {
        let (webhook, place) = decode_key(key)?;
        parse(webhook, place, value).ok_or(Error::Damaged { what: "a delivery cannot be read back" })
    }
}

fn parse(webhook: WebhookId, place: Place, value: &[u8]) -> Option<Row> {
    let mut input = Input(value);
    let [version, state] = input.array()?;
    if version != VERSION {
        return None;
    }
    let at = input.time()?;
    let state = match state {
        0 => State::Pending { due: at },
        1 => State::Delivered { at },
        2 => State::Failed { at },
        _ => return None,
    };
    let id = EventId::from_raw(u128::from_le_bytes(input.array()?));
    let subject = u128::from_le_bytes(input.array()?);
    let created_at = input.time()?;
    let attempts = u32::from_le_bytes(input.array()?);
    let [result] = input.array()?;
    let at = input.time()?;
    let status = u16::from_le_bytes(input.array()?);
    let last = match result {
        0 => None,
        1 => Some(Attempt { at, result: Ok(status) }),
        code => Some(Attempt { at, result: Err(Failure::from_number(code - 2)?) }),
    };
    let body = Bytes::copy_from_slice(input.0);
    Some(Row { webhook, place, id, subject, created_at, state, attempts, last, body })
}

struct Input<'b>(&'b [u8]);

impl Input<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    fn time(&mut self) -> Option<Timestamp> {
        self.array().map(|bytes| Timestamp::from_millis(i64::from_le_bytes(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(state: State, last: Option<Attempt>) -> Row {
        Row {
            webhook: WebhookId::from_raw(7),
            place: Place { lsn: 4_096, item: 3, kind: EventKind::TokenStarted },
            id: EventId::from_raw(u128::MAX - 1),
            subject: 9,
            created_at: Timestamp::from_millis(-5),
            state,
            attempts: 2,
            last,
            body: Bytes::from_static(b"{\"a\":1}"),
        }
    }

    #[test]
    fn rows_come_back() {
        let at = Timestamp::from_millis(i64::MAX);
        let mut lasts = vec![None, Some(Attempt { at, result: Ok(503) })];
        lasts.extend(Failure::ALL.map(|failure| Some(Attempt { at, result: Err(failure) })));
        for state in [State::Pending { due: at }, State::Delivered { at }, State::Failed { at }] {
            for last in &lasts {
                let row = row(state, *last);
                let (key, value) = (encode_key(row.webhook, row.place), row.encode());
                assert_eq!(Row::decode(&key, &value).expect("it is decoded"), row);
                for length in 0..HEAD_BYTES {
                    assert!(Row::decode(&key, &value[..length]).is_err(), "cut to {length}");
                }
                assert!(Row::decode(&key[1..], &value).is_err());
            }
        }
    }

    /// The bytes of version 1. They stay readable for ever: a new shape is a new version.
    #[test]
    fn the_bytes_of_version_1_are_these() {
        let due = Timestamp::from_millis(1);
        let last = Some(Attempt { at: Timestamp::from_millis(2), result: Err(Failure::TimedOut) });
        let row = row(State::Pending { due }, last);
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(
            hex(&encode_key(row.webhook, row.place)),
            "00000000000000000000000000000007000000000000100000000003".to_owned() + "0a"
        );
        assert_eq!(
            hex(&row.encode()),
            "01000100000000000000feffffffffffffffffffffffffffffff09000000000000000000000000000000fbffffffffffffff"
                .to_owned()
                + "02000000070200000000000000" + "0000" + "7b2261223a317d"
        );
    }

    #[test]
    fn keys_sort_in_log_order() {
        let place = |lsn, item, kind| Place { lsn, item, kind };
        let places = [
            place(1, 9, EventKind::TokenAccepted),
            place(256, 0, EventKind::PaymentCompleted),
            place(256, 0, EventKind::TokenCompleted),
            place(256, 1, EventKind::PaymentCompleted),
        ];
        let keys = places.map(|place| encode_key(WebhookId::from_raw(1), place));
        assert!(keys.is_sorted() && places.is_sorted());
        for (key, place) in keys.iter().zip(places) {
            assert_eq!(decode_key(key).expect("a key"), (WebhookId::from_raw(1), place));
        }
    }
}
