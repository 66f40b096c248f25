//! People and programs that mean harm: they are refused, it costs the system next to nothing, and
//! others do not notice.

mod floods;
mod frames;
mod origins;
mod places;
mod process;
mod wire;

/// How often something was counted in this process, over all labels.
pub(crate) fn counted(name: &str) -> f64 {
    let rendered = platform::telemetry::render();
    let lines = rendered.lines().filter(|line| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
    });
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}
