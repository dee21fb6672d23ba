//! stub
use ledger::*; use wal::{Lsn,Tail};
#[derive(Debug, thiserror::Error)] #[error("x")] pub struct Error;
pub struct History;
pub struct PaymentFilter { pub status: Option<String>, pub rail: Option<Rail>, pub counterparty: Option<String>, pub after: Option<Timestamp>, pub before: Option<Timestamp> }
pub struct EntryKind; impl EntryKind { pub fn as_str(&self)->&'static str {""} }
pub struct Entry { pub lsn:u64, pub item:u32, pub kind: EntryKind, pub delta: Amount, pub balance_after: Amount, pub at: Timestamp, pub counterparty: Option<String> }
impl History { pub fn cursor(&self)->Lsn{Lsn::ZERO}
 pub fn wait_for(&self,_:Lsn,_:std::time::Duration)->bool{true}
 pub fn payments(&self,_:&[WalletId],_:&PaymentFilter,_:Option<(u64,u32)>,_:usize)->Result<Vec<Entry>,Error>{Ok(vec![])}
 pub fn entries(&self,_:WalletId,_:Option<(u64,u32)>,_:(Option<Timestamp>,Option<Timestamp>),_:usize)->Result<Vec<Entry>,Error>{Ok(vec![])} }
pub fn run(_:&History,_:Tail,_:&std::sync::atomic::AtomicBool)->Result<(),Error>{Ok(())}
