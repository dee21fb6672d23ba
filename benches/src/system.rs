//! What programs need that run an engine without a node: the machine's clock and randomness, and funded wallets.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use engine::{Caller, Clock, Engine, Entropy, OpenWallet};
use ledger::{Amount, FundCommand, Timestamp, WalletId};

/// Wall clock, and monotonic time since it was made.
pub struct SystemClock(Instant);

impl Default for SystemClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        Timestamp::from_millis(i64::try_from(since.as_millis()).expect("in range"))
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the system has random bytes");
    }
}

/// Opens `count` wallets of the caller, all at once, and funds each with more than any run spends.
pub async fn open_funded(engine: &Engine, caller: &Caller, count: usize) -> Vec<WalletId> {
    let at = engine.clock().now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..count {
        let (engine, caller) = (engine.clone(), caller.clone());
        tasks.spawn(async move {
            let command = OpenWallet { label: None, currency: None, key: None, at };
            let wallet = engine.open_wallet(&caller, command).await.expect("opened").value.id;
            let amount = Amount::parse("1000000000").expect("an amount");
            let command = FundCommand { caller: caller.agent, wallet, amount, key: None, at };
            engine.fund(&caller, command).await.expect("funded");
            wallet
        });
    }
    tasks.join_all().await
}
