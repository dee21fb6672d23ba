//! Commands of a workload: wallets and agents by index, money as plain nanos.

/// Signed count of 10⁻⁹ of a currency.
pub type Money = i128;

/// Names of the rails, the internal one first.
pub const RAILS: [&str; 5] = ["internal", "ach", "card", "crypto", "stripe"];

/// One request to a ledger.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct Command {
    /// Index of the agent who asks.
    pub caller: usize,
    /// Index of the wallet that is asked.
    pub wallet: usize,
    pub action: Action,
    /// Arrival, UTC milliseconds.
    pub at: i64,
}

#[derive(Clone, Eq, PartialEq, Debug)]
pub enum Action {
    Fund { amount: Money, key: Option<String> },
    Pay(Item),
    Batch { items: Vec<Item>, atomic: bool, key: Option<String> },
    Freeze,
    Unfreeze,
}

/// A payment as asked for, alone or within a batch.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct Item {
    pub payee: Payee,
    pub amount: Money,
    /// Code of the currency that is asked for; `None` means the payer's own.
    pub currency: Option<&'static str>,
    /// One of [`RAILS`].
    pub rail: &'static str,
    pub description: Option<String>,
    pub key: Option<String>,
}

#[derive(Clone, Eq, PartialEq, Debug)]
pub enum Payee {
    /// Index of a wallet.
    Wallet(usize),
    /// A wallet that does not exist.
    Nobody,
    External(String),
}

impl Item {
    /// Digest of everything that the item means, its key apart.
    pub fn fingerprint(&self) -> u64 {
        digest(&format!("{:?}", Item { key: None, ..self.clone() }))
    }
}

impl Action {
    /// Digest of everything that the action means, its own key apart.
    pub fn fingerprint(&self) -> u64 {
        match self {
            Action::Fund { amount, .. } => digest(&format!("fund {amount}")),
            Action::Pay(item) => item.fingerprint(),
            Action::Batch { items, atomic, .. } => digest(&format!("batch {items:?} {atomic}")),
            Action::Freeze => digest("freeze"),
            Action::Unfreeze => digest("unfreeze"),
        }
    }
}

/// FNV-1a over 64 bits.
fn digest(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
