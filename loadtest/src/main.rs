//! Sends a crowd to a running system: `loadtest --show <id> --visitors 3000 --tokens tokens.txt`.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::Parser;
use contract::ShowId;
use loadtest::{Client, Crowd, Spread, crowd::Share, spread};

/// Sends a crowd of visitors through the public API and reports the result.
#[derive(Parser)]
struct Settings {
    /// URL of the running system.
    #[arg(long, env = "USHER_URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// The show that the visitors want; it must be on sale.
    #[arg(long)]
    show: ShowId,
    #[arg(long, default_value_t = 1000)]
    visitors: usize,
    /// Seconds within which all visitors arrive.
    #[arg(long, default_value_t = 10)]
    ramp_seconds: u64,
    /// Most visits at once.
    #[arg(long, default_value_t = 9000)]
    at_once_max: usize,
    /// The same seed sends the same visitors.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Every visitor takes the best seat available and pays.
    #[arg(long)]
    buyers: bool,
    /// File with access tokens, one per line, as `usher seed accounts` writes it. Visitors without
    /// a token sign up.
    #[arg(long)]
    tokens: Option<PathBuf>,
    /// File to write the ids of all accepted bookings to, for `usher audit --accepted`.
    #[arg(long)]
    accepted: Option<PathBuf>,
    /// File to write a picture of the sale over time to, as SVG.
    #[arg(long)]
    picture: Option<PathBuf>,
    #[command(flatten)]
    spread: Spread,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let settings = Settings::parse();
    if settings.spread.is_worker() {
        return Ok(spread::work().await);
    }
    let tokens = match &settings.tokens {
        None => Vec::new(),
        Some(path) => std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?
            .lines()
            .map(str::to_owned)
            .collect(),
    };
    let client = Client::new(&settings.url)?;
    let crowd = Crowd {
        show: settings.show,
        visitors: settings.visitors,
        share: Share::WHOLE,
        ramp: Duration::from_secs(settings.ramp_seconds),
        at_once_max: settings.at_once_max,
        seed: settings.seed,
        buyers: settings.buyers,
        tokens,
    };
    let mut report = settings.spread.send(&crowd, &client).await?;
    report.room = client.show(settings.show).await.ok().map(|show| show.details.waiting_room);
    print!("{report}");
    if let Some(path) = settings.accepted {
        let ids: Vec<String> = report.accepted.iter().map(ToString::to_string).collect();
        std::fs::write(&path, ids.join("\n") + "\n")
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(path) = &settings.picture {
        report.write_picture(path)?;
    }
    let kept = report.broken_promises() == 0 && report.unasked() == 0;
    Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
