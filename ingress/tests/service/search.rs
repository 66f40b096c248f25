//! Finding movies, theatres and shows.

use contract::access::Role;
use serde_json::{Value, json};

use crate::running::{Ingress, Programme, movie, screen, theatre};

fn titles(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|movie| movie["title"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn movies_are_found_by_parts_words_and_almost_their_titles() {
    let ingress = Ingress::start().await;
    let admin = ingress.token(Role::Admin).await;
    for (title, description, language) in [
        ("Amélie", "A waitress in Montmartre.", "French"),
        ("Interstellar", "Farmers look for another planet.", "English"),
        ("Stella", "A dog.", "English"),
        ("Москва слезам не верит", "Три подруги.", "Russian"),
        ("The Planet of Storms", "Venus.", "Russian"),
    ] {
        let mut made = movie(title);
        made["description"] = json!(description);
        made["language"] = json!(language);
        assert_eq!(ingress.post("/movies", &admin, &made).await.status, 201);
    }
    for (query, found) in [
        // Without accents, in any case.
        ("q=AMELIE", vec!["Amélie"]),
        ("q=амели", vec![]),
        ("q=МОСКВА", vec!["Москва слезам не верит"]),
        // Where the title begins with the text comes first.
        ("q=stella", vec!["Stella", "Interstellar"]),
        // Almost the title.
        ("q=interstelar", vec!["Interstellar"]),
        ("q=amelia", vec!["Amélie"]),
        // Words of title and description, cut short; titles before descriptions.
        ("q=planet", vec!["The Planet of Storms", "Interstellar"]),
        ("q=planet+farm", vec!["Interstellar"]),
        ("q=waitr+montm", vec!["Amélie"]),
        ("q=planet&language=english", vec!["Interstellar"]),
        ("language=RUSSIAN", vec!["The Planet of Storms", "Москва слезам не верит"]),
        ("q=zebra", vec![]),
        ("q=%27%3B+drop+%26+%7C+%21+%3A%2A+%28", vec![]),
    ] {
        let page = ingress.get(&format!("/movies?{query}")).await;
        assert_eq!(page.status, 200, "{query}: {page:?}");
        assert_eq!(titles(&page.body), found, "{query}");
    }
    // In pages of one, each is found once.
    let first = ingress.get("/movies?q=planet&limit=1").await.body;
    let cursor = first["nextCursor"].as_str().unwrap();
    let second = ingress.get(&format!("/movies?q=planet&limit=1&cursor={cursor}")).await.body;
    assert_eq!(
        (titles(&first), titles(&second)),
        (vec!["The Planet of Storms"], vec!["Interstellar"])
    );
    assert_eq!(second["nextCursor"], Value::Null);
    // The cursor of another list is none of this one.
    let other = ingress.get(&format!("/movies?cursor={cursor}")).await;
    assert_eq!(other.problem(), (400, "VALIDATION_FAILED"));
    ingress.stop().await;
}

#[tokio::test]
async fn theatres_are_found_by_name_city_and_distance() {
    let ingress = Ingress::start().await;
    let admin = ingress.token(Role::Admin).await;
    for (name, city, latitude, longitude) in [
        ("Regal", "Mumbai", 18.94, 72.83),
        ("Plaza", "Mumbai", 19.02, 72.84),
        ("Capitole", "Québec", 46.81, -71.21),
        ("Fiji", "Suva", -18.0, 179.9),
    ] {
        let mut made = theatre(name);
        made["city"] = json!(city);
        made["latitude"] = json!(latitude);
        made["longitude"] = json!(longitude);
        assert_eq!(ingress.post("/theatres", &admin, &made).await.status, 201);
    }
    for (query, found) in [
        ("", vec!["Capitole", "Fiji", "Plaza", "Regal"]),
        ("q=GA", vec!["Regal"]),
        ("city=quebec", vec!["Capitole"]),
        ("near=18.93,72.83", vec!["Regal", "Plaza"]),
        ("near=18.93,72.83&radiusKm=5", vec!["Regal"]),
        ("near=18.93,72.83&city=mumbai&limit=1", vec!["Regal"]),
        // Over the line where the day changes.
        ("near=-18.0,-179.9&radiusKm=30", vec!["Fiji"]),
        ("near=0,0&radiusKm=20040", vec!["Regal", "Plaza", "Capitole", "Fiji"]),
    ] {
        let page = ingress.get(&format!("/theatres?{query}")).await;
        let names = page.body["items"].as_array().unwrap().iter().map(|theatre| &theatre["name"]);
        assert_eq!(names.collect::<Vec<_>>(), found, "{query}");
    }
    for (bad, pointer) in [
        ("near=1", "near"),
        ("near=91,0", "near"),
        ("radiusKm=3", "near"),
        ("near=0,0&radiusKm=0", "radiusKm"),
        ("q=%00", "q"),
    ] {
        let refused = ingress.get(&format!("/theatres?{bad}")).await;
        let found = (refused.problem(), refused.pointer());
        assert_eq!(found, ((400, "VALIDATION_FAILED"), pointer), "{bad}");
    }
    ingress.stop().await;
}

#[tokio::test]
async fn shows_are_found_by_what_where_and_for_how_much() {
    let ingress = Ingress::start().await;
    let admin = ingress.token(Role::Admin).await;
    let mumbai = Programme::make(&ingress, &admin).await;
    let show = ingress.post("/shows", &admin, &mumbai.show()).await.id("showId");
    let mut film = movie("Amélie");
    (film["language"], film["genres"]) = (json!("French"), json!(["Comedy"]));
    let mut house = theatre("Capitole");
    house["city"] = json!("Québec");
    (house["latitude"], house["longitude"]) = (json!(46.81), json!(-71.21));
    let movie = ingress.post("/movies", &admin, &film).await.id("movieId");
    let theatre = ingress.post("/theatres", &admin, &house).await.id("theatreId");
    let hall = ingress.post("/screens", &admin, &screen(&theatre)).await.id("screenId");
    let quebec = Programme { movie, theatre, screen: hall };
    let mut body = quebec.show();
    body["prices"] = json!([{"tier": "STANDARD", "amount": 1_500, "currency": "CAD"}]);
    let other = ingress.post("/shows", &admin, &body).await.id("showId");
    let both = vec![show.as_str(), other.as_str()];
    for (query, found) in [
        ("", both.clone()),
        ("city=QUEBEC", vec![&other]),
        ("language=french", vec![&other]),
        ("genre=thriller", vec![&show]),
        ("near=18.9,72.8", vec![&show]),
        ("near=46.8,-71.2&radiusKm=10&language=Hindi", vec![]),
        // The cheapest tier costs 100 rupees.
        ("maxPrice=10000&currency=INR", vec![&show]),
        ("maxPrice=9999&currency=INR", vec![]),
        ("maxPrice=1500&currency=CAD", vec![&other]),
    ] {
        let page = ingress.get(&format!("/shows/upcoming?{query}")).await;
        assert_eq!(page.status, 200, "{query}: {page:?}");
        let mut ids: Vec<&str> = page.body["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|show| show["showId"].as_str().unwrap())
            .collect();
        // Both begin at almost the same time.
        ids.sort_by_key(|id| both.iter().position(|one| one == id));
        assert_eq!(ids, found, "{query}");
    }
    for (bad, pointer) in [
        ("maxPrice=1", "currency"),
        ("currency=INR", "maxPrice"),
        ("maxPrice=1&currency=XXZ", "currency"),
        ("maxPrice=-1&currency=INR", "maxPrice"),
        ("date=2026-12-24&from=2026-12-24", "date"),
        ("date=1066-01-01", "date"),
        ("after=25:00", "query"),
        ("near=x,y", "near"),
        ("colour=red", "query"),
    ] {
        let refused = ingress.get(&format!("/shows/upcoming?{bad}")).await;
        let found = (refused.problem(), refused.pointer());
        assert_eq!(found, ((400, "VALIDATION_FAILED"), pointer), "{bad}");
    }
    ingress.stop().await;
}
