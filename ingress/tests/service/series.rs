//! Many shows at once.

use contract::access::Role;
use serde_json::{Value, json};

use crate::running::{Ingress, Programme, screen, theatre};

/// A programme in Berlin.
async fn in_berlin(ingress: &Ingress, admin: &str) -> Programme {
    let made = Programme::make(ingress, admin).await;
    let mut house = theatre("Kino");
    house["timeZone"] = json!("Europe/Berlin");
    let theatre = ingress.post("/theatres", admin, &house).await.id("theatreId");
    let screen = ingress.post("/screens", admin, &screen(&theatre)).await.id("screenId");
    Programme { theatre, screen, ..made }
}

/// Evenings on Fridays and Saturdays over the night when clocks go forward.
fn series(programme: &Programme) -> Value {
    let mut show = programme.show();
    show["startsAt"] = json!("2027-03-26T19:00:00Z");
    show["saleClosesAt"] = json!("2027-03-26T18:30:00Z");
    json!({
        "show": show, "from": "2027-03-26", "until": "2027-04-03",
        "weekdays": ["fri", "sat"], "times": ["20:00", "22:30"],
    })
}

fn starts(series: &Value) -> Vec<&str> {
    let items = series["items"].as_array().unwrap();
    items.iter().map(|show| show["startsAt"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_series_is_entered_by_the_clocks_of_the_theatre() {
    let ingress = Ingress::start().await;
    let admin = ingress.token(Role::Admin).await;
    let programme = in_berlin(&ingress, &admin).await;
    let expected = [
        "2027-03-26T19:00:00Z",
        "2027-03-26T21:30:00Z",
        "2027-03-27T19:00:00Z",
        "2027-03-27T21:30:00Z",
        "2027-04-02T18:00:00Z",
        "2027-04-02T20:30:00Z",
        "2027-04-03T18:00:00Z",
        "2027-04-03T20:30:00Z",
    ];
    let body = series(&programme);
    let tried = ingress.post("/shows/bulk?dryRun=true", &admin, &body).await;
    assert_eq!((tried.status.as_u16(), starts(&tried.body)), (200, expected.to_vec()));
    let path = format!("/movies/{}/shows?limit=100", programme.movie);
    assert_eq!(ingress.get(&path).await.body["items"], json!([]), "a trial enters nothing");
    let entered = ingress.post("/shows/bulk", &admin, &body).await;
    assert_eq!((entered.status.as_u16(), starts(&entered.body)), (201, expected.to_vec()));
    assert_eq!(entered.body["items"][4]["saleClosesAt"], "2027-04-02T17:30:00Z");
    let there = testing::eventually("the list is read", std::time::Duration::from_secs(2), || {
        let listed = ingress.get(&path);
        async { Some(listed.await.body).filter(|page| page["items"] != json!([])) }
    });
    assert_eq!(starts(&there.await), expected);
    ingress.stop().await;
}

#[tokio::test]
async fn a_series_with_conflicts_enters_nothing_and_names_them_all() {
    let ingress = Ingress::start().await;
    let admin = ingress.token(Role::Admin).await;
    let programme = in_berlin(&ingress, &admin).await;
    let mut show = programme.show();
    (show["startsAt"], show["saleClosesAt"]) =
        (json!("2027-03-27T20:00:00Z"), json!("2027-03-27T20:00:00Z"));
    let in_the_way = ingress.post("/shows", &admin, &show).await.id("showId");
    let refused = ingress.post("/shows/bulk", &admin, &series(&programme)).await;
    assert_eq!(refused.problem(), (409, "SHOW_OVERLAPS"));
    // The film of 128 minutes at 19:00 and at 21:30 are both in the way of the one at 20:00.
    let conflicts = refused.body["conflicts"].as_array().unwrap();
    let at: Vec<_> = conflicts.iter().map(|one| one["startsAt"].as_str().unwrap()).collect();
    assert_eq!(at, ["2027-03-27T19:00:00Z", "2027-03-27T21:30:00Z"]);
    assert!(conflicts.iter().all(|one| one["overlaps"]["showId"] == in_the_way.as_str()));
    let path = format!("/movies/{}/shows?limit=100", programme.movie);
    assert_eq!(starts(&ingress.get(&path).await.body), ["2027-03-27T20:00:00Z"]);
    // Shows of the series are in each other's way as well.
    let mut close = series(&programme);
    (close["weekdays"], close["times"]) = (json!(["fri"]), json!(["20:00", "21:00"]));
    let refused = ingress.post("/shows/bulk?dryRun=true", &admin, &close).await;
    assert_eq!(refused.body["conflicts"].as_array().unwrap().len(), 2, "{refused:?}");
    ingress.stop().await;
}

#[tokio::test]
async fn a_wrong_series_is_refused_with_the_place() {
    let ingress = Ingress::start().await;
    let admin = ingress.token(Role::Admin).await;
    let programme = in_berlin(&ingress, &admin).await;
    let good = series(&programme);
    let changed = |pointer: &str, value: Value| {
        let mut body = good.clone();
        *body.pointer_mut(pointer).unwrap() = value;
        body
    };
    for (body, pointer) in [
        (changed("/until", json!("2027-03-25")), "/until"),
        (changed("/until", json!("2029-03-25")), "/until"),
        (changed("/times", json!([])), "/times"),
        (changed("/times", json!(["25:00"])), "/times/0"),
        (changed("/weekdays", json!([])), "/weekdays"),
        (changed("/weekdays", json!(["someday"])), "/weekdays/0"),
        (changed("/show/theatreId", json!(programme.movie)), "/show/theatreId"),
        (changed("/show/movieId", json!(programme.theatre)), "/show/movieId"),
        (changed("/show/prices/0/tier", json!("BALCONY")), "/show/prices/0/tier"),
        (changed("/show/maxSeatsPerUser", json!(0)), "/show/maxSeatsPerUser"),
        (changed("/show/saleOpensAt", json!("2027-03-26T19:00:00Z")), "/show/saleClosesAt"),
    ] {
        let refused = ingress.post("/shows/bulk", &admin, &body).await;
        let found = (refused.problem(), refused.pointer());
        assert_eq!(found, ((400, "VALIDATION_FAILED"), pointer), "{refused:?}");
    }
    // Neither an hour that no clock shows, nor more shows than a call takes.
    let mut night = changed("/times", json!(["02:30"]));
    night["weekdays"] = json!(["sun"]);
    let refused = ingress.post("/shows/bulk", &admin, &night).await;
    assert_eq!((refused.problem(), refused.pointer()), ((400, "VALIDATION_FAILED"), "/times"));
    let mut many = changed("/until", json!("2027-12-31"));
    many["weekdays"] = json!(null);
    let refused = ingress.post("/shows/bulk", &admin, &many).await;
    assert_eq!(refused.problem(), (422, "LIMIT_EXCEEDED"));
    ingress.stop().await;
}
