//! A line of a wallet's statement, as queries return it and as the index keeps it.
//!
//! Key of a row in the index: wallet id (16 bytes, big-endian), then Lsn and item index of the row's oldest entry inverted,
//! so that a forward scan behind the wallet's id goes from the newest row to the oldest. Value of an entry: kind, rail and status as one byte each, then
//! numbers as varints, then the counterparty; 30 to 40 bytes for a usual payment.

use ledger::{Amount, Rail, Timestamp, WalletId};

use crate::Error;
use crate::varint::{Input, Output};

/// Place of an entry in the log: the record and the item in it. Entries are ordered by it, and it is what pages go by.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryKey {
    pub lsn: u64,
    pub item: u32,
}

impl EntryKey {
    /// At or below every entry.
    pub(crate) const MIN: EntryKey = EntryKey { lsn: 0, item: 0 };
    /// Above every entry: a record never begins with the last byte of a log.
    pub(crate) const MAX: EntryKey = EntryKey { lsn: u64::MAX, item: u32::MAX };
}

/// One line of a wallet's statement. The deltas of all lines of a wallet add up to what it has available.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub lsn: u64,
    pub item: u32,
    pub kind: EntryKind,
    /// Change of the wallet's available balance, fee included.
    pub delta: Amount,
    /// Part of `delta` that was a fee, as a positive amount; zero on the payee's side.
    pub fee: Amount,
    /// Sum of this line's delta and all before it in log order.
    pub balance_after: Amount,
    /// Arrival of the request.
    pub at: Timestamp,
    pub counterparty: Counterparty,
    /// `None` for what is no payment.
    pub rail: Option<Rail>,
    /// `None` for what is no payment.
    pub status: Option<PaymentStatus>,
}

impl Entry {
    pub fn key(&self) -> EntryKey {
        EntryKey { lsn: self.lsn, item: self.item }
    }
}

/// What moved the money.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    PaymentSent,
    PaymentReceived,
    Funding,
    /// The price of a call is held.
    TokenHeld,
    /// A hold was given back.
    TokenReleased,
    /// A hold became the provider's: the payer's side, whose available balance does not change by it.
    TokenPaid,
    /// The same on the provider's side.
    TokenEarned,
    /// No line of a statement: a token in the list of one of its parties.
    TokenListed,
    /// No line of a statement: the record that ended a token.
    TokenClosed,
    /// A payment was given back: the payee's side.
    RefundSent,
    /// The same on the payer's side, by a refund or at the end of a dispute.
    RefundReceived,
    /// Set aside from the payee for a dispute.
    DisputeHeld,
    /// What was set aside came back to the payee.
    DisputeReleased,
    /// A dispute ended with a refund: what the payee had to add to what was set aside.
    DisputeRefunded,
    /// No line of a statement: a dispute in the list of one of its parties, or of operators.
    DisputeListed,
}

impl EntryKind {
    pub const fn is_payment(self) -> bool {
        match self {
            EntryKind::PaymentSent
            | EntryKind::PaymentReceived
            | EntryKind::TokenPaid
            | EntryKind::TokenEarned => true,
            EntryKind::Funding
            | EntryKind::TokenHeld
            | EntryKind::TokenReleased
            | EntryKind::TokenListed
            | EntryKind::TokenClosed
            | EntryKind::RefundSent
            | EntryKind::RefundReceived
            | EntryKind::DisputeHeld
            | EntryKind::DisputeReleased
            | EntryKind::DisputeRefunded
            | EntryKind::DisputeListed => false,
        }
    }

    /// Whether it is about a payment that was made before, which its record names.
    pub const fn is_of_claim(self) -> bool {
        matches!(
            self,
            EntryKind::RefundSent
                | EntryKind::RefundReceived
                | EntryKind::DisputeHeld
                | EntryKind::DisputeReleased
                | EntryKind::DisputeRefunded
        )
    }

    /// Whether it is the payer's line of a payment, which stands for both in a list that has both.
    pub(crate) const fn is_of_payer(self) -> bool {
        matches!(self, EntryKind::PaymentSent | EntryKind::TokenPaid)
    }
}

/// State of a payment. All rails that exist complete a payment in the record that decides it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum PaymentStatus {
    Completed,
}

/// The other side of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Counterparty {
    Wallet(WalletId),
    /// Somebody outside the ledger, under the payer's label.
    External(Box<str>),
    /// The sandbox faucet.
    Faucet,
    /// Somebody outside the ledger who gives back, under a label that the payment has.
    Outside,
}

/// [`Counterparty`] without owning the label.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Party<'a> {
    Wallet(WalletId),
    External(&'a str),
    Faucet,
    Outside,
}

impl Party<'_> {
    fn to_counterparty(self) -> Counterparty {
        match self {
            Party::Wallet(wallet) => Counterparty::Wallet(wallet),
            Party::External(label) => Counterparty::External(label.into()),
            Party::Faucet => Counterparty::Faucet,
            Party::Outside => Counterparty::Outside,
        }
    }

    pub(crate) fn is(self, counterparty: &Counterparty) -> bool {
        match (self, counterparty) {
            (Party::Wallet(one), Counterparty::Wallet(other)) => one == *other,
            (Party::External(one), Counterparty::External(other)) => one == &**other,
            (Party::Faucet, Counterparty::Faucet) | (Party::Outside, Counterparty::Outside) => true,
            (Party::Wallet(_) | Party::External(_) | Party::Faucet | Party::Outside, _) => false,
        }
    }
}

/// What a fact says about one wallet: an [`Entry`] before its running balance is known.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    pub(crate) kind: EntryKind,
    pub(crate) delta: Amount,
    pub(crate) fee: Amount,
    pub(crate) at: Timestamp,
    pub(crate) party: Party<'a>,
    pub(crate) rail: Option<Rail>,
    pub(crate) status: Option<PaymentStatus>,
}

/// Where a wallet stands behind an entry.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Running balance.
    pub(crate) balance: Amount,
    /// Latest time of this entry and all before it: a scan for entries after some time can end here.
    pub(crate) latest_at: Timestamp,
}

impl Head {
    pub(crate) const EMPTY: Head =
        Head { balance: Amount::ZERO, latest_at: Timestamp::from_millis(i64::MIN) };

    /// The head behind one more line.
    pub(crate) fn advance(self, line: &Line<'_>) -> Head {
        Head { balance: self.balance.plus(line.delta), latest_at: self.latest_at.max(line.at) }
    }
}

/// Bytes of a key.
pub(crate) const KEY_BYTES: usize = 16 + 8 + 4;

pub(crate) fn encode_key(wallet: WalletId, key: EntryKey) -> [u8; KEY_BYTES] {
    let mut bytes = [0; KEY_BYTES];
    bytes[..16].copy_from_slice(&wallet.raw().to_be_bytes());
    bytes[16..24].copy_from_slice(&(!key.lsn).to_be_bytes());
    bytes[24..].copy_from_slice(&(!key.item).to_be_bytes());
    bytes
}

pub(crate) fn decode_key(bytes: &[u8]) -> Result<(WalletId, EntryKey), Error> {
    let bytes: &[u8; KEY_BYTES] =
        bytes.try_into().map_err(|_| Error::Damaged { what: "a key has a wrong length" })?;
    let wallet = u128::from_be_bytes(*bytes.first_chunk().expect("a key begins with 16 bytes"));
    let lsn = u64::from_be_bytes(*bytes[16..].first_chunk().expect("8 bytes follow"));
    let item = u32::from_be_bytes(*bytes[24..].first_chunk().expect("4 bytes follow"));
    Ok((WalletId::from_raw(wallet), EntryKey { lsn: !lsn, item: !item }))
}

/// Bytes of a value without its label at most: three codes, five numbers, and what is known of the other side.
const NUMBERS_BYTES_MAX: usize = 3 + 5 * 19 + 17;

/// Appends the value of an entry.
pub(crate) fn encode_value(line: &Line<'_>, head: Head, out: &mut Vec<u8>) {
    let begin = out.len();
    out.resize(begin + NUMBERS_BYTES_MAX, 0);
    let mut output = Output::new(&mut out[begin..]);
    let rail = line.rail.map_or(0, |rail| rail as u8 + 1);
    output.put_all(&[kind_code(line.kind), rail, status_code(line.status)]);
    output.put_signed(line.delta.nanos());
    output.put_signed(line.fee.nanos());
    output.put_signed(head.balance.nanos());
    output.put_signed(line.at.millis().into());
    output.put_signed(i128::from(head.latest_at.millis()) - i128::from(line.at.millis()));
    let mut label = "";
    match line.party {
        Party::Faucet => output.put(0),
        Party::Wallet(wallet) => {
            output.put(1);
            output.put_all(&wallet.raw().to_be_bytes());
        }
        Party::External(text) => {
            output.put(2);
            output.put_unsigned(text.len() as u128);
            label = text;
        }
        Party::Outside => output.put(3),
    }
    let length = output.len();
    out.truncate(begin + length);
    out.extend_from_slice(label.as_bytes());
}

/// A value as kept, without copying the label.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Value<'a> {
    pub(crate) line: Line<'a>,
    pub(crate) head: Head,
}

impl Value<'_> {
    pub(crate) fn to_entry(self, key: EntryKey) -> Entry {
        let Line { kind, delta, fee, at, party, rail, status } = self.line;
        let (EntryKey { lsn, item }, balance_after) = (key, self.head.balance);
        Entry {
            lsn,
            item,
            kind,
            delta,
            fee,
            balance_after,
            at,
            counterparty: party.to_counterparty(),
            rail,
            status,
        }
    }
}

pub(crate) fn decode_value(bytes: &[u8]) -> Result<Value<'_>, Error> {
    parse_value(bytes).ok_or(Error::Damaged { what: "an entry cannot be decoded" })
}

fn parse_value(bytes: &[u8]) -> Option<Value<'_>> {
    let mut input = Input::new(bytes);
    let [kind, rail, status] = input.array()?;
    let kind = parse_kind(kind)?;
    let rail = match rail.checked_sub(1) {
        None => None,
        Some(index) => Some(*Rail::ALL.get(usize::from(index))?),
    };
    let status = parse_status(status)?;
    let delta = Amount::from_nanos(input.signed()?);
    let fee = Amount::from_nanos(input.signed()?);
    let balance = Amount::from_nanos(input.signed()?);
    let millis = input.signed()?;
    let latest_millis = millis.checked_add(input.signed()?)?;
    let at = Timestamp::from_millis(i64::try_from(millis).ok()?);
    let latest_at = Timestamp::from_millis(i64::try_from(latest_millis).ok()?);
    let party = match input.array()? {
        [0] => Party::Faucet,
        [1] => Party::Wallet(WalletId::from_raw(u128::from_be_bytes(input.array()?))),
        [2] => {
            let length = usize::try_from(input.unsigned()?).ok()?;
            Party::External(std::str::from_utf8(input.take(length)?).ok()?)
        }
        [3] => Party::Outside,
        _ => return None,
    };
    let line = Line { kind, delta, fee, at, party, rail, status };
    input.is_empty().then_some(Value { line, head: Head { balance, latest_at } })
}

const fn kind_code(kind: EntryKind) -> u8 {
    match kind {
        EntryKind::PaymentSent => 1,
        EntryKind::PaymentReceived => 2,
        EntryKind::Funding => 3,
        EntryKind::TokenHeld => 4,
        EntryKind::TokenReleased => 5,
        EntryKind::TokenPaid => 6,
        EntryKind::TokenEarned => 7,
        EntryKind::TokenListed => 8,
        EntryKind::TokenClosed => 9,
        EntryKind::RefundSent => 10,
        EntryKind::RefundReceived => 11,
        EntryKind::DisputeHeld => 12,
        EntryKind::DisputeReleased => 13,
        EntryKind::DisputeRefunded => 14,
        EntryKind::DisputeListed => 15,
    }
}

const fn parse_kind(code: u8) -> Option<EntryKind> {
    match code {
        1 => Some(EntryKind::PaymentSent),
        2 => Some(EntryKind::PaymentReceived),
        3 => Some(EntryKind::Funding),
        4 => Some(EntryKind::TokenHeld),
        5 => Some(EntryKind::TokenReleased),
        6 => Some(EntryKind::TokenPaid),
        7 => Some(EntryKind::TokenEarned),
        8 => Some(EntryKind::TokenListed),
        9 => Some(EntryKind::TokenClosed),
        10 => Some(EntryKind::RefundSent),
        11 => Some(EntryKind::RefundReceived),
        12 => Some(EntryKind::DisputeHeld),
        13 => Some(EntryKind::DisputeReleased),
        14 => Some(EntryKind::DisputeRefunded),
        15 => Some(EntryKind::DisputeListed),
        _ => None,
    }
}

const fn status_code(status: Option<PaymentStatus>) -> u8 {
    match status {
        None => 0,
        Some(PaymentStatus::Completed) => 1,
    }
}

/// The outer `None` is damage.
const fn parse_status(code: u8) -> Option<Option<PaymentStatus>> {
    match code {
        0 => Some(None),
        1 => Some(Some(PaymentStatus::Completed)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use wal::testing::Random;

    use super::*;

    fn line(party: Party<'_>) -> Line<'_> {
        Line {
            kind: EntryKind::PaymentSent,
            delta: Amount::from_nanos(-5_020_000_000),
            fee: Amount::from_nanos(20_000_000),
            at: Timestamp::from_millis(1_700_000_000_000),
            party,
            rail: Some(Rail::Internal),
            status: Some(PaymentStatus::Completed),
        }
    }

    fn encoded(line: &Line<'_>, head: Head) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_value(line, head, &mut bytes);
        bytes
    }

    #[test]
    fn values_come_back_and_are_short() {
        let head = Head::EMPTY.advance(&line(Party::Faucet));
        for (party, bytes_max) in [
            (Party::Faucet, 25),
            (Party::Outside, 25),
            (Party::Wallet(WalletId::from_raw(u128::MAX)), 41),
            (Party::External("merchant:demo"), 41),
            (Party::External(""), 26),
        ] {
            for rail in Rail::ALL.into_iter().map(Some).chain([None]) {
                for kind in (1..=15).filter_map(parse_kind) {
                    let line = Line { kind, rail, ..line(party) };
                    let bytes = encoded(&line, head);
                    assert!(bytes.len() <= bytes_max, "{} bytes for {line:?}", bytes.len());
                    assert_eq!(decode_value(&bytes).expect("it is decoded"), Value { line, head });
                    for length in 0..bytes.len() {
                        assert!(decode_value(&bytes[..length]).is_err(), "cut to {length}");
                    }
                    assert!(decode_value(&[&bytes[..], &[0]].concat()).is_err(), "something follows");
                }
            }
        }
    }

    #[test]
    fn extremes_come_back() {
        let [least, most] = [i64::MIN, i64::MAX].map(Timestamp::from_millis);
        let head = Head { balance: Amount::from_nanos(i128::MIN), latest_at: most };
        let line =
            Line { at: least, delta: Amount::from_nanos(i128::MAX), status: None, ..line(Party::Faucet) };
        assert_eq!(decode_value(&encoded(&line, head)).expect("it is decoded"), Value { line, head });
    }

    #[test]
    fn random_bytes_never_panic() {
        let mut random = Random::new(1);
        let head = Head::EMPTY.advance(&line(Party::Faucet));
        let sound = encoded(&line(Party::External("größe")), head);
        let mut refused = 0;
        for _ in 0..20_000 {
            let mut bytes = sound.clone();
            for _ in 0..3 {
                let index = usize::try_from(random.below(bytes.len() as u64)).expect("it is small");
                bytes[index] = random.draw().to_le_bytes()[0];
            }
            refused += usize::from(decode_value(&bytes).is_err());
        }
        assert!(refused > 1_000, "most damage to tags and lengths is noticed: {refused}");
    }

    #[test]
    fn keys_sort_newest_first_and_come_back() {
        let wallet = WalletId::from_raw(7);
        let newest_first = [(9, 1), (9, 0), (8, u32::MAX), (0, 0)].map(|(lsn, item)| EntryKey { lsn, item });
        let keys = newest_first.map(|key| encode_key(wallet, key));
        assert!(keys.is_sorted());
        for (bytes, key) in keys.iter().zip(newest_first) {
            assert_eq!(decode_key(bytes).expect("it is decoded"), (wallet, key));
        }
        assert!(decode_key(&keys[0][1..]).is_err());
    }
}
