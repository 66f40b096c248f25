//! When a breaker is open: a pure state machine.

use std::time::Duration;

use tokio::time::Instant;

/// Closed until calls go unanswered; then open for a pause; then half open, with one call out at a
/// time, until one is answered.
#[derive(Debug)]
pub(super) enum Circuit {
    Closed { failures: u32, answered: Option<Instant> },
    Open { until: Instant },
    HalfOpen { next: Instant },
}

/// A change to log and count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Opened,
    Closed,
}

impl Default for Circuit {
    fn default() -> Self {
        Self::Closed { failures: 0, answered: None }
    }
}

impl Circuit {
    /// Whether a call may go out. A call from a half-open breaker has `call_wait` for its answer;
    /// after that, the next call may go.
    pub(super) fn enter(&mut self, now: Instant, call_wait: Duration) -> bool {
        match *self {
            Self::Closed { .. } => true,
            Self::Open { until: from } | Self::HalfOpen { next: from } if now < from => false,
            Self::Open { .. } | Self::HalfOpen { .. } => {
                *self = Self::HalfOpen { next: now + call_wait };
                true
            }
        }
    }

    /// A call was answered.
    pub(super) fn answered(&mut self, now: Instant) -> Option<Change> {
        let was_closed = self.is_closed();
        *self = Self::Closed { failures: 0, answered: Some(now) };
        (!was_closed).then_some(Change::Closed)
    }

    /// A call that began at `began` was not answered. It does not count if another call was
    /// answered since: the dependency is then slow or full, not away.
    pub(super) fn failed(
        &mut self,
        began: Instant,
        now: Instant,
        failures_max: u32,
        pause: Duration,
    ) -> Option<Change> {
        match self {
            Self::Closed { answered: Some(answered), .. } if *answered >= began => None,
            Self::Closed { failures, .. } if *failures + 1 < failures_max => {
                *failures += 1;
                None
            }
            Self::Open { .. } => None,
            Self::Closed { .. } | Self::HalfOpen { .. } => self.open(now + pause),
        }
    }

    /// Refuses every call until `until`.
    pub(super) fn open(&mut self, until: Instant) -> Option<Change> {
        let was_closed = self.is_closed();
        *self = Self::Open { until };
        was_closed.then_some(Change::Opened)
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self, Self::Closed { .. })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FAILURES_MAX: u32 = 3;
    const PAUSE: Duration = Duration::from_millis(500);
    const CALL_WAIT: Duration = Duration::from_secs(2);

    fn opened(now: Instant) -> Circuit {
        let mut circuit = Circuit::default();
        for n in 1..=FAILURES_MAX {
            assert!(circuit.enter(now, CALL_WAIT));
            let change = circuit.failed(now, now, FAILURES_MAX, PAUSE);
            assert_eq!(change, (n == FAILURES_MAX).then_some(Change::Opened));
        }
        circuit
    }

    #[test]
    fn an_open_circuit_refuses_all_then_lets_one_out_and_closes_when_that_is_answered() {
        let start = Instant::now();
        let mut circuit = opened(start);
        assert!(!circuit.enter(start + PAUSE / 2, CALL_WAIT));
        assert!(circuit.enter(start + PAUSE, CALL_WAIT));
        assert!(!circuit.enter(start + PAUSE, CALL_WAIT), "one is out");
        assert_eq!(circuit.answered(start + PAUSE), Some(Change::Closed));
        assert!(circuit.enter(start + PAUSE, CALL_WAIT));
        assert!(circuit.enter(start + PAUSE, CALL_WAIT));
    }

    #[test]
    fn a_try_that_fails_opens_it_again_and_one_that_is_forgotten_makes_room() {
        let start = Instant::now();
        let mut circuit = opened(start);
        let tried = start + PAUSE;
        assert!(circuit.enter(tried, CALL_WAIT));
        assert_eq!(circuit.failed(tried, tried, FAILURES_MAX, PAUSE), None, "it was open already");
        assert!(!circuit.enter(tried + PAUSE / 2, CALL_WAIT));
        let again = tried + PAUSE;
        assert!(circuit.enter(again, CALL_WAIT));
        assert!(!circuit.enter(again + CALL_WAIT / 2, CALL_WAIT));
        assert!(circuit.enter(again + CALL_WAIT, CALL_WAIT), "nobody said what became of it");
    }

    #[test]
    fn a_call_that_fails_while_others_are_answered_counts_for_nothing() {
        let start = Instant::now();
        let mut circuit = Circuit::default();
        assert_eq!(circuit.answered(start + PAUSE), None);
        for _ in 0..10 * FAILURES_MAX {
            assert_eq!(circuit.failed(start, start + CALL_WAIT, FAILURES_MAX, PAUSE), None);
        }
        assert!(circuit.is_closed());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Wait(u64),
        Enter,
        Answered,
        Failed,
        Lost,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0..1500_u64).prop_map(Step::Wait),
            Just(Step::Enter),
            Just(Step::Answered),
            Just(Step::Failed),
            Just(Step::Lost),
        ];
        proptest::collection::vec(step, 0..200)
    }

    proptest! {
        #[test]
        fn whatever_happens_it_tells_each_change_once_and_never_stays_shut(steps in steps()) {
            let mut now = Instant::now();
            let (mut circuit, mut open) = (Circuit::default(), false);
            for step in steps {
                let change = match step {
                    Step::Wait(ms) => { now += Duration::from_millis(ms); None }
                    Step::Enter => { circuit.enter(now, CALL_WAIT); None }
                    Step::Answered => circuit.answered(now),
                    Step::Failed => circuit.failed(now, now, FAILURES_MAX, PAUSE),
                    Step::Lost => circuit.open(now + PAUSE),
                };
                if let Some(change) = change {
                    prop_assert_eq!(change == Change::Opened, !open);
                    open = !open;
                }
                prop_assert_eq!(open, !circuit.is_closed());
            }
            prop_assert!(circuit.enter(now + PAUSE.max(CALL_WAIT), CALL_WAIT));
        }
    }
}
