//! Facts and rows that use every field, every variant and the edges of every range.

use journal::Row;
use ledger::{
    Account, Agent, AgentCreated, AgentId, Amount, BatchPayment, Currency, Denial, Fact, Funding,
    IdempotencyKeys, ItemOutcome, Key, KeyAdded, KeyEntry, KeyHash, KeyId, KeyKind, KeyPlace, KeyRevoked,
    KeyScope, KeyUse, KeysRotated, Parts, Payee, Payment, PaymentBatch, Position, Posting, Rail, Scopes,
    StatusChange, SystemAccount, Timestamp, Totals, Wallet, WalletId, WalletOpened, WalletStatus,
};
use ledger::{
    CALLS_MAX, Call, ClockFact, Offer, Outage, OutageCause, Outages, Outcome, Service, ServiceChange,
    ServiceChanged, ServiceId, ServiceStatus, ServiceTerms, Sla, Step, TokenEnd, TokenEnded, TokenReserved,
    TokenStatus, TokenStepped, TokenTerms, TokenTimes, TrustChanged, Verification,
};

const AGENT: AgentId = AgentId::new(1, 0x0011_2233_4455_6677_8899_aabb_ccdd);
const PAYER: WalletId = WalletId::new(1, 0x1111_1111_1111_1111_1111_1111_1111);
const PAYEE: WalletId = WalletId::new(2, 0x2222_2222_2222_2222_2222_2222_2222);
const AT: Timestamp = Timestamp::from_millis(1_778_241_600_123);

fn nanos(nanos: i128) -> Amount {
    Amount::from_nanos(nanos)
}

pub(crate) fn key(text: &str) -> Option<KeyUse> {
    Some(KeyUse { text: text.into(), fingerprint: 0x0123_4567_89ab_cdef })
}

/// The guide's first payment, under a key of 20 characters.
pub(crate) fn payment() -> Payment {
    Payment {
        payer: PAYER,
        payee: Payee::Wallet(PAYEE),
        amount: nanos(5_000_000_000),
        fee: nanos(20_000_000),
        currency: Currency::USD,
        rail: Rail::Internal,
        description: None,
        metadata: None,
        key: key("tool-call-0000000001"),
        at: AT,
        balance_after: Parts { available: nanos(94_980_000_000), held: nanos(7) },
    }
}

fn full_payment() -> Payment {
    Payment {
        payee: Payee::External("merchant:demo ☕".into()),
        amount: Amount::MAX,
        fee: Amount::MAX,
        currency: Currency::EUR,
        rail: Rail::Stripe,
        description: Some("Agent tool purchase – “quoted”, 日本語".into()),
        metadata: Some(r#"{"run":"r-1","nested":{"n":[1,2,3]}}"#.into()),
        key: key(&"k".repeat(255)),
        at: Timestamp::from_millis(i64::MIN),
        balance_after: Parts { available: nanos(i128::MAX), held: nanos(i128::MIN) },
        ..payment()
    }
}

/// Nothing optional, and texts that are there but empty.
fn bare_payment() -> Payment {
    Payment {
        payee: Payee::External("".into()),
        amount: nanos(1),
        fee: Amount::ZERO,
        description: Some("".into()),
        metadata: Some("".into()),
        key: None,
        at: Timestamp::from_millis(0),
        balance_after: Parts::default(),
        ..payment()
    }
}

pub(crate) fn item(amount: i128, fee: i128, available_after: i128) -> BatchPayment {
    BatchPayment {
        payee: Payee::Wallet(PAYEE),
        amount: nanos(amount),
        fee: nanos(fee),
        rail: Rail::Internal,
        description: None,
        metadata: None,
        key: None,
        available_after: nanos(available_after),
    }
}

pub(crate) fn denials() -> Vec<Denial> {
    vec![
        Denial::UnknownWallet,
        Denial::KeyConflict,
        Denial::UnknownPayee,
        Denial::SameWallet,
        Denial::CurrencyMismatch { wallet: Currency::USD, requested: Currency::EUR },
        Denial::UnsupportedCurrency,
        Denial::SettlementNotConfigured { rail: Rail::Ach },
        Denial::SettlementNotConfigured { rail: Rail::Card },
        Denial::SettlementNotConfigured { rail: Rail::Crypto },
        Denial::WalletClosed,
        Denial::WalletFrozen,
        Denial::AmountNotPositive,
        Denial::AmountTooLarge,
        Denial::FaucetCap { limit: nanos(3), used: nanos(2), needed: nanos(4) },
        Denial::InsufficientBalance { available: nanos(-1), held: nanos(2), needed: nanos(i128::MAX) },
        Denial::MixedPayers,
        Denial::UnknownKey,
        Denial::LastOwnerKey,
        Denial::TooManyKeys { limit: 100 },
        Denial::TooManyWallets { limit: u32::MAX },
        Denial::WrongStatus { status: WalletStatus::Active },
        Denial::WrongStatus { status: WalletStatus::Frozen },
        Denial::WrongStatus { status: WalletStatus::Closed },
    ]
}

fn full_batch() -> PaymentBatch {
    let second = BatchPayment {
        payee: Payee::External("shop".into()),
        rail: Rail::Card,
        description: Some("second".into()),
        metadata: Some("{}".into()),
        key: key("item-key"),
        ..item(200, 3, 797)
    };
    let mut items = vec![ItemOutcome::Paid(item(1_000, 4, 1_000)), ItemOutcome::Paid(second)];
    items.push(ItemOutcome::Replayed(KeyPlace { lsn: u64::MAX, item: 65_535 }));
    items.push(ItemOutcome::Repeated { item: 1 });
    items.extend(denials().into_iter().map(ItemOutcome::Denied));
    items.push(ItemOutcome::Paid(item(797, 0, 0)));
    PaymentBatch {
        payer: PAYER,
        currency: Currency::USD,
        at: AT,
        atomic: false,
        key: key("batch-key"),
        held_after: nanos(11),
        items,
    }
}

fn bare_batch() -> PaymentBatch {
    PaymentBatch { atomic: true, key: None, items: Vec::new(), ..full_batch() }
}

fn api_key(id: u64, kind: KeyKind) -> Key {
    Key {
        id: KeyId::from_raw(id),
        kind,
        hash: std::array::from_fn(|index| u8::try_from(index).expect("32 bytes")),
        scopes: Scopes::READ.with(Scopes::PAY),
        created_at: AT,
        expires_at: None,
        revoked_at: None,
    }
}

fn ended_key() -> Key {
    Key {
        scopes: Scopes::ALL,
        expires_at: Some(Timestamp::from_millis(i64::MAX)),
        revoked_at: Some(Timestamp::from_millis(-1)),
        ..api_key(u64::MAX, KeyKind::Runtime)
    }
}

fn agent_created() -> AgentCreated {
    AgentCreated {
        agent: AGENT,
        name: "ResearchOpsAgent".into(),
        operator: "acme".into(),
        metadata: Some(r#"{"team":"research"}"#.into()),
        public_key: [0xa5; 32],
        keys: vec![api_key(1, KeyKind::Runtime), api_key(2, KeyKind::Owner), ended_key()],
        wallet: PAYER,
        currency: Currency::USD,
        at: AT,
    }
}

/// Every kind of record under the name of its golden file.
pub(crate) fn facts() -> Vec<(&'static str, Fact)> {
    let bare_agent = AgentCreated { name: "".into(), metadata: None, keys: Vec::new(), ..agent_created() };
    let opened = WalletOpened {
        agent: AGENT,
        wallet: PAYEE,
        label: Some("ops".into()),
        currency: Currency::EUR,
        key: key("open-1"),
        at: AT,
    };
    let bare_opened = WalletOpened { label: None, key: None, ..opened.clone() };
    let funding = Funding {
        wallet: PAYER,
        amount: nanos(100_000_000_000),
        currency: Currency::USD,
        key: key("fund-1"),
        at: AT,
        balance_after: Parts { available: nanos(100_000_000_000), held: Amount::ZERO },
    };
    let bare_funding = Funding { amount: nanos(1), key: None, ..funding.clone() };
    let status = |status| StatusChange { wallet: PAYER, status, at: AT };
    vec![
        ("agent_created", agent_created().into()),
        ("agent_created_bare", bare_agent.into()),
        ("wallet_opened", opened.into()),
        ("wallet_opened_bare", bare_opened.into()),
        ("key_added", KeyAdded { agent: AGENT, key: ended_key() }.into()),
        ("key_revoked", KeyRevoked { agent: AGENT, key: KeyId::from_raw(2), at: AT }.into()),
        (
            "keys_rotated",
            KeysRotated { agent: AGENT, key: api_key(3, KeyKind::Owner), old_expire_at: AT }.into(),
        ),
        ("funding", funding.into()),
        ("funding_bare", bare_funding.into()),
        ("payment", payment().into()),
        ("payment_full", full_payment().into()),
        ("payment_bare", bare_payment().into()),
        ("payment_batch", full_batch().into()),
        ("payment_batch_bare", bare_batch().into()),
        ("status_frozen", status(WalletStatus::Frozen).into()),
        ("status_active", status(WalletStatus::Active).into()),
        ("status_closed", status(WalletStatus::Closed).into()),
    ]
    .into_iter()
    .chain(token_facts())
    .chain(service_facts())
    .chain(crate::webhook_samples::facts())
    .chain(crate::policy_samples::facts())
    .chain(crate::claim_samples::facts())
    .collect()
}

const SERVICE: ServiceId = ServiceId::new(1, 0x3333_3333_3333_3333_3333_3333_3333);
const PROVIDER: AgentId = AgentId::new(2, 0x4444_4444_4444_4444_4444_4444_4444);
const SLA: Sla = Sla { window_ms: 2_592_000_000, accept_within_ms: Some(1) };

fn token_terms() -> TokenTerms {
    let offer = Offer {
        service: SERVICE,
        service_at: Position::new(8_192),
        provider: PROVIDER,
        payee: PAYEE,
        price: nanos(5_000_000),
        currency: Currency::USD,
        sla: Some(SLA),
    };
    TokenTerms { offer: offer.into(), payer: PAYER, payer_agent: AGENT, counts: true, reserved_at: AT }
}

/// The same terms on another offer.
pub(crate) fn other_offer(terms: &TokenTerms, change: impl FnOnce(&mut Offer)) -> TokenTerms {
    let mut offer = (*terms.offer).clone();
    change(&mut offer);
    TokenTerms { offer: offer.into(), ..terms.clone() }
}

fn bare_token_terms() -> TokenTerms {
    let sla = Some(Sla { window_ms: 1, accept_within_ms: None });
    let change = |offer: &mut Offer| {
        (offer.price, offer.currency, offer.sla) = (Amount::MAX, Currency::EUR, sla);
    };
    TokenTerms { counts: false, ..other_offer(&token_terms(), change) }
}

fn token_ended(end: TokenEnd) -> TokenEnded {
    let late = |millis| Some(Timestamp::from_millis(AT.millis() + millis));
    TokenEnded {
        token: Position::new(12_288),
        end,
        terms: token_terms(),
        expires_at: Timestamp::from_millis(i64::MAX),
        times: TokenTimes { verified_at: late(1), started_at: late(2), accepted_at: late(3), ended_at: None },
        fee: if end == TokenEnd::Settled { nanos(5_000_000) } else { Amount::ZERO },
        redeemed_by: if end == TokenEnd::Expired { (0, 0) } else { (u64::MAX, 9) },
        at: Timestamp::from_millis(AT.millis() + 4),
    }
}

fn token_facts() -> Vec<(&'static str, Fact)> {
    let reserved = TokenReserved {
        terms: token_terms(),
        expires_at: Timestamp::from_millis(AT.millis() + 300_000),
        key: key("authorize-1"),
        balance_after: Parts { available: nanos(1), held: nanos(5_000_000) },
    };
    let bare_reserved = TokenReserved { terms: bare_token_terms(), key: None, ..reserved.clone() };
    let stepped = |step| TokenStepped { token: Position::new(u64::MAX), step, at: AT };
    let verify = |key| Step::Verify(Verification { key });
    let bare_ended = TokenEnded {
        terms: bare_token_terms(),
        times: TokenTimes::default(),
        ..token_ended(TokenEnd::Expired)
    };
    let no_sla = other_offer(&token_terms(), |offer| offer.sla = None);
    let refunded = TokenEnded { terms: no_sla, ..token_ended(TokenEnd::Refunded) };
    vec![
        ("token_reserved", reserved.into()),
        ("token_reserved_bare", bare_reserved.into()),
        ("token_stepped_verify", stepped(verify(key(&"v".repeat(255)))).into()),
        ("token_stepped_verify_bare", stepped(verify(None)).into()),
        ("token_stepped_start", stepped(Step::Start).into()),
        ("token_stepped_accept", stepped(Step::Accept).into()),
        ("token_ended_settled", token_ended(TokenEnd::Settled).into()),
        ("token_ended_cancelled", token_ended(TokenEnd::Cancelled).into()),
        ("token_ended_sla_breached", token_ended(TokenEnd::SlaBreached).into()),
        ("token_ended_refunded", refunded.into()),
        ("token_ended_bare", bare_ended.into()),
    ]
}

fn service_changed() -> ServiceChanged {
    ServiceChanged {
        service: SERVICE,
        change: ServiceChange::Registered,
        provider: PROVIDER,
        wallet: PAYEE,
        slug: "weatherapi".into(),
        terms: ServiceTerms {
            name: "WeatherAPI".into(),
            description: Some("Real-time weather data per query".into()),
            price: nanos(2_000_000),
            currency: Currency::USD,
            category: Some("data".into()),
            endpoint_url: Some("https://api.example.com/weather".into()),
            sla: Some(SLA),
            metadata: Some(r#"{"region":"eu"}"#.into()),
        },
        status: ServiceStatus::Active,
        verified: false,
        key: key("register-1"),
        created_at: AT,
        at: AT,
    }
}

fn bare_service_changed() -> ServiceChanged {
    ServiceChanged {
        change: ServiceChange::Judged,
        terms: ServiceTerms {
            name: "".into(),
            description: None,
            price: Amount::MAX,
            currency: Currency::EUR,
            category: None,
            endpoint_url: None,
            sla: None,
            metadata: None,
        },
        status: ServiceStatus::Inactive,
        verified: true,
        key: None,
        created_at: Timestamp::from_millis(i64::MIN),
        ..service_changed()
    }
}

fn service_facts() -> Vec<(&'static str, Fact)> {
    let patched = ServiceChanged { change: ServiceChange::Patched, ..bare_service_changed() };
    let trust =
        TrustChanged { service: SERVICE, score: 100, settled_calls: u64::MAX, breached_calls: 1, at: AT };
    let outage = |cause| ClockFact::Outage { from: Timestamp::from_millis(-1), at: AT, cause };
    vec![
        ("service_changed", service_changed().into()),
        ("service_changed_bare", bare_service_changed().into()),
        ("service_changed_patched", patched.into()),
        ("trust_changed", trust.into()),
        ("clock_alive", ClockFact::Alive { at: AT }.into()),
        ("clock_outage_down", outage(OutageCause::Down).into()),
        ("clock_outage_read_only", outage(OutageCause::ReadOnly).into()),
        ("clock_outage_stalled", outage(OutageCause::Stalled).into()),
        ("clock_outage_clock", outage(OutageCause::Clock).into()),
    ]
}

fn token_rows() -> Vec<(&'static str, Row)> {
    let ended = token_ended(TokenEnd::Settled).token(Position::new(20_000));
    let reserved = TokenReserved {
        terms: bare_token_terms(),
        expires_at: AT,
        key: None,
        balance_after: Parts::default(),
    };
    let mut rows = vec![("row_token", Row::Token(Position::new(12_288), ended.clone()))];
    let open = [
        ("row_token_reserved", TokenStatus::Reserved),
        ("row_token_verified", TokenStatus::Verified),
        ("row_token_started", TokenStatus::Started),
        ("row_token_accepted", TokenStatus::Accepted),
    ];
    for (name, status) in open {
        let times = TokenTimes { ended_at: None, ..ended.times() };
        let (terms, expires_at, decided) = (ended.terms.clone(), ended.expires_at, ended.decided);
        let redeemed_by = (u64::MAX, 7);
        let token =
            ledger::Token::restore(terms, status, expires_at, times, Amount::ZERO, redeemed_by, decided);
        rows.push((name, Row::Token(Position::new(12_288), token)));
    }
    for (name, end) in [
        ("row_token_cancelled", TokenEnd::Cancelled),
        ("row_token_expired", TokenEnd::Expired),
        ("row_token_sla_breached", TokenEnd::SlaBreached),
        ("row_token_refunded", TokenEnd::Refunded),
    ] {
        rows.push((name, Row::Token(Position::new(1), token_ended(end).token(Position::new(2)))));
    }
    rows.push((
        "row_token_bare",
        Row::Token(Position::ZERO, ledger::Token::reserved(&reserved, Position::ZERO)),
    ));
    rows
}

fn service_rows() -> Vec<(&'static str, Row)> {
    let bare = Service::registered(&bare_service_changed(), Position::new(1));
    let mut full = Service::registered(&service_changed(), Position::new(4_096));
    full.trust.calls = (0..CALLS_MAX)
        .map(|index| Call {
            consumer: u32::try_from(index).expect("few"),
            outcome: Outcome::ALL[index % Outcome::ALL.len()],
        })
        .collect();
    (full.trust.settled_calls, full.trust.breached_calls, full.trust.shown) = (64, 65, 100);
    full.version = Position::new(5_000);
    full.decided = Position::new(6_000);
    full.posted = Position::new(7_000);
    let stretch = |from, to| Outage { from: Timestamp::from_millis(from), to: Timestamp::from_millis(to) };
    let outages = Outages::restore(vec![stretch(-5, 0), stretch(0, 9)], Some(AT), Position::new(u64::MAX));
    vec![
        ("row_service", Row::Service(Box::new(full))),
        ("row_service_bare", Row::Service(Box::new(bare))),
        ("row_outages", Row::Outages(outages)),
        ("row_outages_bare", Row::Outages(Outages::default())),
    ]
}

/// Two keys in the previous generation, one in the current.
fn idempotency_keys() -> IdempotencyKeys {
    let entry = |number: u8, item, previous| KeyEntry {
        hash: KeyHash::of(KeyScope::Payment, &format!("key-{number}")),
        place: KeyPlace { lsn: 4_096, item },
        fingerprint: 99,
        previous,
    };
    let entries = [entry(0, 0, true), entry(1, 65_535, true), entry(2, 7, false)];
    IdempotencyKeys::restore(Timestamp::from_millis(2_000), entries)
}

fn full_wallet() -> Wallet {
    Wallet {
        agent: AGENT,
        currency: Currency::EUR,
        status: WalletStatus::Frozen,
        label: Some("ops".into()),
        available: nanos(-5),
        held: nanos(6),
        disputed: nanos(7),
        faucet_drawn: nanos(8),
        created_at: AT,
        decided: Position::new(u64::MAX),
        posted: Position::new(9),
        keys: idempotency_keys(),
        policy: None,
    }
}

/// Every kind of snapshot row under the name of its golden file.
pub(crate) fn rows() -> Vec<(&'static str, Row)> {
    let bare = Wallet::open(AGENT, Currency::USD, None, AT, Position::new(4_096));
    let mut agent = Agent::created(&agent_created(), Position::new(4_096));
    let bare_agent = Agent { keys: Vec::new(), wallets: Vec::new(), metadata: None, ..agent.clone() };
    agent.wallets.push(PAYEE);
    agent.idempotency = idempotency_keys();
    let mut totals = Totals::default();
    for (account, amount) in SystemAccount::ALL.into_iter().zip([-1_000, 4, 990, 6]) {
        let account = Account::System(account);
        totals.post(&Posting::spendable(account, Currency::USD, nanos(amount), 0));
    }
    vec![
        ("row_wallet", Row::Wallet(PAYER, full_wallet())),
        ("row_wallet_bare", Row::Wallet(PAYEE, bare)),
        ("row_agent", Row::Agent(agent)),
        ("row_agent_bare", Row::Agent(bare_agent)),
        ("row_totals", Row::Totals(totals, Position::new(77))),
        ("row_totals_bare", Row::Totals(Totals::default(), Position::ZERO)),
        ("row_spilled", Row::Spilled(Position::new(0x0123_4567_89ab_cdef))),
    ]
    .into_iter()
    .chain(token_rows())
    .chain(service_rows())
    .chain(crate::webhook_samples::rows())
    .chain(crate::policy_samples::rows())
    .chain(crate::claim_samples::rows())
    .collect()
}
