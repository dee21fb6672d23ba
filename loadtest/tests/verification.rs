//! The verification against a server that lies: each lie is found and named, and an honest server passes.

mod fake;

use fake::{Lie, OPERATOR_TOKEN, serve};
use loadtest::{
    Finding, Market, Mix, Plan, Population, PopulationSpec, Roster, Shape, Traffic, TrafficSpec, Unwatched,
    Verification, VerifySpec, Weights, nanos, run, verify,
};

const PAYMENTS: u64 = 60;

/// Pays against a server with that habit, then verifies.
fn check(lie: Lie, adjust: impl FnOnce(&mut Mix, &mut VerifySpec)) -> Verification {
    let target = serve(lie);
    let population =
        PopulationSpec { agents: 5, wallets_per_agent: 1, fund: Some("100".to_owned()), connections: 3 };
    let roster = Roster::new(&Population::create(&target, &population).expect("agents are created"));
    let mut mix = Mix { external_share: 0.2, ..Mix::payments(Shape::Uniform) };
    let mut spec = VerifySpec {
        connections: 3,
        operator_token: Some(OPERATOR_TOKEN.to_owned()),
        is_alone: true,
        ..VerifySpec::default()
    };
    adjust(&mut mix, &mut spec);
    let seed = 21;
    eprintln!("seed {seed}");
    let traffic_spec = TrafficSpec {
        mix,
        seed,
        connections: 3,
        opening_nanos: nanos(b"100").expect("an amount"),
        keep: spec.sample,
        may_pause: true,
    };
    let mut traffic = Traffic::new(&target, &roster, Market::default(), traffic_spec);
    traffic.limit(PAYMENTS);
    run(&Plan::exhaust(target.clone(), 3), &mut traffic).expect("the server answers");
    verify(&mut traffic, &roster, &target, &spec, &mut Unwatched).expect("the server can be reached")
}

/// Kinds of findings, in the order of the report.
fn found(lie: Lie) -> Vec<Finding> {
    let report = check(lie, |_, _| {});
    assert!(!report.holds(), "{lie:?} was not noticed");
    eprintln!("{lie:?}:\n{}", report.findings);
    report.findings.iter().map(|(finding, _, _)| finding).collect()
}

#[test]
fn an_honest_server_passes_in_every_depth() {
    let report = check(Lie::None, |_, spec| spec.read_lists = true);
    assert!(report.holds(), "{}", report.findings);
    assert!(report.is_complete());
    assert_eq!((report.payments, report.payments_read), (PAYMENTS, PAYMENTS));
    assert_eq!((report.wallets, report.wallets_read), (5, 5));
    assert_eq!(report.listed, Some(PAYMENTS));
    assert!(report.books_compared);
    assert!(report.external > 0 && report.fees > 0);
    assert_eq!(report.balances, report.funded - report.external - report.fees);
}

#[test]
fn a_sample_says_that_it_is_one() {
    let report = check(Lie::None, |_, spec| spec.sample = Some(7));
    assert!(report.holds(), "{}", report.findings);
    assert_eq!((report.payments, report.payments_read), (PAYMENTS, 7));
    assert!(!report.is_complete());
    assert_eq!(report.to_json()["complete"], false);
}

#[test]
fn reads_between_payments_are_checked_too() {
    let report = check(Lie::GoesNegative, |mix, _| {
        mix.weights = Weights { payments: 1, reads: 3, ..Weights::default() };
    });
    assert!(report.findings.count(Finding::WrongAnswer) > 0, "{}", report.findings);
}

#[test]
fn a_forgotten_payment_is_lost() {
    assert_eq!(found(Lie::Forgets), [Finding::Lost]);
}

#[test]
fn a_payment_that_reads_differently_is_wrong() {
    assert_eq!(found(Lie::ReadsAnotherAmount), [Finding::WrongPayment]);
    assert_eq!(found(Lie::ReadsAnotherPayee), [Finding::WrongPayment]);
}

#[test]
fn an_acknowledgement_over_another_amount_is_wrong() {
    assert_eq!(found(Lie::AcknowledgesAnotherAmount)[0], Finding::WrongAnswer);
}

#[test]
fn money_that_disappears_is_missed() {
    assert_eq!(found(Lie::KeepsTheMoney), [Finding::WrongBalance, Finding::WrongSum, Finding::WrongBooks]);
}

#[test]
fn a_payment_that_is_applied_twice_is_doubled() {
    let findings = found(Lie::PaysTwice);
    assert_eq!(findings[0], Finding::Doubled);
    assert!(findings.contains(&Finding::WrongBalance), "{findings:?}");
}

#[test]
fn a_refused_payment_that_was_made_is_unasked() {
    assert_eq!(found(Lie::PaysWhatItRefused)[0], Finding::Unasked);
}

#[test]
fn a_negative_balance_is_found() {
    let findings = found(Lie::GoesNegative);
    assert!(findings.contains(&Finding::NegativeBalance), "{findings:?}");
}

#[test]
fn books_that_do_not_sum_to_zero_are_found() {
    assert_eq!(found(Lie::CooksTheBooks), [Finding::WrongBooks]);
}

#[test]
fn a_lost_answer_is_asked_for_again_and_counts_once() {
    let report = check(Lie::LosesTheAnswer, |_, spec| spec.read_lists = true);
    assert!(report.holds(), "{}", report.findings);
    assert_eq!((report.unknowns.requests, report.unknowns.applied_before), (1, 1));
    assert_eq!(report.payments, PAYMENTS);
}

#[test]
fn a_retry_that_is_applied_again_is_doubled() {
    let findings = found(Lie::LosesTheAnswerAndPaysTwice);
    assert_eq!(findings[0], Finding::Doubled);
}
