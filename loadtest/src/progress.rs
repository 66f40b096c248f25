//! The progress of a crowd, once per second: a line, rewritten on a terminal and appended elsewhere,
//! and a moment in the tally.

use std::{
    io::{IsTerminal as _, Write as _},
    time::Duration,
};

use contract::ShowId;
use tokio::time::{MissedTickBehavior, interval};

use crate::{Client, Tally};

/// Prints until it is dropped.
pub async fn print(tally: &Tally, client: &Client, show: ShowId) {
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    let on_terminal = std::io::stdout().is_terminal();
    let (mut before, mut at) = (tally.admitted.get(), tally.elapsed());
    loop {
        ticks.tick().await;
        let seats_left = client
            .show(show)
            .await
            .ok()
            .map(|show| show.available.iter().map(|tier| tier.seats).sum::<i32>());
        tally.note_moment(seats_left);
        let (admitted, now) = (tally.admitted.get(), tally.elapsed());
        let seconds = now.saturating_sub(at).as_secs_f64();
        let admitted_now = u32::try_from(admitted - before).unwrap_or(u32::MAX);
        let text = line(tally, f64::from(admitted_now) / seconds, seats_left);
        let mut out = std::io::stdout().lock();
        // Progress that cannot be written is not worth an error.
        let _ = if on_terminal {
            write!(out, "\r\x1b[2K{text}").and_then(|()| out.flush())
        } else {
            writeln!(out, "{text}")
        };
        (before, at) = (admitted, now);
    }
}

/// Ends the rewritten line, so that the next output begins on a new one.
pub fn end() {
    if std::io::stdout().is_terminal() {
        println!();
    }
}

fn line(tally: &Tally, admitted_per_second: f64, seats_left: Option<i32>) -> String {
    let seats_left = seats_left.map_or("?".into(), |seats| seats.to_string());
    format!(
        "{:>4.0} s  arrived {:>5}  in line {:>5}  admitted {:>5} ({admitted_per_second:>5.1}/s)  \
         accepted {:>5}  allocated {:>5}  tickets {:>5}  seats left {seats_left:>5}",
        tally.elapsed().as_secs_f64(),
        tally.arrived.get(),
        tally.waiting.get(),
        tally.admitted.get(),
        tally.accepted.get(),
        tally.allocated.get(),
        tally.tickets.get(),
    )
}
