//! Days and times of day are those of the theatre.

use contract::access::Role;
use reqwest::Method;
use serde_json::{Value, json};

use crate::running::{Ingress, movie, screen, theatre};

/// A theatre in this time zone, with a screen and a movie of one minute.
struct House {
    movie: String,
    theatre: String,
    screen: String,
}

impl House {
    async fn make(ingress: &Ingress, admin: &str, zone: &str) -> Self {
        let mut short = movie("Minute");
        short["durationMinutes"] = json!(1);
        let movie = ingress.post("/movies", admin, &short).await.id("movieId");
        let mut house = theatre("Regal");
        house["timeZone"] = json!(zone);
        let made = ingress.post("/theatres", admin, &house).await;
        assert_eq!(made.body["timeZone"], zone, "{made:?}");
        let theatre = made.id("theatreId");
        let screen = ingress.post("/screens", admin, &screen(&theatre)).await.id("screenId");
        Self { movie, theatre, screen }
    }

    async fn show(&self, ingress: &Ingress, admin: &str, starts_at: &str) -> Value {
        let show = json!({
            "movieId": self.movie, "theatreId": self.theatre, "screenId": self.screen,
            "startsAt": starts_at, "saleOpensAt": "2026-12-01T00:00:00Z", "saleClosesAt": starts_at,
            "prices": [{"tier": "STANDARD", "amount": 30_000, "currency": "INR"}],
            "maxSeatsPerUser": 4,
        });
        let made = ingress.post("/shows", admin, &show).await;
        assert_eq!(made.status, 201, "{made:?}");
        made.body
    }

    async fn dates(&self, ingress: &Ingress) -> Value {
        ingress.get(&format!("/movies/{}/availability", self.movie)).await.body["dates"].take()
    }

    /// When the shows begin that this query finds.
    async fn starts(&self, ingress: &Ingress, query: &str) -> Vec<String> {
        let found = ingress.get(&format!("/movies/{}/shows?{query}", self.movie)).await;
        assert_eq!(found.status, 200, "{found:?}");
        let items = found.body["items"].as_array().unwrap();
        items.iter().map(|show| show["startsAt"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn a_show_after_midnight_is_on_the_day_of_its_theatre() {
    let ingress = Ingress::start().await;
    let admin = ingress.token(Role::Admin).await;
    let house = House::make(&ingress, &admin, "Asia/Kolkata").await;
    // 00:30 of the 25th in Mumbai.
    let start = "2028-12-24T19:00:00Z";
    let made = house.show(&ingress, &admin, start).await;
    assert_eq!(made["timeZone"], "Asia/Kolkata");
    assert_eq!(house.dates(&ingress).await, json!(["2028-12-25"]));
    assert_eq!(house.starts(&ingress, "date=2028-12-25").await, [start]);
    assert_eq!(house.starts(&ingress, "date=2028-12-24").await, [""; 0]);
    assert_eq!(house.starts(&ingress, "from=2028-12-25&until=2028-12-25").await, [start]);
    assert_eq!(house.starts(&ingress, "until=2028-12-24").await, [""; 0]);
    assert_eq!(house.starts(&ingress, "after=00:00&before=00:31").await, [start]);
    assert_eq!(house.starts(&ingress, "after=22:00&before=02:00").await, [start]);
    assert_eq!(house.starts(&ingress, "after=00:31").await, [""; 0]);
    assert_eq!(house.starts(&ingress, "before=00:30").await, [""; 0]);
    ingress.stop().await;
}

/// The ends of the zone map, where a day begins 14 hours before that of UTC, and 11 hours after.
#[tokio::test]
async fn the_farthest_zones_have_their_own_days() {
    let ingress = Ingress::start().await;
    let admin = ingress.token(Role::Admin).await;
    for (zone, start, day) in [
        ("Pacific/Kiritimati", "2028-12-23T10:00:00Z", "2028-12-24"),
        ("Pacific/Kiritimati", "2028-12-24T09:59:00Z", "2028-12-24"),
        ("Pacific/Pago_Pago", "2028-12-24T11:00:00Z", "2028-12-24"),
        ("Pacific/Pago_Pago", "2028-12-25T10:59:00Z", "2028-12-24"),
    ] {
        let house = House::make(&ingress, &admin, zone).await;
        house.show(&ingress, &admin, start).await;
        assert_eq!(house.dates(&ingress).await, json!([day]), "{zone} {start}");
        assert_eq!(house.starts(&ingress, &format!("date={day}")).await, [start], "{zone}");
    }
    ingress.stop().await;
}

#[tokio::test]
async fn nights_when_the_clocks_change_belong_to_one_day_each() {
    let ingress = Ingress::start().await;
    let admin = ingress.token(Role::Admin).await;
    let night = async |zone: &str, day: &str, inside: &[&str], outside: &[&str]| {
        let house = House::make(&ingress, &admin, zone).await;
        for start in inside.iter().chain(outside) {
            house.show(&ingress, &admin, start).await;
        }
        let of_day = house.starts(&ingress, &format!("date={day}")).await;
        assert_eq!(of_day, inside, "{zone} {day}");
    };
    // 28 March has 23 hours in Berlin, 31 October 25, and 02:30 comes twice.
    let spring = ["2027-03-27T23:00:00Z", "2027-03-28T01:00:00Z", "2027-03-28T21:59:00Z"];
    night(
        "Europe/Berlin",
        "2027-03-28",
        &spring,
        &["2027-03-27T22:59:00Z", "2027-03-28T22:00:00Z"],
    )
    .await;
    let autumn = [
        "2027-10-30T22:00:00Z",
        "2027-10-31T00:30:00Z",
        "2027-10-31T01:30:00Z",
        "2027-10-31T22:59:00Z",
    ];
    night(
        "Europe/Berlin",
        "2027-10-31",
        &autumn,
        &["2027-10-30T21:59:00Z", "2027-10-31T23:00:00Z"],
    )
    .await;
    // Half an hour of summer, at 02:00 of 3 October.
    let lord_howe = ["2027-10-02T13:30:00Z", "2027-10-03T12:59:00Z"];
    let outside = ["2027-10-02T13:29:00Z", "2027-10-03T13:00:00Z"];
    night("Australia/Lord_Howe", "2027-10-03", &lord_howe, &outside).await;
    // Clocks went forward at midnight: the day began at 01:00.
    night("America/Havana", "2028-03-12", &["2028-03-12T05:00:00Z"], &["2028-03-12T04:59:00Z"])
        .await;
    // Both of 02:30, and none of the hour that does not exist.
    let house = House::make(&ingress, &admin, "Europe/Berlin").await;
    for start in ["2027-10-31T00:30:00Z", "2027-10-31T01:30:00Z", "2027-10-31T02:30:00Z"] {
        house.show(&ingress, &admin, start).await;
    }
    let at_half_past_two = house.starts(&ingress, "after=02:30&before=02:31").await;
    assert_eq!(at_half_past_two, ["2027-10-31T00:30:00Z", "2027-10-31T01:30:00Z"]);
    ingress.stop().await;
}

#[tokio::test]
async fn a_theatre_keeps_its_zone_and_takes_only_names_of_zones() {
    let ingress = Ingress::start().await;
    let admin = ingress.token(Role::Admin).await;
    let house = House::make(&ingress, &admin, "Asia/Kolkata").await;
    let path = format!("/theatres/{}", house.theatre);
    let renamed = ingress.send(Method::PUT, &path, Some(&admin), &theatre("Plaza")).await;
    assert_eq!(renamed.body["timeZone"], "Asia/Kolkata", "{renamed:?}");
    for bad in ["", "Asia", "Asia/Bombay1", "IST+5", "+05:30", "asia/kolkata", "posix/Asia/Kolkata"]
    {
        let mut house = theatre("Regal");
        house["timeZone"] = json!(bad);
        for refused in [
            ingress.post("/theatres", &admin, &house).await,
            ingress.send(Method::PUT, &path, Some(&admin), &house).await,
        ] {
            let found = (refused.problem(), refused.pointer());
            assert_eq!(found, ((400, "VALIDATION_FAILED"), "/timeZone"), "{bad}");
        }
    }
    ingress.stop().await;
}
