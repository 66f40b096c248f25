//! The bench of the line, from an empty database to a report.

mod run;
mod fill;
mod window;
mod stir;
mod settings;

use std::{process::ExitCode, time::Duration};

use platform::number::float;

use crate::{
    figures::{Figures, Step},
    goals::broken,
    report,
    site::Report,
};
use run::Run;
use settings::CHANGE_TIME;
pub(crate) use settings::Line;
use window::Window;

/// Fewest watchers of a step, except the last.
const STEP_MIN: usize = 100;

impl Line {
    /// Runs the bench. Exits 0 if every promise was kept.
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        self.site.report("line", self.measure()).await
    }

    async fn measure(&self) -> anyhow::Result<Report> {
        let mut run = Run::set_up(self).await?;
        let empty = run.memory();
        let mut steps = Vec::new();
        for watchers in steps_to(self.watchers) {
            steps.push(self.step(&mut run, watchers).await?);
        }
        let full = run.memory();
        let sockets = float(run.stampedes.counts().watching.max(1));
        let stirred = self.stir(&mut run).await?;
        let figures = Figures {
            watchers: self.watchers,
            nodes: run.nodes.len(),
            stampedes: run.stampedes.len(),
            steps,
            bytes_per_socket: full.zip(empty).map(|(full, empty)| (full - empty) / sockets),
            stirred,
            counts: run.stampedes.counts(),
        };
        run.end().await?;
        Ok(Report {
            text: report::text(&figures),
            json: report::json(&figures),
            is_kept: broken(&figures).is_empty(),
        })
    }

    /// Fills the line up to `watchers`, and measures it while visitors only leave by admission, at
    /// the same slow rate in every step.
    async fn step(&self, run: &mut Run, watchers: usize) -> anyhow::Result<Step> {
        let joins = run.fill(watchers).await?;
        let watching = run.stampedes.count(&mut run.console).await?.watching;
        run.stage.resume(self.quiet_rate(), 1).await?;
        run.stampedes.wait(CHANGE_TIME, &mut run.console).await?;
        run.console.say(&format!("step: watched for {} s", self.quiet().as_secs()));
        let window = Window::open(run).await?;
        run.stampedes.wait(self.quiet(), &mut run.console).await?;
        let quiet = window.close(run).await?;
        run.stage.pause().await?;
        Ok(Step { watching, joins, quiet })
    }

    fn quiet(&self) -> Duration {
        Duration::from_secs((self.seconds / 4).into())
    }

    /// A rate so slow that 90 % of the smallest step are still waiting at its end.
    fn quiet_rate(&self) -> f64 {
        let smallest = steps_to(self.watchers).next().unwrap_or(self.watchers);
        (float(smallest as u64) / 10.0 / self.quiet().as_secs_f64()).clamp(0.1, self.rate)
    }
}

/// The numbers of watchers of the steps: 1 %, 10 %, all.
fn steps_to(watchers: usize) -> impl Iterator<Item = usize> {
    let steps = [watchers / 100, watchers / 10, watchers].into_iter();
    steps.filter(move |step| *step >= STEP_MIN || *step == watchers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_looks_at_a_hundredth_and_at_a_tenth_where_that_is_a_crowd() {
        assert_eq!(steps_to(100_000).collect::<Vec<_>>(), [1_000, 10_000, 100_000]);
        assert_eq!(steps_to(2_000).collect::<Vec<_>>(), [200, 2_000]);
        assert_eq!(steps_to(50).collect::<Vec<_>>(), [50]);
    }
}
