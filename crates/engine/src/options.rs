//! What an engine is told at start. Every limit is a named field with its unit and reason; `config/agentpay.toml`
//! carries the same keys.

use std::time::Duration;

use ledger::{Currency, Rules};

use crate::keys::KeyOptions;

/// Settings of one engine, i.e. of one partition on one node.
#[derive(Clone)]
pub struct Options {
    /// Number of the partition this engine owns; part of every id born here.
    pub partition: u16,
    /// Rules of money: currencies, fees, caps, retention of idempotency keys.
    pub rules: Rules,
    /// Currency of a wallet opened without naming one.
    pub default_currency: Currency,
    /// Key that seals record addresses into ids. Fixed for the ledger's life.
    pub id_key: [u8; 32],
    /// Payments under way in the whole engine. Bounds memory: a payment under way costs about 1 KiB.
    pub in_flight_max: u32,
    /// Payments under way for one agent, so that one agent cannot take every place.
    pub in_flight_per_agent_max: u32,
    /// Commands waiting for one wallet, so that a slow disk cannot pile them up on one hot payer.
    pub in_flight_per_wallet_max: u32,
    /// A wallet's actor goes to rest after this long without a command.
    pub idle_after: Duration,
    /// Time between snapshots; zero means only at shutdown or when asked for.
    pub snapshot_every: Duration,
    /// Bytes that a snapshot writes per second while payments go on, so that they do not wait for the disk; zero means as
    /// fast as it goes. At shutdown nobody waits, and it always goes as fast as it can.
    pub snapshot_bytes_per_second: u64,
    /// Verified snapshot generations that are kept.
    pub snapshots_kept: usize,
    /// How long a change waits for the log's next segment when the disk does not keep up, before it is refused.
    pub segment_wait: Duration,
    /// The log's own settings.
    pub wal: wal::Options,
    /// When a wallet at rest gets an actor.
    pub activation: Activation,
    /// Open tokens in the whole engine. Bounds memory: one takes about 250 bytes for up to an hour.
    pub tokens_open_max: u32,
    /// Open tokens of one consumer, so that one agent cannot take every place with a little money.
    pub tokens_open_per_agent_max: u32,
    /// Ended tokens that stay in memory although the index has them, for repeated steps; four times as many without an
    /// index. One takes about 250 bytes.
    pub ended_tokens_kept: usize,
    /// Timers of ended tokens beyond which the timer thread looks for them and drops them. One takes 16 to 32 bytes.
    pub dead_timers_max: u64,
    /// Where idempotency keys are kept.
    pub keys: KeyOptions,
    /// A wall clock that is off by more than this is absurd: nothing expires until it is right again.
    pub clock_jump_max: Duration,
    /// A start that finds the log older than this does not believe the clock, and nothing expires until somebody has
    /// looked; a node that was really down for longer is started with a larger value.
    pub outage_max: Duration,
    /// How long a list waits for the history index to reach what was durable when the request arrived.
    pub history_wait: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            partition: 0,
            rules: Rules::default(),
            default_currency: Currency::USD,
            id_key: [0; 32],
            in_flight_max: 131_072,
            in_flight_per_agent_max: 65_536,
            in_flight_per_wallet_max: 32_768,
            idle_after: Duration::from_secs(2),
            snapshot_every: Duration::from_secs(300),
            snapshot_bytes_per_second: 12 << 20,
            snapshots_kept: 2,
            segment_wait: Duration::from_secs(5),
            wal: wal::Options::default(),
            activation: Activation::Contended,
            tokens_open_max: 4_194_304,
            tokens_open_per_agent_max: 1_048_576,
            ended_tokens_kept: 16_384,
            dead_timers_max: 1 << 20,
            keys: KeyOptions::default(),
            clock_jump_max: Duration::from_secs(86_400),
            outage_max: Duration::from_secs(30 * 86_400),
            history_wait: Duration::from_secs(1),
        }
    }
}

/// When a wallet at rest gets an actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// When two tasks want it at the same moment.
    Contended,
    /// Also with every `n`th command of the engine, whoever it is for; to test and to compare with actors alone (1).
    Every(std::num::NonZeroU32),
}
