//! From what the ledger and the engine say no with, to what a caller is told.

use engine::Refusal;
use ledger::{Amount, Denial, PaymentState, PolicyDenial, PolicyFigures, PolicyRule, WalletStatus};

use super::{Detail, Kind, Problem, token_state};

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Denied(denial) => denial.into(),
            Refusal::UnknownPayment => {
                Self::new(Kind::NotFound).saying("There is no such payment that this key may see.")
            }
            Refusal::UnknownAgent => {
                Self::new(Kind::NotFound).saying("There is no such agent that this key may see.")
            }
            Refusal::TooManyInFlight => Self::new(Kind::TooManyInFlight),
            Refusal::Overloaded => Self::new(Kind::Overloaded),
            Refusal::ReadOnly => Self::new(Kind::ReadOnly),
            Refusal::OutcomeUnknown => Self::new(Kind::OutcomeUnknown),
            Refusal::TooLarge => Self::new(Kind::BodyTooLarge)
                .saying("The request is larger than one record may be. Nothing was moved. Split it into smaller ones."),
            Refusal::Stopping => Self::new(Kind::Stopping),
            Refusal::NoIndex => Self::new(Kind::WrongState)
                .saying("This node keeps no index of what has happened (history.enabled = false), so it has no lists.")
                .advising(&[
                    "Read single payments and tokens by their ids.",
                    "Ask the node's operator to keep the index: it is made from the log at the next start.",
                ])
                .with_text("status", "no_history_index"),
            Refusal::EndNotIndexed => Self::new(Kind::WrongState)
                .saying(
                    "The token has ended. This node keeps no index of what has happened (history.enabled = false) and \
                     cannot tell how.",
                )
                .advising(&[
                    "Provider: do not deliver; whether the call was paid shows in your wallet's balance.",
                    "Consumer: nothing is held for it any more; authorise a new call if you need one.",
                    "Ask the node's operator to keep the index: then it tells how every token ended.",
                ])
                .with_text("status", "ended"),
            Refusal::Damaged => Self::new(Kind::Damaged),
        }
    }
}

impl From<Denial> for Problem {
    fn from(denial: Denial) -> Self {
        match denial {
            Denial::UnknownWallet => Self::new(Kind::UnknownWallet),
            Denial::KeyConflict => Self::new(Kind::KeyConflict),
            Denial::UnknownPayee => Self::new(Kind::UnknownPayee).with_text("path", "$.to_wallet_id"),
            Denial::SameWallet => {
                Self::invalid("$.to_wallet_id", "A wallet cannot pay itself. Name another wallet to be paid.")
            }
            Denial::CurrencyMismatch { wallet, requested } => {
                let message = format!(
                    "The payment is in {requested}, but the wallet holds {wallet}. Both wallets and the payment must \
                     have one currency."
                );
                Self::invalid("$.currency", message)
                    .with_text("wallet_currency", wallet.as_str().to_owned())
                    .with_text("requested_currency", requested.as_str().to_owned())
            }
            Denial::UnsupportedCurrency => Self::invalid(
                "$.currency",
                "Wallets in this currency are not offered. Choose another, such as USD.",
            ),
            Denial::SettlementNotConfigured { rail } => {
                Self::new(Kind::SettlementNotConfigured).with_text("rail", rail.as_str())
            }
            Denial::WalletClosed => Self::new(Kind::WalletClosed),
            Denial::WalletFrozen => Self::new(Kind::WalletFrozen),
            Denial::AmountNotPositive => Self::invalid("$.amount", "The amount must be greater than zero."),
            Denial::AmountTooLarge => {
                Self::invalid("$.amount", "The amount is larger than can be booked. Pay less.")
            }
            Denial::FaucetCap { limit, used, needed } => Self::new(Kind::FaucetCap)
                .with_text("rule", "faucet_cap")
                .with_amount("limit", limit)
                .with_amount("used", used)
                .with_amount("needed", needed),
            Denial::Policy(denial) => policy(&denial),
            Denial::InsufficientBalance { available, held, needed } => Self::new(Kind::InsufficientBalance)
                .with_amount("available", available)
                .with_amount("held", held)
                .with_amount("needed", needed),
            Denial::AtomicBatch { item, because } => atomic_batch(item, *because),
            Denial::MixedPayers => Self::invalid(
                "$.payments",
                "An atomic batch, and one with an idempotency key, has one payer. Give every payment the same \
                 from_wallet_id, or send one batch per payer.",
            ),
            Denial::UnknownKey => Self::new(Kind::NotFound).saying("The agent has no such key."),
            Denial::LastOwnerKey => Self::new(Kind::WrongState)
                .saying("This is the last owner key. Without it nobody could give the agent a new one.")
                .with_text("status", "last_owner_key"),
            Denial::TooManyKeys { limit } => Self::new(Kind::LimitReached)
                .saying("The agent has as many usable keys as it may. Revoke one first.")
                .with_text("rule", "too_many_keys")
                .with("limit", Detail::Number(limit.into())),
            Denial::TooManyWallets { limit } => Self::new(Kind::LimitReached)
                .saying("The agent has as many wallets as it may. Use one of them.")
                .with_text("rule", "too_many_wallets")
                .with("limit", Detail::Number(limit.into())),
            Denial::WrongStatus { status } => {
                Self::new(Kind::WrongState).with_text("status", status_name(status))
            }
            Denial::UnknownService => {
                Self::new(Kind::NotFound).saying("There is no such service that this key may see.")
            }
            Denial::UnknownToken => {
                Self::new(Kind::NotFound).saying("There is no such payment token that this key may see.")
            }
            Denial::TokenMismatch => Self::new(Kind::TokenInvalid).with_text("reason", "not_as_reserved"),
            Denial::ServiceInactive => Self::new(Kind::WrongState)
                .saying("The service is not active and takes no new calls.")
                .advising(&["Look for another service with GET /v1/services."])
                .with_text("status", "inactive"),
            Denial::TooManyOpenTokens { limit } => Self::new(Kind::TooManyInFlight)
                .saying("The agent has as many open payment tokens as it may. Nothing was held.")
                .advising(&[
                    "Cancel tokens that nobody has redeemed with DELETE /v1/x402/tokens/{token_id}, or wait until some have ended.",
                    "List them with GET /v1/x402/tokens?role=consumer&status=reserved.",
                ])
                .with_text("rule", "too_many_open_tokens")
                .with("limit", Detail::Number(limit.into())),
            Denial::NoRoomForTokens => Self::new(Kind::Overloaded)
                .saying("There are as many open payment tokens on this node as there may be. Nothing was held."),
            Denial::SlugTaken { slug } => Self::new(Kind::AlreadyExists)
                .saying("There is a service of that name, or of one that looks the same in a URL. Choose another name.")
                .with_text("path", "$.name")
                .with_text("slug", slug.into_string()),
            Denial::NoWalletInCurrency { currency } => Self::new(Kind::UnknownWallet)
                .saying(format!("The agent has no wallet in {currency} to be paid into. Open one first."))
                .advising(&["Have the agent's owner open one with POST /v1/wallets, then register the service again."])
                .with_text("currency", currency.as_str().to_owned()),
            Denial::PriceAboveMaximum { price, max_amount } => Self::new(Kind::PriceAboveMaximum)
                .with_amount("price", price)
                .with_amount("max_amount", max_amount),
            Denial::TokenExpired { expired_at } => {
                Self::new(Kind::TokenExpired).with("expired_at", Detail::Time(expired_at))
            }
            Denial::TokenUsed { status } => Self::new(Kind::TokenUsed).with_text("status", status.as_str()),
            Denial::WrongTokenStatus { status } => token_state::problem(status),
            Denial::UnknownDispute => {
                Self::new(Kind::NotFound).saying("There is no such dispute that this key may see.")
            }
            Denial::OnlyThePayee => Self::new(Kind::Forbidden)
                .saying("Only who was paid gives a payment back, or an operator. As its payer, open a dispute."),
            Denial::OnlyTheOpener => Self::new(Kind::Forbidden)
                .saying("A dispute is withdrawn by who opened it. Add evidence, or wait for its resolution."),
            Denial::PaymentDisputed { dispute, status } => Self::new(Kind::WrongState)
                .saying("The payment is disputed. Nothing is refunded until the dispute is resolved or withdrawn.")
                .with_text("status", status.as_str())
                .with_text("dispute_id", dispute.to_string()),
            Denial::DisputeExists { dispute, status } => Self::new(Kind::DuplicateDispute)
                .with_text("dispute_id", dispute.to_string())
                .with_text("status", status.as_str()),
            Denial::AlreadyRefunded => Self::new(Kind::WrongState)
                .saying("The payment has been refunded. Nothing of it is left to give back.")
                .with_text("status", PaymentState::Refunded.as_str()),
            Denial::RefundTooLarge { refundable, refunded, needed } => Self::new(Kind::WrongState)
                .saying("That is more than is left of the payment. Refund at most details.refundable.")
                .with_text("status", PaymentState::of(refundable.plus(refunded), refunded).as_str())
                .with_amount("refundable", refundable)
                .with_amount("refunded", refunded)
                .with_amount("needed", needed),
            Denial::DisputeWindowClosed { closed_at } => Self::new(Kind::WrongState)
                .saying("The time in which this payment could be disputed is over.")
                .with_text("status", "completed")
                .with("closed_at", Detail::Time(closed_at)),
            Denial::WrongDisputeStatus { status } => Self::new(Kind::WrongState)
                .saying("The dispute's present state does not allow that.")
                .with_text("status", status.as_str()),
            Denial::TooMuchEvidence { limit } => Self::new(Kind::LimitReached)
                .saying("The dispute has as much evidence as it may. Put the rest into words when asked.")
                .with_text("rule", "too_much_evidence")
                .with("limit", Detail::Number(limit.into())),
            Denial::UnknownWebhook => {
                Self::new(Kind::NotFound).saying("There is no such webhook that this key may see.")
            }
            Denial::TooManyWebhooks { limit } => Self::new(Kind::LimitReached)
                .saying("The agent has as many webhooks as it may. Change or delete one of them.")
                .with_text("rule", "too_many_webhooks")
                .with("limit", Detail::Number(limit.into())),
            Denial::TooManyServices { limit } => Self::new(Kind::LimitReached)
                .saying("The agent has as many services as it may. Change one of them instead.")
                .with_text("rule", "too_many_services")
                .with("limit", Detail::Number(limit.into())),
        }
    }
}

/// The rule that refused, with what it has counted.
fn policy(denial: &PolicyDenial) -> Problem {
    let kind = match denial.rule {
        PolicyRule::ExpiresAt => Kind::PolicyExpired,
        PolicyRule::ActiveHours => Kind::PolicyHours,
        PolicyRule::AllowedRails => Kind::PolicyRail,
        PolicyRule::BlockedRecipients => Kind::PolicyBlocked,
        PolicyRule::AllowedRecipients => Kind::PolicyRecipient,
        PolicyRule::AllowedCategories => Kind::PolicyCategory,
        PolicyRule::MaxPerPayment => Kind::PolicyMaxPerPayment,
        PolicyRule::Limits => Kind::PolicyLimit,
        PolicyRule::MaxPayments => Kind::PolicyCount,
    };
    let problem =
        Problem::new(kind).with_text("rule", denial.rule.as_str()).with_text("policy", denial.scope.as_str());
    let mut problem = match denial.figures {
        PolicyFigures::None => problem,
        PolicyFigures::Amounts { limit, used, needed } => problem
            .with_amount("limit", limit)
            .with_amount("used", used)
            .with_amount("needed", needed)
            .with_amount("available", limit.checked_sub(used).unwrap_or(Amount::ZERO).max(Amount::ZERO)),
        PolicyFigures::Counts { limit, used, needed } => problem
            .with("limit", Detail::Number(limit))
            .with("used", Detail::Number(used))
            .with("needed", Detail::Number(needed))
            .with("available", Detail::Number(limit.saturating_sub(used))),
    };
    if let Some(span) = denial.span {
        let kind = if span.rolling { "rolling" } else { "calendar" };
        problem = problem.with_text("window", span.window.to_string()).with_text("window_kind", kind);
    }
    if let Some(reset_at) = denial.reset_at {
        problem = problem.with("reset_at", Detail::Time(reset_at));
    }
    problem.retryable = denial.reset_at.is_some();
    problem
}

/// The item's own problem, said about the batch.
fn atomic_batch(item: u32, because: Denial) -> Problem {
    let cause = Problem::from(because);
    let message = format!(
        "Nothing in the batch was moved, because of payment {item} (counted from 0): {}",
        cause.message
    );
    let mut problem = cause.saying(message).with("item", Detail::Number(item.into()));
    for (name, detail) in &mut problem.details {
        if let ("path", Detail::Text(path)) = (*name, detail) {
            *path = path.replacen('$', &format!("$.payments[{item}]"), 1).into();
        }
    }
    problem
}

/// How a wallet's status is written.
pub(crate) fn status_name(status: WalletStatus) -> &'static str {
    match status {
        WalletStatus::Active => "active",
        WalletStatus::Frozen => "frozen",
        WalletStatus::Closed => "closed",
    }
}

#[cfg(test)]
mod tests {
    use http::header::RETRY_AFTER;
    use ledger::{Amount, Currency, DisputeId, DisputeStatus, Rail, Timestamp, TokenStatus};

    use super::*;

    fn detail(problem: &Problem, name: &str) -> Option<Detail> {
        problem.details.iter().find(|(known, _)| *known == name).map(|(_, detail)| detail.clone())
    }

    #[test]
    fn every_denial_has_the_status_and_code_of_the_contract() {
        let [one, two, three] = [1, 2, 3].map(Amount::from_nanos);
        let table = [
            (Denial::UnknownWallet, 404, "AP-1001"),
            (Denial::KeyConflict, 422, "AP-1005"),
            (Denial::UnknownPayee, 404, "AP-1001"),
            (Denial::SameWallet, 400, "AP-2001"),
            (Denial::CurrencyMismatch { wallet: Currency::USD, requested: Currency::EUR }, 400, "AP-2001"),
            (Denial::UnsupportedCurrency, 400, "AP-2001"),
            (Denial::SettlementNotConfigured { rail: Rail::Ach }, 422, "SETTLEMENT_NOT_CONFIGURED"),
            (Denial::WalletClosed, 409, "AP-1001"),
            (Denial::WalletFrozen, 409, "AP-1001"),
            (Denial::AmountNotPositive, 400, "AP-2001"),
            (Denial::AmountTooLarge, 400, "AP-2001"),
            (Denial::FaucetCap { limit: one, used: two, needed: three }, 403, "AP-1002"),
            (Denial::InsufficientBalance { available: one, held: two, needed: three }, 402, "AP-1001"),
            (Denial::AtomicBatch { item: 4, because: Box::new(Denial::WalletFrozen) }, 409, "AP-1001"),
            (Denial::MixedPayers, 400, "AP-2001"),
            (Denial::UnknownKey, 404, "AP-2002"),
            (Denial::LastOwnerKey, 409, "AP-1006"),
            (Denial::TooManyKeys { limit: 9 }, 409, "AP-1006"),
            (Denial::TooManyWallets { limit: 9 }, 409, "AP-1006"),
            (Denial::WrongStatus { status: WalletStatus::Closed }, 409, "AP-1006"),
            (Denial::UnknownService, 404, "AP-2002"),
            (Denial::UnknownToken, 404, "AP-2002"),
            (Denial::TokenMismatch, 400, "TOKEN_INVALID"),
            (Denial::ServiceInactive, 409, "AP-1006"),
            (Denial::TooManyOpenTokens { limit: 9 }, 429, "AP-3002"),
            (Denial::NoRoomForTokens, 503, "AP-3001"),
            (Denial::SlugTaken { slug: "weather".into() }, 409, "AP-2003"),
            (Denial::NoWalletInCurrency { currency: Currency::EUR }, 404, "AP-1001"),
            (Denial::PriceAboveMaximum { price: two, max_amount: one }, 402, "AP-1001"),
            (Denial::TokenExpired { expired_at: Timestamp::from_millis(0) }, 410, "TOKEN_EXPIRED"),
            (Denial::TokenUsed { status: TokenStatus::Settled }, 409, "TOKEN_ALREADY_USED"),
            (Denial::WrongTokenStatus { status: TokenStatus::Cancelled }, 409, "AP-1006"),
            (Denial::TooManyServices { limit: 9 }, 409, "AP-1006"),
            (Denial::UnknownDispute, 404, "AP-2002"),
            (Denial::OnlyThePayee, 403, "AP-1001"),
            (Denial::OnlyTheOpener, 403, "AP-1001"),
            (
                Denial::PaymentDisputed { dispute: DisputeId::from_raw(1), status: DisputeStatus::Open },
                409,
                "AP-1006",
            ),
            (
                Denial::DisputeExists { dispute: DisputeId::from_raw(1), status: DisputeStatus::Withdrawn },
                409,
                "DUPLICATE_DISPUTE",
            ),
            (Denial::AlreadyRefunded, 409, "AP-1006"),
            (Denial::RefundTooLarge { refundable: one, refunded: two, needed: three }, 409, "AP-1006"),
            (Denial::DisputeWindowClosed { closed_at: Timestamp::from_millis(0) }, 409, "AP-1006"),
            (Denial::WrongDisputeStatus { status: DisputeStatus::ResolvedDenied }, 409, "AP-1006"),
            (Denial::TooMuchEvidence { limit: 20 }, 409, "AP-1006"),
            (Denial::UnknownWebhook, 404, "AP-2002"),
            (Denial::TooManyWebhooks { limit: 9 }, 409, "AP-1006"),
        ];
        let refused = PolicyRule::ALL.map(|rule| (Denial::Policy(Box::new(refusal(rule))), 403, "AP-1002"));
        for (denial, status, code) in table.into_iter().chain(refused) {
            let problem = Problem::from(denial.clone());
            let row = problem.kind.row();
            assert_eq!((row.status.as_u16(), row.code), (status, code), "{denial:?}");
            assert!(problem.message.len() > 10 && problem.message.ends_with('.'), "{denial:?}");
            assert_eq!(problem.retryable, denial.retry_can_help(), "{denial:?}");
        }
    }

    #[test]
    fn every_refusal_has_the_status_and_code_of_the_contract() {
        let table = [
            (Refusal::UnknownPayment, 404, "AP-2002"),
            (Refusal::UnknownAgent, 404, "AP-2002"),
            (Refusal::TooManyInFlight, 429, "AP-3002"),
            (Refusal::Overloaded, 503, "AP-3001"),
            (Refusal::ReadOnly, 503, "AP-3004"),
            (Refusal::OutcomeUnknown, 503, "AP-3003"),
            (Refusal::TooLarge, 413, "AP-2004"),
            (Refusal::Stopping, 503, "AP-3001"),
            (Refusal::NoIndex, 409, "AP-1006"),
            (Refusal::EndNotIndexed, 409, "AP-1006"),
            (Refusal::Damaged, 500, "AP-3005"),
        ];
        for (refusal, status, code) in table {
            let problem = Problem::from(refusal.clone());
            let row = problem.kind.row();
            assert_eq!((row.status.as_u16(), row.code), (status, code), "{refusal:?}");
            assert_eq!(
                problem.headers.iter().any(|(name, _)| name == RETRY_AFTER),
                matches!(status, 429 | 503),
                "{refusal:?}"
            );
        }
    }

    #[test]
    fn figures_reach_the_caller() {
        let [one, two, three] = [1, 2, 3].map(Amount::from_nanos);
        let poor = Problem::from(Denial::InsufficientBalance { available: one, held: two, needed: three });
        for (name, amount) in [("available", one), ("held", two), ("needed", three)] {
            assert_eq!(detail(&poor, name), Some(Detail::Amount(amount)));
        }
        let capped = Problem::from(Denial::FaucetCap { limit: one, used: two, needed: three });
        for (name, amount) in [("limit", one), ("used", two), ("needed", three)] {
            assert_eq!(detail(&capped, name), Some(Detail::Amount(amount)));
        }
    }

    fn refusal(rule: PolicyRule) -> PolicyDenial {
        let [limit, used, needed] = [5, 3, 4].map(Amount::from_nanos);
        PolicyDenial {
            scope: ledger::PolicyScope::Wallet,
            rule,
            span: Some(ledger::Span { window: ledger::Window::Day, rolling: true }),
            figures: PolicyFigures::Amounts { limit, used, needed },
            reset_at: (rule == PolicyRule::Limits).then_some(Timestamp::from_millis(9)),
        }
    }

    #[test]
    fn a_policys_denial_says_which_rule_and_what_is_left() {
        let problem = Problem::from(Denial::Policy(Box::new(refusal(PolicyRule::Limits))));
        let text = |text: &'static str| Some(Detail::Text(text.into()));
        assert_eq!(detail(&problem, "rule"), text("limits"));
        assert_eq!(detail(&problem, "policy"), text("wallet"));
        assert_eq!(
            (detail(&problem, "window"), detail(&problem, "window_kind")),
            (text("day"), text("rolling"))
        );
        assert_eq!(detail(&problem, "available"), Some(Detail::Amount(Amount::from_nanos(2))));
        assert_eq!(detail(&problem, "reset_at"), Some(Detail::Time(Timestamp::from_millis(9))));
        assert!(problem.retryable);
    }

    #[test]
    fn a_duplicate_names_the_dispute_there_is() {
        let (dispute, status) = (DisputeId::from_raw(9), DisputeStatus::UnderReview);
        for denial in [Denial::DisputeExists { dispute, status }, Denial::PaymentDisputed { dispute, status }]
        {
            let problem = Problem::from(denial);
            assert_eq!(detail(&problem, "dispute_id"), Some(Detail::Text(dispute.to_string().into())));
            assert_eq!(detail(&problem, "status"), Some(Detail::Text("under_review".into())));
        }
    }

    #[test]
    fn an_atomic_batch_names_the_item() {
        let problem = Problem::from(Denial::AtomicBatch { item: 7, because: Box::new(Denial::UnknownPayee) });
        assert_eq!(detail(&problem, "item"), Some(Detail::Number(7)));
        assert_eq!(detail(&problem, "path"), Some(Detail::Text("$.payments[7].to_wallet_id".into())));
        assert!(problem.message.contains("payment 7"), "{}", problem.message);
    }
}
