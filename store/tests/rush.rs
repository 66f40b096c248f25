//! Eight clerks give the same commands at once, four in one order and four in another. The second
//! to give a command is told so, and nothing is done twice.

use std::collections::HashMap;

use contract::{
    BookingId, TicketId,
    booking::{Ending, Kind, Wish},
};
use fastrand::Rng;
use store::{StoreError, bookings::Outcome};
use tokio::task::JoinSet;

use crate::{
    command::{Clerk, Command, Reply},
    records::{Records, audited},
    rules::Request,
    stage::{Hall, SEATS_PER_TIER, Stage, TIERS},
};

const CROWD: u64 = 8;
/// Clerks that give their commands in the same order.
const ABREAST: u64 = 4;
const ROUNDS: u64 = 3;
const N_BATCHES: usize = 40;
const DEEDS_PER_BOOKING: usize = 2;
/// Seconds for which each lapsing booking keeps its seats: few, so that accounts stay under their
/// limit.
const KEPT_SECONDS: i32 = 60;
/// A command that loses a race is given again; no command loses this often in a row.
const ATTEMPTS_MAX: u32 = 50;

/// Batches for both tiers, and some of what can be done to each of their bookings.
fn commands(hall: &Hall, rng: &mut Rng) -> Vec<Command> {
    let passes: Vec<TicketId> = hall.accounts.iter().map(|_| TicketId::new()).collect();
    let mut commands = Vec::new();
    for batch in 0..N_BATCHES {
        let tier = batch % TIERS;
        let requests: Vec<Request> =
            (0..rng.usize(1..4)).map(|_| request(hall, tier, &passes, rng)).collect();
        for r in &requests {
            let end = |ending| Command::End(tier, r.booking, r.account, ending);
            let deeds = [
                Command::Place(r.booking, r.account),
                Command::Pay(r.booking, r.account),
                end(Ending::Cancelled),
                end(Ending::PaymentFailed),
                end(Ending::Released),
                Command::TimePasses(r.booking, KEPT_SECONDS),
                Command::Refuse(tier, r.booking, r.account, r.key.clone()),
            ];
            commands.extend(rng.choose_multiple(deeds, DEEDS_PER_BOOKING));
        }
        commands.extend([Command::Decide(tier, requests), Command::Sweep(tier)]);
    }
    commands
}

fn request(hall: &Hall, tier: usize, passes: &[TicketId], rng: &mut Rng) -> Request {
    let account = rng.usize(..hall.accounts.len() - 1);
    let seats = &hall.seats[tier];
    let at = rng.usize(..SEATS_PER_TIER - 1);
    Request {
        booking: BookingId::new(),
        account: hall.accounts[account],
        kind: if rng.bool() { Kind::Hold } else { Kind::Order },
        wish: if rng.bool() {
            Wish::Seats(seats[at..at + 2].to_vec())
        } else {
            Wish::BestAvailable(1)
        },
        // Both tiers use the same keys and passes.
        key: (rng.u8(..) < 64).then(|| rng.u8(..3).to_string()),
        ticket: (rng.u8(..) < 64).then(|| passes[account]),
    }
}

/// Gives a command until it is not contended. Any other failure is a fault.
async fn insist(clerk: &mut Clerk, command: &Command) -> Reply {
    for _ in 0..ATTEMPTS_MAX {
        match clerk.perform(command).await {
            Ok(told) => return told,
            Err(StoreError::Contended(_)) => {}
            // A batch of the other tier, or a refusal, used the key, the pass or the id meanwhile.
            Err(StoreError::Constraint { constraint, .. })
                if matches!(command, Command::Decide(..))
                    && constraint.starts_with("bookings_") => {}
            Err(error) => panic!("{command:?} failed: {error:?}"),
        }
    }
    panic!("{command:?} was contended {ATTEMPTS_MAX} times")
}

async fn rush(stage: &Stage, seed: u64) {
    let hall = stage.show().await;
    let commands = commands(&hall, &mut Rng::with_seed(seed));
    drop(Clerk::new(&stage.pool, &hall).await);
    let mut crowd = JoinSet::new();
    for one in 0..CROWD {
        let mut commands = commands.clone();
        Rng::with_seed(seed * CROWD + one / ABREAST).shuffle(&mut commands);
        let (pool, hall) = (stage.pool.clone(), hall.clone());
        crowd.spawn(async move {
            let mut clerk = Clerk::colleague(&pool, &hall, [1; TIERS]).await;
            let mut told = Vec::new();
            for command in commands {
                let answer = insist(&mut clerk, &command).await;
                told.push((command, answer));
            }
            told
        });
    }
    let told = crowd.join_all().await.concat();
    let stored = Records::read(&stage.pool, hall.show).await;
    stored.check().unwrap();
    let accepted: Vec<BookingId> = told.iter().flat_map(|(command, _)| wanted(command)).collect();
    audited(&stage.pool, &hall, &accepted).await.unwrap();
    nothing_was_done_twice(&told, &stored);
}

fn wanted(command: &Command) -> Vec<BookingId> {
    match command {
        Command::Decide(_, requests) => requests.iter().map(|r| r.booking).collect(),
        _ => Vec::new(),
    }
}

/// Each booking was decided or refused for one clerk and ended for at most one, and what that clerk
/// was told is stored.
fn nothing_was_done_twice(told: &[(Command, Reply)], stored: &Records) {
    let mut outcomes: HashMap<BookingId, Vec<String>> = HashMap::new();
    let mut endings: HashMap<BookingId, usize> = HashMap::new();
    for (command, answer) in told {
        match (command, answer) {
            (_, Reply::Decided(decided)) => {
                for (booking, outcome) in decided {
                    let words = match outcome {
                        Outcome::Allocated { seats } => {
                            seats.iter().map(ToString::to_string).collect()
                        }
                        Outcome::Rejected { reason, .. } => vec![reason.as_str().to_owned()],
                    };
                    assert!(outcomes.insert(*booking, words).is_none(), "{booking} decided twice");
                }
            }
            (Command::Refuse(_, booking, ..), Reply::Refused(true)) => {
                let words = vec!["SALE_CLOSED".to_owned()];
                assert!(outcomes.insert(*booking, words).is_none(), "{booking} decided twice");
            }
            (_, Reply::Ended(ended)) => {
                for booking in ended {
                    *endings.entry(*booking).or_default() += 1;
                }
            }
            (Command::Place(booking, _), Reply::Placed) => {
                assert!(!stored.bookings[booking].order.is_empty(), "an order was promised");
            }
            (Command::Pay(booking, _), Reply::Paid) => {
                let order = &stored.bookings[booking].order;
                assert!(order.iter().any(|status| status == "CONFIRMED"), "{order:?} was paid");
            }
            _ => {}
        }
    }
    assert!(endings.values().all(|&n| n == 1), "ended twice: {endings:?}");
    let kept: HashMap<BookingId, Vec<String>> = stored
        .bookings
        .iter()
        .map(|(id, row)| (*id, row.reason.clone().map_or(row.seats.clone(), |reason| vec![reason])))
        .collect();
    assert_eq!(outcomes, kept);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_eight_do_at_once_is_done_once_and_each_is_told_so() {
    let stage = Stage::build().await;
    for seed in 0..ROUNDS {
        rush(&stage, seed).await;
    }
}
