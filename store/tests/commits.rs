//! Which commits wait for the disk.

use store::Transaction;

use crate::stage::Stage;

async fn waits_for_the_disk(tx: &mut Transaction) -> bool {
    let setting: String =
        sqlx::query_scalar("show synchronous_commit").fetch_one(&mut **tx).await.unwrap();
    setting != "off"
}

#[tokio::test]
async fn every_commit_waits_for_the_disk_but_the_one_that_may_be_lost() {
    let stage = Stage::build().await;
    let pool = store::connect(&stage.database_url(), "clerk", 1).unwrap();
    for _ in 0..2 {
        let mut lasting = pool.begin().await.unwrap();
        assert!(waits_for_the_disk(&mut lasting).await);
        lasting.commit().await.unwrap();
        let mut other = pool.begin_async_commit().await.unwrap();
        assert!(!waits_for_the_disk(&mut other).await);
        other.commit().await.unwrap();
    }
}
