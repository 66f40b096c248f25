//! `stampede`: thousands of waiting visitors, driven over standard input and output. `bench line`
//! starts several.

use std::net::IpAddr;

use clap::Parser;
use contract::ShowId;

/// Holds waiting visitors; reads orders from standard input, writes news to standard output.
#[derive(Parser)]
struct Settings {
    /// The show whose line the visitors join.
    #[arg(long)]
    show: ShowId,
    /// A node of the waiting room, such as `http://127.0.0.1:8082`; give the option once per node.
    #[arg(long = "node")]
    nodes: Vec<String>,
    /// The address of this machine that connections are made from, such as 127.1.0.1.
    #[arg(long)]
    from: Option<IpAddr>,
}

// One thread is enough, since there are at least as many processes as cores.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let settings = Settings::parse();
    loadtest::stampede::run(settings.show, &settings.nodes, settings.from).await
}
