//! The draw, with a million entrants.

use redis::aio::MultiplexedConnection;
use waiting_room::testing::KEYS;

use crate::{order::script, own_redis::OwnRedis};

const ENTRANTS: usize = 1_000_000;
/// Entrants per call of the script.
const AT_ONCE: usize = 100;
const EPOCH: i64 = 1;
const RULE: i64 = 1;
const BASE: u64 = 1 << 27;

/// The answer of the script for a joiner.
#[derive(Debug, PartialEq)]
struct Entry {
    how: String,
    ticket: String,
    rank: u64,
    /// How many lots after its own the account got.
    past: u64,
}

/// Lets these accounts, by number, join a drawn line.
async fn join(redis: &mut MultiplexedConnection, accounts: &[usize]) -> Vec<Entry> {
    let join = script(include_str!("../src/scripts/join.lua"));
    let mut call = join.prepare_invoke();
    for key in KEYS {
        call.key(key);
    }
    call.arg("secret").arg(EPOCH).arg(2 * ENTRANTS).arg(RULE).arg(1).arg(BASE);
    // No known change.
    call.arg(["0"; 2].as_slice());
    for account in accounts {
        call.arg(format!("account{account}")).arg(format!("ticket{account}")).arg(1);
        call.arg(RULE).arg(1).arg(["", "0", "0", "0", "", "0"].as_slice());
    }
    let answer: Vec<String> = call.invoke_async(redis).await.unwrap();
    let entry = |said: &[String]| {
        let record: Vec<&str> = said[2].split(' ').collect();
        Entry {
            how: said[0].clone(),
            ticket: said[1].clone(),
            rank: record[2].parse().unwrap(),
            past: record[6].parse().unwrap(),
        }
    };
    answer[3..].chunks(3).map(entry).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_entrants_are_drawn_whenever_they_came_and_each_has_one_lot() {
    let own = OwnRedis::start().await;
    let mut redis = own.connection().await;
    let open = script(include_str!("../src/scripts/open.lua"));
    let mut call = open.prepare_invoke();
    for key in KEYS {
        call.key(key);
    }
    call.arg(EPOCH).arg(0).arg(0).arg(RULE).arg(1).arg(BASE);
    let _: Vec<String> = call.invoke_async(&mut redis).await.unwrap();

    let accounts: Vec<usize> = (0..ENTRANTS).collect();
    let mut entries = Vec::with_capacity(ENTRANTS);
    for some in accounts.chunks(AT_ONCE) {
        entries.extend(join(&mut redis, some).await);
    }
    assert!(entries.iter().all(|entry| entry.how == "NEW"));
    let displaced = entries.iter().filter(|entry| entry.past > 0).count();
    assert!(displaced > 0, "of a million some have a lot that another has already");

    let mut line: Vec<(u64, usize)> =
        entries.iter().enumerate().map(|(came, entry)| (entry.rank, came)).collect();
    line.sort_unstable();
    assert!(line.windows(2).all(|two| two[0].0 < two[1].0), "no two have one lot");
    // The time of joining does not matter: the mean position of each tenth of the joiners is near
    // the mean of all. It is off by more than five deviations once in a million draws.
    let mut sums = [0_usize; 10];
    for (position, (_, came)) in line.iter().enumerate() {
        sums[came * 10 / ENTRANTS] += position;
    }
    let means = sums.map(|sum| sum / (ENTRANTS / 10));
    let fair = ENTRANTS / 2 - ENTRANTS / 200..ENTRANTS / 2 + ENTRANTS / 200;
    assert!(means.iter().all(|mean| fair.contains(mean)), "{means:?}");

    // An account that asks again has the same lot, also after leaving.
    let again = join(&mut redis, &[0]).await;
    assert_eq!(again, [Entry { how: "WAITING".into(), ..entries.swap_remove(0) }]);
    let mut gone = redis::pipe();
    for key in ["line", "ready", "seen"] {
        gone.zrem(key, &again[0].ticket);
    }
    gone.hdel("places", &again[0].ticket).hdel("accounts", "account0");
    let () = gone.query_async(&mut redis).await.unwrap();
    let back = join(&mut redis, &[0]).await;
    assert_eq!((back[0].how.as_str(), back[0].rank), ("NEW", again[0].rank));
}
