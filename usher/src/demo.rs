//! A flash sale from end to end: starts the services, fills the catalogue, opens a premiere, sends
//! a crowd, and proves the result.

mod premiere;
mod proof;
mod invitation;

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::Args;
use loadtest::{Client, Crowd, Report, Spread, client, crowd::Share, spread};
use platform::Shutdown;
use tokio::time::{Instant, sleep};

use crate::{
    migrate,
    seed::{self, Admin, hall},
    settings::{DemoSettings, Settings},
    up::{self, Allocation},
};
use premiere::Premiere;

/// Visitors who sign up and log in; the others have tokens, since argon2id is slow by design.
const SIGN_UPS_MAX: usize = 50;
/// Most sockets of this process that visitors take: one each, and the other end of it if the
/// visitor is in this process, too.
const SOCKETS_MAX: usize = 16_000;
/// Longest wait for the services to be ready.
const READY_WAIT: Duration = Duration::from_mins(1);

/// Runs a flash sale; the services are in this process.
#[derive(Args)]
pub struct Demo {
    /// How many visitors come.
    #[arg(long, default_value_t = 3_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    visitors: u32,
    /// Seats of the premiere.
    #[arg(long, default_value_t = hall::PREMIERE_SEATS, value_parser = hall::seats)]
    seats: usize,
    /// Visitors admitted per second; by default as many as arrive, over a minute at least, between 10
    /// and 100.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: Option<u32>,
    /// The same seed sends the same visitors.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Seconds within which all visitors arrive, evenly.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    ramp_seconds: u32,
    /// Every visitor takes the best seat available and pays.
    #[arg(long)]
    buyers: bool,
    /// End after the proof instead of staying up.
    #[arg(long)]
    exit: bool,
    /// File to write a picture of the sale over time to, as SVG.
    #[arg(long)]
    picture: Option<PathBuf>,
    /// Decide no bookings here, because allocator processes run beside this one.
    #[arg(long)]
    external_allocator: bool,
    #[command(flatten)]
    spread: Spread,
    #[command(flatten)]
    settings: DemoSettings,
}

impl Demo {
    /// Runs the sale. Exits 0 if every promise was kept.
    pub async fn run(self) -> ExitCode {
        if self.spread.is_worker() {
            return spread::work().await;
        }
        let settings = self.settings.0.clone();
        up::allow_many_files();
        // Only a sale that ends well makes it a success.
        let result = Arc::new(Mutex::new(ExitCode::FAILURE));
        let sale = Arc::clone(&result);
        let process = &settings.own.process;
        let running = platform::run("usher", &settings, process, async |settings, shutdown| {
            say("schema: bringing it up to date");
            migrate::run(&settings.own.backends.database_url).await?;
            let allocation =
                if self.external_allocator { Allocation::Elsewhere } else { Allocation::Here };
            say("services: starting, all in this process");
            let service = up::start(settings, shutdown, allocation).await?;
            let (settings, stop) = (settings.clone(), shutdown.clone());
            shutdown.spawn(async move {
                let ended = self.follow(&settings, &stop).await;
                let code = ended.unwrap_or_else(|error| {
                    eprintln!("error: {error:#}");
                    ExitCode::FAILURE
                });
                *sale.lock().unwrap_or_else(PoisonError::into_inner) = code;
                stop.begin();
            });
            Ok(service)
        });
        let ran = Box::pin(running).await;
        let sold = *result.lock().unwrap_or_else(PoisonError::into_inner);
        if ran == ExitCode::SUCCESS { sold } else { ran }
    }

    /// The sale and what follows it, unless the process is told to stop.
    async fn follow(&self, settings: &Settings, shutdown: &Shutdown) -> anyhow::Result<ExitCode> {
        let sale = async {
            let (code, invitation) = self.sell(settings).await?;
            if !self.exit {
                println!("{invitation}");
                shutdown.begun().await;
            }
            Ok(code)
        };
        tokio::select! {
            // A sale that has just ended must not count as interrupted.
            biased;
            ended = sale => ended,
            () = shutdown.begun() => bail!("stopped before the sale was over"),
        }
    }

    async fn sell(&self, settings: &Settings) -> anyhow::Result<(ExitCode, String)> {
        let own = &settings.own;
        let origin = format!("http://{}", own.listen);
        let client = Client::new(&origin)?;
        ready(&origin).await?;
        let pool = store::connect(&own.backends.database_url, "demo", 2)?;
        let admin = Admin::ensure(&pool, &own.backends.master_key, &client).await?;
        let catalogue = seed::catalogue(&admin.client, self.seats).await?;
        say(&catalogue.to_string());
        let n = usize::try_from(self.visitors).unwrap_or(usize::MAX);
        let with_tokens = n.saturating_sub(SIGN_UPS_MAX).max(1);
        let tokens = seed::tokens(&pool, &own.backends.master_key, with_tokens).await?;
        let rate =
            self.rate.unwrap_or_else(|| (self.visitors / self.ramp_seconds.max(60)).clamp(10, 100));
        let premiere = Premiere::open(&admin.client, &catalogue, rate).await?;
        say(&format!(
            "sale: {} seats, {n} visitors, {rate} admitted per second, seed {}",
            self.seats, self.seed
        ));
        let report = self.send(&client, &premiere, tokens.clone()).await?;
        let code = proof::print(&pool, premiere.show, &report).await?;
        if let Some(path) = &self.picture {
            report.write_picture(path)?;
            say(&format!("picture: {}", path.display()));
        }
        let token = tokens.first().context("the demonstration has no visitors")?;
        let invitation = invitation::text(&invitation::Invitation {
            origin: &origin,
            metrics: own.http.metrics_listen.beside(own.listen),
            show: catalogue.walk_in,
            token,
            admin_email: &admin.email,
            admin_password: &admin.password,
        });
        Ok((code, invitation))
    }

    async fn send(
        &self,
        client: &Client,
        premiere: &Premiere,
        tokens: Vec<String>,
    ) -> anyhow::Result<Report> {
        let visitors = usize::try_from(self.visitors).unwrap_or(usize::MAX);
        let is_here = self.spread.processes(visitors.min(SOCKETS_MAX)) == 1;
        let crowd = Crowd {
            show: premiere.show,
            visitors,
            share: Share::WHOLE,
            ramp: Duration::from_secs(self.ramp_seconds.into()),
            at_once_max: if is_here { SOCKETS_MAX / 2 } else { SOCKETS_MAX },
            seed: self.seed,
            buyers: self.buyers,
            tokens,
        };
        let mut report = self.spread.send(&crowd, client).await?;
        report.room = Some(premiere.room.clone());
        Ok(report)
    }
}

/// Waits until every service can serve; the error says what is missing.
async fn ready(origin: &str) -> anyhow::Result<()> {
    let until = Instant::now() + READY_WAIT;
    loop {
        let Err(missing) = client::ready(origin).await else { return Ok(()) };
        if Instant::now() > until {
            bail!("not ready after {} s: {missing}", READY_WAIT.as_secs());
        }
        sleep(Duration::from_millis(100)).await;
    }
}

fn say(text: &str) {
    println!("{text}");
}
