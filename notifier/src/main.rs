//! The notifier as a process of its own.

use clap::Parser;
use notifier::Config;
use platform::config::Process;

#[derive(Parser)]
#[command(version, about = "Tells people what became of their bookings")]
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
    platform::run("notifier", listen, process, http, async move |shutdown| {
        notifier::start(&config, &shutdown).await
    })
    .await
}
