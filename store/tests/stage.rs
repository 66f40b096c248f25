//! Shows to try things on: two tiers of six seats that share their accounts' limits.

use contract::{AccountId, SeatLabel, ShowId, topology::Partition};
use store::{Pool, accounts::NewAccount};
use testing::{
    Slot,
    show::{Plan, Tier},
};

pub(crate) const TIERS: usize = 2;
pub(crate) const SEATS_PER_TIER: usize = 6;
pub(crate) const MAX_SEATS_PER_USER: i32 = 4;
pub(crate) const HOLD_SECONDS: i32 = 600;
pub(crate) const ORDER_SECONDS: i32 = 300;
const N_ACCOUNTS: usize = 3;

/// A database with accounts.
pub(crate) struct Stage {
    pub(crate) pool: Pool,
    plan: Plan,
    accounts: Vec<AccountId>,
    slot: Slot,
}

/// A show that one test has for itself.
#[derive(Clone, Debug)]
pub(crate) struct Hall {
    pub(crate) show: ShowId,
    pub(crate) tiers: [Partition; TIERS],
    pub(crate) seats: [Vec<SeatLabel>; TIERS],
    /// The last account does not exist.
    pub(crate) accounts: Vec<AccountId>,
}

impl Stage {
    pub(crate) async fn build() -> Self {
        let slot = Slot::take().await;
        let pool = slot.pool();
        let tiers = [("BALCONY", 'A'), ("STALLS", 'B')];
        let tier = |(code, row)| Tier::seated(code, row, SEATS_PER_TIER, SEATS_PER_TIER);
        let plan = Plan {
            tiers: tiers.map(tier).into(),
            per_user: MAX_SEATS_PER_USER,
            hold_seconds: HOLD_SECONDS,
            order_seconds: ORDER_SECONDS,
            ..Plan::default()
        };
        let accounts: Vec<AccountId> = (0..N_ACCOUNTS).map(|_| AccountId::new()).collect();
        let new = |id: &AccountId| NewAccount {
            id: *id,
            name: "Asha Rao".into(),
            email: format!("{id}@visitor.example"),
            phone: None,
        };
        let new: Vec<NewAccount> = accounts.iter().map(new).collect();
        store::accounts::create_many(&pool, &new).await.unwrap();
        Self { pool, plan, accounts, slot }
    }

    pub(crate) fn database_url(&self) -> String {
        self.slot.database_url.clone()
    }

    pub(crate) async fn show(&self) -> Hall {
        let show = self.plan.put_on_sale(&self.pool).await;
        let [balcony, stalls] = &self.plan.tiers[..] else { panic!("two tiers") };
        Hall {
            show,
            tiers: [balcony, stalls].map(|tier| Partition { show, tier: tier.code.clone() }),
            seats: [balcony, stalls].map(|tier| tier.seats().cloned().collect()),
            accounts: self.accounts.iter().copied().chain([AccountId::new()]).collect(),
        }
    }
}
