//! Bodies of webhook deliveries: an envelope, and the object as the REST answers show it to the agent that is told.
//!
//! Equal events give equal bytes: what is in a body follows from the record, and not from when it is written.

use engine::{Engine, Event, FrozenWallet, Happening};
use ledger::{AgentId, EventId, EventKind, PaymentState, Timestamp, WalletId, WalletStatus, Webhook};

use crate::{
    errors::status_name,
    handlers::{disputes, payments, refunds, services, tokens, wallets},
    json::write::{AmountStyle, Writer},
};

/// Writes bodies for one engine's events.
pub struct Bodies {
    engine: Engine,
}

impl Bodies {
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }

    /// What concerns the payer alone is not for the payee.
    fn audience(&self, agent: AgentId, payer: WalletId) -> payments::Audience {
        if self.engine.owns(agent, payer) { payments::Audience::Payer } else { payments::Audience::Payee }
    }

    fn data(&self, w: &mut Writer, what: &Happening, agent: AgentId) {
        match what {
            Happening::Payment(receipt) => {
                payments::receipt(w, receipt, self.audience(agent, receipt.payment.payer));
            }
            Happening::Settlement(receipt) => {
                let completed = PaymentState::Completed.as_str();
                tokens::settlement(w, receipt, completed, self.audience(agent, receipt.payer));
            }
            Happening::Funding(receipt) => wallets::funding(w, receipt),
            Happening::Frozen(wallet) => frozen(w, wallet),
            Happening::Token(view) => tokens::members(w, view),
            Happening::Service(view) => services::members(w, view),
            Happening::Refund(receipt) => {
                refunds::members(w, receipt, self.audience(agent, refunds::payer_of(receipt)));
            }
            Happening::Dispute(view, evidence) => {
                disputes::members(w, view);
                if let Some(step) = &view.resolution {
                    w.name("resolution").object(|w| disputes::move_members(w, step));
                }
                if let Some(piece) = evidence {
                    w.name("evidence").object(|w| disputes::evidence_summary(w, piece));
                }
            }
        }
    }
}

impl webhooks::Render for Bodies {
    fn event(&self, event: &Event, agent: AgentId, id: EventId) -> Vec<u8> {
        envelope(id, event.kind, event.at, |w| self.data(w, &event.what, agent))
    }

    fn test(&self, webhook: &Webhook, id: EventId, at: Timestamp) -> Vec<u8> {
        envelope(id, EventKind::WebhookTest, at, |w| w.name("webhook_id").plain(webhook.id))
    }
}

fn envelope(id: EventId, kind: EventKind, at: Timestamp, data: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::new(896, AmountStyle::Number);
    writer.object(|w| {
        w.name("id").plain(id);
        w.name("type").plain(kind.name());
        w.name("created_at").timestamp(at);
        w.name("data").object(data);
    });
    writer.finish()
}

/// A balance would be that of another moment.
fn frozen(w: &mut Writer, wallet: &FrozenWallet) {
    w.name("id").plain(wallet.wallet);
    w.name("agent_id").plain(wallet.agent);
    w.name("currency").plain(wallet.currency);
    w.name("status").plain(status_name(WalletStatus::Frozen));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_has_the_contracts_members_in_order() {
        let body = envelope(EventId::from_raw(1), EventKind::TokenStarted, Timestamp::from_millis(0), |w| {
            w.name("a").integer(1);
        });
        let expected = concat!(
            r#"{"id":"evt_00000000000000000000000001","type":"token.started","#,
            r#""created_at":"1970-01-01T00:00:00.000Z","data":{"a":1}}"#
        );
        assert_eq!(String::from_utf8(body).expect("UTF-8"), expected);
    }
}
