//! Rows of snapshots: the state of one owner each, in the same versioned shape as records.

use ledger::{
    Agent, AgentId, Amount, Claim, Currency, IdempotencyKeys, KeyEntry, KeyHash, KeyPlace, Mandate, Outages,
    Position, Service, SystemAccount, Timestamp, Token, Totals, Wallet, WalletFields, WalletId, Webhook,
};
use rkyv::with::InlineAsBox;
use rkyv::{Archive, Serialize};

use crate::archive::{OptionalText, access};
use crate::policies::MandateRow;
use crate::records::{ApiKeyRecord, StatusRecord};
use crate::{Error, Scratch, check, claims, decode, encode, kind, policies, services, tokens, webhooks};

/// One row, owned.
#[derive(Clone, Eq, PartialEq, Debug)]
pub enum Row {
    Wallet(WalletId, Wallet),
    Agent(Agent),
    /// The system accounts as of a position of the commit stream.
    Totals(Totals, Position),
    /// Idempotency keys of records below this are not in the rows of their owners but in the runs beside the snapshots.
    Spilled(Position),
    /// A token under the position of its reservation.
    Token(Position, Token),
    Service(Box<Service>),
    /// What the partition's clock knows.
    Outages(Outages),
    Webhook(Box<Webhook>),
    /// What an agent's wallets may spend together; the positions of its last change and of the last record counted.
    Budget(AgentId, Box<Mandate>, Position, Position),
    /// What is claimed back of the payment at a position.
    Claim(Position, Claim),
}

/// One row, borrowed from the state that it describes.
#[derive(Copy, Clone, Debug)]
pub enum RowRef<'a> {
    Wallet(WalletId, WalletFields<'a>),
    Agent(&'a Agent),
    Totals(&'a Totals, Position),
    Spilled(Position),
    Token(Position, &'a Token),
    Service(&'a Service),
    Outages(&'a Outages),
    Webhook(&'a Webhook),
    Budget(AgentId, &'a Mandate, Position, Position),
    Claim(Position, &'a Claim),
}

impl Row {
    pub fn as_ref(&self) -> RowRef<'_> {
        match self {
            Row::Wallet(id, wallet) => RowRef::Wallet(*id, wallet.fields()),
            Row::Agent(agent) => RowRef::Agent(agent),
            Row::Totals(totals, position) => RowRef::Totals(totals, *position),
            Row::Spilled(position) => RowRef::Spilled(*position),
            Row::Token(id, token) => RowRef::Token(*id, token),
            Row::Service(service) => RowRef::Service(service),
            Row::Outages(outages) => RowRef::Outages(outages),
            Row::Webhook(webhook) => RowRef::Webhook(webhook),
            Row::Budget(agent, mandate, decided, posted) => {
                RowRef::Budget(*agent, mandate, *decided, *posted)
            }
            Row::Claim(payment, claim) => RowRef::Claim(*payment, claim),
        }
    }
}

/// Replaces the content of `out` by the payload of a row. Equal states give equal bytes.
///
/// The keys of an owner are part of its row, 35 bytes each: a row ends at 2 GiB, some sixty million keys, and panics
/// beyond.
pub fn encode_row(row: RowRef<'_>, out: &mut Scratch) {
    match row {
        RowRef::Wallet(id, wallet) => match wallet.policy {
            None => out.archive(kind::ROW_WALLET, &wallet_row(id, &wallet)),
            Some(mandate) => {
                let (wallet, mandate) = (wallet_row(id, &wallet), policies::mandate_row(mandate));
                out.archive(kind::ROW_WALLET_POLICY, &WalletPolicyRow { wallet, mandate });
            }
        },
        RowRef::Agent(agent) => out.archive(kind::ROW_AGENT, &agent_row(agent)),
        RowRef::Totals(totals, position) => out.archive(kind::ROW_TOTALS, &totals_row(totals, position)),
        RowRef::Spilled(position) => out.archive(kind::ROW_SPILLED, &SpilledRow { below: position.get() }),
        RowRef::Token(id, token) => out.archive(kind::ROW_TOKEN, &tokens::token_row(id, token)),
        RowRef::Service(service) => out.archive(kind::ROW_SERVICE, &services::service_row(service)),
        RowRef::Outages(outages) => out.archive(kind::ROW_OUTAGES, &services::outages_row(outages)),
        RowRef::Webhook(webhook) => out.archive(kind::ROW_WEBHOOK, &webhooks::webhook_row(webhook)),
        RowRef::Budget(agent, mandate, decided, posted) => {
            out.archive(kind::ROW_BUDGET, &policies::budget_row(agent, mandate, decided, posted));
        }
        RowRef::Claim(payment, claim) => out.archive(kind::ROW_CLAIM, &claims::claim_row(payment, claim)),
    }
}

/// The row in a payload.
pub fn decode_row(payload: &[u8]) -> Result<Row, Error> {
    let (byte, archive) = kind::split(payload)?;
    match byte {
        kind::ROW_WALLET => {
            let (id, wallet) = wallet(byte, access(byte, archive)?)?;
            Ok(Row::Wallet(id, wallet))
        }
        kind::ROW_WALLET_POLICY => {
            let row: &ArchivedWalletPolicyRow<'_> = access(byte, archive)?;
            let (id, mut wallet) = wallet(byte, &row.wallet)?;
            wallet.policy = Some(Box::new(policies::mandate(byte, &row.mandate)?));
            Ok(Row::Wallet(id, wallet))
        }
        kind::ROW_AGENT => agent(access(byte, archive)?),
        kind::ROW_TOTALS => totals(access(byte, archive)?),
        kind::ROW_SPILLED => {
            let row: &ArchivedSpilledRow = access(byte, archive)?;
            Ok(Row::Spilled(Position::new(row.below.to_native())))
        }
        kind::ROW_TOKEN => {
            tokens::token(byte, access(byte, archive)?).map(|(id, token)| Row::Token(id, token))
        }
        kind::ROW_SERVICE => {
            services::service(byte, access(byte, archive)?).map(|service| Row::Service(Box::new(service)))
        }
        kind::ROW_OUTAGES => services::outages(byte, access(byte, archive)?).map(Row::Outages),
        kind::ROW_WEBHOOK => {
            webhooks::webhook(byte, access(byte, archive)?).map(|webhook| Row::Webhook(Box::new(webhook)))
        }
        kind::ROW_BUDGET => {
            let (agent, mandate, decided, posted) = policies::budget(byte, access(byte, archive)?)?;
            Ok(Row::Budget(agent, Box::new(mandate), decided, posted))
        }
        kind::ROW_CLAIM => {
            claims::claim(byte, access(byte, archive)?).map(|(payment, claim)| Row::Claim(payment, claim))
        }
        _ => Err(Error::UnknownKind { kind: byte }),
    }
}

#[derive(Archive, Serialize)]
struct WalletRow<'a> {
    id: u128,
    agent: u128,
    currency: [u8; 3],
    status: StatusRecord,
    #[rkyv(with = OptionalText)]
    label: Option<&'a str>,
    available: i128,
    held: i128,
    disputed: i128,
    faucet_drawn: i128,
    created_at: i64,
    decided: u64,
    posted: u64,
    keys: KeysRow,
}

/// The row of a wallet that has a policy.
#[derive(Archive, Serialize)]
struct WalletPolicyRow<'a> {
    wallet: WalletRow<'a>,
    mandate: MandateRow<'a>,
}

#[derive(Archive, Serialize)]
struct AgentRow<'a> {
    id: u128,
    #[rkyv(with = InlineAsBox)]
    name: &'a str,
    #[rkyv(with = InlineAsBox)]
    operator: &'a str,
    #[rkyv(with = OptionalText)]
    metadata: Option<&'a str>,
    public_key: [u8; 32],
    created_at: i64,
    keys: Vec<ApiKeyRecord>,
    wallets: Vec<u128>,
    idempotency: KeysRow,
    decided: u64,
}

/// Idempotency keys in order of generation and hash.
#[derive(Archive, Serialize)]
struct KeysRow {
    started: Option<i64>,
    entries: Vec<KeyRow>,
}

#[derive(Archive, Serialize)]
struct KeyRow {
    hash: u128,
    lsn: u64,
    item: u16,
    fingerprint: u64,
    previous: bool,
}

#[derive(Archive, Serialize)]
struct TotalsRow {
    position: u64,
    totals: Vec<TotalRow>,
}

#[derive(Archive, Serialize)]
struct SpilledRow {
    below: u64,
}

#[derive(Archive, Serialize)]
struct TotalRow {
    currency: [u8; 3],
    account: AccountRow,
    amount: i128,
}

#[derive(Archive, Serialize)]
enum AccountRow {
    Faucet,
    Fees,
    External,
    Suspense,
}

fn wallet_row<'a>(id: WalletId, wallet: &WalletFields<'a>) -> WalletRow<'a> {
    WalletRow {
        id: id.raw(),
        agent: wallet.agent.raw(),
        currency: wallet.currency.to_bytes(),
        status: encode::status(wallet.status),
        label: wallet.label,
        available: wallet.available.nanos(),
        held: wallet.held.nanos(),
        disputed: wallet.disputed.nanos(),
        faucet_drawn: wallet.faucet_drawn.nanos(),
        created_at: wallet.created_at.millis(),
        decided: wallet.decided.get(),
        posted: wallet.posted.get(),
        keys: keys_row(wallet.keys),
    }
}

fn wallet(kind: u8, row: &ArchivedWalletRow<'_>) -> Result<(WalletId, Wallet), Error> {
    let id = WalletId::from_raw(row.id.to_native());
    let wallet = Wallet {
        agent: AgentId::from_raw(row.agent.to_native()),
        currency: check::currency(kind, row.currency)?,
        status: decode::status(&row.status),
        label: decode::text(&row.label),
        available: Amount::from_nanos(row.available.to_native()),
        held: Amount::from_nanos(row.held.to_native()),
        disputed: Amount::from_nanos(row.disputed.to_native()),
        faucet_drawn: Amount::from_nanos(row.faucet_drawn.to_native()),
        created_at: Timestamp::from_millis(row.created_at.to_native()),
        decided: Position::new(row.decided.to_native()),
        posted: Position::new(row.posted.to_native()),
        keys: keys(kind, &row.keys)?,
        policy: None,
    };
    let bounded =
        [wallet.available, wallet.held, wallet.disputed, wallet.faucet_drawn].into_iter().all(in_supply);
    let reserved = [wallet.held, wallet.disputed, wallet.faucet_drawn];
    if !bounded || reserved.into_iter().any(Amount::is_negative) {
        return Err(Error::Impossible { kind, what: "balance" });
    }
    Ok((id, wallet))
}

/// Sums of what is within the supply bound cannot overflow.
fn in_supply(amount: Amount) -> bool {
    let most = Amount::SUPPLY_MAX.nanos();
    (-most..=most).contains(&amount.nanos())
}

fn agent_row(agent: &Agent) -> AgentRow<'_> {
    AgentRow {
        id: agent.id.raw(),
        name: &agent.name,
        operator: &agent.operator,
        metadata: agent.metadata.as_deref(),
        public_key: agent.public_key,
        created_at: agent.created_at.millis(),
        keys: agent.keys.iter().map(encode::api_key).collect(),
        wallets: agent.wallets.iter().map(|wallet| wallet.raw()).collect(),
        idempotency: keys_row(&agent.idempotency),
        decided: agent.decided.get(),
    }
}

fn agent(row: &ArchivedAgentRow<'_>) -> Result<Row, Error> {
    Ok(Row::Agent(Agent {
        id: AgentId::from_raw(row.id.to_native()),
        name: Box::from(&*row.name),
        operator: Box::from(&*row.operator),
        metadata: decode::text(&row.metadata),
        public_key: row.public_key,
        created_at: Timestamp::from_millis(row.created_at.to_native()),
        keys: row.keys.iter().map(|key| decode::api_key(kind::ROW_AGENT, key)).collect::<Result<_, _>>()?,
        wallets: row.wallets.iter().map(|raw| WalletId::from_raw(raw.to_native())).collect(),
        idempotency: keys(kind::ROW_AGENT, &row.idempotency)?,
        decided: Position::new(row.decided.to_native()),
    }))
}

fn keys_row(keys: &IdempotencyKeys) -> KeysRow {
    let mut entries: Vec<KeyEntry> = keys.iter().collect();
    entries.sort_unstable_by_key(|entry| (entry.previous, entry.hash));
    let entries = entries.iter().map(|entry| KeyRow {
        hash: entry.hash.raw(),
        lsn: entry.place.lsn,
        item: u16::try_from(entry.place.item).expect("a key's place has an item below 65 536"),
        fingerprint: entry.fingerprint,
        previous: entry.previous,
    });
    KeysRow { started: keys.started().map(Timestamp::millis), entries: entries.collect() }
}

fn keys(kind: u8, row: &ArchivedKeysRow) -> Result<IdempotencyKeys, Error> {
    if row.started.is_some() == row.entries.is_empty() {
        return Err(Error::Impossible { kind, what: "set of idempotency keys" });
    }
    let Some(started) = row.started.as_ref() else { return Ok(IdempotencyKeys::default()) };
    let entries = row.entries.iter().map(|entry| KeyEntry {
        hash: KeyHash::from_raw(entry.hash.to_native()),
        place: KeyPlace { lsn: entry.lsn.to_native(), item: u32::from(entry.item.to_native()) },
        fingerprint: entry.fingerprint.to_native(),
        previous: entry.previous,
    });
    Ok(IdempotencyKeys::restore(Timestamp::from_millis(started.to_native()), entries))
}

fn totals_row(totals: &Totals, position: Position) -> TotalsRow {
    let rows = totals.iter().map(|(currency, account, amount)| TotalRow {
        currency: currency.to_bytes(),
        account: match account {
            SystemAccount::Faucet => AccountRow::Faucet,
            SystemAccount::Fees => AccountRow::Fees,
            SystemAccount::External => AccountRow::External,
            SystemAccount::Suspense => AccountRow::Suspense,
        },
        amount: amount.nanos(),
    });
    TotalsRow { position: position.get(), totals: rows.collect() }
}

fn totals(row: &ArchivedTotalsRow) -> Result<Row, Error> {
    let mut entries: Vec<(Currency, SystemAccount, Amount)> = Vec::with_capacity(row.totals.len());
    for total in row.totals.iter() {
        let account = match total.account {
            ArchivedAccountRow::Faucet => SystemAccount::Faucet,
            ArchivedAccountRow::Fees => SystemAccount::Fees,
            ArchivedAccountRow::External => SystemAccount::External,
            ArchivedAccountRow::Suspense => SystemAccount::Suspense,
        };
        let currency = check::currency(kind::ROW_TOTALS, total.currency)?;
        let amount = Amount::from_nanos(total.amount.to_native());
        if !in_supply(amount) {
            return Err(Error::Impossible { kind: kind::ROW_TOTALS, what: "total" });
        }
        entries.push((currency, account, amount));
    }
    Ok(Row::Totals(Totals::restore(entries), Position::new(row.position.to_native())))
}
