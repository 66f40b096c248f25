//! The token bucket in Redis against a plain model, with a clock that jumps.

use proptest::{prelude::*, test_runner::TestCaseResult};
use redis::{Script, aio::MultiplexedConnection};
use testing::Slot;
use tokio::runtime::Runtime;
use waiting_room::testing::KEYS;

/// The script of admission with the time from a key, so that the test can make it jump.
fn script() -> Script {
    let prelude = include_str!("../src/scripts/prelude.lua");
    let clock = "redis.call('TIME')";
    assert!(prelude.contains(clock));
    let prelude = prelude.replace(clock, "redis.call('LRANGE', 'clock', 0, 1)");
    Script::new(&(prelude + include_str!("../src/scripts/admit.lua")))
}

/// How long a visitor counts as choosing.
const CHOOSES_MS: f64 = 2000.0;

#[derive(Clone, Copy, Debug)]
struct Step {
    /// Microseconds by which the clock moves or jumps.
    clock: i64,
    joins: u32,
    rate: f64,
    burst: u32,
    /// Most active visitors, 0 for no cap.
    cap: u32,
    /// Passes that lapse.
    lapses: usize,
    /// Most visitors who may be choosing.
    choosers: u32,
}

fn step() -> impl Strategy<Value = Step> {
    let clock = prop_oneof![
        8 => 0i64..300_000,
        1 => 0i64..20_000_000,
        1 => -20_000_000i64..0,
    ];
    let rate = prop_oneof![Just(1.0), Just(12.5), Just(100.0)];
    let cap = prop_oneof![3 => Just(0u32), 1 => 1u32..20];
    let choosers = prop_oneof![2 => Just(1000u32), 1 => 1u32..20];
    (clock, 0u32..12, rate, 1u32..30, cap, 0usize..4, choosers).prop_map(
        |(clock, joins, rate, burst, cap, lapses, choosers)| Step {
            clock,
            joins,
            rate,
            burst,
            cap,
            lapses,
            choosers,
        },
    )
}

/// The model of the bucket.
#[derive(Default)]
struct Model {
    tokens: f64,
    at_ms: Option<f64>,
    waiting: u32,
    next: u32,
    inside: usize,
    /// Admission times of the visitors who may be choosing, in whole ms.
    choosing: Vec<f64>,
}

impl Model {
    /// How many visitors are admitted at this time.
    fn admit(&mut self, step: Step, now_ms: f64) -> u32 {
        let elapsed = self.at_ms.map_or(0.0, |at| (now_ms - at).max(0.0));
        self.tokens = f64::from(step.burst).min(self.tokens + elapsed / 1000.0 * step.rate);
        let mut free = self.tokens.floor();
        if step.cap > 0 {
            let inside = u32::try_from(self.inside).unwrap();
            free = free.min(f64::from(step.cap) - f64::from(inside));
        }
        let whole = |ms: f64| format!("{ms:.0}").parse::<f64>().unwrap();
        let (from, until) = (whole(now_ms - CHOOSES_MS), whole(now_ms + 1000.0));
        self.choosing.retain(|at| *at > from && *at <= until);
        let choosing = u32::try_from(self.choosing.len()).unwrap();
        free = free.min(f64::from(step.choosers) - f64::from(choosing));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small")]
        let admitted = (free.max(0.0) as u32).min(self.waiting);
        self.tokens = ((self.tokens - f64::from(admitted)) * 1e6).floor() / 1e6;
        self.at_ms = Some((now_ms * 1000.0).round() / 1000.0);
        self.waiting -= admitted;
        self.inside += usize::try_from(admitted).unwrap();
        self.choosing.extend((0..admitted).map(|_| whole(now_ms)));
        admitted
    }
}

async fn run(mut redis: MultiplexedConnection, steps: &[Step]) -> TestCaseResult {
    let () = redis::cmd("FLUSHDB").query_async(&mut redis).await.unwrap();
    let mut opened = redis::pipe();
    opened.hset_multiple("head", &[("epoch", 1), ("counter", 0)]);
    let () = opened.query_async(&mut redis).await.unwrap();
    let (script, mut model, mut joined) = (script(), Model::default(), 0u32);
    let mut clock: i64 = 1_800_000_000_000_000;
    for step in steps {
        clock += step.clock;
        let mut change = redis::pipe();
        change.del("clock").rpush("clock", &[clock / 1_000_000, clock % 1_000_000]);
        for _ in 0..step.joins {
            joined += 1;
            let ticket = format!("t{joined}");
            change.zadd("line", &ticket, joined).zadd("ready", &ticket, joined);
            change.hset("places", &ticket, format!("a{joined} {joined} {joined} 1 0"));
        }
        // The oldest passes lapse.
        let lapses = step.lapses.min(model.inside);
        if lapses > 0 {
            change.zremrangebyrank("admitting", 0, isize::try_from(lapses).unwrap() - 1);
            model.inside -= lapses;
        }
        let () = change.query_async(&mut redis).await.unwrap();
        model.waiting += step.joins;
        let mut call = script.prepare_invoke();
        for key in KEYS {
            call.key(key);
        }
        call.arg(step.rate).arg(step.burst).arg(step.cap).arg(1000).arg(["0"; 3].as_slice());
        call.arg(step.choosers).arg(CHOOSES_MS);
        let answer: Vec<String> = call.invoke_async(&mut redis).await.unwrap();
        #[expect(clippy::cast_precision_loss, reason = "as the script computes it")]
        let now_ms = (clock / 1_000_000) as f64 * 1000.0 + (clock % 1_000_000) as f64 / 1000.0;
        let expected = model.admit(*step, now_ms);
        let admitted = (answer.len() - 2) / 2;
        prop_assert_eq!(admitted, usize::try_from(expected).unwrap(), "{:?}", step);
        for pair in answer[2..].chunks(2) {
            model.next += 1;
            prop_assert_eq!(&pair[0], &format!("t{}", model.next), "in order");
        }
    }
    Ok(())
}

#[test]
fn the_bucket_admits_what_a_plain_model_admits_however_the_clock_jumps() {
    let runtime = Runtime::new().unwrap();
    let slot = runtime.block_on(Slot::take());
    let redis = runtime.block_on(slot.redis());
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let steps = prop::collection::vec(step(), 1..60);
    runner.run(&steps, |steps| runtime.block_on(run(redis.clone(), &steps))).unwrap();
}
