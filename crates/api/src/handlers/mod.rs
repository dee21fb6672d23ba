//! One function per operation: request in, ledger's or engine's types through, answer out. Handlers hold no state and
//! decide nothing about money.

pub(crate) mod agents;
pub(crate) mod batch;
pub(crate) mod disputes;
pub(crate) mod health;
pub(crate) mod history;
pub(crate) mod keys;
pub(crate) mod operator;
pub(crate) mod payments;
pub(crate) mod policies;
pub(crate) mod refunds;
pub(crate) mod services;
pub(crate) mod tokens;
pub(crate) mod wallets;
pub(crate) mod webhooks;

use ledger::{Currency, WalletId, WalletStatus};

use self::tokens::Step;

use crate::{
    dispatch::Call,
    errors::Problem,
    gateway::Attached,
    json::read::{Reader, Result},
    respond::Reply,
    routes::Operation,
    text,
};

/// Runs the handler of an operation.
pub(crate) async fn run(operation: Operation, call: &Call<'_>) -> std::result::Result<Reply, Problem> {
    match operation {
        Operation::CreateAgent => agents::create(call).await,
        Operation::ReadAgent => agents::read(call).await,
        Operation::CreateKey => keys::create(call).await,
        Operation::ListKeys => keys::list(call).await,
        Operation::RevokeKey => keys::revoke(call).await,
        Operation::RotateKeys => keys::rotate(call).await,
        Operation::ListWallets => wallets::list(call).await,
        Operation::OpenWallet => wallets::open(call).await,
        Operation::ReadWallet => wallets::read(call).await,
        Operation::ReadBalance => wallets::balance(call).await,
        Operation::Fund => wallets::fund(call).await,
        Operation::Freeze => wallets::set_status(call, WalletStatus::Frozen).await,
        Operation::Unfreeze => wallets::set_status(call, WalletStatus::Active).await,
        Operation::SetWalletPolicy => policies::set_wallet(call).await,
        Operation::ReadWalletPolicy => policies::read_wallet(call).await,
        Operation::SetAgentPolicy => policies::set_agent(call).await,
        Operation::ReadAgentPolicy => policies::read_agent(call).await,
        Operation::CheckPolicy => policies::check(call).await,
        Operation::Entries => history::entries(call).await,
        Operation::Pay => payments::pay(call).await,
        Operation::PayBatch => batch::pay(call).await,
        Operation::ListPayments => history::payments(call).await,
        Operation::ReadPayment => payments::read(call).await,
        Operation::RefundPayment => refunds::refund(call).await,
        Operation::OpenDispute => disputes::open(call).await,
        Operation::ListDisputes | Operation::ListAllDisputes => disputes::list(call).await,
        Operation::ReadDispute => disputes::read(call).await,
        Operation::AddEvidence => disputes::add_evidence(call).await,
        Operation::WithdrawDispute => disputes::withdraw(call).await,
        Operation::ReviewDispute => disputes::review(call).await,
        Operation::ResolveDispute => disputes::resolve(call).await,
        Operation::RegisterService => services::create(call).await,
        Operation::ListServices => services::list(call),
        Operation::ReadService => services::read(call),
        Operation::ChangeService => services::change(call).await,
        Operation::DeactivateService => services::deactivate(call).await,
        Operation::VerifyService => services::verify(call).await,
        Operation::Requirements => services::requirements(call),
        Operation::Authorize => tokens::authorize(call).await,
        Operation::VerifyToken => tokens::verify(call).await,
        Operation::CallStarted => tokens::step(call, Step::Started).await,
        Operation::CallAccepted => tokens::step(call, Step::Accepted).await,
        Operation::CallCompleted => tokens::step(call, Step::Completed).await,
        Operation::CancelToken => tokens::cancel(call).await,
        Operation::ReadToken => tokens::read(call).await,
        Operation::ListTokens => tokens::list(call).await,
        Operation::ProveService => services::prove::prove(call).await,
        Operation::CreateWebhook => webhooks::create(call).await,
        Operation::ListWebhooks => webhooks::list(call),
        Operation::ReadWebhook => webhooks::read(call),
        Operation::ChangeWebhook => webhooks::change(call).await,
        Operation::DeleteWebhook => webhooks::delete(call).await,
        Operation::RotateWebhookSecret => webhooks::rotate(call).await,
        Operation::TestWebhook => webhooks::deliveries::test(call).await,
        Operation::ListDeliveries => webhooks::deliveries::list(call).await,
        Operation::Redeliver => webhooks::deliveries::redeliver(call).await,
        Operation::PublishedKeys => Ok(tokens::published_keys(call)),
        Operation::TrialBalance => operator::trial_balance(call),
        Operation::Metrics => operator::metrics(call),
        Operation::Health | Operation::Readiness | Operation::Version => {
            health::answer(call.gateway, operation)
        }
    }
}

/// A wallet's id in a body.
fn wallet_id(reader: &mut Reader<'_>) -> Result<WalletId> {
    let text = reader.string()?;
    text.parse().map_err(|_| {
        reader.invalid("Must be a wallet id: wallet_ and 26 characters, as answered when it was made.")
    })
}

/// A currency code in a body.
pub(crate) fn currency(reader: &mut Reader<'_>) -> Result<Currency> {
    let text = reader.string()?;
    Currency::parse(&text)
        .map_err(|_| reader.invalid("Must be a currency code of three capital letters, such as USD."))
}

/// A name, label or counterparty in a body.
fn name(reader: &mut Reader<'_>) -> Result<Box<str>> {
    let text = reader.string()?;
    text::line(text, text::NAME_CHARS_MAX).map_err(|advice| reader.invalid(advice))
}

/// Nothing but what may stand in any body.
fn nothing(body: &[u8], headers: &http::HeaderMap) -> std::result::Result<(), Problem> {
    let key = Reader::document(body, |r| {
        let mut key = crate::json::read::Slot::Missing;
        r.object(|r, field| match field {
            "idempotency_key" => key.set(r, Reader::string),
            other => Err(r.unknown_field(other, &["idempotency_key"])),
        })?;
        Ok(key.optional())
    })?;
    // Setting a state twice is setting it once, so the key only has to be well-formed.
    crate::idempotency::key(headers, key).map(drop)
}

/// What came with the engine: routes like these are served once the gateway has it.
fn attached<'r>(call: &Call<'r>) -> &'r Attached {
    call.gateway.attached.get().expect("requests are served after attaching")
}
