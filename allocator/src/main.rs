//! The allocator as a process of its own.

use allocator::Config;
use clap::Parser;
use platform::config::Process;

#[derive(Parser)]
#[command(version, about = "Decides bookings: one consumer per show and tier")]
struct Args {
    #[command(flatten)]
    config: Config,
    #[command(flatten)]
    process: Process,
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let Args { config, process } = Args::parse();
    let (listen, http) = (config.listen, config.http.clone());
    platform::run("allocator", listen, process, http, async move |shutdown| {
        allocator::start(&config, &shutdown).await
    })
    .await
}
