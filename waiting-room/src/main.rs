//! The waiting room as a process of its own.

fn main() -> std::process::ExitCode {
    platform::main("waiting-room", waiting_room::start)
}
