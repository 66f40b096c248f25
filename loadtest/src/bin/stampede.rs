//! `stampede`: thousands of waiting visitors, driven over standard input and output. Several of
//! them are started by `bench line`.

use std::net::IpAddr;

use clap::Parser;
use contract::ShowId;

/// Holds waiting visitors; reads orders from standard input, writes news to standard output.
#[derive(Parser)]
struct Settings {
    /// The show everybody waits for.
    #[arg(long)]
    show: ShowId,
    /// A node of the waiting room, such as `http://127.0.0.1:8082`; once for each.
    #[arg(long = "node")]
    nodes: Vec<String>,
    /// The address of this machine that connections are made from, such as 127.1.0.1.
    #[arg(long)]
    from: Option<IpAddr>,
}

// One thread: there are as many processes as cores, and more.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let settings = Settings::parse();
    loadtest::stampede::run(settings.show, &settings.nodes, settings.from).await
}
