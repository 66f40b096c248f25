//! Aborting a process at every hand-off, one by one.

use std::{path::Path, time::Duration};

use tokio::time::sleep;

use crate::{
    fault::Fault,
    fleet::{Node, Service},
    run::{Installation, Script, Verdict},
    sale::Halls,
};

const LENGTH: Duration = Duration::from_secs(4);
const SEATS: u32 = 30;
/// Passes of the hand-off before the abort, since the first ones of a run are not typical.
const PASS: u32 = 3;

/// Every hand-off, and the service it is in.
pub const ALL: [(&str, Service); 18] = [
    ("before-publish", Service::Ingress),
    ("after-confirm", Service::Ingress),
    ("before-count", Service::Ingress),
    ("after-delivery", Service::Allocator),
    ("after-epoch", Service::Allocator),
    ("after-locks", Service::Allocator),
    ("mid-inserts", Service::Allocator),
    ("before-commit", Service::Allocator),
    ("after-commit", Service::Allocator),
    ("after-ack", Service::Allocator),
    ("before-event", Service::Allocator),
    ("after-event", Service::Allocator),
    ("mid-lapse", Service::Allocator),
    ("after-parking", Service::Allocator),
    ("mid-payment", Service::Ingress),
    ("after-payment", Service::Ingress),
    ("after-admit", Service::WaitingRoom),
    ("after-log", Service::WaitingRoom),
];

/// The result for one hand-off.
pub struct Aborted {
    pub failpoint: &'static str,
    /// Whether a process really ended there.
    pub was_reached: bool,
    pub verdict: Verdict,
}

impl Aborted {
    pub fn is_green(&self) -> bool {
        self.was_reached && self.verdict.is_green()
    }

    /// Whether it was reached, and the run is right; see [`Verdict::is_right`].
    pub fn is_right(&self) -> bool {
        self.was_reached && self.verdict.is_right()
    }
}

/// Aborts at each of these hand-offs, in both processes of its service.
pub async fn run(
    folder: &Path,
    wanted: &[(&'static str, Service)],
    mut each: impl FnMut(&Aborted),
) -> anyhow::Result<Vec<Aborted>> {
    let installation = Installation::open(folder, false, &[]).await?;
    let mut results = Vec::new();
    for (seed, (failpoint, service)) in (1..).zip(wanted) {
        let before = reached(&installation);
        // A session begins once, and only poison is parked, so these are passed seldom.
        let is_rare = matches!(*failpoint, "after-epoch" | "after-parking");
        let pass = if is_rare { 1 } else { PASS };
        let poison = [(Duration::from_secs(3), Fault::Poison { n: 0 })];
        let faults = if *failpoint == "after-parking" { poison.to_vec() } else { Vec::new() };
        let armed = format!("{failpoint}=abort@{pass}");
        let script = Script { seed, length: LENGTH, seats: SEATS, halls: Halls::Several, faults };
        let arming = async {
            sleep(Duration::from_millis(1200)).await;
            for n in 0..2 {
                installation.fleet.arm(Node { service: *service, n }, &armed);
            }
            std::future::pending::<std::convert::Infallible>().await
        };
        let verdict = tokio::select! {
            verdict = installation.run(&script) => verdict?,
            never = arming => match never {},
        };
        let was_reached = reached(&installation) > before;
        let aborted = Aborted { failpoint, was_reached, verdict };
        each(&aborted);
        results.push(aborted);
    }
    installation.close().await?;
    Ok(results)
}

fn reached(installation: &Installation) -> u64 {
    installation.rare.counts().get("a failpoint was reached").copied().unwrap_or_default()
}
