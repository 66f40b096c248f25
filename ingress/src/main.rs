//! The ingress service as a process of its own.

use std::process::ExitCode;

use clap::Parser;
use platform::config::Process;

#[derive(Parser)]
#[command(name = "ingress", about = "Usher's public REST API: accounts, catalogue, bookings")]
struct Settings {
    #[command(flatten)]
    ingress: ingress::Config,
    #[command(flatten)]
    process: Process,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Settings { ingress: config, process } = Settings::parse();
    let (listen, http) = (config.listen, config.http.clone());
    let start = |shutdown| async move { ingress::start(&config, &shutdown).await };
    platform::run("ingress", listen, process, http, start).await
}
