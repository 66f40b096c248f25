//! A small SMTP server (RFC 5321) that keeps what it is sent, and can refuse it or hang.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use platform::Shutdown;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

/// What the server does with a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Takes,
    /// Answers the whole mail with this status.
    Refuses(u16),
    /// Says nothing once it has the whole mail.
    Hangs,
}

/// A mail that was taken.
#[derive(Clone, Debug)]
pub struct Mail {
    pub recipients: Vec<String>,
    /// Headers and body, as they came.
    pub text: String,
}

impl Mail {
    /// The token of the first link.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn token(&self) -> String {
        // Quoted-printable: soft line breaks, and `=3D` for `=`.
        let text = self.text.replace("=\r\n", "").replace("=3D", "=");
        let (_, rest) = text.split_once("#token=").expect("a link with a token");
        rest.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).collect()
    }

    /// The value of a header that stands on one line.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// The server, on a port of its own. Cheap to clone.
#[derive(Clone)]
pub struct Mailbox {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    mood: Mood,
    taken: Vec<Mail>,
    /// Whole mails that came, whatever became of them.
    tried: usize,
}

impl Mailbox {
    /// Starts a server that ends with the shutdown.
    ///
    /// # Panics
    /// If the port is in use.
    pub async fn start(address: SocketAddr, mood: Mood, shutdown: &Shutdown) -> Self {
        let listener = TcpListener::bind(address).await.expect("the port is free");
        let address = listener.local_addr().expect("a bound listener has an address");
        let state = Arc::new(Mutex::new(State { mood, taken: Vec::new(), tried: 0 }));
        let mailbox = Self { address, state };
        let (serving, stop) = (mailbox.clone(), shutdown.clone());
        shutdown.spawn(async move {
            loop {
                let client = tokio::select! {
                    () = stop.begun() => return,
                    accepted = listener.accept() => accepted,
                };
                let Ok((client, _)) = client else { continue };
                let (serving, ending) = (serving.clone(), stop.clone());
                stop.spawn(async move {
                    tokio::select! {
                        () = ending.begun() => {}
                        _ = serving.talk(client) => {}
                    }
                });
            }
        });
        mailbox
    }

    /// The server as a setting.
    #[must_use]
    pub fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }

    pub fn set(&self, mood: Mood) {
        self.state().mood = mood;
    }

    /// Every mail that was taken.
    #[must_use]
    pub fn taken(&self) -> Vec<Mail> {
        self.state().taken.clone()
    }

    /// How many mails came, whatever became of them.
    #[must_use]
    pub fn tried(&self) -> usize {
        self.state().tried
    }

    /// The mails that were taken for this recipient.
    #[must_use]
    pub fn of(&self, recipient: &str) -> Vec<Mail> {
        let mails = self.taken().into_iter();
        mails.filter(|mail| mail.recipients.iter().any(|to| to == recipient)).collect()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn talk(&self, client: TcpStream) -> io::Result<()> {
        let mut client = BufReader::new(client);
        client.write_all(b"220 test\r\n").await?;
        let mut recipients = Vec::new();
        let mut line = String::new();
        loop {
            line.clear();
            if client.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let word = line.get(..4).unwrap_or_default().to_ascii_uppercase();
            let answer = match word.as_str() {
                "EHLO" => "250-test\r\n250 SMTPUTF8\r\n".to_owned(),
                "RCPT" => {
                    let to = line.split_once('<').and_then(|(_, to)| to.split_once('>'));
                    recipients.extend(to.map(|(to, _)| to.to_owned()));
                    "250 yes\r\n".to_owned()
                }
                "DATA" => {
                    client.write_all(b"354 go on\r\n").await?;
                    let text = whole(&mut client).await?;
                    self.hand_in(Mail { recipients: std::mem::take(&mut recipients), text }).await
                }
                "QUIT" => {
                    client.write_all(b"221 bye\r\n").await?;
                    return Ok(());
                }
                _ => "250 yes\r\n".to_owned(),
            };
            client.write_all(answer.as_bytes()).await?;
        }
    }

    async fn hand_in(&self, mail: Mail) -> String {
        let mood = {
            let mut state = self.state();
            state.tried += 1;
            if state.mood == Mood::Takes {
                state.taken.push(mail);
            }
            state.mood
        };
        match mood {
            Mood::Takes => "250 taken\r\n".to_owned(),
            Mood::Refuses(status) => format!("{status} not this one\r\n"),
            Mood::Hangs => std::future::pending().await,
        }
    }
}

/// The mail up to the line with a single dot.
async fn whole(client: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut text = String::new();
    loop {
        let mut line = String::new();
        if client.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line == ".\r\n" {
            return Ok(text);
        }
        text.push_str(line.strip_prefix('.').unwrap_or(&line));
    }
}
