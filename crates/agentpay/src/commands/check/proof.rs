//! The proof: plain sums over every record from the first one on, with arithmetic of its own, apart from the engine.
//!
//! For each record: its postings sum to zero per currency; its owner exists and does not go below zero by it, unless a
//! dispute made it owe; refunds of a payment stay within it. At the end: wallets and system accounts sum to zero per
//! currency, what wallets hold is what their open tokens hold, and what they have set aside is what their open disputes
//! took. What the engine makes of the same records is compared with this by the caller. Non-goals: rules of money (whether a fee was right), idempotency keys, statuses.

use journal::{Kind, Owner, View};
use ledger::{Account, ClaimChange, ClaimStep, Currency, Fact, Position, Posting, SystemAccount, WalletId};
use std::collections::{BTreeMap, HashMap};
use wal::Lsn;

/// Everything that was added up.
#[derive(Debug, Default)]
pub(super) struct Proof {
    pub(super) records: u64,
    pub(super) agents: u64,
    pub(super) services: u64,
    wallets: HashMap<WalletId, Sums>,
    /// Open tokens by the position of their reservation: whose wallet holds how much.
    tokens: HashMap<Position, (WalletId, i128)>,
    /// What was claimed back, by the position of the payment.
    claims: HashMap<Position, Claimed>,
    system: BTreeMap<(Currency, SystemAccount), i128>,
    /// What is wrong, the first few of it.
    pub(super) findings: Vec<String>,
    /// Findings beyond those that are listed.
    pub(super) more_findings: u64,
}

#[derive(Debug)]
struct Sums {
    currency: Currency,
    /// In units of 10⁻⁹.
    available: i128,
    held: i128,
    disputed: i128,
}

/// Claims about one payment, in units of 10⁻⁹.
#[derive(Debug)]
struct Claimed {
    owner: WalletId,
    principal: i128,
    returned: i128,
    set_aside: i128,
    has_open_dispute: bool,
}

/// A damaged log can have as many findings as records; nobody reads more than this.
const FINDINGS_MAX: usize = 20;

impl Proof {
    /// Takes the next record. Bytes that are no record are a finding; the walk goes on behind them.
    pub(super) fn record(&mut self, lsn: Lsn, payload: &[u8]) {
        self.records += 1;
        match journal::view(payload) {
            Ok(view) => match view.owner() {
                Owner::Wallet(owner) => self.wallet_record(lsn, owner, &view),
                Owner::Directory(_) => self.directory_record(lsn, &view),
                Owner::Token(token) => self.token_record(lsn, token, &view),
                Owner::Service(_) => {
                    let registered = matches!(
                        view.to_fact(),
                        Ok(Fact::ServiceChanged(fact)) if fact.change == ledger::ServiceChange::Registered
                    );
                    self.services += u64::from(registered);
                }
                Owner::Clock | Owner::Budget(_) => {}
            },
            Err(error) => self.finding(format!("record {lsn}: {error}")),
        }
    }

    fn wallet_record(&mut self, lsn: Lsn, owner: WalletId, view: &View<'_>) {
        let change = view.change().unwrap_or_default();
        let Some(sums) = self.wallets.get_mut(&owner) else {
            return self.finding(format!("record {lsn}: {owner} decides before it exists"));
        };
        let own = change.available.nanos() + change.held.nanos() + change.disputed.nanos();
        sums.available += change.available.nanos();
        sums.held += change.held.nanos();
        sums.disputed += change.disputed.nanos();
        let currency = sums.currency;
        // What a dispute returned is owed, whether it was there or not.
        let is_overspent = change.available.is_negative() && sums.available < 0 && !change.may_owe;
        let is_over_released = sums.held < 0 || sums.disputed < 0;
        if is_overspent || is_over_released {
            let (available, held, disputed) = (sums.available, sums.held, sums.disputed);
            self.finding(format!(
                "record {lsn}: {owner} goes below zero: available {available}, held {held}, disputed {disputed} (10^-9)"
            ));
        }
        let mut balance = vec![(currency, own)];
        view.for_each_foreign(|posting| {
            add(&mut balance, posting.currency, posting.delta.nanos() + posting.held.nanos());
            self.post(lsn, &posting);
        });
        self.balanced(lsn, balance);
        if let Some(claimed) = view.claim_change() {
            self.claimed(lsn, &claimed);
        }
        if view.kind() == Kind::TokenReserved {
            self.tokens.insert(Position::new(lsn.get()), (owner, change.held.nanos()));
        }
    }

    /// What is paid back stays within the payment, and what is set aside comes back whole.
    fn claimed(&mut self, lsn: Lsn, change: &ClaimChange) {
        let terms = &change.terms;
        let claim = self.claims.entry(terms.position()).or_insert(Claimed {
            owner: terms.owner(),
            principal: terms.principal.nanos(),
            returned: 0,
            set_aside: 0,
            has_open_dispute: false,
        });
        let is_same = claim.owner == terms.owner() && claim.principal == terms.principal.nanos();
        claim.returned += change.returned().nanos();
        match change.step {
            ClaimStep::Opened { set_aside, .. } => {
                claim.set_aside += set_aside.nanos();
                claim.has_open_dispute = true;
            }
            ClaimStep::Moved { to, released, .. } => {
                claim.set_aside -= released.nanos();
                claim.has_open_dispute = to.is_open();
            }
            ClaimStep::Refunded { .. } | ClaimStep::Evidence { .. } => {}
        }
        let (returned, principal, set_aside) = (claim.returned, claim.principal, claim.set_aside);
        let is_left = set_aside != 0 && !claim.has_open_dispute;
        if !is_same {
            self.finding(format!("record {lsn}: two records tell different terms of one payment"));
        }
        if returned > principal {
            self.finding(format!(
                "record {lsn}: {returned} of a payment of {principal} was given back (10^-9)"
            ));
        }
        if set_aside < 0 || is_left {
            self.finding(format!(
                "record {lsn}: {set_aside} stays set aside for a dispute that has ended (10^-9)"
            ));
        }
    }

    /// A token decides about the hold that its reservation made: once, and all of it.
    fn token_record(&mut self, lsn: Lsn, token: Position, view: &View<'_>) {
        if view.kind() != Kind::TokenEnded {
            if !self.tokens.contains_key(&token) {
                self.finding(format!("record {lsn}: no open token was reserved at {token}"));
            }
            return;
        }
        let Some((payer, held)) = self.tokens.remove(&token) else {
            return self.finding(format!("record {lsn}: no open token was reserved at {token}"));
        };
        let mut balance = Vec::new();
        let mut released = 0;
        view.for_each_foreign(|posting| {
            add(&mut balance, posting.currency, posting.delta.nanos() + posting.held.nanos());
            if posting.account == Account::Wallet(payer) {
                released -= posting.held.nanos();
            }
            self.post(lsn, &posting);
        });
        if released != held {
            self.finding(format!("record {lsn}: a hold of {held} ends with {released} (10^-9)"));
        }
        self.balanced(lsn, balance);
    }

    fn balanced(&mut self, lsn: Lsn, balance: Vec<(Currency, i128)>) {
        for (currency, sum) in balance {
            if sum != 0 {
                self.finding(format!(
                    "record {lsn}: its postings sum to {sum} (10^-9 {currency}), not to zero"
                ));
            }
        }
    }

    fn directory_record(&mut self, lsn: Lsn, view: &View<'_>) {
        let born = match view.to_fact() {
            Ok(Fact::AgentCreated(created)) => {
                self.agents += 1;
                Some((created.wallet, created.currency))
            }
            Ok(Fact::WalletOpened(opened)) => Some((opened.wallet, opened.currency)),
            Ok(_) => None,
            Err(error) => return self.finding(format!("record {lsn}: {error}")),
        };
        if let Some((id, currency)) = born {
            let empty = Sums { currency, available: 0, held: 0, disputed: 0 };
            if self.wallets.insert(id, empty).is_some() {
                self.finding(format!("record {lsn}: {id} is opened a second time"));
            }
        }
    }

    fn post(&mut self, lsn: Lsn, posting: &Posting) {
        let account = match posting.account {
            Account::System(account) => account,
            Account::Wallet(id) => match self.wallets.get_mut(&id) {
                Some(sums) if sums.currency == posting.currency => {
                    sums.available += posting.delta.nanos();
                    sums.held += posting.held.nanos();
                    if sums.held < 0 {
                        self.finding(format!("record {lsn}: {id} gives back more than it holds"));
                    }
                    return;
                }
                Some(_) => {
                    return self.finding(format!("record {lsn}: {id} gets a currency that it does not hold"));
                }
                // What is posted to a wallet that is not there goes to suspense, in the engine as well.
                None => SystemAccount::Suspense,
            },
        };
        *self.system.entry((posting.currency, account)).or_default() +=
            posting.delta.nanos() + posting.held.nanos();
    }

    pub(super) fn wallets(&self) -> u64 {
        self.wallets.len() as u64
    }

    /// Sum of every account per currency, in units of 10⁻⁹; `"wallets"` is all wallets together.
    pub(super) fn trial_balance(&self) -> BTreeMap<(Currency, &'static str), i128> {
        let mut rows: BTreeMap<(Currency, &'static str), i128> = BTreeMap::new();
        for ((currency, account), sum) in &self.system {
            rows.insert((*currency, account.as_str()), *sum);
        }
        for sums in self.wallets.values() {
            *rows.entry((sums.currency, "wallets")).or_default() +=
                sums.available + sums.held + sums.disputed;
        }
        rows
    }

    pub(super) fn open_tokens(&self) -> u64 {
        self.tokens.len() as u64
    }

    pub(super) fn claims(&self) -> u64 {
        self.claims.len() as u64
    }

    pub(super) fn open_disputes(&self) -> u64 {
        self.claims.values().filter(|claim| claim.has_open_dispute).count() as u64
    }

    /// Adds what only the end can show.
    pub(super) fn close(&mut self) {
        let mut holds: HashMap<WalletId, i128> = HashMap::new();
        for (payer, held) in self.tokens.values() {
            *holds.entry(*payer).or_default() += held;
        }
        let differing = |(id, sums): (&WalletId, &Sums)| {
            let expected = holds.get(id).copied().unwrap_or(0);
            (sums.held != expected).then_some((*id, sums.held, expected))
        };
        let differing: Vec<_> = self.wallets.iter().filter_map(differing).collect();
        for (id, held, expected) in differing {
            self.finding(format!("{id} holds {held}, but its open tokens make {expected} (10^-9)"));
        }
        let mut set_aside: HashMap<WalletId, i128> = HashMap::new();
        for claim in self.claims.values() {
            *set_aside.entry(claim.owner).or_default() += claim.set_aside;
        }
        let differing = |(id, sums): (&WalletId, &Sums)| {
            let expected = set_aside.get(id).copied().unwrap_or(0);
            (sums.disputed != expected).then_some((*id, sums.disputed, expected))
        };
        let differing: Vec<_> = self.wallets.iter().filter_map(differing).collect();
        for (id, disputed, expected) in differing {
            self.finding(format!(
                "{id} has {disputed} set aside, but its open disputes make {expected} (10^-9)"
            ));
        }
        let mut totals: Vec<(Currency, i128)> = Vec::new();
        for ((currency, _), sum) in self.trial_balance() {
            add(&mut totals, currency, sum);
        }
        for (currency, total) in totals {
            if total != 0 {
                self.finding(format!("all accounts of {currency} sum to {total} (10^-9), not to zero"));
            }
        }
    }

    pub(super) fn finding(&mut self, what: String) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(what);
        } else {
            self.more_findings += 1;
        }
    }
}

fn add(sums: &mut Vec<(Currency, i128)>, currency: Currency, delta: i128) {
    match sums.iter_mut().find(|(known, _)| *known == currency) {
        Some((_, sum)) => *sum += delta,
        None => sums.push((currency, delta)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use journal::{Encode, Scratch};
    use ledger::{
        AgentCreated, AgentId, Amount, Funding, Parts, Payee, Payment, Rail, StatusChange, Timestamp,
        WalletOpened, WalletStatus,
    };

    const ALICE: WalletId = WalletId::new(0, 1);
    const BOB: WalletId = WalletId::new(0, 2);
    const NOBODY: WalletId = WalletId::new(0, 3);
    const AT: Timestamp = Timestamp::from_millis(1);
    const AFTER: Parts = Parts { available: Amount::ZERO, held: Amount::ZERO };

    fn agent(wallet: WalletId, currency: Currency) -> Fact {
        let agent = AgentId::new(0, wallet.raw());
        let (name, operator) = ("a".into(), "self".into());
        let (metadata, public_key, keys) = (None, [0; 32], Vec::new());
        AgentCreated { agent, name, operator, metadata, public_key, keys, wallet, currency, at: AT }.into()
    }

    fn opened(wallet: WalletId) -> Fact {
        let agent = AgentId::new(0, 9);
        WalletOpened { agent, wallet, label: None, currency: Currency::USD, key: None, at: AT }.into()
    }

    fn fund(wallet: WalletId, units: i128) -> Fact {
        let (amount, currency) = (Amount::from_nanos(units), Currency::USD);
        Funding { wallet, amount, currency, key: None, at: AT, balance_after: AFTER }.into()
    }

    fn pay(payer: WalletId, payee: Payee, units: i128, fee: i128) -> Fact {
        let payment = Payment {
            payer,
            payee,
            amount: Amount::from_nanos(units),
            fee: Amount::from_nanos(fee),
            currency: Currency::USD,
            rail: Rail::Internal,
            description: None,
            metadata: None,
            key: None,
            at: AT,
            balance_after: AFTER,
        };
        payment.into()
    }

    fn proved(facts: &[Fact]) -> Proof {
        let mut proof = Proof::default();
        let mut scratch = Scratch::new();
        for (index, fact) in (0u64..).zip(facts) {
            fact.encode(&mut scratch);
            proof.record(Lsn::new(index * 1_000), scratch.bytes());
        }
        proof.close();
        proof
    }

    #[test]
    fn a_sound_log_is_proved() {
        let proof = proved(&[
            agent(ALICE, Currency::USD),
            opened(BOB),
            fund(ALICE, 1_000),
            pay(ALICE, Payee::Wallet(BOB), 500, 2),
            pay(BOB, Payee::External("shop".into()), 400, 1),
            pay(BOB, Payee::Wallet(NOBODY), 10, 0),
            StatusChange { wallet: BOB, status: WalletStatus::Frozen, at: AT }.into(),
        ]);
        assert_eq!(proof.findings, Vec::<String>::new());
        assert_eq!((proof.records, proof.agents, proof.wallets()), (7, 1, 2));
        let usd = |account| proof.trial_balance()[&(Currency::USD, account)];
        assert_eq!(usd("wallets"), 1_000 - 2 - 401 - 10);
        assert_eq!((usd("faucet"), usd("fees"), usd("external"), usd("suspense")), (-1_000, 3, 400, 10));
    }

    #[test]
    fn findings_name_the_record() {
        let cases: [(&[Fact], &str); 5] = [
            (
                &[agent(ALICE, Currency::USD), opened(BOB), pay(ALICE, Payee::Wallet(BOB), 5, 0)],
                "record 2000: wallet_00000000000000000000000001 goes below zero: available -5",
            ),
            (&[fund(ALICE, 5)], "record 0: wallet_00000000000000000000000001 decides before it exists"),
            (
                &[opened(BOB), opened(BOB)],
                "record 1000: wallet_00000000000000000000000002 is opened a second time",
            ),
            (
                &[
                    opened(ALICE),
                    agent(BOB, Currency::EUR),
                    fund(ALICE, 5),
                    pay(ALICE, Payee::Wallet(BOB), 5, 0),
                ],
                "gets a currency that it does not hold",
            ),
            (&[agent(BOB, Currency::EUR), fund(BOB, 5)], "record 1000: its postings sum to"),
        ];
        for (facts, expected) in cases {
            let found = proved(facts).findings;
            assert!(found.iter().any(|finding| finding.contains(expected)), "{found:?}\n  lacks: {expected}");
        }
    }

    #[test]
    fn bytes_that_are_no_record_are_a_finding_and_findings_are_bounded() {
        let mut proof = Proof::default();
        for lsn in 0..30 {
            proof.record(Lsn::new(lsn), b"nonsense");
        }
        assert_eq!((proof.findings.len(), proof.more_findings), (FINDINGS_MAX, 10));
        assert!(proof.findings[0].starts_with("record 0: "), "{}", proof.findings[0]);
    }
}
