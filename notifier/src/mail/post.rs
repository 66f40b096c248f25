//! Hands mails to the SMTP server.

use std::time::Duration;

use anyhow::Context as _;
use lettre::{
    AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    transport::smtp::{AsyncSmtpTransportBuilder, Error, PoolConfig},
};
use tokio::time::timeout;

/// Longest wait for one answer of the server, and for the whole mail; less than a claim.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
const SEND_WAIT: Duration = Duration::from_secs(25);
const GOODBYE_WAIT: Duration = Duration::from_secs(1);

/// Why the server has not taken a mail.
#[derive(Debug)]
pub(super) enum NotSent {
    /// It may take the mail later; for metrics, why it did not now.
    Later(&'static str),
    /// It never will. Its status code.
    Never(String),
}

/// The SMTP server.
pub(super) struct Post(AsyncSmtpTransportBuilder);

impl Post {
    pub(super) fn new(url: &str) -> anyhow::Result<Self> {
        // The URL has a password: it is not a part of the error.
        let builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(url)
            .ok()
            .context("USHER_SMTP_URL cannot be read: smtp://user:password@host:587?tls=required")?;
        Ok(Self(builder.timeout(Some(ANSWER_WAIT))))
    }

    /// Sends a mail on a connection of its own. A connection whose mail was given up half way must
    /// not carry another mail, and a lost goodbye must not send this one again.
    pub(super) async fn send(&self, mail: Message) -> Result<(), NotSent> {
        let one = PoolConfig::new().max_size(1).idle_timeout(GOODBYE_WAIT);
        let transport = self.0.clone().pool_config(one).build::<Tokio1Executor>();
        let sent = timeout(SEND_WAIT, transport.send(mail)).await;
        let _ = timeout(GOODBYE_WAIT, transport.shutdown()).await;
        match sent {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(why(&error)),
            Err(_) => Err(NotSent::Later("timeout")),
        }
    }
}

fn why(error: &Error) -> NotSent {
    let status = error.status().map(u16::from);
    match status {
        // 53x is about us, not about the mail: a wrong password, TLS that is missing.
        Some(530..=539) => NotSent::Later("not-let-in"),
        Some(status @ 500..) => NotSent::Never(format!("refused with {status}")),
        Some(_) => NotSent::Later("put-off"),
        None if error.is_timeout() => NotSent::Later("timeout"),
        None => NotSent::Later("unreachable"),
    }
}
