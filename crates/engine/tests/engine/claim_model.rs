//! Refunds and disputes against the naive model (T13): the same actions, one after the other, with restarts, crashes,
//! snapshots and rests in between. Every answer, balance and state is compared, and the books add up after every step.

use std::time::Duration;

use engine::{Asker, DisputeFilter, OpenDispute, RefundPayment, Refusal, TimeRange};
use ledger::{DisputeId, DisputeMove, DisputeStatus, EVIDENCE_MAX, PayCommand, PaymentId, Timestamp};
use testkit::{ClaimAction, ClaimOutcome, Claims, Money, Random, Voice};
use wal::testing::FaultyStorage;

use crate::harness::{
    Node, Party, Setup, dispute_of, eventually, evidence_for, external, fund, key, page, pay, refund_of, usd,
};

const WALLETS: usize = 5;
const STEPS: usize = 900;
const AT_MS: i64 = 1_790_000_000_000;
const STEP_NAMES: [&str; 4] = ["review", "refund", "deny", "withdraw"];

struct Story {
    disk: FaultyStorage,
    setup: Setup,
    /// `None` while it is down.
    node: Option<Node>,
    parties: Vec<Party>,
    model: Claims,
    /// By the model's numbers.
    payments: Vec<PaymentId>,
    disputes: Vec<Option<DisputeId>>,
}

impl Story {
    fn begin(keys_in_memory: u64) -> Self {
        let disk = FaultyStorage::new();
        let setup = Setup::new(disk.clone()).with_history().with_keys_on_disk(keys_in_memory);
        let setup = setup.tuned(|options| options.idle_after = Duration::from_millis(2));
        let node = setup.start();
        let parties = (0..WALLETS).map(|index| node.party(&format!("party {index}"))).collect();
        let model = Claims::new(WALLETS, EVIDENCE_MAX as usize);
        Self { disk, setup, node: Some(node), parties, model, payments: Vec::new(), disputes: Vec::new() }
    }

    fn node(&self) -> &Node {
        self.node.as_ref().expect("alive")
    }

    fn asker(&self, voice: Voice) -> Asker<'_> {
        match voice {
            Voice::Wallet(wallet) => Asker::Agent(&self.parties[wallet].caller),
            Voice::Operator => Asker::Operator,
        }
    }

    fn action(&self, random: &mut Random) -> ClaimAction {
        let wallet = random.index(WALLETS);
        if random.chance(10) {
            return ClaimAction::Fund { wallet, amount: amount(random, 1_000) };
        }
        if self.payments.is_empty() || random.chance(25) {
            let other = (wallet + 1 + random.index(WALLETS - 1)) % WALLETS;
            let payee = (!random.chance(15)).then_some(other);
            return ClaimAction::Pay { payer: wallet, payee, amount: amount(random, 800) };
        }
        // Recent payments, so that the same one is met again.
        let recent = self.payments.len().min(12);
        let payment = self.payments.len() - 1 - random.index(recent);
        let paid = &self.model.payments[payment];
        let voice = match random.below(10) {
            0 => Voice::Wallet(wallet),
            1..4 => Voice::Operator,
            4..7 => Voice::Wallet(paid.payer),
            _ => Voice::Wallet(paid.payee.unwrap_or(wallet)),
        };
        let key = random.chance(50).then(|| random.below(3));
        match random.below(10) {
            0..4 => {
                let amount = (!random.chance(20)).then(|| amount(random, 500) - 1);
                ClaimAction::Refund { payment, amount, voice, key }
            }
            4..6 => ClaimAction::Open { payment, voice, key, in_time: !random.chance(5) },
            6..8 => ClaimAction::AddEvidence { payment, voice },
            _ => {
                let step = *random.pick(&STEP_NAMES);
                let opener = paid.dispute.as_ref().map_or(voice, |dispute| Voice::Wallet(dispute.by));
                let usual = match step {
                    "withdraw" if random.chance(70) => opener,
                    "withdraw" => voice,
                    _ => Voice::Operator,
                };
                ClaimAction::Move { payment, step, voice: usual }
            }
        }
    }

    /// Carries out one action on both sides.
    fn submit(&mut self, action: &ClaimAction) {
        let expected = self.model.apply(action);
        let found = self.carry_out(action);
        assert_eq!(found, expected, "{action:?}");
        self.check_wallets();
        self.node().check_trial_balance();
    }

    fn carry_out(&mut self, action: &ClaimAction) -> ClaimOutcome {
        match action {
            ClaimAction::Fund { wallet, amount } => {
                let party = &self.parties[*wallet];
                let command = ledger::FundCommand { amount: usd(*amount), ..fund(party, "1") };
                outcome(self.node().run(self.node().engine.fund(&party.caller, command)).map(|a| a.replayed))
            }
            ClaimAction::Pay { payer, payee, amount } => self.pay(*payer, *payee, *amount),
            ClaimAction::Refund { payment, amount, voice, key: number } => {
                let meaning = amount.map_or(0, |amount| u64::try_from(amount + 1).expect("small"));
                let command = RefundPayment {
                    amount: amount.map(usd),
                    key: number.and_then(|number| key(&format!("r-{number}"), meaning)),
                    ..refund_of(self.payments[*payment], "")
                };
                let refund = self.node().engine.refund(self.asker(*voice), command);
                outcome(self.node().run(refund).map(|answer| answer.replayed))
            }
            ClaimAction::Open { payment, voice, key, in_time } => self.open(*payment, *voice, *key, *in_time),
            ClaimAction::AddEvidence { payment, voice } => {
                let Some(dispute) = self.disputes[*payment] else {
                    return ClaimOutcome::Denied("unknown_dispute");
                };
                let command = evidence_for(dispute, "a line of a log", None);
                let adding = self.node().engine.add_evidence(self.asker(*voice), command);
                outcome(self.node().run(adding).map(|answer| answer.replayed))
            }
            ClaimAction::Move { payment, step, voice } => {
                let Some(dispute) = self.disputes[*payment] else {
                    return ClaimOutcome::Denied("unknown_dispute");
                };
                let step = match *step {
                    "review" => DisputeMove::Review,
                    "refund" => DisputeMove::Refund,
                    "deny" => DisputeMove::Deny,
                    _ => DisputeMove::Withdraw,
                };
                let (asker, at) = (self.asker(*voice), Timestamp::from_millis(AT_MS));
                let moving = self.node().engine.move_dispute(asker, dispute, step, None, at);
                outcome(self.node().run(moving).map(|answer| answer.replayed))
            }
        }
    }

    fn pay(&mut self, payer: usize, payee: Option<usize>, amount: Money) -> ClaimOutcome {
        let party = &self.parties[payer];
        let mut command = PayCommand { amount: usd(amount), ..pay(party, party.wallet, "1") };
        command.payee =
            payee.map_or_else(|| external("shop"), |payee| ledger::Payee::Wallet(self.parties[payee].wallet));
        match self.node().run(self.node().engine.pay(&party.caller, command)) {
            Ok(answer) => {
                self.payments.push(answer.value.id);
                self.disputes.push(None);
                ClaimOutcome::Done
            }
            Err(refusal) => outcome(Err(refusal)),
        }
    }

    fn open(&mut self, payment: usize, voice: Voice, number: Option<u64>, in_time: bool) -> ClaimOutcome {
        let window = i64::try_from(self.setup.options.rules.dispute_window_ms).expect("short");
        let late = if in_time { 0 } else { window };
        let command = OpenDispute {
            key: number.and_then(|number| key(&format!("d-{number}"), 1)),
            at: Timestamp::from_millis(AT_MS + late),
            ..dispute_of(self.payments[payment])
        };
        match self.node().run(self.node().engine.open_dispute(self.asker(voice), command)) {
            Ok(answer) => {
                let known = self.disputes[payment].replace(answer.value.id);
                assert!(known.is_none_or(|known| known == answer.value.id));
                outcome(Ok(answer.replayed))
            }
            Err(refusal) => outcome(Err(refusal)),
        }
    }

    fn check_wallets(&self) {
        for (party, purse) in self.parties.iter().zip(&self.model.purses) {
            let view = self.node().wallet(party);
            let found = (view.available.nanos(), view.held.nanos(), view.disputed.nanos());
            assert_eq!(found, (purse.available, 0, purse.disputed));
        }
    }

    /// Everything that the model knows.
    fn check_all(&self) {
        self.check_wallets();
        let node = self.node();
        let mut disputes = Vec::new();
        for (number, paid) in self.model.payments.iter().enumerate() {
            let claim = node.claim(self.payments[number]);
            let refunded = claim.map_or(0, |claim| claim.refunded.nanos());
            assert_eq!(refunded, paid.refunded, "payment {number}");
            let status =
                claim.and_then(|claim| claim.dispute).map(|(id, status)| (Some(id), status.as_str()));
            let expected = paid.dispute.as_ref().map(|dispute| (self.disputes[number], dispute.status));
            assert_eq!(status, expected, "payment {number}");
            if let (Some(dispute), Some(id)) = (&paid.dispute, self.disputes[number]) {
                disputes.push((id, dispute.status));
                let told = node.run(node.engine.dispute(Asker::Operator, id)).expect("it can be read");
                assert_eq!(told.evidence.len(), dispute.evidence, "payment {number}");
                assert_eq!(told.dispute.set_aside.nanos(), dispute.set_aside, "payment {number}");
            }
        }
        let mut listed: Vec<_> = self.listed(None);
        for status in DisputeStatus::ALL {
            let of_status = self.listed(Some(status));
            assert!(of_status.iter().all(|(_, found)| *found == status.as_str()));
            assert!(of_status.iter().all(|found| listed.contains(found)));
        }
        disputes.sort_unstable();
        listed.sort_unstable();
        assert_eq!(listed, disputes);
        for (party, purse) in self.parties.iter().zip(&self.model.purses) {
            let lines = node.engine.entries(party.id(), party.wallet, TimeRange::default(), page(100_000));
            let lines = node.run(lines).expect("a statement").items;
            assert_eq!(lines.iter().map(|line| line.delta.nanos()).sum::<i128>(), purse.available);
        }
        assert_eq!(node.engine.gauges().in_flight, 0);
    }

    fn listed(&self, status: Option<DisputeStatus>) -> Vec<(DisputeId, &'static str)> {
        let (mut found, mut cursor) = (Vec::new(), None);
        loop {
            let filter = DisputeFilter { status, ..DisputeFilter::default() };
            let page = engine::PageRequest { cursor, limit: 40 };
            let page = self.node().run(self.node().engine.disputes(Asker::Operator, filter, page));
            let page = page.expect("a list");
            found.extend(page.items.iter().map(|view| (view.id, view.status.as_str())));
            cursor = page.next;
            if cursor.is_none() {
                return found;
            }
        }
    }

    fn restart(&mut self) {
        self.node.take().expect("alive").shutdown();
        self.node = Some(self.setup.start());
    }

    /// The power goes: what was not synced is lost, and nothing of that was acknowledged.
    fn crash(&mut self) {
        let node = self.node.take().expect("alive");
        self.node = Some(self.setup.lose_power(&mut self.disk, node));
    }

    /// One dispute for each way that there is to move it: chance alone would leave one out now and then.
    fn every_move(&mut self) {
        for step in STEP_NAMES {
            self.submit(&ClaimAction::Fund { wallet: 0, amount: 2_000 });
            self.submit(&ClaimAction::Pay { payer: 0, payee: Some(1), amount: 1_000 });
            let (payment, voice) = (self.payments.len() - 1, Voice::Wallet(0));
            self.submit(&ClaimAction::Open { payment, voice, key: Some(1), in_time: true });
            let voice = if step == "withdraw" { voice } else { Voice::Operator };
            self.submit(&ClaimAction::Move { payment, step, voice });
        }
        self.check_all();
    }

    fn tell(mut self, random: &mut Random) {
        self.every_move();
        for step in 0..STEPS {
            match random.below(1_000) {
                0..4 => self.restart(),
                4..8 => self.crash(),
                8..16 => drop(self.node().run(self.node().engine.snapshot_now()).expect("a snapshot")),
                16..20 => eventually("all rest", || self.node().engine.gauges().active_actors == 0),
                _ => self.submit(&self.action(random)),
            }
            if step % 250 == 0 {
                self.check_all();
            }
        }
        self.check_all();
        self.restart();
        self.check_all();
        self.node.take().expect("alive").shutdown();
        self.setup.audit();
    }
}

fn amount(random: &mut Random, most: u64) -> Money {
    Money::from(1 + random.below(most))
}

fn outcome(found: Result<bool, Refusal>) -> ClaimOutcome {
    match found {
        Ok(false) => ClaimOutcome::Done,
        Ok(true) => ClaimOutcome::Again,
        Err(Refusal::UnknownPayment) => ClaimOutcome::Denied("unknown_payment"),
        Err(Refusal::Denied(denial)) => ClaimOutcome::Denied(denial.name()),
        Err(refusal) => panic!("{refusal:?}"),
    }
}

#[test]
fn claims_and_their_model_agree() {
    const REPLAY: &str = "cargo test -p engine --test engine claims_and_their_model_agree";
    let mut random = Random::new(testkit::seed(REPLAY));
    for keys_in_memory in [1, 1_000_000] {
        Story::begin(keys_in_memory).tell(&mut random);
    }
}
