//! Where a bench runs: the backends, a database of its own, the services beside this program, and
//! the folder for its report.

use std::{future::Future, net::Ipv4Addr, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokio::signal::unix::{SignalKind, signal};
use usher::migrate;

use crate::fleet::Fleet;

/// Connections to PostgreSQL of each service.
const CONNECTIONS_MAX: u32 = 8;

/// The settings of every bench.
#[derive(Args)]
pub(crate) struct Site {
    /// Folder for the report and the logs of all processes.
    #[arg(long, default_value = "target/load")]
    pub(crate) out: PathBuf,
    /// PostgreSQL; the bench makes a database of its own beside the named one.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub(crate) database_url: String,
    /// Redis. Nothing else may use it meanwhile, since its own counters are read.
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    pub(crate) redis_url: String,
    /// RabbitMQ.
    #[arg(long, env = "AMQP_URL", hide_env_values = true)]
    pub(crate) amqp_url: String,
    /// The installation's master key.
    #[arg(long, env = "USHER_MASTER_KEY", hide_env_values = true)]
    pub(crate) master_key: String,
}

/// The result of a bench.
pub(crate) struct Report {
    pub(crate) text: String,
    pub(crate) json: Value,
    /// Whether the run is a success, by this bench's own rule.
    pub(crate) is_kept: bool,
}

impl Site {
    /// Measures, unless it is told to stop, and writes the report as `NAME.json`. Exits 0 if the
    /// run is a success.
    pub(crate) async fn report(
        &self,
        name: &str,
        measure: impl Future<Output = anyhow::Result<Report>>,
    ) -> anyhow::Result<ExitCode> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let report = tokio::select! {
            report = measure => report?,
            _ = interrupt.recv() => bail!("stopped by Ctrl-C; every process was ended"),
            _ = terminate.recv() => bail!("stopped; every process was ended"),
        };
        let path = self.out.join(name).with_extension("json");
        let json = serde_json::to_vec_pretty(&report.json)?;
        std::fs::write(&path, json).with_context(|| format!("cannot write {}", path.display()))?;
        println!("\n{}\nThe same as JSON: {}", report.text, path.display());
        Ok(if report.is_kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// The URL of an own database with the current schema; its name has this suffix.
    pub(crate) async fn database(&self, suffix: &str) -> anyhow::Result<String> {
        let url = store::pool::beside(&self.database_url, suffix).await?;
        migrate::run(&url).await?;
        Ok(url)
    }

    /// The URL of an own database that is made anew and empty; its name has this suffix.
    pub(crate) async fn empty_database(&self, suffix: &str) -> anyhow::Result<String> {
        let url = store::pool::beside(&self.database_url, suffix).await?;
        let name = url.rsplit_once('/').context("DATABASE_URL names no database")?.1;
        let quoted = name.split('?').next().unwrap_or(name).replace('"', "\"\"");
        let mut connection = PgConnection::connect(&self.database_url).await?;
        for statement in ["drop database \"{}\" with (force)", "create database \"{}\""] {
            let statement = AssertSqlSafe(statement.replace("{}", &quoted));
            connection.execute(statement).await.context("the database cannot be made anew")?;
        }
        Ok(url)
    }

    /// A fleet of services on this database, which trusts these proxies for a client's address.
    pub(crate) fn fleet(&self, database_url: &str, proxies: &[Ipv4Addr]) -> anyhow::Result<Fleet> {
        let proxies: Vec<String> = proxies.iter().map(Ipv4Addr::to_string).collect();
        let environment = vec![
            ("DATABASE_URL", database_url.to_owned()),
            ("REDIS_URL", self.redis_url.clone()),
            ("AMQP_URL", self.amqp_url.clone()),
            ("USHER_MASTER_KEY", self.master_key.clone()),
            ("USHER_DATABASE_CONNECTIONS_MAX", CONNECTIONS_MAX.to_string()),
            ("USHER_TRUSTED_PROXIES", proxies.join(",")),
        ];
        Fleet::new(&self.out, environment)
    }
}
