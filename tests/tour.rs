//! The tour of the API in docs/ walks to its end.

use std::{path::Path, process::Command};

use contract::access::Role;
use tokio::task::spawn_blocking;

use crate::harness::System;

#[tokio::test(flavor = "multi_thread")]
async fn the_tour_walks_to_its_end() {
    let system = System::start().await;
    let (_, admin) = system.account(Role::Admin).await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/tour.sh");
    let mut tour = Command::new("bash");
    tour.arg(script)
        .env("BASE_URL", format!("http://{}", system.address))
        .env("ADMIN_TOKEN", admin);
    let done = spawn_blocking(move || tour.output()).await.unwrap();
    let done = done.expect("bash is there; ./dev test installs curl, jq and openssl");
    let (told, errors) =
        (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{told}{errors}");
    assert!(told.ends_with("The tour is over.\n"), "{told}");
    assert!(system.audit(&[]).await.is_clean());
    system.stop().await;
}
