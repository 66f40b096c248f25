use reqwest::Method;
use serde_json::json;

use crate::running::Ingress;

#[tokio::test]
async fn whoever_signs_up_can_sign_in_and_change_their_profile() {
    let ingress = Ingress::start().await;
    let signup = json!({"name": "Zoë", "email": "Zoe@Example.org", "password": "correct horse"});
    let made = ingress.send(Method::POST, "/auth/signup", None, &signup).await;
    assert_eq!(made.status, 201);
    assert_eq!(made.body["user"]["email"], "zoe@example.org");
    assert_eq!(made.body["user"]["role"], "user");

    let again = json!({"name": "Z", "email": "ZOE@example.org", "password": "another one"});
    let again = ingress.send(Method::POST, "/auth/signup", None, &again).await;
    assert_eq!(again.problem(), (409, "EMAIL_TAKEN"));

    let login = json!({"email": "zoe@EXAMPLE.org", "password": "correct horse"});
    let entered = ingress.send(Method::POST, "/auth/login", None, &login).await;
    assert_eq!(entered.status, 200);
    let token = entered.id("accessToken");

    let change = json!({"name": "Zoë Ω", "phone": "+91 98765 43210"});
    let changed = ingress.send(Method::PUT, "/auth/profile", Some(&token), &change).await;
    assert_eq!(changed.body["name"], "Zoë Ω");
    let profile = ingress.call(Method::GET, "/auth/profile").bearer_auth(&token);
    assert_eq!(crate::running::send(profile).await.body, changed.body);
    assert_eq!(ingress.get("/auth/profile").await.problem(), (401, "UNAUTHENTICATED"));
    ingress.stop().await;
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_address_get_the_same_answer() {
    let ingress = Ingress::start().await;
    let signup = json!({"name": "Ann", "email": "ann@example.org", "password": "correct horse"});
    ingress.send(Method::POST, "/auth/signup", None, &signup).await;
    for (email, password) in [
        ("ann@example.org", "battery staple"),
        ("nobody@example.org", "correct horse"),
        ("no address\0", "correct horse"),
        ("ann@example.org", ""),
    ] {
        let login = json!({"email": email, "password": password});
        let refused = ingress.send(Method::POST, "/auth/login", None, &login).await;
        assert_eq!(refused.problem(), (401, "BAD_CREDENTIALS"), "{email}");
    }
    ingress.stop().await;
}
