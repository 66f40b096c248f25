//! The life of bookings, command by command: the store answers as the model does, and what is
//! stored is what the model knows.

use contract::{
    BookingId, TicketId,
    booking::{Ending, Kind, Wish},
};
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestError, TestRunner},
};
use store::{
    Pool,
    bookings::{self, Decided, Outcome},
};

use crate::{
    command::{Clerk, Command, Forgery, subjects},
    model::Model,
    records::{Records, audited},
    rules::Request,
    stage::{HOLD_SECONDS, Hall, ORDER_SECONDS, SEATS_PER_TIER, Stage, TIERS},
};

/// Seconds for which each lapsing booking keeps its seats: enough for some accounts to reach their
/// limit.
const KEPT_SECONDS: i32 = 2 * (HOLD_SECONDS + ORDER_SECONDS);

/// A command in small numbers, which a [`Script`] turns into bookings and accounts that exist.
#[derive(Clone, Debug)]
enum Op {
    Decide(usize, Vec<Ask>),
    On(Deed, usize, bool),
    Sweep(usize),
    Refuse(usize, usize, Option<u8>),
    Forge(Forgery, usize, usize),
    /// Repeats the command that was given this many commands ago.
    Again(usize),
}

#[derive(Clone, Debug)]
struct Ask {
    account: usize,
    hold: bool,
    seats: Result<Vec<usize>, u16>,
    key: Option<u8>,
    pass: Option<u8>,
}

#[derive(Clone, Copy, Debug)]
enum Deed {
    Place,
    Pay,
    Decline,
    Cancel,
    Release,
    TimePasses,
}

fn ask() -> impl Strategy<Value = Ask> {
    let seats = proptest::sample::subsequence((0..SEATS_PER_TIER).collect::<Vec<_>>(), 1..3);
    (
        prop_oneof![9 => 0usize..3, 1 => Just(3)],
        any::<bool>(),
        prop_oneof![seats.prop_map(Ok), (1u16..4).prop_map(Err)],
        proptest::option::weighted(0.3, 0u8..3),
        proptest::option::weighted(0.3, 0u8..2),
    )
        .prop_map(|(account, hold, seats, key, pass)| Ask { account, hold, seats, key, pass })
}

fn op() -> impl Strategy<Value = Op> {
    use Deed::{Cancel, Decline, Pay, Place, Release, TimePasses};
    let deed = prop::sample::select(vec![Place, Pay, Decline, Cancel, Release, TimePasses]);
    let forgery = prop::sample::select(vec![
        Forgery::SeatOfAnother,
        Forgery::PassOfAnother,
        Forgery::KeyOfAnother,
        Forgery::DecidedBefore,
        Forgery::OldSession,
        Forgery::SeatOfNoShow,
        Forgery::AccountOfNobody,
    ]);
    let tier = || 0..TIERS;
    prop_oneof![
        6 => (tier(), vec(ask(), 1..5)).prop_map(|(tier, asks)| Op::Decide(tier, asks)),
        10 => (deed, any::<usize>(), proptest::bool::weighted(0.1))
            .prop_map(|(deed, booking, odd)| Op::On(deed, booking, odd)),
        2 => tier().prop_map(Op::Sweep),
        1 => (tier(), any::<usize>(), proptest::option::of(0u8..3))
            .prop_map(|(tier, booking, key)| Op::Refuse(tier, booking, key)),
        2 => (forgery, tier(), any::<usize>()).prop_map(|(f, tier, b)| Op::Forge(f, tier, b)),
        3 => (0usize..20).prop_map(Op::Again),
    ]
}

/// Turns numbers into bookings and accounts that exist; `None` if there are none.
struct Script<'a> {
    hall: &'a Hall,
    given: Vec<Command>,
    passes: Vec<TicketId>,
}

impl Script<'_> {
    fn command(&self, op: &Op, model: &Model) -> Option<Command> {
        let known: Vec<BookingId> = model.bookings.keys().copied().collect();
        let won: Vec<BookingId> =
            known.iter().copied().filter(|id| model.bookings[id].state.is_some()).collect();
        let pick = |ids: &[BookingId], n: usize| ids.get(n.checked_rem(ids.len())?).copied();
        match op {
            Op::Decide(tier, asks) => {
                let requests = asks.iter().map(|ask| self.request(*tier, ask)).collect();
                Some(Command::Decide(*tier, requests))
            }
            Op::On(deed, n, odd) => {
                let id = pick(if *odd { &known } else { &won }, *n)?;
                let booking = &model.bookings[&id];
                let stranger = self.hall.accounts.iter().find(|a| **a != booking.account)?;
                let account = if *odd { *stranger } else { booking.account };
                let end = |ending| Command::End(booking.tier, id, booking.account, ending);
                Some(match deed {
                    Deed::Place => Command::Place(id, account),
                    Deed::Pay => Command::Pay(id, account),
                    Deed::Decline => end(Ending::PaymentFailed),
                    Deed::Cancel => end(Ending::Cancelled),
                    Deed::Release => end(Ending::Released),
                    Deed::TimePasses => Command::TimePasses(id, KEPT_SECONDS),
                })
            }
            Op::Sweep(tier) => Some(Command::Sweep(*tier)),
            Op::Refuse(tier, n, key) => {
                let id = pick(&known, *n).filter(|_| n % 2 == 0).unwrap_or_else(BookingId::new);
                let key = key.map(|key| key.to_string());
                Some(Command::Refuse(*tier, id, self.hall.accounts[0], key))
            }
            Op::Forge(forgery, tier, n) => self.forge(*forgery, *tier, *n, model),
            Op::Again(back) => self.given.iter().nth_back(*back).cloned(),
        }
    }

    fn request(&self, tier: usize, ask: &Ask) -> Request {
        let seat = |&n: &usize| self.hall.seats[tier][n].clone();
        Request {
            booking: BookingId::new(),
            account: self.hall.accounts[ask.account],
            kind: if ask.hold { Kind::Hold } else { Kind::Order },
            wish: match &ask.seats {
                Ok(seats) => Wish::Seats(seats.iter().map(seat).collect()),
                Err(n) => Wish::BestAvailable(*n),
            },
            key: ask.key.map(|key| key.to_string()),
            ticket: ask.pass.map(|pass| self.passes[ask.account * 2 + usize::from(pass)]),
        }
    }

    /// An honest winner, if there is a seat for one, and a forged one after it.
    fn forge(&self, forgery: Forgery, tier: usize, n: usize, model: &Model) -> Option<Command> {
        let mut free = model.free(tier).into_iter();
        let live = model.bookings.iter().filter(|(_, b)| b.is_live());
        let victims: Vec<_> = match forgery {
            Forgery::SeatOfAnother => live.filter(|(_, b)| b.tier == tier).collect(),
            Forgery::PassOfAnother => live.filter(|(_, b)| b.ticket.is_some()).collect(),
            Forgery::KeyOfAnother => {
                model.bookings.iter().filter(|(_, b)| b.key.is_some()).collect()
            }
            Forgery::DecidedBefore => model.bookings.iter().collect(),
            Forgery::OldSession | Forgery::SeatOfNoShow | Forgery::AccountOfNobody => Vec::new(),
        };
        let victim = victims.get(n.checked_rem(victims.len()).unwrap_or(0)).copied();
        let winner = |seats| Decided {
            booking: BookingId::new(),
            account: self.hall.accounts[0],
            kind: Kind::Hold,
            ticket: None,
            idempotency_key: None,
            outcome: Outcome::Allocated { seats },
        };
        let mut forged = match (forgery, victim) {
            (Forgery::SeatOfAnother, victim) => winner(victim?.1.seats().to_vec()),
            (Forgery::OldSession, _) => winner(vec![free.next()?]),
            (Forgery::SeatOfNoShow, _) => winner(vec!["ZZ99".parse().unwrap()]),
            (Forgery::AccountOfNobody, _) => {
                Decided { account: *self.hall.accounts.last()?, ..winner(vec![free.next()?]) }
            }
            (_, victim) => {
                victim?;
                winner(vec![free.next()?])
            }
        };
        match (forgery, victim) {
            (Forgery::PassOfAnother, Some((_, booking))) => forged.ticket = booking.ticket,
            (Forgery::KeyOfAnother, Some((_, booking))) => {
                forged.account = booking.account;
                forged.idempotency_key.clone_from(&booking.key);
            }
            (Forgery::DecidedBefore, Some((id, _))) => forged.booking = *id,
            _ => {}
        }
        let honest = free.next().map(|seat| winner(vec![seat]));
        Some(Command::Forge(forgery, tier, honest.into_iter().chain([forged]).collect()))
    }
}

async fn live(stage: &Stage, ops: &[Op]) -> Result<(), TestCaseError> {
    let hall = stage.show().await;
    let mut clerk = Clerk::new(&stage.pool, &hall).await;
    let mut model = Model::new(&hall);
    let passes = hall.accounts.iter().flat_map(|_| [TicketId::new(), TicketId::new()]).collect();
    let mut script = Script { hall: &hall, given: Vec::new(), passes };
    for op in ops {
        let Some(command) = script.command(op, &model) else { continue };
        let told = clerk.perform(&command).await;
        let told = told.map_err(|e| TestCaseError::fail(format!("{command:?} failed: {e:?}")))?;
        prop_assert_eq!(&told, &model.perform(&command), "{:?}", command);
        let stored = Records::read(&stage.pool, hall.show).await;
        let fine = stored.check().and_then(|()| model.agrees(&stored));
        fine.map_err(|why| TestCaseError::fail(format!("after {command:?}: {why}")))?;
        for booking in subjects(&command) {
            seen_as_known(&stage.pool, booking, &model).await?;
        }
        if !matches!(command, Command::Forge(..)) {
            script.given.push(command);
        }
    }
    let deletion = "delete from accounts
                    where account_id in (select account_id from orders where show_id = $1)";
    let deleted = sqlx::query(deletion).bind(hall.show.0).execute(&stage.pool).await;
    match deleted {
        Ok(deleted) => prop_assert_eq!(deleted.rows_affected(), 0),
        Err(error) => {
            let broken = error.as_database_error().and_then(|error| error.constraint());
            prop_assert_eq!(broken, Some("orders_account_exists"));
        }
    }
    let accepted: Vec<BookingId> = model.bookings.keys().copied().collect();
    audited(&stage.pool, &hall, &accepted).await.map_err(TestCaseError::fail)
}

/// Every look at a booking shows its outcome, and a lapsed booking as lapsed before it is swept.
async fn seen_as_known(
    pool: &Pool,
    booking: BookingId,
    model: &Model,
) -> Result<(), TestCaseError> {
    let view = bookings::view(pool, booking).await.unwrap();
    let Some(known) = model.bookings.get(&booking) else {
        prop_assert!(view.is_none());
        return Ok(());
    };
    let view = view.expect("a known booking is stored");
    let stands = (known.account, known.kind, known.seen());
    prop_assert_eq!((view.owner, view.kind, view.state), stands);
    let order = view.booking.order.map(|order| order.status.as_str());
    let expected = known.order_status().map(|_| known.seen().expect("it was allocated").as_str());
    prop_assert_eq!(order, expected);
    Ok(())
}

#[test]
fn a_booking_lives_as_the_model_says() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stage = runtime.block_on(Stage::build());
    let mut runner =
        TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(64) });
    match runner.run(&vec(op(), 1..60), |ops| runtime.block_on(live(&stage, &ops))) {
        Ok(()) => {}
        Err(TestError::Fail(why, ops)) => panic!("{why}\n{ops:?}"),
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}
