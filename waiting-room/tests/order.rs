//! The order of a line through changes of its mode, the opening, and losses of Redis: the real
//! scripts and the line's row against a plain model.

use std::collections::BTreeMap;

use contract::ShowId;
use proptest::{prelude::*, sample::Index, test_runner::TestCaseResult};
use redis::{Script, aio::MultiplexedConnection};
use store::{
    Pool,
    line_marks::{self, LineMark, ReservedNumbers, Rule, Stretch},
};
use tokio::runtime::Runtime;
use waiting_room::testing::KEYS;

use crate::harness::{Plan, Stage};

pub(crate) fn script(of: &str) -> Script {
    Script::new(&(include_str!("../src/scripts/prelude.lua").to_owned() + of))
}

#[derive(Clone, Debug)]
enum Step {
    /// This many visitors join.
    Join(u8),
    /// A visitor joins through a node that has not heard of the last change.
    JoinLate,
    /// The organiser changes the room: drawn by lot, or not.
    Change(bool),
    /// The sale opens; new places are not drawn any more.
    Open,
    /// A visitor leaves and joins again.
    Again(Index),
    /// This many visitors are admitted from the front.
    Admit(u8),
    /// Redis loses everything, and all visitors come back, in some order.
    Lose(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1u8..6).prop_map(Step::Join),
        2 => Just(Step::JoinLate),
        2 => any::<bool>().prop_map(Step::Change),
        1 => Just(Step::Open),
        2 => any::<Index>().prop_map(Step::Again),
        1 => (0u8..4).prop_map(Step::Admit),
        1 => any::<u64>().prop_map(Step::Lose),
    ]
}

/// A visitor in the model of the line.
#[derive(Clone, Debug)]
struct Member {
    account: String,
    ticket: String,
    /// The number of the stretch.
    stretch: usize,
    drawn: bool,
    record: Vec<String>,
}

/// The real line, and the model: stretches one behind the other.
struct World {
    redis: MultiplexedConnection,
    pool: Pool,
    show: ShowId,
    join: Script,
    open: Script,
    reserved: Option<ReservedNumbers>,
    named: u32,
    /// The visitors in the order of joining.
    members: Vec<Member>,
    rule: Rule,
    before: Rule,
    stretch: (usize, bool),
    /// The lots of accounts, which never change.
    lots: BTreeMap<String, u64>,
}

impl World {
    async fn new(redis: MultiplexedConnection, pool: Pool, show: ShowId) -> Self {
        let first = Rule { version: 1, drawn: false };
        let mut world = Self {
            redis,
            pool,
            show,
            join: script(include_str!("../src/scripts/join.lua")),
            open: script(include_str!("../src/scripts/open.lua")),
            reserved: None,
            named: 0,
            members: Vec::new(),
            rule: first,
            before: first,
            stretch: (0, false),
            lots: BTreeMap::new(),
        };
        let mark = line_marks::find_or_open(&world.pool, show).await.unwrap();
        world.opened(mark).await;
        world
    }

    async fn opened(&mut self, mark: LineMark) {
        let Stretch { rule, base } = mark.stretch;
        let mut call = self.open.prepare_invoke();
        for key in KEYS {
            call.key(key);
        }
        call.arg(mark.epoch).arg(mark.high_water).arg(0);
        call.arg(rule.version).arg(u8::from(rule.drawn)).arg(base);
        let _: Vec<String> = call.invoke_async(&mut self.redis).await.unwrap();
    }

    /// Joins as the desk does, and reserves numbers if they are missing.
    async fn ask(&mut self, account: &str, rule: Rule, back: Option<&Member>) -> Vec<String> {
        for _ in 0..4 {
            let mut call = self.join.prepare_invoke();
            for key in KEYS {
                call.key(key);
            }
            call.arg("secret");
            match self.reserved {
                Some(ReservedNumbers { epoch, up_to, stretch }) => {
                    call.arg(epoch).arg(up_to).arg(stretch.rule.version);
                    call.arg(u8::from(stretch.rule.drawn)).arg(stretch.base);
                }
                None => _ = call.arg(["0"; 5].as_slice()),
            }
            // No known change.
            call.arg(["0"; 2].as_slice());
            self.named += 1;
            call.arg(account).arg(format!("t{}", self.named)).arg(1);
            call.arg(rule.version).arg(u8::from(rule.drawn));
            match back.map(|member| (&member.ticket, member.record.as_slice())) {
                Some((ticket, [_, number, _, epoch, at, base, lot])) => {
                    call.arg(ticket).arg(number).arg(epoch).arg(at).arg(base).arg(lot);
                }
                _ => _ = call.arg(["", "0", "0", "0", "", "0"].as_slice()),
            }
            let answer: Vec<String> = call.invoke_async(&mut self.redis).await.unwrap();
            if answer[3] != "FULL" {
                return answer[3..].to_vec();
            }
            let epoch = answer[1].parse().unwrap();
            // Few at a time, so that a stretch begins both within a reservation and at its end.
            let numbers = line_marks::reserve_numbers(&self.pool, self.show, epoch, 3, rule);
            self.reserved = numbers.await.unwrap();
        }
        panic!("no place for {account} under {rule:?}");
    }

    async fn joins(
        &mut self,
        account: String,
        rule: Rule,
        back: Option<&Member>,
    ) -> TestCaseResult {
        // The model: the newer of two rules holds, and if it orders places in another way, a new
        // stretch begins.
        if rule.version >= self.rule.version && rule.drawn != self.stretch.1 {
            self.stretch = (self.stretch.0 + 1, rule.drawn);
        }
        let answer = self.ask(&account, rule, back).await;
        prop_assert_eq!(&answer[0], "NEW");
        let record: Vec<String> = answer[2].split(' ').map(str::to_owned).collect();
        let (stretch, drawn) = self.stretch;
        prop_assert_eq!(record[6] != "-", drawn, "{:?} of {:?}", record, self.stretch);
        if drawn {
            // The lot of an account never changes, and its place is at most a little after it.
            let rank: u64 = record[2].parse().unwrap();
            let base: u64 = record[5].parse().unwrap();
            let past: u64 = record[6].parse().unwrap();
            let lot = rank - base - past;
            prop_assert_eq!(*self.lots.entry(account.clone()).or_insert(lot), lot);
        }
        let ticket = answer[1].clone();
        self.members.push(Member { account, ticket, stretch, drawn, record });
        Ok(())
    }

    /// The tickets in the real line, first to last.
    async fn line(&mut self) -> Vec<String> {
        redis::cmd("ZRANGE").arg("line").arg(0).arg(-1).query_async(&mut self.redis).await.unwrap()
    }

    /// The tickets in the order of the model: by stretch, and within a stretch by joining or by
    /// lot.
    fn expected(&self) -> Vec<String> {
        let mut members: Vec<(usize, &Member)> = self.members.iter().enumerate().collect();
        members.sort_by_key(|(joined, member)| {
            let lot: u64 = member.record[2].parse().unwrap();
            (member.stretch, if member.drawn { lot } else { *joined as u64 })
        });
        members.into_iter().map(|(_, member)| member.ticket.clone()).collect()
    }

    async fn remove(&mut self, at: usize) -> Member {
        let member = self.members.remove(at);
        let mut gone = redis::pipe();
        for key in ["line", "ready", "seen"] {
            gone.zrem(key, &member.ticket);
        }
        gone.hdel("places", &member.ticket).hdel("accounts", &member.account);
        gone.hset("ended", &member.ticket, "LEFT");
        let () = gone.query_async(&mut self.redis).await.unwrap();
        member
    }

    async fn take(&mut self, step: Step) -> TestCaseResult {
        match step {
            Step::Join(count) => {
                for _ in 0..count {
                    self.named += 1;
                    self.joins(format!("a{}", self.named), self.rule, None).await?;
                }
            }
            Step::JoinLate => {
                self.named += 1;
                self.joins(format!("a{}", self.named), self.before, None).await?;
            }
            Step::Change(drawn) => {
                self.before = self.rule;
                self.rule = Rule { version: self.rule.version + 2, drawn };
                // A visitor joins under the new rule, so that the line has heard of it.
                self.named += 1;
                self.joins(format!("a{}", self.named), self.rule, None).await?;
            }
            Step::Open => {
                self.before = self.rule;
                self.rule = Rule { version: self.rule.version + 1, drawn: false };
                self.named += 1;
                self.joins(format!("a{}", self.named), self.rule, None).await?;
            }
            Step::Again(who) if !self.members.is_empty() => {
                let member = self.remove(who.index(self.members.len())).await;
                // The ticket of an ended place is worth nothing: the visitor gets a new place.
                self.joins(member.account.clone(), self.rule, Some(&member)).await?;
            }
            Step::Again(_) => {}
            Step::Admit(count) => {
                for ticket in self.line().await.into_iter().take(count.into()) {
                    let at = self.members.iter().position(|member| member.ticket == ticket);
                    self.remove(at.expect("the model knows everybody")).await;
                }
            }
            Step::Lose(seed) => {
                let () = redis::cmd("FLUSHDB").query_async(&mut self.redis).await.unwrap();
                let mark = line_marks::find(&self.pool, self.show).await.unwrap().unwrap();
                let next = line_marks::begin_epoch_after(&self.pool, self.show, mark.epoch).await;
                self.opened(next.unwrap().unwrap()).await;
                // By then every node has heard of the last change.
                self.before = self.rule;
                let mut order: Vec<usize> = (0..self.members.len()).collect();
                order.sort_by_key(|at| (*at as u64 ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15));
                for at in order {
                    let member = self.members[at].clone();
                    let answer = self.ask(&member.account, self.rule, Some(&member)).await;
                    prop_assert_eq!(&answer[..2], &["BACK".to_owned(), member.ticket][..]);
                }
            }
        }
        prop_assert_eq!(self.line().await, self.expected());
        Ok(())
    }
}

#[test]
fn nobody_who_joined_later_stands_before_somebody_who_was_promised_an_order() {
    let runtime = Runtime::new().unwrap();
    let stage = runtime.block_on(Stage::new(0));
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let steps = prop::collection::vec(step(), 1..40);
    let run = async |steps: Vec<Step>| {
        let mut redis = stage.redis.clone();
        let () = redis::cmd("FLUSHDB").query_async(&mut redis).await.unwrap();
        let show = stage.show(Plan::default()).await;
        let mut world = World::new(redis, stage.pool.clone(), show).await;
        for step in steps {
            world.take(step).await?;
        }
        Ok(())
    };
    runner.run(&steps, |steps| runtime.block_on(run(steps))).unwrap();
}

#[test]
fn a_million_numbers_later_everybody_is_still_drawn_and_no_two_have_one_lot() {
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let stage = Stage::new(0).await;
        let mut redis = stage.redis.clone();
        let () = redis::cmd("FLUSHDB").query_async(&mut redis).await.unwrap();
        let show = stage.show(Plan::default()).await;
        let mut world = World::new(redis.clone(), stage.pool.clone(), show).await;
        world.rule = Rule { version: 2, drawn: true };
        world.joins("first".into(), world.rule, None).await.unwrap();
        sqlx::query("update lines set high_water = 5000000 where show_id = $1")
            .bind(show.0)
            .execute(&stage.pool)
            .await
            .unwrap();
        let far = [("counter", 5_000_000), ("reserved", 5_000_000)];
        let () = redis::cmd("HSET").arg("head").arg(&far).query_async(&mut redis).await.unwrap();
        for name in 0..200 {
            world.joins(format!("b{name}"), world.rule, None).await.unwrap();
        }
        // If another account has the lot, the visitor gets the one after it.
        let taken: u64 = world.members[7].record[2].parse().unwrap();
        let member = world.remove(7).await;
        let () = redis::cmd("ZADD")
            .arg("line")
            .arg(taken)
            .arg("another")
            .query_async(&mut redis)
            .await
            .unwrap();
        world.joins(member.account, world.rule, None).await.unwrap();
        let last = world.members.last().unwrap();
        assert_eq!((last.record[2].clone(), &*last.record[6]), ((taken + 1).to_string(), "1"));
        let mut ranks: Vec<u64> =
            world.members.iter().map(|member| member.record[2].parse().unwrap()).collect();
        assert_eq!(ranks.len(), 201);
        assert!(!ranks.is_sorted(), "drawn, not in the order of joining");
        ranks.sort_unstable();
        ranks.dedup();
        assert_eq!(ranks.len(), 201);
        // Lots spread over the whole range.
        let middle = ranks[100] - world.members[0].record[5].parse::<u64>().unwrap();
        assert!((line_marks::LOTS / 3..line_marks::LOTS / 3 * 2).contains(&middle), "{middle}");
    });
}
