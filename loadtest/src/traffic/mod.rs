//! The load itself: begins requests by a mix, remembers what each connection asked, and enters the answers into the book.
//!
//! State: belongs to the thread that drives it. One order per connection; an order with an unknown outcome is sent again
//! with the same idempotency key until it is known, also after the run ([`Traffic::settle_only`]).
//!
//! Non-goals: it does not judge. What the answers add up to is compared by `verify`.

mod life;
mod market;
mod mix;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use fastrand::Rng;

use self::life::{Life, Step};
pub use self::market::Market;
use self::mix::Kind;
pub use self::mix::{Mix, Weights};
use crate::book::{Book, EXTERNAL, Pay};
use crate::field::Field;
use crate::findings::Finding;
use crate::payments::{KeySeries, write_cents};
use crate::request::{write_get, write_post};
use crate::shape::Pairs;
use crate::{Answer, Next, Roster, Target, Workload};

/// How long a refused request waits before it is sent again. A node that starts takes longer than this; one that is
/// overloaded gets some air.
const RETRY_AFTER: Duration = Duration::from_millis(20);

/// Batches of at least so many payments are prepared while the one before is out. Smaller ones are written in a few
/// microseconds.
const AHEAD_ITEMS_MIN: usize = 100;

/// What a connection has out.
#[derive(Debug)]
enum Order {
    Pay {
        pay: Pay,
        retried: bool,
    },
    Batch {
        pays: Vec<Pay>,
        retried: bool,
    },
    Read(Read),
    /// The next step of the connection's call.
    Call,
}

#[derive(Debug, Clone, Copy)]
enum Read {
    Balance(u32),
    /// Number of a promise in the book.
    Payment(usize),
    Entries(u32),
    Payments(u32),
}

/// One connection's share of the state.
#[derive(Debug, Default)]
struct Slot {
    order: Option<Order>,
    /// May follow `order`. Counts as nothing until it is released.
    prepared: Option<Order>,
    /// Is out already, while the answer to `order` has come and is not looked at.
    released: Option<Order>,
    call: Option<Life>,
}

/// Members of answers that are looked at here; the book has its own.
struct Fields {
    id: Field,
    amount: Field,
    available: Field,
    token: Field,
    token_id: Field,
    reserved: Field,
    provider_fee: Field,
}

/// How traffic is made.
#[derive(Debug, Clone)]
pub struct TrafficSpec {
    pub mix: Mix,
    pub seed: u64,
    pub connections: usize,
    /// Faucet amount of every wallet, in 10⁻⁹.
    pub opening_nanos: i128,
    /// How many promises to keep for the verification; all if not given.
    pub keep: Option<usize>,
    /// Whether a connection may wait after a refusal. An open loop's may not: its times are fixed.
    pub may_pause: bool,
}

/// A workload that knows what it was promised.
pub struct Traffic<'a> {
    authority: String,
    roster: &'a Roster,
    market: Market,
    mix: Mix,
    pairs: Pairs,
    rng: Rng,
    keys: KeySeries,
    next_key: u64,
    /// Whose turn it is, where payers take turns.
    turn: u32,
    slots: Vec<Slot>,
    /// Orders that are to be sent again, oldest first.
    again: VecDeque<Order>,
    pause_until: Option<Instant>,
    may_pause: bool,
    /// New orders that may still be begun.
    fresh_left: u64,
    /// Item lists of batches that are done with.
    spare: Vec<Vec<Pay>>,
    body: Vec<u8>,
    fields: Fields,
    units: u64,
    pub book: Book,
}

impl<'a> Traffic<'a> {
    /// `market` may be empty when the mix has no calls.
    pub fn new(target: &Target, roster: &'a Roster, market: Market, spec: TrafficSpec) -> Traffic<'a> {
        assert!(
            spec.mix.weights.calls == 0 || !market.services.is_empty(),
            "calls need services to be called"
        );
        Traffic {
            authority: target.authority.clone(),
            roster,
            market,
            pairs: Pairs::new(spec.mix.shape, roster.wallets()),
            mix: spec.mix,
            rng: Rng::with_seed(spec.seed),
            keys: KeySeries::new(spec.seed),
            next_key: 0,
            turn: 0,
            slots: (0..spec.connections).map(|_| Slot::default()).collect(),
            again: VecDeque::new(),
            pause_until: None,
            may_pause: spec.may_pause,
            fresh_left: u64::MAX,
            spare: Vec::new(),
            body: Vec::new(),
            fields: Fields {
                id: Field::new("\"id\""),
                amount: Field::new("\"amount\""),
                available: Field::new("\"available\""),
                token: Field::new("\"token\""),
                token_id: Field::new("\"token_id\""),
                reserved: Field::new("\"reserved_amount\""),
                provider_fee: Field::new("\"provider_fee\""),
            },
            units: 0,
            book: Book::new(roster.wallets(), spec.opening_nanos, spec.keep, spec.seed),
        }
    }

    /// What the load is about, counted over the whole life: payments, service calls, reads or requests.
    pub fn units(&self) -> u64 {
        self.units
    }

    pub fn connections(&self) -> usize {
        self.slots.len()
    }

    /// How the keys of this load are written.
    pub(crate) fn key_series(&self) -> KeySeries {
        self.keys.clone()
    }

    pub fn mix(&self) -> &Mix {
        &self.mix
    }

    /// Goes on with another mix, over the same wallets and promises.
    pub fn change_mix(&mut self, mix: Mix) {
        self.pairs = Pairs::new(mix.shape, self.roster.wallets());
        self.mix = mix;
    }

    /// Begins this many more orders, then finishes.
    pub fn limit(&mut self, fresh: u64) {
        self.fresh_left = fresh;
    }

    /// Another number of connections, between two runs.
    pub fn set_connections(&mut self, connections: usize) {
        self.collect_open();
        let kept = self.slots.iter().skip(connections).filter(|slot| slot.call.is_some()).count();
        assert!(kept == 0, "a connection with a call under way must stay");
        self.slots.resize_with(connections, Slot::default);
    }

    /// Whether a connection may wait after a refusal, in the next run.
    pub fn set_may_pause(&mut self, may_pause: bool) {
        self.may_pause = may_pause;
    }

    /// After a run: begins nothing new, only what is open is asked again. Returns how many orders that are.
    pub fn settle_only(&mut self) -> usize {
        self.fresh_left = 0;
        self.collect_open();
        self.open_orders()
    }

    /// Orders whose outcome is unknown.
    pub fn open_orders(&self) -> usize {
        let busy = |slot: &&Slot| slot.order.is_some() || slot.call.is_some();
        self.again.len() + self.slots.iter().filter(busy).count()
    }

    /// One line for each of the first orders that are still open.
    pub fn describe_open(&self) -> Vec<String> {
        let orders = self.again.iter().chain(self.slots.iter().filter_map(|slot| slot.order.as_ref()));
        let calls = self.slots.iter().filter_map(|slot| slot.call.as_ref()).map(Life::describe);
        orders.map(|order| format!("{order:.120?}")).chain(calls).take(5).collect()
    }

    /// Requests that were out when a run ended have an unknown outcome.
    fn collect_open(&mut self) {
        for connection in 0..self.slots.len() {
            self.forget_prepared(connection);
            self.is_unknown(connection);
        }
    }

    fn forget_prepared(&mut self, connection: usize) {
        if let Some(Order::Batch { mut pays, .. }) = self.slots[connection].prepared.take() {
            pays.clear();
            self.spare.push(pays);
        }
    }

    /// A new order now would have to wait, or an older one goes first.
    fn has_to_wait(&self) -> bool {
        self.pause_until.is_some() || !self.again.is_empty() || self.fresh_left == 0
    }

    /// The connection's order has an unknown outcome: it is to be sent again.
    fn is_unknown(&mut self, connection: usize) {
        let slot = &mut self.slots[connection];
        assert!(slot.released.is_none(), "an answer that came is looked at before anything else");
        let (order, was_unknown) = match slot.order.take() {
            None => return,
            // A lost read is no loss.
            Some(Order::Read(_)) => return,
            Some(Order::Call) => {
                let was_unknown = slot.call.as_mut().is_none_or(Life::is_unknown);
                self.book.unknowns.requests += u64::from(!was_unknown);
                return;
            }
            Some(Order::Pay { pay, retried }) => (Order::Pay { pay, retried: true }, retried),
            Some(Order::Batch { pays, retried }) => (Order::Batch { pays, retried: true }, retried),
        };
        self.book.unknowns.requests += u64::from(!was_unknown);
        self.again.push_back(order);
    }

    /// The connection's order was refused before anything moved: it is to be sent again, and nothing is unknown.
    fn is_postponed(&mut self, connection: usize) {
        match self.slots[connection].order.take() {
            None | Some(Order::Read(_) | Order::Call) => {}
            Some(order) => self.again.push_back(order),
        }
    }

    /// What this connection does next.
    fn next_order(&mut self, connection: usize) -> Option<Order> {
        if self.slots[connection].call.is_some() {
            return Some(Order::Call);
        }
        if let Some(order) = self.again.pop_front() {
            return Some(order);
        }
        self.fresh_left = self.fresh_left.checked_sub(1)?;
        Some(match self.mix.draw(&mut self.rng) {
            Kind::Payment => Order::Pay { pay: self.new_payment(), retried: false },
            Kind::Batch => Order::Batch { pays: self.new_batch(connection), retried: false },
            Kind::Read => Order::Read(self.new_read()),
            Kind::Call => {
                let consumer = life::consumer(self.roster, self.market.services.len(), &mut self.rng);
                let service = self.rng.usize(0..self.market.services.len());
                self.slots[connection].call = Some(Life::new(consumer, service, self.new_key()));
                Order::Call
            }
        })
    }

    fn new_key(&mut self) -> u64 {
        self.next_key += 1;
        self.next_key
    }

    fn new_payment(&mut self) -> Pay {
        let (payer, mut payee) = self.pairs.next(&mut self.rng);
        if self.mix.external_share > 0.0 && self.rng.f64() < self.mix.external_share {
            payee = EXTERNAL;
        }
        Pay { payer, payee, cents: self.rng.u32(self.mix.cents.clone()), key: self.new_key() }
    }

    /// Random wallets of one agent, or all of them in turn, pay random wallets of all.
    fn new_batch(&mut self, connection: usize) -> Vec<Pay> {
        let agents = self.roster.agents();
        let agent = &agents[connection % agents.len()];
        let mut pays = self.spare.pop().unwrap_or_default();
        for _ in 0..self.mix.batch_items {
            let drawn = if self.mix.payers_take_turns {
                self.turn = self.turn.wrapping_add(1);
                self.turn % agent.wallets
            } else {
                self.rng.u32(0..agent.wallets)
            };
            let payer = agent.first_wallet + drawn;
            let other = self.rng.u32(0..self.roster.wallets() - 1);
            let payee = if other >= payer { other + 1 } else { other };
            let cents = self.rng.u32(self.mix.cents.clone());
            self.next_key += 1;
            pays.push(Pay { payer, payee, cents, key: self.next_key });
        }
        pays
    }

    /// Mostly balances, often a payment, sometimes a page of a list.
    fn new_read(&mut self) -> Read {
        let wallet = self.rng.u32(0..self.roster.wallets());
        let promises = self.book.promises().len();
        match self.rng.u32(0..100) {
            0..60 => Read::Balance(wallet),
            60..90 if promises > 0 => Read::Payment(self.rng.usize(0..promises)),
            60..95 => Read::Entries(wallet),
            _ => Read::Payments(wallet),
        }
    }

    fn write(&mut self, order: &Order, connection: usize, request: &mut Vec<u8>) {
        match order {
            Order::Pay { pay, .. } => {
                self.body.clear();
                write_pay(self.roster, &self.keys, pay, &mut self.body);
                let key = &self.roster.owner(pay.payer).api_key;
                write_post(&self.authority, key, &["/v1/payments"], &self.body, request);
            }
            Order::Batch { pays, .. } => {
                self.body.clear();
                self.body.extend_from_slice(br#"{"payments":["#);
                for (index, pay) in pays.iter().enumerate() {
                    if index > 0 {
                        self.body.push(b',');
                    }
                    write_pay(self.roster, &self.keys, pay, &mut self.body);
                }
                self.body.extend_from_slice(b"]}");
                let key = &self.roster.owner(pays[0].payer).api_key;
                write_post(&self.authority, key, &["/v1/payments/batch"], &self.body, request);
            }
            Order::Read(read) => self.write_read(*read, request),
            Order::Call => {
                let life = self.slots[connection].call.take().expect("a call is under way");
                self.write_step(&life, request);
                self.slots[connection].call = Some(life);
            }
        }
    }

    fn write_read(&self, read: Read, request: &mut Vec<u8>) {
        let roster = self.roster;
        let (wallet, path): (u32, [&str; 3]) = match read {
            Read::Balance(wallet) => (wallet, ["/v1/wallets/", roster.wallet(wallet), "/balance"]),
            Read::Entries(wallet) => (wallet, ["/v1/wallets/", roster.wallet(wallet), "/entries?limit=20"]),
            Read::Payments(wallet) => {
                (wallet, ["/v1/payments?limit=20&wallet_id=", roster.wallet(wallet), ""])
            }
            Read::Payment(index) => {
                let promise = self.book.promises().get(index);
                (promise.pay.payer, ["/v1/payments/", promise.id.as_str(), ""])
            }
        };
        write_get(&self.authority, &roster.owner(wallet).api_key, &path, request);
    }

    /// Takes a 2xx answer.
    fn take(&mut self, connection: usize, order: Order, answer: Answer<'_>) {
        match order {
            Order::Pay { pay, retried } => {
                self.book.acknowledge(pay, answer, retried);
                self.units += 1;
            }
            Order::Batch { mut pays, retried } => {
                let paid = self.book.acknowledge_batch(&pays, answer, retried);
                self.units += if self.mix.unit() == "payments" { paid } else { 1 };
                pays.clear();
                self.spare.push(pays);
            }
            Order::Read(read) => {
                self.check_read(read, answer.body);
                self.units += 1;
            }
            Order::Call => {
                let mut life = self.slots[connection].call.take().expect("a call is under way");
                let counts_requests = self.mix.unit() == "requests";
                match self.take_step(&mut life, answer) {
                    Step::GoesOn => {
                        self.slots[connection].call = Some(life);
                        self.units += u64::from(counts_requests);
                    }
                    Step::Over => self.units += 1,
                }
            }
        }
    }

    /// While nothing moves, a read can be compared with the book; otherwise only a negative balance is wrong.
    fn check_read(&mut self, read: Read, body: &[u8]) {
        let sample = || String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
        match read {
            Read::Balance(wallet) => {
                let found = self.fields.available.nanos(body);
                let expected = self.book.balance(wallet);
                let quiet = self.mix.is_quiet() && self.book.unknowns.requests == 0;
                if found.is_none_or(|found| found < 0 || (quiet && found != expected)) {
                    let wallet = self.roster.wallet(wallet);
                    self.book.findings.add(Finding::WrongAnswer, || format!("{wallet}: {}", sample()));
                }
            }
            Read::Payment(index) => {
                let promise = *self.book.promises().get(index);
                let is_right = self.fields.id.text(body) == Some(promise.id.as_str())
                    && self.fields.amount.nanos(body) == Some(promise.pay.nanos());
                if !is_right {
                    self.book
                        .findings
                        .add(Finding::WrongPayment, || format!("{}: {}", promise.id.as_str(), sample()));
                }
            }
            Read::Entries(_) | Read::Payments(_) => {}
        }
    }
}

impl Workload for Traffic<'_> {
    fn next(&mut self, connection: usize, request: &mut Vec<u8>) -> Next {
        if let Some(until) = self.pause_until {
            let left = until.saturating_duration_since(Instant::now());
            if self.may_pause && !left.is_zero() {
                return Next::Pause(left);
            }
            self.pause_until = None;
        }
        self.forget_prepared(connection);
        let Some(order) = self.next_order(connection) else { return Next::Finished };
        self.write(&order, connection, request);
        self.slots[connection].order = Some(order);
        Next::Send
    }

    fn answered(&mut self, connection: usize, answer: Answer<'_>) {
        if answer.is_success() {
            let slot = &mut self.slots[connection];
            let order = slot.order.take().expect("an answer belongs to an order");
            slot.order = slot.released.take();
            self.take(connection, order, answer);
        } else if answer.asks_for_patience() {
            if answer.moved_nothing() {
                self.is_postponed(connection);
            } else {
                self.is_unknown(connection);
            }
            self.pause_until = Some(Instant::now() + RETRY_AFTER);
        } else {
            // Refused for good: nothing moved, and asking again would not help.
            self.book.refused += 1;
            let slot = &mut self.slots[connection];
            if matches!(slot.order.take(), Some(Order::Call)) {
                slot.call = None;
            }
        }
    }

    fn lost(&mut self, connection: usize) {
        self.is_unknown(connection);
    }

    fn works_ahead(&self) -> bool {
        let Weights { payments, reads, calls, .. } = self.mix.weights;
        payments + reads + calls == 0 && self.mix.batch_items >= AHEAD_ITEMS_MIN
    }

    fn prepare(&mut self, connection: usize, request: &mut Vec<u8>) -> bool {
        self.forget_prepared(connection);
        if self.has_to_wait() {
            return false;
        }
        let order = Order::Batch { pays: self.new_batch(connection), retried: false };
        self.write(&order, connection, request);
        self.slots[connection].prepared = Some(order);
        true
    }

    fn release(&mut self, connection: usize) -> bool {
        if self.has_to_wait() {
            return false;
        }
        self.fresh_left -= 1;
        let slot = &mut self.slots[connection];
        slot.released = slot.prepared.take();
        slot.released.is_some()
    }
}

fn write_pay(roster: &Roster, keys: &KeySeries, pay: &Pay, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"from_wallet_id":""#);
    out.extend_from_slice(roster.wallet(pay.payer).as_bytes());
    match pay.payee {
        EXTERNAL => out.extend_from_slice(br#"","to_external":"merchant:load"#),
        payee => {
            out.extend_from_slice(br#"","to_wallet_id":""#);
            out.extend_from_slice(roster.wallet(payee).as_bytes());
        }
    }
    out.extend_from_slice(br#"","currency":"USD","amount":"#);
    write_cents(u64::from(pay.cents), out);
    out.extend_from_slice(br#","idempotency_key":""#);
    keys.write(pay.key, out);
    out.extend_from_slice(br#""}"#);
}

#[cfg(test)]
mod tests;
