use ledger::EventKind;

use super::*;

const BOUNDS: Bounds = Bounds { in_flight_max: 8, in_flight_per_webhook_max: 3 };

fn id(raw: u128) -> WebhookId {
    WebhookId::from_raw(raw)
}

fn place(lsn: u64) -> Place {
    Place { lsn, item: 0, kind: EventKind::PaymentCompleted }
}

/// A queue in which these webhooks have answered before.
fn proven(webhooks: &[u128]) -> Queue {
    let mut queue = Queue::new(BOUNDS);
    for webhook in webhooks {
        queue.add(id(*webhook), place(1), 1, 0);
        let work = queue.take(0).expect("due");
        queue.finish(work, Done::Delivered);
    }
    assert_eq!((queue.pending(), queue.in_flight), (0, 0));
    queue
}

#[test]
fn what_is_due_goes_in_order_and_no_sooner() {
    let mut queue = proven(&[1]);
    queue.add(id(1), place(20), 2, 100);
    queue.add(id(1), place(10), 1, 100);
    queue.add(id(1), place(5), 3, 200);
    assert_eq!(queue.take(99), None);
    assert_eq!(queue.next_wake(99), Some(100));
    let first = queue.take(100).expect("due");
    let second = queue.take(100).expect("due");
    assert_eq!((first.place, second.place), (place(10), place(20)));
    assert_eq!(queue.take(100), None);
    assert_eq!(queue.next_wake(100), Some(200));
    assert_eq!(queue.pending(), 3);
    queue.finish(first, Done::Delivered);
    queue.finish(second, Done::Ended);
    assert_eq!(queue.pending(), 1);
}

#[test]
fn events_of_one_object_go_one_after_the_other() {
    let mut queue = proven(&[1]);
    queue.add(id(1), place(10), 7, 0);
    queue.add(id(1), place(11), 7, 0);
    queue.add(id(1), place(12), 8, 0);
    let first = queue.take(0).expect("due");
    let other = queue.take(0).expect("another object");
    assert_eq!((first.place, other.place), (place(10), place(12)));
    assert_eq!(queue.take(0), None, "the object is under way");
    queue.finish(first, Done::Delivered);
    assert_eq!(queue.take(0).expect("free now").place, place(11));
}

#[test]
fn a_webhook_has_so_many_places_and_one_while_it_fails() {
    let mut queue = proven(&[1]);
    (10..20).for_each(|lsn| queue.add(id(1), place(lsn), lsn.into(), 0));
    let works: Vec<Work> = std::iter::from_fn(|| queue.take(0)).collect();
    assert_eq!(works.len(), 3);
    let retry = Done::Retry { due_ms: 5_000, rest_until_ms: 1_000 };
    works.into_iter().for_each(|work| queue.finish(work, retry));
    assert_eq!(queue.failures(id(1)), 3);
    assert_eq!(queue.take(999), None, "it rests");
    let one = queue.take(1_000).expect("rested");
    assert_eq!(queue.take(1_000), None, "one at a time");
    queue.finish(one, Done::Delivered);
    assert_eq!(std::iter::from_fn(|| queue.take(1_000)).count(), 3, "trusted again");
}

#[test]
fn strangers_and_failing_webhooks_leave_half_of_all_places_to_the_others() {
    let mut queue = proven(&[1, 2]);
    // Far more strangers than there are places, all due before the good ones.
    (100..200).for_each(|webhook| queue.add(id(webhook), place(1), 1, 0));
    (10..20).for_each(|lsn| queue.add(id(1), place(lsn), lsn.into(), 50));
    (10..20).for_each(|lsn| queue.add(id(2), place(lsn), lsn.into(), 50));
    let works: Vec<Work> = std::iter::from_fn(|| queue.take(50)).collect();
    let strangers = works.iter().filter(|work| work.webhook >= id(100)).count();
    assert_eq!((works.len(), strangers), (8, 4));
    // The strangers never answer; everything of the good ones goes through meanwhile.
    let (mut good, mut delivered): (Vec<Work>, _) =
        (works.into_iter().filter(|work| work.webhook < id(100)).collect(), 0);
    while let Some(work) = good.pop() {
        queue.finish(work, Done::Delivered);
        delivered += 1;
        good.extend(std::iter::from_fn(|| queue.take(60)));
        assert!(good.iter().all(|work| work.webhook < id(100)), "no stranger gets a place");
    }
    assert_eq!(delivered, 20);
}

#[test]
fn times_can_be_moved_and_the_fullest_is_known() {
    let mut queue = proven(&[1]);
    queue.add(id(1), place(10), 1, 90_000);
    assert!(queue.move_to(id(1), place(10), 5));
    assert!(!queue.move_to(id(1), place(11), 5));
    assert!(!queue.move_to(id(9), place(10), 5));
    let work = queue.take(5).expect("due now");
    assert!(queue.is_in_flight(id(1), place(10)));
    queue.add(id(1), place(10), 1, 5);
    assert_eq!(queue.pending(), 1, "under way already");
    queue.finish(work, Done::Ended);
    (0..3).for_each(|lsn| queue.add(id(2), place(lsn), 1, 0));
    (0..2).for_each(|lsn| queue.add(id(3), place(lsn), 1, 0));
    assert_eq!((queue.fullest(), queue.pending_of(id(2)), queue.pending()), (Some(id(2)), 3, 5));
}

#[test]
fn a_queue_that_is_worked_off_holds_nothing_of_strangers() {
    let mut queue = Queue::new(BOUNDS);
    for webhook in 0..100 {
        queue.add(id(webhook), place(1), 1, 0);
        let work = queue.take(0).expect("due");
        queue.finish(work, Done::Ended);
    }
    assert!(queue.endpoints.is_empty() && queue.wakes.is_empty());
}
