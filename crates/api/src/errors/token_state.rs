//! A token that is not where a step needs it: what has become of it, and what each side does next.

use ledger::TokenStatus;

use super::{Kind, Problem};

/// The step that was asked for does not lead from this state.
pub(super) fn problem(status: TokenStatus) -> Problem {
    let (message, next_actions) = advice(status);
    Problem::new(Kind::WrongState).saying(message).advising(next_actions).with_text("status", status.as_str())
}

fn advice(status: TokenStatus) -> (&'static str, &'static [&'static str]) {
    match status {
        TokenStatus::Reserved => (
            "The token has not been redeemed yet.",
            &["Redeem it with POST /v1/x402/verify, then report call-started."],
        ),
        TokenStatus::Verified => (
            "The token has been redeemed, and its call has not started.",
            &[
                "Provider: report call-started next.",
                "Consumer: it cannot be cancelled any more; the hold comes back by itself if the call does not start in time.",
            ],
        ),
        TokenStatus::Started => (
            "The call has started and is not accepted yet.",
            &[
                "Provider: report call-accepted next, then call-completed.",
                "Consumer: the hold comes back by itself if the call is not completed by the token's deadline.",
            ],
        ),
        TokenStatus::Accepted => (
            "The call is accepted and under way.",
            &[
                "Provider: report call-completed when it is done.",
                "Consumer: the hold comes back by itself if the call is not completed by the token's deadline.",
            ],
        ),
        TokenStatus::Settled => (
            "The call is completed and paid.",
            &["Read the token with GET /v1/x402/tokens/{token_id}: its payment_id names the payment."],
        ),
        TokenStatus::Cancelled => (
            "The consumer has cancelled the token. Its hold went back.",
            &["Do not deliver; ask the consumer to authorise the call again."],
        ),
        TokenStatus::Expired => (
            "The token expired before it was redeemed. Its hold went back.",
            &["Do not deliver; ask the consumer to authorise the call again."],
        ),
        TokenStatus::SlaBreached => (
            "The call was not done within the service's SLA. The hold went back to the consumer.",
            &["Stop working on the call: it is not paid any more. The consumer may authorise another."],
        ),
        TokenStatus::Refunded => (
            "The call was not carried out in time. The hold went back to the consumer.",
            &["Stop working on the call: it is not paid any more. The consumer may authorise another."],
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_says_what_it_is_and_what_comes_next() {
        let mut messages = std::collections::BTreeSet::new();
        for status in TokenStatus::ALL {
            let problem = problem(status);
            assert_eq!((problem.kind, problem.next_actions.is_empty()), (Kind::WrongState, false));
            assert!(problem.message.ends_with('.'), "{status:?}");
            assert!(problem.next_actions.iter().all(|action| action.ends_with('.')), "{status:?}");
            assert!(messages.insert(problem.message), "{status:?} has words of its own");
        }
    }
}
