//! A health check for containers that have no curl.

use std::{process::ExitCode, time::Duration};

use clap::Args;

/// Asks a URL; exits 0 when it answers 200.
#[derive(Args)]
pub struct Healthcheck {
    /// The URL, such as `http://127.0.0.1:8080/readyz`.
    url: String,
}

impl Healthcheck {
    /// Asks once, for at most five seconds.
    pub async fn run(self) -> ExitCode {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build();
        let answer = match client {
            Ok(client) => client.get(&self.url).send().await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(answer) if answer.status() == 200 => ExitCode::SUCCESS,
            Ok(answer) => {
                let status = answer.status();
                println!("{status}: {}", answer.text().await.unwrap_or_default());
                ExitCode::FAILURE
            }
            Err(error) => {
                println!("no answer: {error}");
                ExitCode::FAILURE
            }
        }
    }
}
