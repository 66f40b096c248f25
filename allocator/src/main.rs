//! The allocator as a process of its own.

fn main() -> std::process::ExitCode {
    platform::main("allocator", async |config: &_, shutdown| allocator::start(config, shutdown))
}
