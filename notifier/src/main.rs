//! The notifier as a process of its own.

fn main() -> std::process::ExitCode {
    platform::main("notifier", notifier::start)
}
