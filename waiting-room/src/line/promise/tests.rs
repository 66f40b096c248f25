//! A line in virtual time: visitors arrive in some pattern, are shown intervals, and are admitted.

use std::collections::VecDeque;

use super::*;
use crate::line::{cadence, estimate::Outflow};

/// Steps a second.
const STEPS: u32 = 4;
const STEP_S: f64 = 0.25;
const RATE: f64 = 20.0;

/// What happens in a second of the simulation.
#[derive(Clone, Copy)]
struct Second {
    arrivals: f64,
    /// The share of the waiting visitors that leaves.
    leaving: f64,
    /// Mean number of slots under the cap that come free, at random; `None` without a cap.
    capped: Option<f64>,
    paused: bool,
}

/// Slots come free at random, and some visitors leave.
const BUSY: Second = Second { arrivals: 24.0, leaving: 0.002, capped: Some(16.0), paused: false };

/// What happens in each second.
type Pattern = fn(u32) -> Second;

struct Visitor {
    first: Option<Promise>,
    later: Option<Promise>,
    shown: u32,
    next_at: f64,
}

/// Promises made to admitted visitors, and how many of them were kept.
#[derive(Clone, Copy, Debug, Default)]
struct Score {
    kept: u32,
    made: u32,
}

impl Score {
    fn add(&mut self, promise: Option<&Promise>, moved: Duration) {
        if let Some(promise) = promise {
            self.made += 1;
            self.kept += u32::from(promise.kept(moved) == Kept::Within);
        }
    }

    fn share(self) -> f64 {
        f64::from(self.kept) / f64::from(self.made.max(1))
    }
}

/// A sequence of numbers between 0 and 1, the same in every run.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let number = u32::try_from(self.0 >> 32).expect("32 bits are left");
        f64::from(number) / f64::from(u32::MAX)
    }

    /// A random count with this mean (a Poisson distribution).
    fn count(&mut self, mean: f64) -> usize {
        let (mut count, mut product, limit) = (0, self.next(), (-mean).exp());
        while product > limit {
            count += 1;
            product *= self.next();
        }
        count
    }
}

fn run(seed: u64, seconds: u32, what: impl Fn(u32) -> Second) -> (Score, Score) {
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15 ^ (seed << 20));
    let (mut outflow, mut edges) = (Outflow::default(), Edges::default());
    let mut line: VecDeque<Visitor> = VecDeque::new();
    let (mut first, mut later, mut tokens) = (Score::default(), Score::default(), 0.0);
    for step in 0..seconds * STEPS {
        let now = Duration::from_secs(1) * step / STEPS;
        let time = now.as_secs_f64();
        let second = what(step / STEPS);
        outflow.moves(!second.paused, now);
        for _ in 0..chance.count(second.arrivals * STEP_S) {
            line.push_back(Visitor { first: None, later: None, shown: 0, next_at: time });
        }
        let before = line.len();
        line.retain(|_| chance.next() > second.leaving * STEP_S);
        let left = before - line.len();
        let mut admitted = 0;
        if !second.paused {
            tokens = (tokens + RATE * STEP_S).min(10.0);
            let free = second.capped.map_or(usize::MAX, |capped| chance.count(capped * STEP_S));
            while tokens >= 1.0 && admitted < free && !line.is_empty() {
                let visitor = line.pop_front().expect("it is not empty");
                let moved = outflow.moved(now);
                first.add(visitor.first.as_ref(), moved);
                later.add(visitor.later.as_ref(), moved);
                for promise in visitor.first.iter().chain(&visitor.later) {
                    edges.learn(promise, promise.kept(moved));
                }
                tokens -= 1.0;
                admitted += 1;
            }
        }
        outflow.gone(admitted as u64, left as u64, line.len() as u64, now);
        if !second.paused {
            let moved = outflow.moved(now);
            for (ahead, visitor) in line.iter_mut().enumerate() {
                if visitor.next_at > time {
                    continue;
                }
                let ahead = ahead as u64;
                visitor.next_at = time + cadence::between_frames(ahead).as_secs_f64();
                let Some(expected) = outflow.wait(ahead, RATE) else { continue };
                let promise = edges.promise(expected, Duration::ZERO, moved);
                visitor.first.get_or_insert(promise);
                visitor.shown += 1;
                if chance.next() * f64::from(visitor.shown) < 1.0 {
                    visitor.later = Some(promise);
                }
            }
        }
    }
    (first, later)
}

#[test]
fn nine_of_ten_waits_fall_inside_what_was_promised() {
    let patterns: [(&str, Pattern); 6] = [
        ("steady", |_| BUSY),
        ("step", |time| Second { arrivals: if time < 120 { 12.0 } else { 60.0 }, ..BUSY }),
        ("pause", |time| Second { paused: (90..120).contains(&(time % 180)), ..BUSY }),
        ("leavers", |_| Second { arrivals: 45.0, leaving: 0.01, ..BUSY }),
        ("bursts", |time| Second { arrivals: if time % 60 < 2 { 600.0 } else { 2.0 }, ..BUSY }),
        ("exact", |_| Second { leaving: 0.0, capped: None, ..BUSY }),
    ];
    let (mut all_first, mut all_later) = (Score::default(), Score::default());
    for (name, pattern) in patterns {
        let (mut first, mut later) = (Score::default(), Score::default());
        for seed in 1..=3 {
            let (f, l) = run(seed, 600, pattern);
            first = Score { kept: first.kept + f.kept, made: first.made + f.made };
            later = Score { kept: later.kept + l.kept, made: later.made + l.made };
        }
        let shares = (first.share(), later.share());
        for share in [shares.0, shares.1] {
            assert!(share >= 0.8, "{name}: {shares:?}");
        }
        all_first = Score { kept: all_first.kept + first.kept, made: all_first.made + first.made };
        all_later = Score { kept: all_later.kept + later.kept, made: all_later.made + later.made };
    }
    for share in [all_first.share(), all_later.share()] {
        assert!((0.80..=0.95).contains(&share), "{all_first:?}, {all_later:?}");
    }
}
