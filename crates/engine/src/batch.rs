//! Many payments in one request. Payments of one payer are one command to its owner and one record; several payers
//! decide side by side. Item results come back in the order in which the items were given.

mod round;

use std::{future::poll_fn, task::Poll};

use ledger::{
    BatchCommand, BatchItem, BatchPayment, Denial, ItemOutcome, KeyHash, KeyScope, KeyUse, Parts, PayCommand,
    Payee, Payment, PaymentBatch, Position, WalletId,
};
use wal::Lsn;

use self::round::{Outcome, Round};

use crate::{
    Engine,
    admission::Permit,
    engine::{judge_payee, settled},
    refusal::Refusal,
    release::{Decided, Delivery, Reply, Requester, Seat, Undelivered},
    views::{Answer, Caller, PayBatch, PaymentReceipt},
    wallet::{Asked, Command},
};

type ItemResult = Result<Answer<PaymentReceipt>, Refusal>;

/// One payer's items of a request, by their places in it.
struct Group<'p> {
    payer: WalletId,
    places: &'p [u32],
    /// Asked for a single payment, like any that comes without a batch.
    is_alone: bool,
}

pub(crate) async fn pay<'e>(
    engine: &'e Engine,
    caller: &Caller,
    request: PayBatch,
) -> Result<Undelivered<'e, Answer<Vec<ItemResult>>>, Refusal> {
    let count = request.items.len();
    if count == 0 {
        return Ok(Undelivered::delivered_already(Answer::first(Vec::new())));
    }
    let admit = || engine.admit(&caller.meter, u32::try_from(count).unwrap_or(u32::MAX));
    let mut permit = admit().await?;
    let PayBatch { items, atomic, key, at } = request;
    let payers: Vec<WalletId> = items.iter().map(|(payer, _)| *payer).collect();
    let mut items: Vec<Option<BatchItem>> = items.into_iter().map(|(_, item)| Some(item)).collect();
    let owned = check(engine, caller, &payers, &mut items);
    let by_payer = engine.shared().registry.grouped(&payers);
    let payer_of = |places: &[u32]| payers[places[0] as usize];
    let groups = || by_payer.chunk_by(|one, other| payers[*one as usize] == payers[*other as usize]);
    let is_single = groups().nth(1).is_none();
    if atomic && !is_single {
        return Err(Denial::MixedPayers.into());
    }
    let is_owned = |places: &&[u32]| owned[places[0] as usize];
    if is_single && !groups().all(|places| is_owned(&places)) {
        return Err(Denial::UnknownWallet.into());
    }
    if let Some(key) = &key
        && !is_single
    {
        // The questions take places of their own; the batch's are given back meanwhile, so that it never stands in its
        // own way.
        drop(permit);
        check_key(engine, caller, groups().filter(is_owned).map(payer_of), key).await?;
        permit = admit().await?;
    }
    let groups: Vec<Group<'_>> = groups()
        .filter(is_owned)
        .map(|places| {
            let is_plain =
                |item: &Option<BatchItem>| item.as_ref().is_some_and(|item| item.refused.is_none());
            let is_only = places.len() == 1 && !is_single && key.is_none();
            let is_alone = is_only && is_plain(&items[places[0] as usize]);
            Group { payer: payer_of(places), places, is_alone }
        })
        .collect();
    let warmed = engine.shared().keys.warm(|| hashes(&groups, &items, key.as_ref())).await;
    let mut seen = Position::ZERO;
    let commands = groups.iter().map(|Group { payer, places, is_alone }| {
        let mut items = places.iter().map(|place| items[*place as usize].take().expect("in one group"));
        let command = if *is_alone {
            Command::Pay(payment_of(caller, *payer, items.next().expect("it has one"), at))
        } else {
            let (caller, items, key) = (caller.agent, items.collect(), key.clone());
            let command = BatchCommand { caller, payer: *payer, items, atomic, key, agent_terms: None, at };
            Command::Batch(command)
        };
        let asked = engine.held_to_budget(caller.agent, command);
        seen = seen.max(asked.seen());
        (*payer, Asked { absent_below: warmed.absent_below(*payer), ..asked })
    });
    let (replies, delivery) = gather(engine, commands, permit).await?;
    engine.delivered(seen).await?;
    answer(engine, count, &groups, is_single, replies, delivery).await
}

/// The keys that the groups' decisions will look for, with their owners.
fn hashes(
    groups: &[Group<'_>],
    items: &[Option<BatchItem>],
    key: Option<&KeyUse>,
) -> Vec<(WalletId, KeyHash)> {
    let of_request = key.map(|key| key.hash(KeyScope::Batch));
    let mut hashes = Vec::with_capacity(items.len());
    for Group { payer, places, .. } in groups {
        let keys = places.iter().filter_map(|place| items[*place as usize].as_ref()?.key.as_ref());
        let of_items = keys.map(|key| key.hash(KeyScope::Payment));
        hashes.extend(of_items.chain(of_request).map(|hash| (*payer, hash)));
    }
    hashes
}

/// Puts the results in the order of the request. Items of no group are of wallets that are not the caller's.
async fn answer<'e>(
    engine: &'e Engine,
    count: usize,
    groups: &[Group<'_>],
    is_single: bool,
    replies: Vec<Reply>,
    delivery: Delivery<'e>,
) -> Result<Undelivered<'e, Answer<Vec<ItemResult>>>, Refusal> {
    let mut results: Vec<ItemResult> = Vec::new();
    results.resize_with(count, || Err(Denial::UnknownWallet.into()));
    let mut all_replayed = !groups.is_empty();
    // What was answered before is read from the log, where only delivered records are read.
    let mut delivery = Some(delivery);
    if replies.iter().any(Reply::repeats)
        && let Some(delivery) = delivery.take()
    {
        delivery.await?;
    }
    for (reply, Group { places, is_alone, .. }) in replies.into_iter().zip(groups) {
        if let Reply::Payment(lsn, payment) = reply {
            let id = engine.shared().payment_id(lsn.get(), 0);
            results[places[0] as usize] = Ok(Answer::first(PaymentReceipt { id, payment }));
            all_replayed = false;
            continue;
        }
        let (outcomes, replayed) = expand(engine, reply, *is_alone, places.len()).await;
        // The refusal of an only group is the refusal of the request.
        let outcomes = match outcomes {
            Ok(outcomes) => outcomes,
            Err(refusal) if is_single => {
                if let Some(delivery) = delivery {
                    delivery.await?;
                }
                return Err(refusal);
            }
            Err(refusal) => places.iter().map(|_| Err(refusal.clone())).collect(),
        };
        all_replayed &= replayed;
        for (place, outcome) in places.iter().zip(outcomes) {
            results[*place as usize] = outcome;
        }
    }
    let answer = Answer { value: results, replayed: all_replayed };
    Ok(match delivery {
        Some(delivery) => Undelivered::new(answer, delivery),
        None => Undelivered::delivered_already(answer),
    })
}

/// One of several payers may know the batch's key from another request: found out before anything moves.
async fn check_key(
    engine: &Engine,
    caller: &Caller,
    payers: impl Iterator<Item = WalletId>,
    key: &KeyUse,
) -> Result<(), Refusal> {
    let payers: Vec<WalletId> = payers.collect();
    let permit = engine.admit_read(&caller.meter, u32::try_from(payers.len()).unwrap_or(u32::MAX))?;
    let hash = key.hash(KeyScope::Batch);
    let warmed = engine.shared().keys.warm(|| payers.iter().map(|payer| (*payer, hash)).collect()).await;
    let questions = payers.iter().map(|payer| {
        let asked = Asked::from(Command::CheckKey { key: key.clone() });
        (*payer, Asked { absent_below: warmed.absent_below(*payer), ..asked })
    });
    let (replies, delivery) = gather(engine, questions, permit).await?;
    delivery.await?;
    for reply in replies {
        settled(Ok(reply))?;
    }
    Ok(())
}

/// Checks everything that never changes: notes in the items why they are refused, and says for each whether its payer is
/// the caller's.
fn check(
    engine: &Engine,
    caller: &Caller,
    payers: &[WalletId],
    items: &mut [Option<BatchItem>],
) -> Vec<bool> {
    let registry = &engine.shared().registry;
    let mut wallets = Vec::with_capacity(items.len());
    let mut items_paying_them = Vec::with_capacity(items.len());
    for (place, item) in items.iter_mut().enumerate() {
        if let Some(BatchItem { payee: Payee::Wallet(payee), payee_agent, refused: refused @ None, .. }) =
            item
        {
            wallets.push(*payee);
            items_paying_them.push((place, payee_agent, refused));
        }
    }
    let payer_facts = registry.facts_of_each(payers);
    let currency_if_owned = |place: usize| match payer_facts[place] {
        Some((agent, currency)) if agent == caller.agent => Some(currency),
        _ => None,
    };
    let payee_facts = registry.facts_of_each(&wallets);
    let checked = items_paying_them.into_iter().zip(wallets).zip(payee_facts);
    for (((place, payee_agent, refused), payee), facts) in checked {
        *payee_agent = facts.map(|(agent, _)| agent);
        if let Some(currency) = currency_if_owned(place) {
            *refused = judge_payee((payers[place], currency), payee, facts).err();
        }
    }
    (0..payers.len()).map(|place| currency_if_owned(place).is_some()).collect()
}

fn payment_of(caller: &Caller, payer: WalletId, item: BatchItem, at: ledger::Timestamp) -> PayCommand {
    PayCommand {
        caller: caller.agent,
        payer,
        payee: item.payee,
        payee_agent: item.payee_agent,
        amount: item.amount,
        currency: item.currency,
        rail: item.rail,
        description: item.description,
        metadata: item.metadata,
        key: item.key,
        agent_terms: None,
        at,
    }
}

/// Gives one command to each owner; the replies come in order and may be shown once they are delivered. The log wakes
/// this task once, for the last of them.
async fn gather(
    engine: &Engine,
    commands: impl Iterator<Item = (WalletId, Asked)>,
    mut permit: Permit,
) -> Result<(Vec<Reply>, Delivery<'_>), Refusal> {
    // What was decided last may be on its way to the disk already; the permit then goes behind it, with the next batch.
    let places = permit.give_back_early();
    let mut round = Round::begin(engine);
    commands.for_each(|(wallet, asked)| round.put(wallet, asked));
    let Outcome { mut replies, queued, last } = round.finish().await;
    let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
    let shared = engine.shared();
    let seat = Seat { waker: Some(waker.clone()), permit: Some(permit) };
    let seated = shared.answer(last, Requester::Here(seat), Reply::Done);
    let Decided { reply, position } = seated.expect("the requester is on this task");
    settled(Ok(reply))?;
    for (place, receiver) in queued {
        replies[place] = receiver.await.unwrap_or(Reply::Refused(Refusal::OutcomeUnknown));
    }
    Ok((replies, Delivery::new(shared, position, waker).giving_back(places)))
}

/// Results of one owner's reply, one per item of its group, and whether the whole of it is a repetition. `alone`: it
/// was asked for a single payment, whose key may have been used as an item of any earlier batch.
async fn expand(
    engine: &Engine,
    reply: Reply,
    alone: bool,
    count: usize,
) -> (Result<Vec<ItemResult>, Refusal>, bool) {
    match reply {
        Reply::Batch(lsn, batch) => (Ok(items(engine, lsn, *batch).await), false),
        Reply::Replay(place) if alone => {
            let payment = engine.reads().payment(place).await;
            (Ok(vec![payment.map(Answer::again)]), true)
        }
        Reply::Replay(place) => match engine.reads().batch(place).await {
            // Fingerprints are no proof: they can be made to meet, so what they say is checked as far as it can be.
            Ok(batch) if batch.items.len() != count => (Err(Denial::KeyConflict.into()), false),
            Ok(batch) => (Ok(items(engine, Some(Lsn::new(place.lsn)), batch).await), true),
            Err(refusal) => (Err(refusal), false),
        },
        Reply::Refused(refusal) => (Err(refusal), false),
        reply => unreachable!("a payer answered with something it was not asked for: {reply:?}"),
    }
}

async fn items(engine: &Engine, lsn: Option<Lsn>, batch: PaymentBatch) -> Vec<ItemResult> {
    let mut results: Vec<ItemResult> = Vec::with_capacity(batch.items.len());
    let terms = Terms { payer: batch.payer, currency: batch.currency, held: batch.held_after, at: batch.at };
    for (item, outcome) in (0u32..).zip(batch.items) {
        let result = match outcome {
            ItemOutcome::Paid(paid) => {
                let lsn = lsn.expect("a batch that paid has a record");
                let id = engine.shared().payment_id(lsn.get(), item);
                Ok(Answer::first(PaymentReceipt { id, payment: Box::new(terms.payment(paid)) }))
            }
            ItemOutcome::Denied(denial) => Err(denial.into()),
            ItemOutcome::Replayed(place) => engine.reads().payment(place).await.map(Answer::again),
            ItemOutcome::Repeated { item } => {
                let earlier = usize::try_from(item).ok().and_then(|item| results.get(item)).cloned();
                earlier.expect("an item repeats an earlier one").map(|answer| Answer::again(answer.value))
            }
        };
        results.push(result);
    }
    results
}

/// What all items of a batch share.
struct Terms {
    payer: WalletId,
    currency: ledger::Currency,
    held: ledger::Amount,
    at: ledger::Timestamp,
}

impl Terms {
    fn payment(&self, paid: BatchPayment) -> Payment {
        Payment {
            payer: self.payer,
            payee: paid.payee,
            amount: paid.amount,
            fee: paid.fee,
            currency: self.currency,
            rail: paid.rail,
            description: paid.description,
            metadata: paid.metadata,
            key: paid.key,
            at: self.at,
            balance_after: Parts { available: paid.available_after, held: self.held },
        }
    }
}
