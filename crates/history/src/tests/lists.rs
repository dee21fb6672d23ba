//! T16: lists against the model, with queries generated after the data; and the pages of long statements.

use ledger::{Amount, Fact, Rail, Timestamp, WalletId};

use super::model::{self, Generator, LABELS};
use super::*;
use crate::lines::for_each_line;
use crate::{Counterparty, EntryKey, Page, PaymentFilter, PaymentStatus, SCANNED_MAX, TimeRange};

/// Compares `count` random queries on what the index knows.
pub(super) fn check_queries(history: &History, generator: &mut Generator, count: u64) {
    let end = history.cursor();
    if generator.model.count(end) == 0 {
        return;
    }
    for _ in 0..count {
        let before = chance(&mut generator.random, 40).then(|| generator.model.key(&mut generator.random));
        let limit = usize::try_from(between(&mut generator.random, 1, 30)).expect("it is small");
        let range = range(generator);
        let wallet = generator.wallet();
        let found = history.entries(wallet, before, range, limit).expect("it is read");
        let expected = generator.model.entries(end, wallet, before, range, limit);
        assert_eq!(found, expected, "entries of {wallet} before {before:?} in {range:?}, at most {limit}");

        let wallets: Vec<WalletId> = (0..generator.random.below(6)).map(|_| generator.wallet()).collect();
        let filter = filter(generator, range);
        let found = history.payments(&wallets, &filter, before, limit).expect("it is read");
        let expected = generator.model.payments(end, &wallets, &filter, before, limit);
        assert_eq!(
            found, expected,
            "payments of {wallets:?} before {before:?} with {filter:?}, at most {limit}"
        );
    }
}

fn range(generator: &mut Generator) -> TimeRange {
    let Generator { random, model, .. } = generator;
    let mut bound = || chance(random, 30).then(|| model.at(random));
    TimeRange { after: bound(), before: bound() }
}

fn filter(generator: &mut Generator, range: TimeRange) -> PaymentFilter {
    let status = chance(&mut generator.random, 20).then_some(PaymentStatus::Completed);
    let rail = chance(&mut generator.random, 30).then_some(Rail::Internal);
    let counterparty = match generator.random.below(6) {
        0 => Some(Counterparty::Wallet(generator.wallet())),
        1 => Some(Counterparty::External(LABELS[0].into())),
        2 => Some(Counterparty::Faucet),
        _ => None,
    };
    PaymentFilter { status, rail, counterparty, range }
}

#[test]
fn lists_equal_those_of_the_model() {
    for_each_seed("lists_equal_those_of_the_model", 6, |seed| {
        let (directory, mut log) = (directory(), TestLog::new());
        let mut generator = Generator::new(seed, 9);
        let history = open(directory.path(), &log, tight());
        generator.append(&mut log, 300);
        // One part in the database, one in memory, and the boundary between them anywhere.
        let sealed = usize::try_from(generator.random.below(300)).expect("it is small");
        feed(&history, &log, sealed);
        history.seal().expect("it is sealed");
        check_queries(&history, &mut generator, 20);
        feed_all(&history, &log);
        check_queries(&history, &mut generator, 150);
        history.seal().expect("it is sealed");
        check_queries(&history, &mut generator, 50);
    });
}

#[test]
fn pages_join_to_the_whole_statement_and_its_deltas_add_up() {
    let (directory, mut log) = (directory(), TestLog::new());
    let mut generator = Generator::new(77, 5);
    let history = open(directory.path(), &log, tight());
    for _ in 0..5 {
        generator.append(&mut log, 60);
        feed_all(&history, &log);
        history.seal().expect("it is sealed");
    }
    generator.append(&mut log, 60);
    feed_all(&history, &log);
    for wallet in generator.wallets.clone() {
        let mut joined = Vec::new();
        let mut before = None;
        loop {
            let Page { items, next } =
                history.entries(wallet, before, TimeRange::default(), 7).expect("it is read");
            joined.extend(items);
            before = next;
            if before.is_none() {
                break;
            }
        }
        let whole = generator.model.entries(history.cursor(), wallet, None, TimeRange::default(), usize::MAX);
        assert_eq!(joined, whole.items);
        let sum = joined.iter().fold(Amount::ZERO, |sum, entry| sum.plus(entry.delta));
        assert_eq!(Some(sum), joined.first().map(|newest| newest.balance_after));
    }
}

#[test]
fn nothing_is_listed_of_what_is_unknown() {
    let (directory, mut log) = (directory(), TestLog::new());
    let history = open(directory.path(), &log, Options::default());
    let mut generator = Generator::new(5, 3);
    let nothing = Page { items: vec![], next: None };
    assert_eq!(
        history.entries(generator.wallets[0], None, TimeRange::default(), 5).expect("it is read"),
        nothing
    );
    generator.append(&mut log, 50);
    feed_all(&history, &log);
    let stranger = WalletId::new(0, 1);
    assert_eq!(history.entries(stranger, None, TimeRange::default(), 5).expect("it is read"), nothing);
    let nobody = history.payments(&[], &PaymentFilter::default(), None, 5).expect("it is read");
    assert_eq!((nobody.items.len(), nobody.next), (0, None));
}

#[test]
fn a_filter_that_matches_nothing_looks_at_a_bounded_part_and_goes_on_from_there() {
    let (directory, mut log) = (directory(), TestLog::new());
    let mut generator = Generator::new(9, 2);
    let history = open(directory.path(), &log, Options::default());
    let mut parts = 0;
    while generator.model.count(Lsn::new(u64::MAX)) < 3 * SCANNED_MAX {
        generator.append(&mut log, 2_000);
        feed_all(&history, &log);
        // Some of it in the database, the rest in memory.
        parts += 1;
        if parts % 3 == 0 {
            history.seal().expect("it is sealed");
        }
    }
    let wallets = generator.wallets.clone();
    let nowhere = Counterparty::External("nowhere".into());
    let filter = PaymentFilter { counterparty: Some(nowhere), ..PaymentFilter::default() };
    let mut before: Option<EntryKey> = None;
    let mut pages = 0;
    loop {
        let page = history.payments(&wallets, &filter, before, 20).expect("it is read");
        assert!(page.items.is_empty());
        pages += 1;
        let Some(next) = page.next else { break };
        assert!(before.is_none_or(|before| next < before), "pages fall");
        before = Some(next);
    }
    assert_eq!(pages, generator.model.count(history.cursor()).div_ceil(SCANNED_MAX));

    // A filter that matches now and then finds all of it, whatever the pages.
    let filter = PaymentFilter { rail: Some(Rail::Crypto), ..PaymentFilter::default() };
    let mut found = Vec::new();
    let mut before = None;
    loop {
        let page = history.payments(&wallets, &filter, before, 1_000_000).expect("it is read");
        found.extend(page.items);
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(found, generator.model.payments(history.cursor(), &wallets, &filter, None, usize::MAX).items);
}

/// A query that tires between the two sides of a payment would lose the second one.
#[test]
fn both_sides_of_a_payment_are_looked_at_together() {
    let (directory, mut log) = (directory(), TestLog::new());
    let [payer, payee] = [1, 2].map(|random| WalletId::new(0, random));
    let payments = 3 * SCANNED_MAX / 4;
    for _ in 0..payments {
        log.append(&model::payment(payer, payee).into());
    }
    // Newest, so that an odd number of entries lies above every payment.
    log.append(&model::payment(payer, WalletId::new(0, 3)).into());
    log.sync();
    let history = open(directory.path(), &log, Options::default());
    feed_all(&history, &log);
    // Only the payee's line matches, which comes second.
    let filter =
        PaymentFilter { counterparty: Some(Counterparty::Wallet(payer)), ..PaymentFilter::default() };
    let (mut found, mut before) = (0, None);
    loop {
        let page = history.payments(&[payer, payee], &filter, before, 100_000).expect("it is read");
        found += page.items.len();
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(found, payments);
}

#[test]
fn a_lower_bound_on_time_ends_the_list_instead_of_the_statement() {
    let (directory, mut log) = (directory(), TestLog::new());
    let mut generator = Generator::new(10, 2);
    let history = open(directory.path(), &log, Options::default());
    while generator.model.count(Lsn::new(u64::MAX)) < 2 * SCANNED_MAX {
        generator.append(&mut log, 2_000);
    }
    feed_all(&history, &log);
    let wallet = generator.wallets[0];
    let whole =
        generator.model.entries(history.cursor(), wallet, None, TimeRange::default(), usize::MAX).items;
    let latest = whole.iter().map(|entry| entry.at.millis()).max().expect("there are entries");
    let after = Some(Timestamp::from_millis(latest - 1));
    let range = TimeRange { after, before: None };
    let page = history.entries(wallet, None, range, 20).expect("it is read");
    assert_eq!(page, generator.model.entries(history.cursor(), wallet, None, range, 20));
    assert!(!page.items.is_empty());
    assert_eq!(page.next, None, "the rest of the statement is older and was not gone through");
}

/// Every posting on a wallet has its line, and no line is without a posting.
#[test]
fn lines_are_the_postings_on_wallets() {
    for_each_seed("lines_are_the_postings_on_wallets", 300, |seed| {
        let mut log = TestLog::new();
        let mut generator = Generator::new(seed, 4);
        generator.append(&mut log, 1);
        let (records, _) = log.read(Lsn::ZERO, 1);
        let fact: Fact = journal::decode(&records[0].1).expect("it is decoded");
        let mut posted = Vec::new();
        fact.for_each_posting(|posting| {
            if let ledger::Account::Wallet(wallet) = posting.account {
                posted.push((wallet, posting.item, posting.delta));
            }
        });
        let mut listed = Vec::new();
        let view = journal::view(&records[0].1).expect("it is sound");
        let visited = for_each_line(view, Some, |wallet, item, line| {
            listed.push((wallet, item, line.delta));
            Ok(())
        });
        assert_eq!((visited, listed), (Ok(()), posted));
    });
}
