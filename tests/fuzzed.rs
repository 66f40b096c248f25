//! The OpenAPI document against the running API: `./dev fuzz` sends requests that the document
//! allows and others that it forbids, and compares the answers with it.

use std::{env, io::Write as _, path::Path, process::Command};

use contract::access::Role;

use crate::harness::{Plan, System};

/// Default arguments, which take half a minute and find most faults of a new call.
const SHORT: &str = "--max-examples 5 --seed 1 --no-shrink";
/// Exit code of `./dev fuzz` if it cannot install what it needs.
const CANNOT_BE_HAD: i32 = 69;
/// Wide limits, since the fuzzer sends more than any visitor may.
const UNLIMITED: [&str; 4] = [
    "--auth-per-minute=1000000",
    "--reads-per-second=1000000",
    "--bookings-per-second=1000000",
    "--limit-joins-per-second=1000000",
];

#[expect(clippy::disallowed_methods, reason = "tests have no command line of their own")]
fn setting(name: &str) -> Option<String> {
    env::var(name).ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_is_what_its_description_says_and_nothing_sent_to_it_is_our_fault() {
    let system = System::start_with_arguments(&UNLIMITED).await;
    let show = system.show(Plan::default()).await;
    let (_, token) = system.account(Role::Admin).await;
    let dev = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dev");
    let arguments = setting("FUZZ_ARGUMENTS").unwrap_or_else(|| SHORT.into());
    let mut command = Command::new(dev);
    command.arg("fuzz").args(arguments.split_whitespace());
    command.env("BASE_URL", format!("http://{}", system.address)).env("ACCESS_TOKEN", token);
    command.env("SHOW_ID", show.to_string());
    let done = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    std::io::stderr().write_all(&[done.stdout, done.stderr].concat()).unwrap();
    if done.status.code() == Some(CANNOT_BE_HAD) {
        let in_ci = setting("NEXTEST_PROFILE").as_deref() == Some("ci");
        assert!(!in_ci, "schemathesis must be there in CI");
        eprintln!("SKIPPED: the API was not fuzzed, schemathesis cannot be installed here");
        return;
    }
    assert!(done.status.success(), "findings are above; ./dev fuzz {arguments} repeats them");
    assert!(system.audit(&[]).await.is_clean());
    system.stop().await;
}
