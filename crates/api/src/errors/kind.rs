//! The closed list of outcomes of a request, and the one table that gives each its status, code, reason, retry advice,
//! metric label, message and next actions.

mod policy;

use http::StatusCode;

/// Every way in which a request can end without its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Kind {
    InvalidRequest,
    MalformedHttp,
    Unauthenticated,
    Forbidden,
    NotFound,
    UnknownRoute,
    MethodNotAllowed,
    NotAcceptable,
    RequestTimeout,
    BodyTooLarge,
    TargetTooLong,
    UnsupportedMediaType,
    HeadTooLarge,
    UnknownWallet,
    UnknownPayee,
    InsufficientBalance,
    WalletFrozen,
    WalletClosed,
    KeyConflict,
    WrongState,
    LimitReached,
    FaucetCap,
    PolicyExpired,
    PolicyHours,
    PolicyRail,
    PolicyBlocked,
    PolicyRecipient,
    PolicyCategory,
    PolicyMaxPerPayment,
    PolicyLimit,
    PolicyCount,
    SettlementNotConfigured,
    PriceAboveMaximum,
    AlreadyExists,
    TokenInvalid,
    TokenExpired,
    TokenUsed,
    DuplicateDispute,
    RateLimited,
    TooManyInFlight,
    Overloaded,
    Starting,
    Stopping,
    ReadOnly,
    OutcomeUnknown,
    Damaged,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    /// `details.reason`, where the code alone does not say it.
    pub(crate) reason: Option<&'static str>,
    /// Whether the same request may succeed later without being changed.
    pub(crate) retryable: bool,
    /// Value of the `outcome` label.
    pub(crate) label: &'static str,
    /// Said when nothing more exact is known.
    pub(crate) message: &'static str,
    pub(crate) next_actions: &'static [&'static str],
}

impl Kind {
    pub(crate) const ALL: [Self; 46] = [
        Self::InvalidRequest,
        Self::MalformedHttp,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::UnknownRoute,
        Self::MethodNotAllowed,
        Self::NotAcceptable,
        Self::RequestTimeout,
        Self::BodyTooLarge,
        Self::TargetTooLong,
        Self::UnsupportedMediaType,
        Self::HeadTooLarge,
        Self::UnknownWallet,
        Self::UnknownPayee,
        Self::InsufficientBalance,
        Self::WalletFrozen,
        Self::WalletClosed,
        Self::KeyConflict,
        Self::WrongState,
        Self::LimitReached,
        Self::FaucetCap,
        Self::PolicyExpired,
        Self::PolicyHours,
        Self::PolicyRail,
        Self::PolicyBlocked,
        Self::PolicyRecipient,
        Self::PolicyCategory,
        Self::PolicyMaxPerPayment,
        Self::PolicyLimit,
        Self::PolicyCount,
        Self::SettlementNotConfigured,
        Self::PriceAboveMaximum,
        Self::AlreadyExists,
        Self::TokenInvalid,
        Self::TokenExpired,
        Self::TokenUsed,
        Self::DuplicateDispute,
        Self::RateLimited,
        Self::TooManyInFlight,
        Self::Overloaded,
        Self::Starting,
        Self::Stopping,
        Self::ReadOnly,
        Self::OutcomeUnknown,
        Self::Damaged,
    ];

    /// The row of this kind.
    pub(crate) const fn row(self) -> Row {
        match self {
            Self::InvalidRequest
            | Self::MalformedHttp
            | Self::NotFound
            | Self::UnknownRoute
            | Self::MethodNotAllowed
            | Self::NotAcceptable
            | Self::RequestTimeout
            | Self::BodyTooLarge
            | Self::TargetTooLong
            | Self::UnsupportedMediaType
            | Self::HeadTooLarge => self.request_row(),
            Self::Unauthenticated
            | Self::Forbidden
            | Self::UnknownWallet
            | Self::UnknownPayee
            | Self::InsufficientBalance
            | Self::WalletFrozen
            | Self::WalletClosed
            | Self::KeyConflict
            | Self::WrongState
            | Self::LimitReached
            | Self::FaucetCap
            | Self::SettlementNotConfigured => self.business_row(),
            Self::PolicyExpired
            | Self::PolicyHours
            | Self::PolicyRail
            | Self::PolicyBlocked
            | Self::PolicyRecipient
            | Self::PolicyCategory
            | Self::PolicyMaxPerPayment
            | Self::PolicyLimit
            | Self::PolicyCount => self.policy_row(),
            Self::PriceAboveMaximum
            | Self::AlreadyExists
            | Self::TokenInvalid
            | Self::TokenExpired
            | Self::TokenUsed
            | Self::DuplicateDispute => self.market_row(),
            Self::RateLimited
            | Self::TooManyInFlight
            | Self::Overloaded
            | Self::Starting
            | Self::Stopping
            | Self::ReadOnly
            | Self::OutcomeUnknown
            | Self::Damaged => self.service_row(),
        }
    }

    /// Requests that are wrong in themselves.
    const fn request_row(self) -> Row {
        const FIX: &[&str] = &["Correct the request as the message says and send it again."];
        const ROUTES: &[&str] = &["Check the path and the method against the API description."];
        match self {
            Self::InvalidRequest => {
                row(400, "AP-2001", "invalid_request", "The request is not valid.").with_actions(FIX)
            }
            Self::MalformedHttp => {
                row(400, "AP-2001", "malformed_http", "The request is not well-formed HTTP/1.1.")
                    .with_actions(&["Send the request with a standard HTTP client over a new connection."])
            }
            Self::NotFound => {
                row(404, "AP-2002", "not_found", "There is nothing here that this key may see.")
                    .with_actions(&["Check the id, and that it belongs to the agent whose key you use."])
            }
            Self::UnknownRoute => {
                row(404, "AP-2002", "unknown_route", "There is no such path.").with_actions(ROUTES)
            }
            Self::MethodNotAllowed => {
                row(405, "AP-2004", "method_not_allowed", "The path exists, but not with this method.")
                    .with_actions(&["Use one of the methods in the Allow header."])
            }
            Self::NotAcceptable => row(
                406,
                "AP-2004",
                "not_acceptable",
                "None of the formats in the Accept header can be produced.",
            )
            .with_actions(&["Send Accept: application/json, or no Accept header."]),
            Self::RequestTimeout => {
                row(408, "AP-2004", "request_timeout", "The request took too long to arrive.")
                    .retryable()
                    .with_actions(&["Send the whole request at once, on a new connection."])
            }
            Self::BodyTooLarge => {
                row(413, "AP-2004", "body_too_large", "The body is larger than this path takes.")
                    .with_actions(&["Send a smaller body; split a large batch into several."])
            }
            Self::TargetTooLong => row(414, "AP-2004", "target_too_long", "The request target is too long.")
                .with_actions(&["Shorten the path or the query."]),
            Self::UnsupportedMediaType => {
                row(415, "AP-2004", "unsupported_media_type", "The body must be plain JSON in UTF-8.")
                    .with_actions(&["Send Content-Type: application/json and no Content-Encoding."])
            }
            Self::HeadTooLarge => row(431, "AP-2004", "head_too_large", "The request's header is too large.")
                .with_actions(&["Send fewer or shorter header fields."]),
            _ => panic!("not a request row"),
        }
    }

    /// Answers that are part of doing business; agents should expect them.
    const fn business_row(self) -> Row {
        const WALLETS: &[&str] = &["List your wallets with GET /v1/wallets and use one of their ids."];
        match self {
            Self::Unauthenticated => {
                row(401, "AP-1001", "unauthenticated", "A valid API key is needed. This one is missing or not valid.")
                    .with_reason()
                    .with_actions(&[
                        "Send the header Authorization: Bearer <key> with a key that has not expired or been revoked.",
                        "Ask the agent's owner for a new key with POST /v1/agents/{agent_id}/keys.",
                    ])
            }
            Self::Forbidden => row(403, "AP-1001", "forbidden", "This kind of key may not do that.")
                .with_reason()
                .with_actions(&["Ask whoever holds the key that the message names to do this."]),
            Self::UnknownWallet => {
                row(404, "AP-1001", "unknown_wallet", "There is no such wallet among those of your agent.")
                    .with_reason()
                    .with_actions(WALLETS)
            }
            Self::UnknownPayee => Row {
                label: "unknown_payee",
                ..row(404, "AP-1001", "unknown_wallet", "The wallet to be paid does not exist.")
                    .with_reason()
                    .with_actions(&["Ask the payee for its wallet id, or pay an outside party with to_external."])
            },
            Self::InsufficientBalance => {
                row(402, "AP-1001", "insufficient_balance", "The wallet does not hold enough for amount and fee.")
                    .with_reason()
                    .retryable()
                    .with_actions(&[
                        "Pay a smaller amount: amount plus fee must not exceed details.available.",
                        "Use another wallet, or have this one funded, then try again.",
                    ])
            }
            Self::WalletFrozen => row(409, "AP-1001", "wallet_frozen", "The wallet is frozen and pays nothing.")
                .with_reason()
                .retryable()
                .with_actions(&["Ask the agent's owner to unfreeze it, or use another wallet."]),
            Self::WalletClosed => row(409, "AP-1001", "wallet_closed", "The wallet is closed for good.")
                .with_reason()
                .with_actions(WALLETS),
            Self::KeyConflict => {
                row(422, "AP-1005", "idempotency_conflict", "This idempotency key was used for another request.")
                    .with_reason()
                    .with_actions(&[
                        "For a new request choose a new key.",
                        "To repeat the earlier request send exactly what it said.",
                    ])
            }
            Self::WrongState => row(409, "AP-1006", "wrong_state", "The present state does not allow this.")
                .with_actions(&["Read the object again and decide from its status."]),
            Self::LimitReached => row(409, "AP-1006", "limit_reached", "The agent has as many of these as it may.")
                .with_reason()
                .with_actions(&["Use one that exists, or remove one that is no longer needed."]),
            Self::FaucetCap => row(403, "AP-1002", "faucet_cap", "The sandbox faucet gives this wallet no more.")
                .with_reason()
                .with_actions(&["Ask for at most details.limit minus details.used, or open another wallet."]),
            Self::SettlementNotConfigured => row(
                422,
                "SETTLEMENT_NOT_CONFIGURED",
                "settlement_not_configured",
                "No settlement connector serves this rail. Nothing was moved.",
            )
            .with_actions(&["Use the rail \"internal\", or ask the operator to configure a connector."]),
            _ => panic!("not a business row"),
        }
    }

    /// Answers of the service marketplace.
    const fn market_row(self) -> Row {
        match self {
            Self::PriceAboveMaximum => {
                row(402, "AP-1001", "price_above_maximum", "The service costs more than max_amount allows. Nothing was held.")
                    .with_reason()
                    .with_actions(&[
                        "Authorise again with max_amount of at least details.price, if the call is worth it.",
                        "Look for a cheaper service with GET /v1/services?sort=price.",
                    ])
            }
            Self::AlreadyExists => row(409, "AP-2003", "already_exists", "There is one of that name already.")
                .with_actions(&["Choose another name."]),
            Self::TokenInvalid => {
                row(400, "TOKEN_INVALID", "token_invalid", "This is not a payment token of this node. Nothing was moved.")
                    .with_actions(&[
                        "Send the token exactly as the consumer got it from POST /v1/services/{service_id}/authorize.",
                        "Do not deliver; ask the consumer for a token.",
                    ])
            }
            Self::TokenExpired => {
                row(410, "TOKEN_EXPIRED", "token_expired", "The token expired before it was verified. Its hold went back.")
                    .with_actions(&[
                        "Do not deliver; ask the consumer to authorise the call again and to pass the fresh token.",
                    ])
            }
            Self::TokenUsed => {
                row(409, "TOKEN_ALREADY_USED", "token_already_used", "The token has been redeemed before. It pays for one call.")
                    .with_actions(&[
                        "Do not deliver again; ask the consumer for a new token.",
                        "If your own first answer was lost, send the same request with the Idempotency-Key it had.",
                    ])
            }
            Self::DuplicateDispute => {
                row(409, "DUPLICATE_DISPUTE", "duplicate_dispute", "A dispute already exists for this payment. There is one per payment.")
                    .with_actions(&[
                        "Read it with GET /v1/disputes/{dispute_id}, with the id in details.dispute_id.",
                        "While it is open, add evidence to it instead of opening another one.",
                    ])
            }
            _ => panic!("not a market row"),
        }
    }

    /// Conditions of the service.
    const fn service_row(self) -> Row {
        const LATER: &[&str] = &["Wait for the time in Retry-After, then send the same request again."];
        match self {
            Self::RateLimited => row(429, "AP-3002", "rate_limited", "Too many requests in a short time.")
                .retryable()
                .with_actions(LATER),
            Self::TooManyInFlight => {
                row(429, "AP-3002", "too_many_in_flight", "Too many of your requests are under way at once.")
                    .retryable()
                    .with_actions(&[
                        "Wait for answers before sending more, then send the same request again.",
                    ])
            }
            Self::Overloaded => row(503, "AP-3001", "overloaded", "The service is busy. Nothing was done.")
                .retryable()
                .with_actions(LATER),
            Self::Starting => row(503, "AP-3001", "starting", "The service is starting. Nothing was done.")
                .retryable()
                .with_actions(&["Wait until GET /readyz answers 200, then send the same request again."]),
            Self::Stopping => {
                row(503, "AP-3001", "stopping", "The service is shutting down. Nothing was done.")
                    .retryable()
                    .with_actions(LATER)
            }
            Self::ReadOnly => {
                row(503, "AP-3004", "read_only", "The service takes no changes now. Nothing was done.")
                    .retryable()
                    .with_actions(&["Reads still work. Send the same request again later."])
            }
            Self::OutcomeUnknown => row(
                503,
                "AP-3003",
                "outcome_unknown",
                "It is not known whether the request was carried out.",
            )
            .retryable()
            .with_actions(&[
                "Send exactly the same request with the same idempotency key: it takes effect at most once.",
                "Without a key, look for the payment in GET /v1/payments before trying again.",
            ]),
            Self::Damaged => {
                row(500, "AP-3005", "damaged", "A stored record can no longer be read. It was reported.")
                    .with_actions(&["Tell the operator the request_id of this answer."])
            }
            _ => panic!("not a service row"),
        }
    }
}

const fn row(status: u16, code: &'static str, label: &'static str, message: &'static str) -> Row {
    let Ok(status) = StatusCode::from_u16(status) else { panic!("a valid status") };
    Row { status, code, reason: None, retryable: false, label, message, next_actions: &[] }
}

impl Row {
    const fn retryable(self) -> Self {
        Self { retryable: true, ..self }
    }

    /// Says the label as `details.reason` too.
    const fn with_reason(self) -> Self {
        Self { reason: Some(self.label), ..self }
    }

    const fn with_actions(self, next_actions: &'static [&'static str]) -> Self {
        Self { next_actions, ..self }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_is_listed_once_and_has_a_complete_row() {
        let mut labels = BTreeSet::new();
        for (place, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place, "{kind:?} stands at its own number");
            let row = kind.row();
            assert!(labels.insert(row.label), "{} is one kind's label only", row.label);
            assert!(row.status.is_client_error() || row.status.is_server_error());
            assert!(row.message.ends_with('.') && row.message.len() > 10, "{kind:?}");
            assert!(!row.next_actions.is_empty(), "{kind:?} says what to do next");
            assert!(row.next_actions.iter().all(|action| action.ends_with('.')), "{kind:?}");
            assert!(row.label.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{kind:?}");
        }
        assert_eq!(Kind::ALL.len(), Kind::Damaged as usize + 1, "the last kind is the last of the list");
    }

    #[test]
    fn codes_have_the_statuses_of_the_contract() {
        for kind in Kind::ALL {
            let row = kind.row();
            let allowed: &[u16] = match row.code {
                "AP-1001" => &[401, 402, 403, 404, 409],
                "AP-1002" => &[403],
                "AP-1005" | "SETTLEMENT_NOT_CONFIGURED" => &[422],
                "AP-1006" => &[409],
                "AP-2001" => &[400],
                "AP-2002" => &[404],
                "AP-2003" | "TOKEN_ALREADY_USED" | "DUPLICATE_DISPUTE" => &[409],
                "TOKEN_INVALID" => &[400],
                "TOKEN_EXPIRED" => &[410],
                "AP-2004" => &[405, 406, 408, 413, 414, 415, 431],
                "AP-3001" | "AP-3003" | "AP-3004" => &[503],
                "AP-3002" => &[429],
                "AP-3005" => &[500],
                code => panic!("{code} is not in the contract"),
            };
            assert!(allowed.contains(&row.status.as_u16()), "{kind:?}");
        }
    }
}
