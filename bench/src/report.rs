//! The report of a run: a table to read, and the same as JSON.

use std::fmt::{self, Display, Write as _};

use serde_json::json;

use crate::{
    figures::{Figures, Step, Stirred},
    freshness::AgeSummary,
    goals::{Goal, broken, goals},
};

/// The report as JSON: every figure, and the goals beside them.
pub(crate) fn json(figures: &Figures) -> serde_json::Value {
    json!({ "goals": goals(figures), "broken": broken(figures), "figures": figures })
}

/// The report as text.
pub(crate) fn text(figures: &Figures) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write(&mut text, figures);
    text
}

fn write(f: &mut String, figures: &Figures) -> fmt::Result {
    let Figures { watchers, nodes, stampedes, .. } = figures;
    writeln!(f, "The line: {watchers} watchers, {nodes} nodes, {stampedes} stampedes")?;
    write_steps(f, &figures.steps)?;
    write_stirred(f, &figures.stirred)?;
    let again = format!("{} / {}", figures.counts.repeats, figures.counts.refused);
    row(f, "connections ended by the server", figures.counts.dropped)?;
    row(f, "calls sent again / sockets refused", again)?;
    write_goals(f, &goals(figures))?;
    for broken in broken(figures) {
        writeln!(f, "PROMISE BROKEN: {broken}")?;
    }
    Ok(())
}

fn write_steps(f: &mut String, steps: &[Step]) -> fmt::Result {
    let mut line = |name: &str, of: &dyn Fn(&Step) -> String| {
        write!(f, "  {name:<40}")?;
        for step in steps {
            write!(f, "{:>12}", of(step))?;
        }
        writeln!(f)
    };
    line("watching", &|step| step.watching.to_string())?;
    line("joins per second", &|step| whole(step.joins.per_second))?;
    line("  Redis alone, one by one", &|step| whole(step.joins.redis_alone_per_second))?;
    line("  took, p50 (ms)", &|step| format!("{:.1}", step.joins.p50_ms))?;
    line("  took, p99 (ms)", &|step| format!("{:.1}", step.joins.p99_ms))?;
    line("  cores: nodes", &|step| known(step.joins.meanwhile.node_cores, 2))?;
    line("  cores: stampedes", &|step| known(step.joins.meanwhile.stampede_cores, 2))?;
    line("  cores: Redis", &|step| format!("{:.2}", step.joins.meanwhile.redis.cpu))?;
    line("frames per second", &|step| whole(step.quiet.frames_per_second))?;
    line("Redis operations per second", &|step| whole(step.quiet.redis.operations))?;
    line("  of these, calls of scripts", &|step| whole(step.quiet.redis.scripts))?;
    line("  Redis, share of a core", &|step| format!("{:.1} %", step.quiet.redis.cpu * 100.0))?;
    line("cores: nodes", &|step| known(step.quiet.node_cores, 2))?;
    line("  by frame (µs)", &|step| known(step.quiet.micros_per_frame(), 1))?;
    line("cores: stampedes", &|step| known(step.quiet.stampede_cores, 2))
}

fn write_stirred(f: &mut String, stirred: &Stirred) -> fmt::Result {
    let Stirred { stretch, admission, freshness, .. } = stirred;
    writeln!(f, "\nComing and going for {:.0} s", stretch.seconds)?;
    let watching = format!("{} … {}", stretch.watching_at_first, stretch.watching_at_last);
    row(f, "watching, at first and at last", watching)?;
    let moves = format!("{} / {} / {}", stirred.arrived, stretch.left, stretch.reconnected);
    row(f, "arrived / left / reconnected", moves)?;
    row(f, "frames per second", whole(stretch.frames_per_second))?;
    let cores = [stretch.node_cores, stretch.stampede_cores].map(|cores| known(cores, 2));
    row(f, "cores of the nodes / of the stampedes", cores.join(" / "))?;
    row(f, "Redis operations per second", whole(stretch.redis.operations))?;
    let pace = format!("{:.2} of {:.2}", admission.per_second, stirred.rate);
    row(f, "let in, per second", pace)?;
    row(f, "age of a number, front 1 %: p50 / p99 / most", ages(freshness.front.as_ref()))?;
    row(f, "age of a number, everyone: p50 / p99 / most", ages(freshness.everyone.as_ref()))?;
    row(f, "frames with fewer ahead than there were", freshness.frames_with_too_few_ahead)
}

fn write_goals(f: &mut String, goals: &[Goal]) -> fmt::Result {
    writeln!(f, "\n{:<6}{:<42}{:>12}{:>26}", "Goal", "", "", "measured")?;
    goals.iter().try_for_each(|goal| writeln!(f, "{goal}"))
}

fn row(f: &mut String, name: &str, figure: impl Display) -> fmt::Result {
    writeln!(f, "  {name:<50}{figure:>26}")
}

fn whole(figure: f64) -> String {
    format!("{figure:.0}")
}

fn known(figure: Option<f64>, digits: usize) -> String {
    figure.map_or("?".into(), |figure| format!("{figure:.digits$}"))
}

fn ages(ages: Option<&AgeSummary>) -> String {
    ages.map_or("nobody".into(), |ages| {
        format!("{} / {} / {} ms", ages.p50_ms, ages.p99_ms, ages.max_ms)
    })
}
