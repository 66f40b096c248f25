//! Faults of the installation: bookings wait until they are mended, and a metric reports them.

use std::time::Duration;

use contract::{
    ProducerId,
    access::Role,
    message::{BookingRequested, Number},
    topology::Partition,
};
use lapin::types::FieldTable;
use reqwest::Method;
use serde_json::{Value, json};
use store::acceptance;
use testing::eventually;

use crate::{
    forge::{Forge, outcome},
    harness::{Plan, SOON, System, fresh_key},
    witness::Witness,
};

/// How long the installation is broken; longer than all attempts of a parked booking take.
const BROKEN_FOR: Duration = Duration::from_secs(4);
/// Longest wait after it is mended: waiting work is tried every two seconds, on a busy machine
/// later.
const MENDED: Duration = Duration::from_secs(30);

/// Changes of the schema under a running system: the error code, the change, and its reversal.
const CHANGES: [(&str, &str, &str); 3] = [
    (
        "42703",
        "alter table orders rename column lines to lines2",
        "alter table orders rename column lines2 to lines",
    ),
    (
        "42P01",
        "alter table seat_claims rename to claims_elsewhere",
        "alter table claims_elsewhere rename to seat_claims",
    ),
    // A column of a newer version, which this one does not fill.
    (
        "23502",
        "alter table outbox add column later text not null default ''; alter table outbox alter later drop default",
        "alter table outbox drop column later",
    ),
];

async fn run(system: &System, sql: &'static str) {
    sqlx::raw_sql(sql).execute(&mut system.direct().await).await.expect("it fits the schema");
}

async fn submit(system: &System, token: &str, body: &Value) -> String {
    let key = fresh_key();
    let headers = [("idempotency-key", key.as_str())];
    let body = Some(body.clone());
    let answer = system.call(Method::POST, "/api/v1/bookings", Some(token), &headers, body).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.body["bookingId"].as_str().expect("a booking id").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_does_not_fit_for_a_while_costs_no_booking_its_seat() {
    let system = System::start().await;
    let show = system.show(Plan { rows: 10, seats: 20, ..Plan::default() }).await;
    let body = json!({"showId": show, "tier": "STANDARD", "quantity": 1});
    for (code, change, back) in CHANGES {
        let warm = system.book(&system.visitor().await, body.clone()).await;
        assert_eq!(warm.body["status"], "ALLOCATED", "the plans are cached: {warm:?}");
        run(&system, change).await;
        let mut accepted = Vec::new();
        for _ in 0..3 {
            let visitor = system.visitor().await;
            accepted.push(submit(&system, &visitor, &body).await);
        }
        eventually("it is told", SOON, async || {
            let ready = system.get("/readyz", None).await;
            let told = ready.body.to_string();
            let metrics = platform::telemetry::render();
            let gauge = format!("usher_waiting_for_installation{{code=\"{code}\"}} 1");
            (told.contains("installation") && told.contains(code) && metrics.contains(&gauge))
                .then_some(())
        })
        .await;
        tokio::time::sleep(BROKEN_FOR).await;
        run(&system, back).await;
        for booking in &accepted {
            let path = format!("/api/v1/bookings/{booking}");
            let status = eventually("it is decided", MENDED, async || {
                let rows: Option<(String, Option<String>)> = sqlx::query_as(
                    "select status::text, reason::text from bookings where booking_id::text = $1",
                )
                .bind(booking)
                .fetch_optional(&system.pool)
                .await
                .unwrap();
                rows
            })
            .await;
            assert_eq!(status, ("ALLOCATED".to_owned(), None), "{code}: {path}");
        }
    }
    eventually("nothing waits any more", SOON, async || {
        let ready = system.get("/readyz", None).await;
        (!ready.body.to_string().contains("installation")).then_some(())
    })
    .await;
    assert!(system.audit(&[]).await.is_clean());
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn words_of_a_newer_version_wait_for_it_and_their_neighbours_are_sold() {
    let system = System::start().await;
    let show = system.show(Plan::default()).await;
    let (account, _) = system.account(Role::User).await;
    let (witness, forge) = (Witness::of(&system, show).await, Forge::new(&system, show, account));
    let worded = |name: &str, word: Value, request: &BookingRequested| {
        let neighbour = forge.any();
        let both = vec![request.clone(), neighbour.clone()];
        let mut body: Value = serde_json::from_slice(&forge.envelope(both)).unwrap();
        body["bookings"][0][name] = word;
        (body.to_string(), neighbour)
    };
    let (kind, wish, version, late) = (forge.any(), forge.any(), forge.any(), forge.any());
    let (of_kind, beside_kind) = worded("kind", json!("LOAN"), &kind);
    let (of_wish, beside_wish) = worded("wish", json!({"together": [1, 2]}), &wish);
    let past = platform::clock::now() - Duration::from_mins(1);
    let (of_late, beside_late) =
        worded("kind", json!("LOAN"), &BookingRequested { deadline: past, ..late.clone() });
    let none = FieldTable::default;
    witness.publish(of_kind.as_bytes(), none()).await;
    witness.publish(of_wish.as_bytes(), none()).await;
    witness.publish(of_late.as_bytes(), none()).await;
    witness.publish(&forge.versioned(2, vec![version.clone()]), none()).await;
    for neighbour in [&beside_kind, &beside_wish, &beside_late] {
        assert_eq!(outcome(&system, neighbour.booking_id).await.0, "ALLOCATED");
    }
    // After the deadline every version would refuse the booking, so this one may do so.
    let expired = outcome(&system, late.booking_id).await;
    assert_eq!(expired.1.as_deref(), Some("EXPIRED"));

    let waiting: Vec<String> = eventually("three wait", SOON, async || {
        let bodies = sqlx::query_scalar("select convert_from(body, 'UTF8') from waiting_messages");
        let bodies: Vec<String> = bodies.fetch_all(&system.pool).await.unwrap();
        (bodies.len() == 3).then_some(bodies)
    })
    .await;
    for request in [&kind, &wish, &version] {
        let id = request.booking_id.to_string();
        assert_eq!(waiting.iter().filter(|body| body.contains(&id)).count(), 1);
        let rows: i64 = sqlx::query_scalar("select count(*) from bookings where booking_id = $1")
            .bind(request.booking_id.0)
            .fetch_one(&system.pool)
            .await
            .unwrap();
        assert_eq!(rows, 0, "nobody decided it");
    }
    // A newer version would take them up; here the test changes the word to a known one.
    run(
        &system,
        "update waiting_messages
                  set body = convert_to(replace(replace(replace(convert_from(body, 'UTF8'),
                      'LOAN', 'ORDER'), '\"together\":[1,2]', '\"bestAvailable\":1'),
                      '\"v\":2', '\"v\":1'), 'UTF8')",
    )
    .await;
    for request in [&kind, &wish, &version] {
        assert_eq!(outcome(&system, request.booking_id).await.0, "ALLOCATED");
    }
    eventually("none waits", SOON, async || {
        let n: i64 = sqlx::query_scalar("select count(*) from waiting_messages")
            .fetch_one(&system.pool)
            .await
            .unwrap();
        (n == 0).then_some(())
    })
    .await;
    assert!(system.audit(&[]).await.is_clean());
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bookings_keep_their_numbers_beside_words_of_a_newer_version() {
    let system = System::start().await;
    let show = system.show(Plan::default()).await;
    let (account, _) = system.account(Role::User).await;
    let (witness, forge) = (Witness::of(&system, show).await, Forge::new(&system, show, account));
    let partition = Partition { show, tier: "STANDARD".parse().unwrap() };
    let producer = ProducerId::new();
    let numbered = |n| BookingRequested { number: Some(Number { producer, n }), ..forge.any() };
    let mut bookings = [0, 1, 2, 3].map(numbered);
    bookings[2].deadline = platform::clock::now() - Duration::from_mins(1);
    system.report_accepted(&partition, producer, 4, true).await;
    let mut body: Value = serde_json::from_slice(&forge.envelope(bookings.to_vec())).unwrap();
    body["bookings"][0]["kind"] = json!("LOAN");
    body["bookings"][2]["kind"] = json!("LOAN");
    witness.publish(body.to_string().as_bytes(), FieldTable::default()).await;

    for known in [1, 3] {
        assert_eq!(outcome(&system, bookings[known].booking_id).await.0, "ALLOCATED");
    }
    assert_eq!(outcome(&system, bookings[2].booking_id).await.1.as_deref(), Some("EXPIRED"));
    let decided: String = sqlx::query_scalar("select numbers::text from decided")
        .fetch_one(&system.pool)
        .await
        .unwrap();
    assert_eq!(decided, "{[1,4)}");
    run(
        &system,
        "update waiting_messages
         set body = convert_to(replace(convert_from(body, 'UTF8'), 'LOAN', 'ORDER'), 'UTF8')",
    )
    .await;
    assert_eq!(outcome(&system, bookings[0].booking_id).await.0, "ALLOCATED");
    let undecided = acceptance::undecided(&system.pool).await.unwrap();
    assert_eq!(undecided.get(&partition), None);
    let (_, admin) = system.account(Role::Admin).await;
    let closed = system.post(&format!("/api/v1/shows/{show}/close"), &admin, json!({})).await;
    assert!(closed.status.is_success(), "{closed:?}");
    eventually("nothing is missed, and the queue is gone", MENDED, async || {
        let ready = "select count(*) from partitions where queue_ready_at is not null";
        let ready: i64 = sqlx::query_scalar(ready).fetch_one(&system.pool).await.unwrap();
        (ready == 0).then_some(())
    })
    .await;
    let audit = system.audit(&bookings.map(|booking| booking.booking_id)).await;
    assert!(audit.is_clean(), "{audit:?}");
    system.stop().await;
}

/// The shows of all pages of a list.
async fn pages(system: &System, list: &str) -> Vec<String> {
    let (mut shows, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = system.get(&format!("{list}{cursor}"), None).await.body;
        let items = page["items"].as_array().expect("a page").iter();
        shows.extend(items.map(|show| show["showId"].as_str().expect("an id").to_owned()));
        let Some(next) = page["nextCursor"].as_str() else { return shows };
        cursor = format!("&cursor={next}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_word_of_a_newer_version_in_one_show_leaves_all_others_as_they_are() {
    let system = System::start().await;
    let known = system.show(Plan::default()).await;
    let strange = system.show(Plan::default()).await;
    let later = system.show(Plan::default()).await;
    run(&system, "update shows set movie_id = (select movie_id from shows limit 1)").await;
    run(&system, "alter type room_mode add value 'TOMBOLA'").await;
    sqlx::query("update shows set room_mode = 'TOMBOLA' where show_id = $1")
        .bind(strange.0)
        .execute(&mut system.direct().await)
        .await
        .unwrap();
    eventually("it is counted", SOON, async || {
        platform::telemetry::render().contains("usher_shows_unreadable 1").then_some(())
    })
    .await;
    let body = |show| json!({"showId": show, "tier": "STANDARD", "quantity": 1});
    let sold = system.book(&system.visitor().await, body(known)).await;
    assert_eq!(sold.body["status"], "ALLOCATED", "{sold:?}");
    // Each service has a board of its own.
    eventually("the door does not know it", SOON, async || {
        let visitor = system.visitor().await;
        let refused = system.post("/api/v1/bookings", &visitor, body(strange)).await;
        (refused.status == 503 && refused.code() == "SHOW_NOT_READABLE").then_some(())
    })
    .await;
    let movie = system.get(&format!("/api/v1/shows/{known}"), None).await;
    let movie = movie.body["movieId"].as_str().expect("of a movie").to_owned();
    for list in ["/api/v1/shows/upcoming".to_owned(), format!("/api/v1/movies/{movie}/shows")] {
        for limit in 1..=3 {
            let listed = pages(&system, &format!("{list}?limit={limit}")).await;
            assert_eq!(listed, [known, later].map(|show| show.to_string()), "{list}: {limit}");
        }
    }
    eventually("the board is fresh", SOON, async || {
        system.get("/readyz", None).await.status.is_success().then_some(())
    })
    .await;
    system.stop().await;
}
