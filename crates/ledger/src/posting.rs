//! Postings: how one record changes accounts, and the proof that it moves money without making any.

use crate::{Amount, Currency, Position, Release, Timestamp, WalletId};

/// Accounts that are no wallet: totals per currency, kept by the commit stream.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Debug)]
#[repr(u8)]
pub enum SystemAccount {
    /// Where sandbox money comes from; its balance is never positive.
    Faucet = 0,
    Fees = 1,
    /// Paid to payees outside this ledger.
    External = 2,
    /// What arrived for wallets that were closed meanwhile.
    Suspense = 3,
}

impl SystemAccount {
    pub const COUNT: usize = 4;
    pub const ALL: [SystemAccount; SystemAccount::COUNT] =
        [SystemAccount::Faucet, SystemAccount::Fees, SystemAccount::External, SystemAccount::Suspense];

    pub const fn as_str(self) -> &'static str {
        match self {
            SystemAccount::Faucet => "faucet",
            SystemAccount::Fees => "fees",
            SystemAccount::External => "external",
            SystemAccount::Suspense => "suspense",
        }
    }
}

#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Account {
    Wallet(WalletId),
    System(SystemAccount),
}

/// One change of one account by one record.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Posting {
    pub account: Account,
    pub currency: Currency,
    /// Added to what the account may spend: negative for a debit.
    pub delta: Amount,
    /// Added to what the account holds for tokens: negative when a hold ends. Zero for system accounts.
    pub held: Amount,
    /// Added to what is set aside for disputes. Zero but for the wallet that decides the record.
    pub disputed: Amount,
    /// Index of the item within the record that it belongs to; 0 for a record of one item.
    pub item: u32,
    /// The hold whose funds go back with it; its use of a policy goes back too.
    pub release: Option<Release>,
}

/// The money of one payment as plain numbers. The live path and the walk over recorded bytes both post through it.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Transfer {
    pub payer: WalletId,
    pub payee: Account,
    pub currency: Currency,
    pub amount: Amount,
    /// On top of the amount.
    pub fee: Amount,
    pub item: u32,
}

impl Posting {
    /// A change of what the account may spend.
    pub fn spendable(account: Account, currency: Currency, delta: Amount, item: u32) -> Posting {
        Posting { account, currency, delta, held: Amount::ZERO, disputed: Amount::ZERO, item, release: None }
    }

    /// What the account has more, spendable or not.
    pub fn total(&self) -> Amount {
        self.delta.plus(self.held).plus(self.disputed)
    }
}

impl Transfer {
    /// What leaves the payer.
    pub fn total_debited(&self) -> Amount {
        self.amount.plus(self.fee)
    }

    /// Payer, payee, and the fee account when there is a fee.
    pub fn for_each_posting(&self, mut f: impl FnMut(Posting)) {
        let mut post = |account, delta| f(Posting::spendable(account, self.currency, delta, self.item));
        post(Account::Wallet(self.payer), self.total_debited().negated());
        post(self.payee, self.amount);
        if !self.fee.is_zero() {
            post(Account::System(SystemAccount::Fees), self.fee);
        }
    }
}

/// The end of a hold as plain numbers: the provider is paid, or the payer gets the amount back. The live path and the
/// walk over recorded bytes both post through it.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct HoldEnd {
    pub payer: WalletId,
    pub payee: WalletId,
    pub currency: Currency,
    pub amount: Amount,
    /// Part of the amount that the platform keeps from the provider; zero unless settled.
    pub fee: Amount,
    pub settled: bool,
    /// The reservation.
    pub reserved: Position,
    pub reserved_at: Timestamp,
}

impl HoldEnd {
    /// The payer first; then, when settled, the payee and the fee account.
    pub fn for_each_posting(&self, mut f: impl FnMut(Posting)) {
        let returned = if self.settled { Amount::ZERO } else { self.amount };
        f(Posting {
            account: Account::Wallet(self.payer),
            currency: self.currency,
            delta: returned,
            held: self.amount.negated(),
            disputed: Amount::ZERO,
            item: 0,
            release: (!self.settled).then_some(Release {
                reserved: self.reserved,
                reserved_at: self.reserved_at,
                amount: self.amount,
            }),
        });
        if !self.settled {
            return;
        }
        let mut post = |account, delta| f(Posting::spendable(account, self.currency, delta, 0));
        if self.amount != self.fee {
            post(Account::Wallet(self.payee), self.amount.minus(self.fee));
        }
        if !self.fee.is_zero() {
            post(Account::System(SystemAccount::Fees), self.fee);
        }
    }
}

/// Currencies that one record may touch. Every kind of record so far touches one.
const CURRENCIES_PER_RECORD_MAX: usize = 4;

/// Sum of a record's postings per currency.
#[derive(Clone, Debug, Default)]
pub struct Balance {
    sums: [Option<(Currency, Amount)>; CURRENCIES_PER_RECORD_MAX],
}

impl Balance {
    pub fn post(&mut self, posting: &Posting) {
        for sum in &mut self.sums {
            let (currency, total) = sum.get_or_insert((posting.currency, Amount::ZERO));
            if *currency == posting.currency {
                *total = total.plus(posting.total());
                return;
            }
        }
        panic!("a record touches at most {CURRENCIES_PER_RECORD_MAX} currencies");
    }

    pub fn is_zero(&self) -> bool {
        self.sums.iter().flatten().all(|(_, total)| total.is_zero())
    }
}

/// Panics unless the postings that `for_each` hands out sum to zero per currency. Called before every append:
/// a record that makes or loses money must never reach the log.
pub fn assert_balanced(for_each: impl FnOnce(&mut dyn FnMut(Posting))) {
    let mut balance = Balance::default();
    for_each(&mut |posting| balance.post(&posting));
    assert!(balance.is_zero(), "postings do not sum to zero: {balance:?}");
}

/// Balances of the system accounts per currency.
#[derive(Clone, Eq, PartialEq, Debug, Default)]
pub struct Totals {
    /// Sorted by currency, so that equal totals are equal values. A node serves a handful of currencies.
    rows: Vec<(Currency, [Amount; SystemAccount::COUNT])>,
}

impl Totals {
    /// Adds a posting to a system account; postings to wallets are kept by the wallets.
    pub fn post(&mut self, posting: &Posting) {
        let Account::System(account) = posting.account else { return };
        let total = self.row(posting.currency, account);
        *total = total.plus(posting.total());
    }

    pub fn get(&self, currency: Currency, account: SystemAccount) -> Amount {
        match self.find(currency) {
            Ok(index) => self.rows[index].1[account as usize],
            Err(_) => Amount::ZERO,
        }
    }

    /// Every account of every currency that was ever posted to, currencies in order.
    pub fn iter(&self) -> impl Iterator<Item = (Currency, SystemAccount, Amount)> + '_ {
        self.rows.iter().flat_map(|(currency, totals)| {
            SystemAccount::ALL.into_iter().map(|account| (*currency, account, totals[account as usize]))
        })
    }

    /// Sum of the system accounts of a currency; with the sum of all its wallets it makes zero.
    pub fn sum(&self, currency: Currency) -> Amount {
        SystemAccount::ALL
            .into_iter()
            .fold(Amount::ZERO, |sum, account| sum.plus(self.get(currency, account)))
    }

    /// Totals as they were listed by [`Self::iter`].
    pub fn restore(entries: impl IntoIterator<Item = (Currency, SystemAccount, Amount)>) -> Totals {
        let mut totals = Totals::default();
        for (currency, account, amount) in entries {
            *totals.row(currency, account) = amount;
        }
        totals
    }

    fn row(&mut self, currency: Currency, account: SystemAccount) -> &mut Amount {
        let index = self.find(currency).unwrap_or_else(|index| {
            self.rows.insert(index, (currency, [Amount::ZERO; SystemAccount::COUNT]));
            index
        });
        &mut self.rows[index].1[account as usize]
    }

    fn find(&self, currency: Currency) -> Result<usize, usize> {
        self.rows.binary_search_by_key(&currency, |(currency, _)| *currency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn posting(account: SystemAccount, currency: Currency, nanos: i128) -> Posting {
        Posting::spendable(Account::System(account), currency, Amount::from_nanos(nanos), 0)
    }

    fn postings(transfer: Transfer) -> Vec<(Account, i128)> {
        let mut postings = Vec::new();
        transfer.for_each_posting(|posting| postings.push((posting.account, posting.delta.nanos())));
        postings
    }

    #[test]
    fn a_transfer_posts_payer_payee_and_fee() {
        let (payer, payee) = (WalletId::from_raw(1), Account::Wallet(WalletId::from_raw(2)));
        let (amount, fee) = (Amount::from_nanos(500), Amount::from_nanos(2));
        let transfer = Transfer { payer, payee, currency: Currency::USD, amount, fee, item: 0 };
        let fees = Account::System(SystemAccount::Fees);
        assert_eq!(postings(transfer), [(Account::Wallet(payer), -502), (payee, 500), (fees, 2)]);
        let free = Transfer { fee: Amount::ZERO, ..transfer };
        assert_eq!(postings(free), [(Account::Wallet(payer), -500), (payee, 500)]);
        assert_balanced(|f| transfer.for_each_posting(f));
    }

    #[test]
    fn a_hold_ends_with_the_provider_paid_or_the_payer_made_whole() {
        let (payer, payee) = (WalletId::from_raw(1), WalletId::from_raw(2));
        let (amount, fee) = (Amount::from_nanos(500), Amount::from_nanos(3));
        let (reserved, reserved_at) = (Position::new(7), Timestamp::from_millis(9));
        let (currency, settled) = (Currency::USD, true);
        let settled = HoldEnd { payer, payee, currency, amount, fee, settled, reserved, reserved_at };
        let listed = |end: HoldEnd| {
            let mut postings = Vec::new();
            end.for_each_posting(|p| postings.push((p.account, p.delta.nanos(), p.held.nanos())));
            assert_balanced(|f| end.for_each_posting(f));
            postings
        };
        let (payer, payee) = (Account::Wallet(payer), Account::Wallet(payee));
        let fees = Account::System(SystemAccount::Fees);
        assert_eq!(listed(settled), [(payer, 0, -500), (payee, 497, 0), (fees, 3, 0)]);
        let free = HoldEnd { fee: Amount::ZERO, ..settled };
        assert_eq!(listed(free), [(payer, 0, -500), (payee, 500, 0)]);
        assert_eq!(listed(HoldEnd { fee: amount, ..settled }), [(payer, 0, -500), (fees, 500, 0)]);
        let unsettled = HoldEnd { settled: false, ..free };
        assert_eq!(listed(unsettled), [(payer, 500, -500)]);
        let releases = |end: HoldEnd| {
            let mut releases = Vec::new();
            end.for_each_posting(|posting| releases.extend(posting.release));
            releases
        };
        assert_eq!(releases(settled), [], "what was paid stays used");
        assert_eq!(releases(unsettled), [Release { reserved, reserved_at, amount }]);
    }

    #[test]
    #[should_panic(expected = "do not sum to zero")]
    fn money_out_of_nothing_stops_the_process() {
        assert_balanced(|f| {
            f(posting(SystemAccount::Fees, Currency::USD, 1));
            f(posting(SystemAccount::Fees, Currency::EUR, -1));
        });
    }

    #[test]
    fn totals_are_kept_per_currency_and_account() {
        let mut totals = Totals::default();
        totals.post(&posting(SystemAccount::Fees, Currency::USD, 5));
        totals.post(&posting(SystemAccount::Faucet, Currency::USD, -7));
        totals.post(&posting(SystemAccount::Fees, Currency::EUR, 1));
        totals.post(&posting(SystemAccount::Fees, Currency::USD, 2));
        let wallet = Account::Wallet(WalletId::from_raw(1));
        totals.post(&Posting { account: wallet, ..posting(SystemAccount::Fees, Currency::USD, 9) });
        assert_eq!(totals.get(Currency::USD, SystemAccount::Fees), Amount::from_nanos(7));
        assert_eq!(totals.get(Currency::USD, SystemAccount::Faucet), Amount::from_nanos(-7));
        assert_eq!(totals.get(Currency::USD, SystemAccount::External), Amount::ZERO);
        assert_eq!(totals.sum(Currency::USD), Amount::ZERO);
        assert_eq!(totals.sum(Currency::EUR), Amount::from_nanos(1));
        assert_eq!(totals.iter().count(), 8);
        assert_eq!(totals.iter().next(), Some((Currency::EUR, SystemAccount::Faucet, Amount::ZERO)));
        assert_eq!(Totals::restore(totals.iter()), totals);
    }

    #[test]
    fn totals_do_not_depend_on_the_order_of_postings() {
        let (usd, eur) =
            (posting(SystemAccount::Fees, Currency::USD, 5), posting(SystemAccount::Fees, Currency::EUR, 1));
        let (mut one, mut other) = (Totals::default(), Totals::default());
        one.post(&usd);
        one.post(&eur);
        other.post(&eur);
        other.post(&usd);
        assert_eq!(one, other);
    }
}
