//! The waiting room as a process of its own.

use std::process::ExitCode;

use clap::Parser;
use platform::{Shutdown, config::Process};
use waiting_room::Config;

#[derive(Parser)]
#[command(
    name = "waiting-room",
    version,
    about = "The line of a flash sale: join, watch, be admitted"
)]
struct Args {
    #[command(flatten)]
    process: Process,
    #[command(flatten)]
    config: Config,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Args { process, config } = Args::parse();
    let (listen, http) = (config.listen, config.http.clone());
    let start = async |shutdown: Shutdown| waiting_room::start(&config, &shutdown).await;
    platform::run("waiting-room", listen, process, http, start).await
}
