//! What a log says happened, folded by plain addition: an account of the records that shares nothing with the engine's
//! own replay.

use std::{collections::BTreeMap, sync::Arc};

use ledger::{Account, Amount, Fact, ItemOutcome, Payment, WalletId};
use wal::{Log, Storage, testing::MemoryStorage};

/// Everything that can be added up from the records of a log.
#[derive(Default, Debug)]
pub(crate) struct Books {
    /// Sum of all postings by wallet; a wallet that exists and saw none has zero.
    pub(crate) wallets: BTreeMap<WalletId, i128>,
    /// Payments by record and item.
    pub(crate) payments: BTreeMap<(u64, u32), Payment>,
    pub(crate) facts: Vec<(u64, Fact)>,
}

impl Books {
    /// Reads a copy of the log, so that nobody is disturbed.
    pub(crate) fn of_image(image: &MemoryStorage, options: &wal::Options) -> Self {
        Self::of(Arc::new(MemoryStorage::with_files(image.files())), options)
    }

    /// Reads a log that nobody has open.
    pub(crate) fn of(storage: Arc<dyn Storage>, options: &wal::Options) -> Self {
        let log = Log::open(storage, options.clone()).expect("the log opens");
        let mut books = Self::default();
        log.replay(log.begin(), |lsn, payload| {
            books.add(lsn.get(), journal::decode(payload)?);
            Ok::<_, journal::Error>(())
        })
        .expect("every record can be read");
        books
    }

    fn add(&mut self, lsn: u64, fact: Fact) {
        fact.for_each_posting(|posting| {
            if let Account::Wallet(wallet) = posting.account {
                *self.wallets.entry(wallet).or_default() += posting.delta.nanos();
            }
        });
        match &fact {
            Fact::AgentCreated(created) => drop(self.wallets.entry(created.wallet).or_default()),
            Fact::WalletOpened(opened) => drop(self.wallets.entry(opened.wallet).or_default()),
            Fact::Payment(payment) => drop(self.payments.insert((lsn, 0), payment.clone())),
            Fact::PaymentBatch(batch) => {
                for (index, outcome) in batch.items.iter().enumerate() {
                    if let ItemOutcome::Paid(_) = outcome {
                        let payment = batch.payment(index).expect("paid");
                        self.payments.insert((lsn, u32::try_from(index).expect("few items")), payment);
                    }
                }
            }
            _ => {}
        }
        self.facts.push((lsn, fact));
    }

    pub(crate) fn balance(&self, wallet: WalletId) -> Amount {
        Amount::from_nanos(self.wallets.get(&wallet).copied().unwrap_or(0))
    }
}
