//! Answers of spending policies: expected outcomes, each with what a caller can do about it.

use super::{Kind, Row, row};

const ASK_OWNER: &str =
    "Ask the agent's owner to change the policy, if the payment is needed; this key cannot.";
const SMALLER: &str = "Pay at most details.available, fee included, or wait until details.reset_at.";
const LOOK: &str = "Try a payment out with POST /v1/policy/check, which moves nothing and counts nothing.";

impl Kind {
    pub(super) const fn policy_row(self) -> Row {
        match self {
            Self::PolicyExpired => denied("policy_expired", "The policy's term is over. It lets nothing pass any more.")
                .with_actions(&["Ask the agent's owner for a new policy; this key cannot set one."]),
            Self::PolicyHours => denied("outside_active_hours", "The policy lets payments pass at other hours only.")
                .with_actions(&["Wait until details.reset_at, then send the same request again.", ASK_OWNER]),
            Self::PolicyRail => denied("rail_not_allowed", "The policy does not allow this rail.")
                .with_actions(&["Use a rail that GET /v1/wallets/{wallet_id}/policy allows.", ASK_OWNER]),
            Self::PolicyBlocked => denied("recipient_blocked", "The policy blocks this recipient.")
                .with_actions(&["Do not pay this recipient; choose another one.", ASK_OWNER]),
            Self::PolicyRecipient => denied("recipient_not_allowed", "The policy does not allow this recipient.")
                .with_actions(&["Pay a recipient that GET /v1/wallets/{wallet_id}/policy allows.", ASK_OWNER]),
            Self::PolicyCategory => {
                denied("category_not_allowed", "The policy does not allow services of this category.").with_actions(&[
                    "Look for a service of an allowed category with GET /v1/services?category=<category>.",
                    ASK_OWNER,
                ])
            }
            Self::PolicyMaxPerPayment => {
                denied("above_max_per_payment", "The payment is larger than the policy allows for one.").with_actions(&[
                    "Pay less: amount plus fee must not exceed details.limit. Do not split what belongs together.",
                    ASK_OWNER,
                ])
            }
            Self::PolicyLimit => {
                denied("spending_limit_reached", "The payment does not fit into what the policy lets be spent in this time.")
                    .with_actions(&[SMALLER, LOOK, ASK_OWNER])
            }
            Self::PolicyCount => {
                denied("payment_count_reached", "The policy lets no further payment pass in this time.")
                    .with_actions(&["Wait until details.reset_at, then send the same request again.", ASK_OWNER])
            }
            _ => panic!("not a policy row"),
        }
    }
}

const fn denied(reason: &'static str, message: &'static str) -> Row {
    row(403, "AP-1002", reason, message).with_reason()
}
