//! What every answer tells beside its body.

use contract::access::Role;
use reqwest::Method;
use testing::Answer;

use crate::running::Ingress;

/// Calls left, and seconds until all are there again, of the limit with this name.
fn left(answer: &Answer, name: &str) -> (u32, u32) {
    let text = answer.headers["ratelimit"].to_str().unwrap();
    let numbers = text.strip_prefix(&format!("\"{name}\";r=")).expect(text);
    let (calls, seconds) = numbers.split_once(";t=").expect(text);
    (calls.parse().unwrap(), seconds.parse().unwrap())
}

#[tokio::test]
async fn every_answer_says_what_is_left_of_the_limit() {
    // A call is free again after a second, so that it does not come back meanwhile.
    let ingress = Ingress::start_with(&["--reads-per-second=2"]).await;
    let token = ingress.token(Role::User).await;
    let first = ingress.get("/movies").await;
    let second = ingress.get("/theatres").await;
    assert_eq!(first.headers["ratelimit-policy"], "\"reads\";q=50;w=5");
    assert_eq!(left(&first, "reads"), (49, 1));
    assert!([(48, 1), (49, 1)].contains(&left(&second, "reads")), "{second:?}");
    // An account has its own, and a refusal of the handler tells as well.
    let own = |path: &str| Answer::to(ingress.call(Method::GET, path).bearer_auth(&token));
    let profile = own("/auth/profile").await;
    assert_eq!(profile.headers["ratelimit-policy"], "\"own-reads\";q=5;w=5");
    assert_eq!(left(&profile, "own-reads").0, 4);
    let unknown = own("/orders/01a22fbf-73e4-762a-bd70-a61efea19076").await;
    assert_eq!((unknown.status.as_u16(), left(&unknown, "own-reads").0), (404, 3));
    // Until none is left.
    let refused = loop {
        let answer = own("/auth/profile").await;
        if answer.status != 200 {
            break answer;
        }
    };
    assert_eq!(refused.problem(), (429, "RATE_LIMITED"));
    assert_eq!(left(&refused, "own-reads").0, 0);
    // What has no limit tells none.
    assert!(!ingress.get("/nowhere").await.headers.contains_key("ratelimit"));
    ingress.stop().await;
}
