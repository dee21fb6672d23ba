//! What must hold of an engine that recovered from a power cut.

use std::{collections::HashMap, path::Path};

use engine::{Answer, PaymentReceipt, Refusal, Transaction};
use ledger::{Amount, Fact, IdSealer, Payment, PaymentId, RecordAddress, SealedKind, WalletStatus};
use testkit::Random;
use wal::testing::MemoryStorage;

use super::run::{Recording, Told};
use crate::harness::{Books, Node, Party};

/// Answers that are asked for again through the engine; the others are looked up in the books.
const ASKED_AGAIN: usize = 12;

pub(super) struct Verdict<'a> {
    pub(super) recording: &'a Recording,
    /// How many answers had been given before the cut.
    pub(super) told: usize,
    pub(super) point: &'a str,
}

impl Verdict<'_> {
    pub(super) fn check(&self, image: MemoryStorage, snapshots: &Path, random: &mut Random) {
        let setup = self.recording.setup.on(image.clone()).with_snapshots(snapshots);
        let books = Books::of_image(&image, &setup.options.wal);
        let node = setup.try_start().unwrap_or_else(|error| panic!("{}: {error:?}", self.point));
        let payments = self.payments(&books);
        let told = &self.recording.told[..self.told];
        for (_, told) in told {
            self.check_told(told, &books, &payments);
        }
        self.check_batches(&books);
        self.check_balances(&books, &node);
        for _ in 0..ASKED_AGAIN.min(told.len()) {
            self.ask_again(&told[random.index(told.len())].1, &node);
        }
        self.check_balances(&books, &node);
        node.check_trial_balance();
        node.kill();
    }

    /// Payments in the log by the ids that their places give them.
    fn payments<'a>(&self, books: &'a Books) -> HashMap<PaymentId, &'a Payment> {
        let sealer = IdSealer::new(&self.recording.setup.options.id_key);
        let id = |(lsn, item)| {
            let address = RecordAddress { partition: 0, lsn, item };
            PaymentId::from_raw(sealer.seal(SealedKind::Payment, address))
        };
        books.payments.iter().map(|(place, payment)| (id(*place), payment)).collect()
    }

    fn check_told(&self, told: &Told, books: &Books, payments: &HashMap<PaymentId, &Payment>) {
        let is_there = |receipt: &PaymentReceipt| payments.get(&receipt.id) == Some(&&*receipt.payment);
        let (sink, source) = (&self.recording.cast.sink, &self.recording.cast.source);
        let holds = match told {
            Told::Paid(_, receipt) => is_there(receipt),
            Told::Batch(_, answer) => {
                answer.value.iter().filter_map(|item| item.as_ref().ok()).all(|item| is_there(&item.value))
            }
            Told::Funded(_, receipt) => {
                let is_it = |(_, fact): &(u64, Fact)| matches!(fact, Fact::Funding(funding) if *funding == receipt.funding);
                books.facts.iter().filter(|fact| is_it(fact)).count() == 1
            }
            Told::Opened(view) => books.wallets.contains_key(&view.id),
            Told::Switched(times) => {
                let is_it = |(_, fact): &&(u64, Fact)| matches!(fact, Fact::StatusChange(_));
                books.facts.iter().filter(is_it).count() >= *times
            }
            Told::SinkHas(amount) => books.balance(sink.wallet) >= *amount,
            Told::SourceHas(amount) => books.balance(source.wallet) <= *amount,
            Told::Books(lsn) => books.end >= *lsn,
            Told::Snapshot(_) => true,
        };
        assert!(holds, "{}: no longer true: {told:?}", self.point);
    }

    /// A batch of one payer is in the log with all of its items, or not at all, and no key was used twice.
    fn check_batches(&self, books: &Books) {
        let mut uses: HashMap<(ledger::WalletId, &str), usize> = HashMap::new();
        for (_, fact) in &books.facts {
            if let Fact::PaymentBatch(batch) = fact
                && let Some(key) = &batch.key
                && let Some(sent) = self.recording.sent.get(&*key.text)
            {
                assert_eq!(batch.items.len(), *sent, "{}: half of batch {}", self.point, key.text);
            }
        }
        for payment in books.payments.values() {
            if let Some(key) = &payment.key {
                *uses.entry((payment.payer, &key.text)).or_default() += 1;
            }
        }
        assert!(uses.values().all(|uses| *uses == 1), "{}: a key was used twice", self.point);
    }

    /// The engine's wallets are the books' wallets.
    fn check_balances(&self, books: &Books, node: &Node) {
        let cast = &self.recording.cast;
        let exists = |party: &&Party| books.wallets.contains_key(&party.wallet);
        let everybody = cast.parties.iter().chain([&cast.sink, &cast.source, &cast.switched]);
        for party in everybody.filter(exists) {
            let view = node.wallet(party);
            assert_eq!(view.available, books.balance(party.wallet), "{}: {}", self.point, party.wallet);
            assert_eq!((view.held, view.disputed), (Amount::ZERO, Amount::ZERO));
        }
        assert_eq!(node.engine.gauges().wallets, books.wallets.len() as u64, "{}", self.point);
        if exists(&&cast.switched) {
            let is_it = |(_, fact): &&(u64, Fact)| matches!(fact, Fact::StatusChange(_));
            let frozen = books.facts.iter().filter(is_it).count() % 2 == 1;
            assert_eq!(node.wallet(&cast.switched).status == WalletStatus::Frozen, frozen, "{}", self.point);
        }
    }

    /// The same request again gets the same answer, and what was made is found by its id.
    fn ask_again(&self, told: &Told, node: &Node) {
        let (cast, engine, point) = (&self.recording.cast, &node.engine, self.point);
        match told {
            Told::Paid(command, receipt) => {
                let owner = cast.owner(command.payer);
                self.check_found(node, owner, receipt);
                if command.key.is_some() {
                    let again = node.run(engine.pay(&owner.caller, command.clone()));
                    assert_eq!(again, Ok(Answer { value: receipt.clone(), replayed: true }), "{point}");
                }
            }
            Told::Batch(request, answer) => {
                let owner = cast.owner(request.items[0].0);
                for item in answer.value.iter().filter_map(|item| item.as_ref().ok()) {
                    self.check_found(node, owner, &item.value);
                }
                let again = node.run(engine.pay_batch(&owner.caller, request.clone()));
                let expected = Answer { value: answer.value.clone(), replayed: true };
                assert_eq!(again, Ok(expected), "{point}");
            }
            Told::Funded(command, receipt) => {
                let owner = cast.owner(command.wallet);
                let again = node.run(engine.fund(&owner.caller, command.clone()));
                assert_eq!(again, Ok(Answer { value: receipt.clone(), replayed: true }), "{point}");
            }
            Told::Opened(view) => {
                let party = Party::new(view.agent, view.id);
                let read = node.wallet(&party);
                assert_eq!((read.currency, read.created_at), (view.currency, view.created_at), "{point}");
            }
            Told::Switched(_)
            | Told::SinkHas(_)
            | Told::SourceHas(_)
            | Told::Books(_)
            | Told::Snapshot(_) => {}
        }
    }

    fn check_found(&self, node: &Node, owner: &Party, receipt: &PaymentReceipt) {
        let found = node.run(node.engine.transaction(owner.id(), receipt.id));
        assert_eq!(found, Ok::<_, Refusal>(Transaction::Payment(receipt.clone())), "{}", self.point);
    }
}
