//! Attacks by clients: they are refused, cost the system little, and do not affect others.

mod floods;
mod frames;
mod origins;
mod places;
mod process;
mod unread;
pub(crate) mod wire;

/// The value of a counter of this process, over all labels.
pub(crate) fn counted(name: &str) -> f64 {
    let rendered = platform::telemetry::render();
    let lines = rendered.lines().filter(|line| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
    });
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}
