//! Mails, from the call that causes one to a real SMTP server.

use std::{
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::Duration,
};

use contract::mail::TOKEN_CHARS;
use platform::Shutdown;
use reqwest::Method;
use serde_json::{Value, json};
use testing::{
    Answer, Slot, eventually,
    mailbox::{Mail, Mailbox, Mood},
};
use tokio::time::Instant;

use crate::harness::{SOON, System, fresh_key, program};

const FROM: &str = "Usher <tickets@example.org>";
const PASSWORD: &str = "correct horse";
const ANYWHERE: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

/// A system that sends its mails to a server in this mood.
struct Sending {
    system: System,
    mailbox: Mailbox,
    stop: Shutdown,
}

impl Sending {
    async fn start(mood: Mood) -> Self {
        let stop = Shutdown::default();
        let mailbox = Mailbox::start(ANYWHERE.into(), mood, &stop).await;
        let system = system(mailbox.address).await;
        Self { system, mailbox, stop }
    }

    async fn stop(self) {
        self.stop.begin();
        self.system.stop().await;
    }
}

async fn system(server: SocketAddr) -> System {
    let from = format!("--mail-from={FROM}");
    let url = format!("--smtp-url=smtp://{server}");
    System::start_with_arguments(&[&from, &url, "--public-url=https://tickets.example/"]).await
}

async fn post(system: &System, path: &str, body: Value) -> Answer {
    system.call(Method::POST, &format!("/api/v1/auth/{path}"), None, &[], Some(body)).await
}

/// A new account; its address and the answer.
async fn sign_up(system: &System) -> (String, Answer) {
    let email = format!("{}@example.net", fresh_key());
    let made =
        post(system, "signup", json!({"name": "Ann", "email": email, "password": PASSWORD})).await;
    assert_eq!(made.status, 201, "{made:?}");
    (email, made)
}

/// The newest mail of an address, once there are `n`.
async fn nth_mail(mailbox: &Mailbox, email: &str, n: usize) -> Mail {
    let mut mails = eventually("the mail arrives", SOON * 3, async || {
        let mails = mailbox.of(email);
        (mails.len() >= n).then_some(mails)
    })
    .await;
    assert_eq!(mails.len(), n, "no mail twice");
    mails.pop().unwrap()
}

/// How the only mail of the database ended, once it has.
async fn failure(system: &System) -> Option<String> {
    let ended = "select failure from mails where ended_at is not null";
    eventually("the mail ends", SOON, async || {
        sqlx::query_scalar(ended).fetch_optional(&system.pool).await.unwrap()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_account_verifies_its_address_with_the_link_that_came_by_mail() {
    let sending = Sending::start(Mood::Takes).await;
    let Sending { system, mailbox, .. } = &sending;
    let (email, made) = sign_up(system).await;
    assert_eq!(made.body["user"]["emailVerified"], false);
    let mail = nth_mail(mailbox, &email, 1).await;
    assert_eq!(mail.header("Auto-Submitted"), Some("auto-generated"), "{}", mail.text);
    assert!(mail.text.contains("https://tickets.example/verify#token="), "{}", mail.text);
    let token = mail.token();
    let stored: i64 = sqlx::query_scalar("select count(*) from mails where mails::text like $1")
        .bind(format!("%{token}%"))
        .fetch_one(&system.pool)
        .await
        .unwrap();
    assert_eq!(stored, 0, "the database knows only its hash");
    for wrong in ["", "x", &"x".repeat(TOKEN_CHARS)] {
        let refused = post(system, "verify", json!({"token": wrong})).await;
        assert_eq!(refused.problem(), (401, "VERIFY_TOKEN_INVALID"));
    }
    let verified = post(system, "verify", json!({"token": token})).await;
    assert_eq!(verified.status, 200, "{verified:?}");
    assert_eq!(verified.body["emailVerified"], true);
    let access = made.id("accessToken");
    let profile = system.get("/api/v1/auth/profile", Some(&access)).await;
    assert_eq!(profile.body["emailVerified"], true);
    let again = post(system, "verify", json!({"token": token})).await;
    assert_eq!(again.problem(), (401, "VERIFY_TOKEN_INVALID"), "a link works once");
    sending.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mail_that_verifies_comes_again_once_a_minute_and_five_times_a_day() {
    let sending = Sending::start(Mood::Takes).await;
    let Sending { system, mailbox, .. } = &sending;
    let (email, made) = sign_up(system).await;
    let access = made.id("accessToken");
    nth_mail(mailbox, &email, 1).await;
    let send = "/api/v1/auth/verify/send";
    let age = "update mails set made_at = made_at - interval '61 seconds'";
    for n in 2..=5 {
        let soon = system.post(send, &access, json!({})).await;
        assert_eq!(soon.problem(), (429, "RATE_LIMITED"), "within a minute");
        sqlx::query(age).execute(&system.pool).await.unwrap();
        assert_eq!(system.post(send, &access, json!({})).await.status, 202);
        nth_mail(mailbox, &email, n).await;
    }
    sqlx::query(age).execute(&system.pool).await.unwrap();
    let sixth = system.post(send, &access, json!({})).await;
    assert_eq!(sixth.problem(), (429, "RATE_LIMITED"), "a sixth time in a day");
    sending.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_password_is_set_anew_by_mail_and_nobody_learns_who_has_an_account() {
    let sending = Sending::start(Mood::Takes).await;
    let Sending { system, mailbox, .. } = &sending;
    let (email, made) = sign_up(system).await;
    nth_mail(mailbox, &email, 1).await;
    for address in [email.as_str(), "nobody@example.net", email.as_str()] {
        let began = Instant::now();
        let sent = post(system, "password-reset/send", json!({"email": address})).await;
        assert_eq!((sent.status.as_u16(), sent.body), (202, Value::Null), "{address}");
        assert!(began.elapsed() >= Duration::from_millis(250), "at a fixed time");
    }
    let mail = nth_mail(mailbox, &email, 2).await;
    assert!(mail.text.contains("https://tickets.example/password-reset#token="), "{}", mail.text);
    let reset = json!({"token": mail.token(), "password": "another horse"});
    assert_eq!(post(system, "password-reset", reset.clone()).await.status, 204);
    let again = post(system, "password-reset", reset).await;
    assert_eq!(again.problem(), (401, "RESET_TOKEN_INVALID"), "a link works once");
    let refresh = json!({"refreshToken": made.id("refreshToken")});
    let refused = post(system, "refresh", refresh).await;
    assert_eq!(refused.problem(), (401, "SESSION_ENDED"));
    let login = json!({"email": email, "password": "another horse"});
    assert_eq!(post(system, "login", login).await.status, 200);
    let told = nth_mail(mailbox, &email, 3).await;
    assert_eq!(told.header("Subject"), Some("Your password was changed"));
    assert!(mailbox.of("nobody@example.net").is_empty());
    sending.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_who_asks_all_day_keeps_no_owner_from_a_link_that_works() {
    let sending = Sending::start(Mood::Takes).await;
    let Sending { system, mailbox, .. } = &sending;
    let (email, _) = sign_up(system).await;
    let forgotten = || post(system, "password-reset/send", json!({"email": email}));
    let passes = async |minutes: i32| {
        let sql = "update mails set made_at = made_at - make_interval(mins => $1)";
        sqlx::query(sql).bind(minutes).execute(&system.pool).await.unwrap();
    };
    for n in 2..=6 {
        assert_eq!(forgotten().await.status, 202);
        nth_mail(mailbox, &email, n).await;
        passes(2).await;
    }
    // The last link is two minutes old, and works: no other is needed.
    assert_eq!(forgotten().await.status, 202);
    passes(14).await;
    assert_eq!(mailbox.of(&email).len(), 6);
    assert_eq!(forgotten().await.status, 202);
    let mail = nth_mail(mailbox, &email, 7).await;
    let reset = json!({"token": mail.token(), "password": "another horse"});
    assert_eq!(post(system, "password-reset", reset).await.status, 204);
    sending.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_waits_for_a_server_that_is_away_and_then_comes_once() {
    let reserved = std::net::TcpListener::bind(SocketAddr::from(ANYWHERE)).unwrap();
    let address = reserved.local_addr().unwrap();
    drop(reserved);
    let system = system(address).await;
    let (email, _) = sign_up(&system).await;
    let tried = "select attempts from mails where attempts > 0 and due_at = claimed_until";
    eventually("it was tried", SOON, async || {
        sqlx::query_scalar::<_, i32>(tried).fetch_optional(&system.pool).await.unwrap()
    })
    .await;
    let stop = Shutdown::default();
    let mailbox = Mailbox::start(address, Mood::Refuses(451), &stop).await;
    eventually("it is put off", SOON * 2, async || (mailbox.tried() > 0).then_some(())).await;
    mailbox.set(Mood::Takes);
    nth_mail(&mailbox, &email, 1).await;
    assert_eq!(failure(&system).await, None, "it was sent");
    stop.begin();
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_mail_is_parked_and_never_tried_again() {
    let sending = Sending::start(Mood::Refuses(550)).await;
    sign_up(&sending.system).await;
    assert_eq!(failure(&sending.system).await.as_deref(), Some("refused with 550"));
    assert_eq!(sending.mailbox.tried(), 1);
    sending.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_slows_no_sign_in() {
    let sending = Sending::start(Mood::Hangs).await;
    let Sending { system, mailbox, .. } = &sending;
    // More mails than are sent at the same time.
    let (email, _) = sign_up(system).await;
    for _ in 0..5 {
        sign_up(system).await;
    }
    eventually("it hangs", SOON, async || (mailbox.tried() == 4).then_some(())).await;
    let began = Instant::now();
    let login = json!({"email": email, "password": PASSWORD});
    assert_eq!(post(system, "login", login).await.status, 200);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(mailbox.tried(), 4, "no more than four connections");
    sending.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_outlives_its_notifier_and_no_log_has_its_token() {
    let stop = Shutdown::default();
    let mailbox = Mailbox::start(ANYWHERE.into(), Mood::Hangs, &stop).await;
    let slot = Slot::take().await;
    let log = std::env::temp_dir().join(format!("usher-test-mails-{}", fresh_key()));
    let mut first = start(&slot, &mailbox, &log).await;
    let body = json!({"name": "Ann", "email": "ann@example.net", "password": PASSWORD});
    let url = |path: &str| format!("http://{}/api/v1/auth/{path}", first.address);
    let http = reqwest::Client::new();
    let made = Answer::to(http.post(url("signup")).json(&body)).await;
    assert_eq!(made.status, 201, "{made:?}");
    eventually("it is being sent", SOON, async || (mailbox.tried() == 1).then_some(())).await;
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    mailbox.set(Mood::Takes);
    // A claim ends after 45 s; the test does not wait for it.
    let over = "update mails set claimed_until = clock_timestamp(), due_at = clock_timestamp()";
    sqlx::query(over).execute(&slot.pool()).await.unwrap();
    let second = start(&slot, &mailbox, &log).await;
    let mail = nth_mail(&mailbox, "ann@example.net", 1).await;
    let token = mail.token();
    let verify = format!("http://{}/api/v1/auth/verify", second.address);
    let verified = Answer::to(http.post(verify).json(&json!({"token": token}))).await;
    assert_eq!(verified.status, 200, "{verified:?}");
    drop(second);
    let text = std::fs::read_to_string(&log).unwrap();
    // An empty log would prove nothing.
    assert!(text.contains("INFO"), "{text}");
    assert!(!text.contains(&token), "the log has the token");
    std::fs::remove_file(log).unwrap();
    stop.begin();
}

/// All services as a process, which ends with the test.
struct Process {
    address: SocketAddr,
    child: Child,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn start(slot: &Slot, mailbox: &Mailbox, log: &std::path::Path) -> Process {
    let listener = std::net::TcpListener::bind(SocketAddr::from(ANYWHERE)).unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let log = std::fs::File::options().create(true).append(true).open(log).unwrap();
    let mut command: Command = program("usher");
    let child = command
        .arg("up")
        .envs(slot.environment())
        .env("USHER_LISTEN", address.to_string())
        .env("USHER_METRICS_LISTEN", "127.0.0.1:0")
        .env("USHER_MAIL_FROM", FROM)
        .env("USHER_SMTP_URL", mailbox.url())
        .env("USHER_LOG", "trace")
        .stdout(Stdio::null())
        .stderr(Stdio::from(log))
        .spawn()
        .expect("usher starts");
    let process = Process { address, child };
    eventually("it is ready", SOON, async || {
        let answer = reqwest::get(format!("http://{address}/readyz")).await.ok()?;
        answer.status().is_success().then_some(())
    })
    .await;
    process
}
