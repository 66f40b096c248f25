//! Look-ups of bookings: many at once share their queries, and each gets its own booking.

use contract::{
    BookingId,
    booking::{Kind, Reason},
};
use futures_util::future::join_all;
use platform::Shutdown;
use store::{
    StoreError,
    bookings::{self, Look, Looker, Refusal},
};

use crate::stage::Stage;

/// More bookings than fit into one query.
const DECIDED: usize = 400;

#[tokio::test(flavor = "multi_thread")]
async fn of_very_many_who_look_at_once_each_sees_its_booking_and_a_newer_word_is_its_owners_alone()
{
    let stage = Stage::build().await;
    let hall = stage.show().await;
    let mut decided: Vec<BookingId> = Vec::new();
    for n in 0..DECIDED {
        let booking = BookingId::new();
        let refusal = Refusal {
            partition: hall.tiers[0].clone(),
            booking,
            account: hall.accounts[n % 3],
            kind: Kind::Order,
            idempotency_key: None,
            number: None,
            deadline: None,
            reason: Reason::SoldOut,
        };
        assert!(bookings::refuse(&stage.pool, &refusal).await.unwrap());
        decided.push(booking);
    }
    sqlx::query("alter type rejection add value 'WEARY'").execute(&stage.pool).await.unwrap();
    let strange = BookingId::new();
    let forge = "insert into bookings (show_id, booking_id, account_id, tier, kind, status, reason)
                 values ($1, $2, $3, $4, 'ORDER', 'REJECTED', 'WEARY')";
    sqlx::query(forge)
        .bind(hall.show.0)
        .bind(strange.0)
        .bind(hall.accounts[0].0)
        .bind(hall.tiers[0].tier.as_str())
        .execute(&stage.pool)
        .await
        .unwrap();

    let shutdown = Shutdown::default();
    let looker = Looker::new(stage.pool.clone(), shutdown.clone());
    let queued: Vec<BookingId> = (0..DECIDED).map(|_| BookingId::new()).collect();
    let asked: Vec<BookingId> = decided.iter().chain(&queued).chain(&decided).copied().collect();
    let looks = join_all(asked.iter().map(|booking| looker.look(*booking)));
    let (looks, strange) = tokio::join!(looks, looker.look(strange));
    for (booking, look) in asked.iter().zip(looks) {
        let Look { view, now } = look.unwrap();
        assert!(now.timestamp() > 0, "the clock is told, too");
        assert_eq!(
            view.as_ref().map(|view| view.booking.booking_id).is_some(),
            decided.contains(booking)
        );
        assert!(view.is_none_or(|view| view.booking.booking_id == *booking));
    }
    assert!(matches!(strange, Err(StoreError::Unreadable(_))), "{strange:?}");
    assert!(shutdown.finish(std::time::Duration::from_secs(10)).await, "nobody looks any more");
}
