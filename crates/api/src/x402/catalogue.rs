//! The list of services as consumers browse it, at most five seconds old.
//!
//! The engine's services are taken over once per period, sorted in each order once, and every question is answered from
//! that copy; a page that was asked for before in the same period is not made again. One caller renews an old copy while
//! others still get it. What decides (an authorisation, a call by id) never asks here.
//!
//! Owner of state: the gateway. Threads: any; no lock is held while a copy is made or a page is rendered.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use engine::ServiceView;
use ledger::{AgentId, ServiceStatus, Timestamp};
use tokio::time::Instant;

use crate::json::write::AmountStyle;

/// Age at which a copy is renewed.
pub(crate) const PERIOD: Duration = Duration::from_secs(5);
/// Bytes of rendered pages kept per period, with their questions; beyond, pages are made for every request.
const PAGES_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Services looked at per period to make pages, about a second of one core: a question that nobody has asked before is a
/// walk over all of them, and whoever asks ever new ones must not take the time of everybody else.
const LOOKED_AT_MAX: usize = 20_000_000;

/// Order of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Order {
    /// Newest first.
    New,
    /// Most trusted first, then newest.
    Trust,
    /// Cheapest first, then newest.
    Price,
}

impl Order {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "new" => Some(Self::New),
            "trust" => Some(Self::Trust),
            "price" => Some(Self::Price),
            _ => None,
        }
    }
}

/// A question to the list.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    pub(crate) order: Order,
    pub(crate) category: Option<String>,
    pub(crate) verified_only: bool,
    pub(crate) provider: Option<AgentId>,
    /// Bounds on the time of registration; neither is in the range.
    pub(crate) created_after: Option<Timestamp>,
    pub(crate) created_before: Option<Timestamp>,
    /// In lower case.
    pub(crate) words: Option<String>,
    pub(crate) limit: usize,
    pub(crate) offset: usize,
}

/// What a cursor of this list begins with; its place follows. A list in an order of its own has no better place than how
/// far one has come, so that it moves by what is registered in between, as with `offset`.
const CURSOR: &str = "svcs_";

/// Where the page behind this one begins, as text.
pub(crate) fn cursor_of(offset: usize) -> String {
    format!("{CURSOR}{offset}")
}

pub(crate) fn offset_of(cursor: &str) -> Option<usize> {
    let digits = cursor.strip_prefix(CURSOR)?;
    let offset = digits.parse().ok()?;
    (cursor_of(offset) == cursor).then_some(offset)
}

impl Question {
    /// What it takes in memory as the name of a page: the caller chooses its texts, and an empty page is short.
    fn bytes(&self) -> usize {
        let texts = [&self.category, &self.words].into_iter().flatten().map(String::capacity);
        texts.fold(PAGE_BYTES, usize::saturating_add)
    }
}

/// Memory of a page besides its body and the texts of its question: both in the table, which may be half empty, and the
/// counts before a shared body.
const PAGE_BYTES: usize = 2 * size_of::<((Question, AmountStyle), Arc<[u8]>)>() + 2 * size_of::<usize>();

/// The services of one page, and how many there are on all.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) services: Vec<Arc<ServiceView>>,
    pub(crate) total: usize,
}

/// The list and its age.
#[derive(Default)]
pub(crate) struct Catalogue {
    present: Mutex<Option<Present>>,
}

struct Present {
    /// When it was taken, or when somebody began to renew it.
    since: Instant,
    copy: Arc<Copy>,
}

impl Catalogue {
    /// The present copy, renewed by `take` when it is too old.
    pub(crate) fn copy(&self, now: Instant, take: impl FnOnce() -> Vec<Arc<ServiceView>>) -> Arc<Copy> {
        {
            let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(present) = present.as_mut() {
                if now.saturating_duration_since(present.since) < PERIOD {
                    return present.copy.clone();
                }
                // From here on others are content with the old copy until this caller has the new one.
                present.since = now;
            }
        }
        let copy = Arc::new(Copy::of(take()));
        let present = Present { since: now, copy: copy.clone() };
        *self.present.lock().unwrap_or_else(PoisonError::into_inner) = Some(present);
        copy
    }
}

/// All active services at one moment. Never changes, except that it remembers rendered pages.
pub(crate) struct Copy {
    /// Newest first.
    entries: Vec<Entry>,
    by_trust: OnceLock<Vec<u32>>,
    by_price: OnceLock<Vec<u32>>,
    pages: Mutex<Pages>,
    looked_at: AtomicUsize,
}

struct Entry {
    service: Arc<ServiceView>,
    /// What words are looked for in, in lower case.
    text: Box<str>,
}

#[derive(Default)]
struct Pages {
    bodies: HashMap<(Question, AmountStyle), Arc<[u8]>>,
    bytes: usize,
}

impl Copy {
    fn of(services: Vec<Arc<ServiceView>>) -> Self {
        let active = services.into_iter().filter(|service| service.status == ServiceStatus::Active);
        let entries = active.map(|service| Entry { text: text_of(&service).into(), service }).collect();
        Self {
            entries,
            by_trust: OnceLock::new(),
            by_price: OnceLock::new(),
            pages: Mutex::default(),
            looked_at: AtomicUsize::new(0),
        }
    }

    /// The page's body, made by `render` unless it was made before; nothing when too many were made in this period.
    pub(crate) fn page(
        &self,
        question: Question,
        amounts: AmountStyle,
        render: impl FnOnce(&Found) -> Vec<u8>,
    ) -> Option<Vec<u8>> {
        let key = (question, amounts);
        let pages = || self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(body) = pages().bodies.get(&key) {
            return Some(body.to_vec());
        }
        let looked_at = self.looked_at.fetch_add(self.entries.len(), Ordering::Relaxed);
        if looked_at > LOOKED_AT_MAX {
            // Given back, so that the sum stays where it is.
            self.looked_at.fetch_sub(self.entries.len(), Ordering::Relaxed);
            return None;
        }
        let body = render(&self.find(&key.0));
        let mut pages = pages();
        let bytes = pages.bytes.saturating_add(body.len()).saturating_add(key.0.bytes());
        if bytes <= PAGES_BYTES_MAX {
            pages.bytes = bytes;
            pages.bodies.insert(key, body.as_slice().into());
        }
        Some(body)
    }

    fn find(&self, question: &Question) -> Found {
        let mut found = Found { services: Vec::with_capacity(question.limit.min(100)), total: 0 };
        self.in_order(question.order, |entry| {
            if !entry.answers(question) {
                return;
            }
            if found.total >= question.offset && found.services.len() < question.limit {
                found.services.push(entry.service.clone());
            }
            found.total += 1;
        });
        found
    }

    fn in_order(&self, order: Order, mut each: impl FnMut(&Entry)) {
        let places = match order {
            Order::New => return self.entries.iter().for_each(each),
            Order::Trust => {
                self.by_trust.get_or_init(|| self.sorted_by(|service| std::cmp::Reverse(service.trust_score)))
            }
            Order::Price => self.by_price.get_or_init(|| self.sorted_by(|service| service.terms.price)),
        };
        places.iter().for_each(|place| each(&self.entries[*place as usize]));
    }

    /// Places of the entries in the order of `key`, newest first among equals.
    fn sorted_by<K: Ord>(&self, key: impl Fn(&ServiceView) -> K) -> Vec<u32> {
        let count = u32::try_from(self.entries.len()).expect("a node has fewer than 2^32 services");
        let mut places: Vec<u32> = (0..count).collect();
        places.sort_by_key(|place| key(&self.entries[*place as usize].service));
        places
    }
}

impl Entry {
    fn answers(&self, question: &Question) -> bool {
        let service = &self.service;
        (!question.verified_only || service.verified)
            && question.provider.is_none_or(|provider| provider == service.provider)
            && question.created_after.is_none_or(|after| service.created_at > after)
            && question.created_before.is_none_or(|before| service.created_at < before)
            && question
                .category
                .as_deref()
                .is_none_or(|wanted| service.terms.category.as_deref() == Some(wanted))
            && question.words.as_deref().is_none_or(|words| self.text.contains(words))
    }
}

fn text_of(service: &ServiceView) -> String {
    let terms = &service.terms;
    let parts = [Some(&terms.name), Some(&service.slug), terms.category.as_ref(), terms.description.as_ref()];
    // A line break between the parts: no word can be found across two of them.
    let mut text = String::new();
    for part in parts.into_iter().flatten() {
        text.push_str(part);
        text.push('\n');
    }
    text.to_lowercase()
}

#[cfg(test)]
mod tests {
    use ledger::{Amount, Currency, ServiceId, ServiceTerms, WalletId};

    use super::*;

    fn service(number: u8, category: &str, price: i128, trust_score: u8) -> Arc<ServiceView> {
        let name = format!("Service {number}");
        Arc::new(ServiceView {
            id: ServiceId::from_raw(number.into()),
            provider: AgentId::from_raw(u128::from(number % 2)),
            wallet: WalletId::from_raw(1),
            slug: format!("service-{number}").into(),
            terms: ServiceTerms {
                name: name.into(),
                description: Some("Über die WELT".into()),
                price: Amount::from_nanos(price),
                currency: Currency::USD,
                category: Some(category.into()),
                endpoint_url: None,
                sla: None,
                metadata: None,
            },
            status: if number == 9 { ServiceStatus::Inactive } else { ServiceStatus::Active },
            verified: number >= 3,
            trust_score,
            settled_calls: 0,
            breached_calls: 0,
            created_at: Timestamp::from_millis(number.into()),
            updated_at: Timestamp::from_millis(number.into()),
        })
    }

    /// Newest first, as the engine gives them.
    fn services() -> Vec<Arc<ServiceView>> {
        vec![
            service(9, "data", 1, 100),
            service(4, "data", 50, 70),
            service(3, "llm", 20, 90),
            service(2, "data", 20, 70),
            service(1, "data", 70, 20),
        ]
    }

    fn question() -> Question {
        let (order, category, verified_only) = (Order::New, None, false);
        let (created_after, created_before) = (None, None);
        Question {
            order,
            category,
            verified_only,
            provider: None,
            created_after,
            created_before,
            words: None,
            limit: 20,
            offset: 0,
        }
    }

    #[track_caller]
    fn check(question: Question, expected: &[u128], total: usize) {
        let found = Copy::of(services()).find(&question);
        let ids: Vec<u128> = found.services.iter().map(|service| service.id.raw()).collect();
        assert_eq!((ids.as_slice(), found.total), (expected, total), "{question:?}");
    }

    #[test]
    fn orders_filters_and_pages() {
        check(question(), &[4, 3, 2, 1], 4);
        check(Question { order: Order::Trust, ..question() }, &[3, 4, 2, 1], 4);
        check(Question { order: Order::Price, ..question() }, &[3, 2, 4, 1], 4);
        check(Question { category: Some("data".into()), ..question() }, &[4, 2, 1], 3);
        check(Question { category: Some("dat".into()), ..question() }, &[], 0);
        check(Question { verified_only: true, ..question() }, &[4, 3], 2);
        check(Question { provider: Some(AgentId::from_raw(1)), ..question() }, &[3, 1], 2);
        let at = |number| Some(Timestamp::from_millis(number));
        check(Question { created_after: at(2), ..question() }, &[4, 3], 2);
        check(Question { created_before: at(2), ..question() }, &[1], 1);
        check(Question { created_after: at(1), created_before: at(4), ..question() }, &[3, 2], 2);
        for (words, expected) in [
            ("service", &[4, 3, 2, 1][..]),
            ("über", &[4, 3, 2, 1]),
            ("welt", &[4, 3, 2, 1]),
            ("ice-2", &[2]),
            ("llm", &[3]),
            ("nothing", &[]),
        ] {
            check(Question { words: Some(words.into()), ..question() }, expected, expected.len());
        }
        check(Question { limit: 2, ..question() }, &[4, 3], 4);
        check(Question { limit: 2, offset: 1, ..question() }, &[3, 2], 4);
        check(Question { limit: 2, offset: 3, ..question() }, &[1], 4);
        check(Question { offset: usize::MAX, ..question() }, &[], 4);
    }

    #[test]
    fn cursors_come_back() {
        for offset in [0, 20, usize::MAX] {
            assert_eq!(offset_of(&cursor_of(offset)), Some(offset));
        }
        for text in
            ["", "svcs_", "svcs_-1", "svcs_+1", "svcs_01", "20", "svcs_20 ", "svcs_99999999999999999999"]
        {
            assert_eq!(offset_of(text), None, "{text}");
        }
    }

    #[test]
    fn a_copy_is_renewed_when_it_is_old_and_not_before() {
        let catalogue = Catalogue::default();
        let begun = Instant::now();
        let count = |seconds: u64, services: Vec<Arc<ServiceView>>| {
            let copy = catalogue.copy(begun + Duration::from_secs(seconds), || services);
            copy.find(&question()).total
        };
        assert_eq!(count(0, Vec::new()), 0);
        assert_eq!(count(4, services()), 0, "not old yet");
        assert_eq!(count(5, services()), 4);
        assert_eq!(count(9, Vec::new()), 4);
        assert_eq!(count(10, Vec::new()), 0);
    }

    #[test]
    fn one_caller_renews_while_others_get_the_old_copy() {
        let catalogue = Catalogue::default();
        let begun = Instant::now();
        catalogue.copy(begun, Vec::new);
        let late = begun + PERIOD;
        let renewed = catalogue.copy(late, || {
            let meanwhile = catalogue.copy(late, || panic!("somebody renews it already"));
            assert_eq!(meanwhile.find(&question()).total, 0);
            services()
        });
        assert_eq!(renewed.find(&question()).total, 4);
        assert_eq!(catalogue.copy(late, || panic!("new enough")).find(&question()).total, 4);
    }

    #[test]
    fn a_page_is_made_once_and_memory_is_bounded() {
        let copy = Copy::of(services());
        let body = |offset, bytes: usize| {
            let page =
                copy.page(Question { offset, ..question() }, AmountStyle::Number, |_| vec![b'x'; bytes]);
            page.expect("a page").len()
        };
        assert_eq!(body(0, 10), 10);
        assert_eq!(body(0, 20), 10, "as it was made first");
        let strings = copy.page(question(), AmountStyle::String, |_| b"y".to_vec());
        assert_eq!(strings.as_deref(), Some(&b"y"[..]), "another style is another page");
        assert_eq!(body(1, PAGES_BYTES_MAX), PAGES_BYTES_MAX);
        assert_eq!(body(1, 5), 5, "too large to keep, so made again");
        assert!(copy.pages.lock().expect("not poisoned").bytes <= PAGES_BYTES_MAX);
    }

    #[test]
    fn ever_new_questions_are_refused_in_time_and_old_ones_are_not() {
        let copy = Copy::of(services());
        let ask =
            |offset| copy.page(Question { offset, ..question() }, AmountStyle::Number, |_| b"{}".to_vec());
        assert!(ask(0).is_some());
        copy.looked_at.store(LOOKED_AT_MAX, Ordering::Relaxed);
        assert!(ask(1).is_some(), "the last one");
        assert!(ask(2).is_none() && ask(3).is_none());
        assert!(ask(0).is_some() && ask(1).is_some(), "made before");
    }

    /// Questions that find nothing have short pages: what is kept of them is mostly the question.
    #[test]
    fn questions_of_long_texts_are_counted_with_their_pages() {
        let copy = Copy::of(services());
        let ask = |number: usize| {
            let category = Some(format!("{number:08000}"));
            copy.page(Question { category, ..question() }, AmountStyle::Number, |_| b"{}".to_vec());
        };
        (0..3_000).for_each(ask);
        let pages = copy.pages.lock().expect("not poisoned");
        let kept: usize = pages.bodies.keys().map(|(question, _)| question.bytes()).sum();
        assert!(pages.bodies.len() < 3_000 && kept <= PAGES_BYTES_MAX, "{kept} bytes of questions");
        assert!(pages.bytes >= kept);
    }
}
