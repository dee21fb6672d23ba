use bytes::Bytes;
use ledger::EventKind;

use super::*;

const LEDGER: [u8; 16] = [1; 16];
const END: u64 = 1_000_000;

fn id(raw: u128) -> WebhookId {
    WebhookId::from_raw(raw)
}

fn time(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn row(webhook: u128, lsn: u64, item: u32, kind: EventKind, state: State) -> Row {
    Row {
        webhook: id(webhook),
        place: Place { lsn, item, kind },
        id: EventId::from_raw(webhook << 64 | u128::from(lsn) << 16 | u128::from(item) << 8 | kind as u128),
        subject: 1,
        created_at: time(0),
        state,
        attempts: 0,
        last: None,
        body: Bytes::from_static(b"{}"),
    }
}

fn pending(webhook: u128, lsn: u64) -> Row {
    row(webhook, lsn, 0, EventKind::PaymentCompleted, State::Pending { due: time(5) })
}

fn open(directory: &Path) -> Store {
    Store::open(directory, LEDGER, END).expect("the store opens")
}

fn lsns(listed: &Listed) -> Vec<u64> {
    listed.rows.iter().map(|row| row.place.lsn).collect()
}

#[test]
fn rows_and_cursor_are_there_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("webhooks");
    let store = open(&path);
    assert_eq!(store.cursor().expect("a cursor"), 0);
    store.follow(&[pending(1, 10), pending(2, 10)], 20).expect("written");
    let mut delivered = pending(1, 10);
    delivered.state = State::Delivered { at: time(9) };
    store.put(&delivered).expect("written");
    drop(store);
    let store = open(&path);
    assert_eq!(store.cursor().expect("a cursor"), 20);
    let mut waiting = Vec::new();
    store.for_each_pending(|row| waiting.push(row)).expect("read");
    assert_eq!(waiting, [pending(2, 10)]);
    assert_eq!(store.row(id(1), delivered.place).expect("read"), Some(delivered.clone()));
    assert_eq!(store.find(id(1), delivered.id).expect("read"), Some(delivered.clone()));
    assert_eq!(store.find(id(2), delivered.id).expect("read"), None, "another webhook's");
    // Sent again.
    store.put(&pending(1, 10)).expect("written");
    assert_eq!(store.row(id(1), delivered.place).expect("read"), Some(pending(1, 10)));
    assert!(store.ended().expect("read").is_empty());
}

#[test]
fn a_store_of_another_ledger_or_ahead_of_the_log_is_set_aside() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("webhooks");
    open(&path).follow(&[pending(1, 10)], 500).expect("written");
    let other = Store::open(&path, [2; 16], END).expect("begun anew");
    assert_eq!(other.cursor().expect("a cursor"), 0);
    other.follow(&[], 600).expect("written");
    drop(other);
    let ahead = Store::open(&path, [2; 16], 599).expect("begun anew");
    assert_eq!(ahead.cursor().expect("a cursor"), 0);
    let names: Vec<String> = fs::read_dir(directory.path())
        .expect("listed")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    assert!(names.contains(&"webhooks.damaged-1".to_owned()), "{names:?}");
    assert!(names.contains(&"webhooks.damaged-2".to_owned()), "{names:?}");
}

#[test]
fn pages_go_from_new_to_old_over_both_tables() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(&directory.path().join("webhooks"));
    let delivered = |lsn| Row { state: State::Delivered { at: time(1) }, ..pending(1, lsn) };
    let rows = [pending(1, 10), delivered(20), pending(1, 30), delivered(40), pending(2, 50)];
    store.follow(&rows, 60).expect("written");
    let twin = row(1, 40, 0, EventKind::TokenCompleted, State::Delivered { at: time(1) });
    store.put(&twin).expect("written");
    let all = |_| true;
    let page = store.list(id(1), None, 1, all).expect("listed");
    assert_eq!((lsns(&page), page.next), (vec![40, 40], Some((40, 0))), "one item is not parted");
    let page = store.list(id(1), page.next, 2, all).expect("listed");
    assert_eq!((lsns(&page), page.next), (vec![30, 20], Some((20, 0))));
    let page = store.list(id(1), page.next, 2, all).expect("listed");
    assert_eq!((lsns(&page), page.next), (vec![10], None));
    let waiting = store.list(id(1), None, 10, State::is_pending).expect("listed");
    assert_eq!((lsns(&waiting), waiting.next), (vec![30, 10], None));
    assert!(store.list(id(3), None, 10, all).expect("listed").rows.is_empty());
}

#[test]
fn what_ended_is_kept_within_bounds() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(&directory.path().join("webhooks"));
    let ended = |webhook, lsn, at| Row { state: State::Failed { at: time(at) }, ..pending(webhook, lsn) };
    let rows: Vec<Row> = (1..=10).map(|lsn| ended(1, lsn, i64::try_from(lsn).expect("small"))).collect();
    store.follow(&rows, 20).expect("written");
    store.follow(&[ended(2, 15, 100), pending(2, 16)], 30).expect("written");
    store.prune(id(1), 3).expect("pruned");
    assert_eq!(store.ended().expect("counted")[&id(1)], 7);
    assert_eq!(store.find(id(1), rows[2].id).expect("read"), None, "the oldest went");
    store.sweep(time(8), |webhook| webhook == id(1)).expect("swept");
    let counts = store.ended().expect("counted");
    assert_eq!(counts.get(&id(1)), Some(&3));
    assert_eq!(counts.get(&id(2)), None, "its webhook is gone");
    assert!(store.row(id(2), pending(2, 16).place).expect("read").is_some(), "waits until its time comes");
    store.remove(&pending(2, 16)).expect("removed");
    assert!(store.row(id(2), pending(2, 16).place).expect("read").is_none());
}
