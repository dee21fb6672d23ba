//! Names and buckets of the metrics that the process itself exports. Those of HTTP and log are named where they are
//! measured; buckets for all of them are here, because the recorder takes them at installation.

use ::metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};
use engine::{Engine, Phase};
use metrics_exporter_prometheus::Matcher;

/// Which histogram gets which upper bounds. A full name beats a suffix; two suffixes must never match one name, because
/// the exporter tries them in alphabetical order.
pub(super) fn buckets() -> [(Matcher, &'static [f64]); 6] {
    [
        (Matcher::Full("agentpay_log_sync_seconds".to_owned()), &SYNC_SECONDS),
        (Matcher::Full("agentpay_log_write_seconds".to_owned()), &SYNC_SECONDS),
        (Matcher::Suffix("_seconds".to_owned()), &REQUEST_SECONDS),
        (Matcher::Suffix("_records".to_owned()), &BATCH_RECORDS),
        (Matcher::Suffix("_payments".to_owned()), &BATCH_RECORDS),
        (Matcher::Suffix("_bytes".to_owned()), &BATCH_BYTES),
    ]
}

/// From 25 µs, the fastest that a drive with a protected cache answers, to 10 s, a drive in trouble.
const SYNC_SECONDS: [f64; 16] = [
    0.000_025, 0.000_05, 0.000_075, 0.000_1, 0.000_15, 0.000_2, 0.000_3, 0.000_5, 0.001, 0.002, 0.005, 0.01,
    0.05, 0.1, 1.0, 10.0,
];
const REQUEST_SECONDS: [f64; 14] =
    [0.000_1, 0.000_2, 0.000_3, 0.000_5, 0.000_75, 0.001, 0.002, 0.005, 0.01, 0.025, 0.1, 0.5, 2.0, 10.0];
const BATCH_RECORDS: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 64.0, 256.0, 1_024.0, 4_096.0, 16_384.0];
const BATCH_BYTES: [f64; 8] =
    [512.0, 4_096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0];

/// Gauges read from the engine and the process whenever somebody asks for the metrics.
pub(super) struct Gauges {
    appended: Gauge,
    durable: Gauge,
    delivered: Gauge,
    indexed: Gauge,
    wallets: Gauge,
    agents: Gauge,
    active_actors: Gauge,
    in_flight: Gauge,
    waiting_for_segment: Gauge,
    keys_in_memory: Gauge,
    keys_on_disk: Gauge,
    key_files: Gauge,
    key_filters: Gauge,
    services: Gauge,
    webhooks: Gauge,
    tokens: Gauge,
    open_tokens: Gauge,
    claims: Gauge,
    open_disputes: Gauge,
    timers: Gauge,
    deadlines_fired: Counter,
    clock_frozen: Gauge,
    phases: [(&'static str, Gauge); 6],
    resident: Gauge,
    open_files: Gauge,
}

impl Gauges {
    /// Registers every gauge once.
    pub(super) fn register() -> Gauges {
        let phase = "agentpay_engine_phase_info";
        describe_gauge!(phase, "1 for the phase that the engine is in");
        Gauges {
            appended: described("agentpay_log_appended_lsn", "End of what has a position in the log"),
            durable: described("agentpay_log_durable_lsn", "End of what is synced"),
            delivered: described("agentpay_engine_delivered_lsn", "End of what is posted and visible"),
            indexed: described("agentpay_history_cursor_lsn", "End of what lists and statements show"),
            wallets: described("agentpay_engine_wallets", "Wallets of the ledger"),
            agents: described("agentpay_engine_agents", "Agents of the ledger"),
            active_actors: described("agentpay_engine_active_actors", "Wallets that are not at rest"),
            in_flight: described(
                "agentpay_engine_in_flight_requests",
                "Places taken of admission.in_flight_max",
            ),
            waiting_for_segment: described(
                "agentpay_engine_waiting_for_segment_requests",
                "Changes that wait for the log's next segment because the disk does not keep up",
            ),
            keys_in_memory: described(
                "agentpay_keys_in_memory_entries",
                "Idempotency keys in memory, of ledger.idempotency_keys_in_memory_max",
            ),
            keys_on_disk: described("agentpay_keys_on_disk_entries", "Idempotency keys on disk"),
            key_files: described("agentpay_keys_on_disk_files", "Files of idempotency keys"),
            key_filters: described("agentpay_keys_filter_bytes", "Memory of the filters of these files"),
            services: described(
                "agentpay_engine_services",
                "Services of the marketplace, inactive ones included",
            ),
            webhooks: described("agentpay_engine_webhooks_items", "Webhooks, disabled ones included"),
            tokens: described(
                "agentpay_engine_tokens",
                "Payment tokens in memory, open ones and those that ended lately",
            ),
            open_tokens: described(
                "agentpay_engine_open_tokens",
                "Payment tokens that have not ended, of x402.tokens_open_max",
            ),
            claims: described(
                "agentpay_engine_claims_items",
                "Payments of which something was claimed back: refunds and disputes, kept for good",
            ),
            open_disputes: described("agentpay_engine_open_disputes_items", "Disputes that have not ended"),
            timers: described(
                "agentpay_engine_timers",
                "Deadlines ahead, those that nobody needs any more included",
            ),
            deadlines_fired: fired(),
            clock_frozen: described(
                "agentpay_engine_clock_frozen_info",
                "1 while the wall clock is not believed and nothing expires",
            ),
            phases: PHASES.map(|label| (label, gauge!(phase, "phase" => label))),
            resident: described("agentpay_process_resident_bytes", "Memory of the process that is in RAM"),
            open_files: described("agentpay_process_open_files", "Open file descriptors of the process"),
        }
    }

    /// Takes the figures of this moment. Positions are 64-bit; as floating point they are exact up to 2^53 bytes.
    pub(super) fn update(&self, phase: Phase, engine: Option<&Engine>) {
        self.resident.set(resident_bytes().map_or(f64::NAN, exact));
        self.open_files.set(open_files().map_or(f64::NAN, exact));
        for (label, gauge) in &self.phases {
            gauge.set(if *label == label_of(phase) { 1.0 } else { 0.0 });
        }
        let Some(engine) = engine else { return };
        let now = engine.gauges();
        self.appended.set(exact(now.appended_lsn));
        self.durable.set(exact(now.durable_lsn));
        self.delivered.set(exact(now.delivered_lsn));
        self.indexed.set(exact(now.history_cursor));
        self.wallets.set(exact(now.wallets));
        self.agents.set(exact(now.agents));
        self.active_actors.set(exact(now.active_actors));
        self.in_flight.set(exact(now.in_flight));
        self.waiting_for_segment.set(exact(now.waiting_for_segment));
        self.keys_in_memory.set(exact(now.keys_in_memory));
        self.keys_on_disk.set(exact(now.keys_on_disk));
        self.key_files.set(exact(now.key_files));
        self.key_filters.set(exact(now.key_filter_bytes));
        self.services.set(exact(now.services));
        self.webhooks.set(exact(now.webhooks));
        self.tokens.set(exact(now.tokens));
        self.open_tokens.set(exact(now.open_tokens));
        self.claims.set(exact(now.claims));
        self.open_disputes.set(exact(now.open_disputes));
        self.timers.set(exact(now.timers));
        self.deadlines_fired.absolute(now.deadlines_fired);
        self.clock_frozen.set(exact(now.clock_frozen));
    }
}

fn fired() -> Counter {
    let name = "agentpay_engine_deadlines_fired_total";
    describe_counter!(name, "Deadlines at which the owner of a token was woken");
    counter!(name)
}

fn described(name: &'static str, help: &'static str) -> Gauge {
    describe_gauge!(name, help);
    gauge!(name)
}

/// Values of the label `phase`.
const PHASES: [&str; 6] = ["recovering", "ready", "read_only", "failed", "stopping", "stopped"];

fn label_of(phase: Phase) -> &'static str {
    match phase {
        Phase::Recovering { .. } => "recovering",
        Phase::Ready => "ready",
        Phase::ReadOnly => "read_only",
        Phase::Failed => "failed",
        Phase::Stopping => "stopping",
        Phase::Stopped => "stopped",
    }
}

#[allow(clippy::cast_precision_loss, reason = "9 petabytes of log are out of reach")]
fn exact(figure: u64) -> f64 {
    figure as f64
}

/// Resident memory, from the second field of `statm`, which counts pages.
fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * u64::try_from(rustix::param::page_size()).ok()?)
}

fn open_files() -> Option<u64> {
    u64::try_from(std::fs::read_dir("/proc/self/fd").ok()?.count()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_rise_and_sync_buckets_start_at_25_microseconds() {
        for (matcher, bounds) in buckets() {
            assert!(bounds.is_sorted_by(|a, b| a < b), "{matcher:?}");
        }
        assert!((SYNC_SECONDS[0] - 25e-6).abs() < 1e-12);
    }

    #[test]
    fn no_name_matches_two_suffixes() {
        let suffixes: Vec<String> = buckets()
            .into_iter()
            .filter_map(
                |(matcher, _)| if let Matcher::Suffix(suffix) = matcher { Some(suffix) } else { None },
            )
            .collect();
        for (index, one) in suffixes.iter().enumerate() {
            for (other_index, other) in suffixes.iter().enumerate() {
                assert!(index == other_index || !one.ends_with(other.as_str()), "{one} {other}");
            }
        }
    }

    #[test]
    fn the_process_can_see_itself() {
        assert!(resident_bytes().is_some_and(|bytes| bytes > 1 << 20));
        assert!(open_files().is_some_and(|count| count >= 3));
    }
}
