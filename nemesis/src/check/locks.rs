//! Checking seat locks in Redis against live claims in PostgreSQL.

use std::collections::BTreeMap;

use sqlx::Row as _;
use store::Pool;

use crate::{
    arena::Arena,
    sale::{Hall, Purpose},
};

/// Every seat whose lock and claim differ, in words.
pub async fn lock_differences(
    arena: &Arena,
    pool: &Pool,
    halls: &[Hall],
) -> anyhow::Result<Vec<String>> {
    let client = redis::Client::open(arena.redis_url()?)?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let mut differences = Vec::new();
    // Nobody reads the seat locks of a sale that is over.
    for hall in halls.iter().filter(|hall| hall.purpose != Purpose::EndsEarly) {
        let prefix = format!("seat_lock:{{{}}}:", hall.show);
        let keys: Vec<String> = hall
            .tiers
            .iter()
            .flat_map(|tier| &tier.seats)
            .map(|seat| format!("{prefix}{seat}"))
            .collect();
        let holders: Vec<Option<String>> =
            redis::cmd("MGET").arg(&keys).query_async(&mut connection).await?;
        let mut claims: BTreeMap<String, String> = BTreeMap::new();
        let rows = sqlx::query(
            "select seat_id, booking_id::text from seat_claims
             where show_id = $1 and state in ('HELD', 'SOLD')",
        )
        .bind(hall.show.0)
        .fetch_all(pool)
        .await?;
        for row in rows {
            claims.insert(row.try_get(0)?, row.try_get(1)?);
        }
        for (key, holder) in keys.iter().zip(holders) {
            let seat = key.trim_start_matches(prefix.as_str());
            let claim = claims.get(seat);
            if claim != holder.as_ref() {
                differences
                    .push(format!("{} {seat}: locked {holder:?}, claimed {claim:?}", hall.show));
            }
        }
    }
    Ok(differences)
}
