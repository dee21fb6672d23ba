//! Many payments in one request. Payments of one payer are one command to its owner and one record; several payers
//! decide side by side. Item results come back in the order in which the items were given.

use std::{collections::HashMap, future::poll_fn, task::Poll};

use ledger::{
    BatchCommand, BatchItem, BatchPayment, Denial, ItemOutcome, KeyUse, Parts, PayCommand, Payment,
    PaymentBatch, Position, WalletId,
};
use wal::Lsn;

use crate::{
    Engine,
    admission::Permit,
    engine::settled,
    refusal::Refusal,
    registry::Handed,
    release::{Decided, Delivery, Reply, Requester, Seat, Undelivered},
    views::{Answer, Caller, PayBatch, PaymentReceipt},
    wallet::{Asked, Command},
};

type ItemResult = Result<Answer<PaymentReceipt>, Refusal>;

/// Items of one payer, with their places in the request.
struct Group {
    payer: WalletId,
    /// Whether the payer is the caller's. A stranger's wallet is not asked anything.
    owned: bool,
    places: Vec<usize>,
    items: Vec<BatchItem>,
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
    let mut permit = admit()?;
    let PayBatch { items, atomic, key, at } = request;
    let groups = group(engine, caller, items);
    let single = groups.len() == 1;
    if atomic && !single {
        return Err(Denial::MixedPayers.into());
    }
    let (groups, strange): (Vec<Group>, Vec<Group>) = groups.into_iter().partition(|group| group.owned);
    if groups.is_empty() && single {
        return Err(Denial::UnknownWallet.into());
    }
    let mut results: Vec<Option<ItemResult>> = std::iter::repeat_with(|| None).take(count).collect();
    for place in strange.into_iter().flat_map(|group| group.places) {
        results[place] = Some(Err(Denial::UnknownWallet.into()));
    }
    if let Some(key) = &key
        && !single
    {
        // The questions take places of their own; the batch's are given back meanwhile, so that it never stands in its
        // own way.
        drop(permit);
        check_key(engine, caller, &groups, key).await?;
        permit = admit()?;
    }
    let mut asked = Vec::with_capacity(groups.len());
    let mut commands = Vec::with_capacity(groups.len());
    for Group { payer, places, mut items, .. } in groups {
        let alone = !single && key.is_none() && items.len() == 1 && items[0].refused.is_none();
        let command = if alone {
            Command::Pay(payment_of(caller, payer, items.remove(0), at))
        } else {
            Command::Batch(BatchCommand { caller: caller.agent, payer, items, atomic, key: key.clone(), at })
        };
        commands.push((payer, command));
        asked.push((alone, places));
    }
    let mut all_replayed = !asked.is_empty();
    let (replies, delivery) = gather(engine, commands, permit).await?;
    // What was answered before is read from the log, where only delivered records are read.
    let repeats = replies.iter().any(Reply::repeats);
    let delivery = if repeats {
        delivery.await?;
        None
    } else {
        Some(delivery)
    };
    for (reply, (alone, places)) in replies.into_iter().zip(asked) {
        let (outcomes, replayed) = expand(engine, reply, alone, places.len()).await;
        // The refusal of an only group is the refusal of the request.
        let outcomes = match outcomes {
            Ok(outcomes) => outcomes,
            Err(refusal) if single => {
                if let Some(delivery) = delivery {
                    delivery.await?;
                }
                return Err(refusal);
            }
            Err(refusal) => places.iter().map(|_| Err(refusal.clone())).collect(),
        };
        all_replayed &= replayed;
        for (place, outcome) in places.into_iter().zip(outcomes) {
            results[place] = Some(outcome);
        }
    }
    let results =
        results.into_iter().map(|result| result.expect("every item belongs to one group")).collect();
    let answer = Answer { value: results, replayed: all_replayed };
    Ok(match delivery {
        Some(delivery) => Undelivered::new(answer, delivery),
        None => Undelivered::delivered_already(answer),
    })
}

/// One of several payers may know the batch's key from another request: found out before anything moves.
async fn check_key(engine: &Engine, caller: &Caller, groups: &[Group], key: &KeyUse) -> Result<(), Refusal> {
    let mut questions = Vec::with_capacity(groups.len());
    let permit = engine.admit_read(&caller.meter, u32::try_from(groups.len()).unwrap_or(u32::MAX))?;
    for group in groups {
        questions.push((group.payer, Command::CheckKey { key: key.clone() }));
    }
    let (replies, delivery) = gather(engine, questions, permit).await?;
    delivery.await?;
    for reply in replies {
        settled(Ok(reply))?;
    }
    Ok(())
}

/// Groups items by payer, in the order in which payers first come up, and checks payees.
fn group(engine: &Engine, caller: &Caller, items: Vec<(WalletId, BatchItem)>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut by_payer: HashMap<WalletId, usize> = HashMap::new();
    for (place, (payer, mut item)) in items.into_iter().enumerate() {
        // Nearly every batch has one payer: the last group is tried before the map is asked.
        let index = match groups.last() {
            Some(last) if last.payer == payer => groups.len() - 1,
            _ => *by_payer.entry(payer).or_insert_with(|| {
                let owned = engine.owned(caller, payer).is_ok();
                groups.push(Group { payer, owned, places: Vec::new(), items: Vec::new() });
                groups.len() - 1
            }),
        };
        if item.refused.is_none() {
            (item.payee_agent, item.refused) = match engine.check_payee(caller, payer, &item.payee) {
                Ok(agent) => (agent, None),
                Err(Refusal::Denied(denial)) => (None, Some(denial)),
                Err(_) => unreachable!("the check of a payee only denies"),
            };
        }
        groups[index].places.push(place);
        groups[index].items.push(item);
    }
    groups
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
        at,
    }
}

/// Gives one command to each owner; the replies come in order and may be shown once they are delivered. The log wakes
/// this task once, for the last of them.
async fn gather(
    engine: &Engine,
    commands: Vec<(WalletId, Command)>,
    permit: Permit,
) -> Result<(Vec<Reply>, Delivery<'_>), Refusal> {
    let mut commands: Vec<(WalletId, Asked)> =
        commands.into_iter().map(|(payer, command)| (payer, command.into())).collect();
    engine.shared().keys.warm(commands.iter_mut().map(|(payer, asked)| (*payer, asked))).await;
    let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
    let mut replies = Vec::with_capacity(commands.len());
    let mut queued = Vec::new();
    let mut last = Position::ZERO;
    for (place, (payer, asked)) in commands.into_iter().enumerate() {
        replies.push(match engine.hand(payer, asked, Seat::default()) {
            Ok(Handed::Decided(Decided { reply, position })) => {
                last = last.max(position);
                reply
            }
            Ok(Handed::Queued(receiver)) => {
                queued.push((place, receiver));
                Reply::Done
            }
            Ok(Handed::Unknown | Handed::Full) => unreachable!("refused by `hand`"),
            Err(refusal) => Reply::Refused(refusal),
        });
    }
    let shared = engine.shared();
    let seat = Seat { waker: Some(waker.clone()), permit: Some(permit) };
    let seated = shared.answer(last, Requester::Here(seat), Reply::Done);
    let Decided { reply, position } = seated.expect("the requester is on this task");
    settled(Ok(reply))?;
    for (place, receiver) in queued {
        replies[place] = receiver.await.unwrap_or(Reply::Refused(Refusal::OutcomeUnknown));
    }
    Ok((replies, Delivery::new(shared, position, waker)))
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
        Reply::Payment(lsn, payment) => {
            let id = engine.shared().payment_id(lsn.get(), 0);
            (Ok(vec![Ok(Answer::first(PaymentReceipt { id, payment: *payment }))]), false)
        }
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
                Ok(Answer::first(PaymentReceipt { id, payment: terms.payment(paid) }))
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
