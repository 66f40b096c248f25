//! The calls of visitors.

use contract::{
    AccountId, ShowId, TicketId,
    access::Role,
    api::line::{PlaceState, PlaceStatus},
};
use reqwest::{Method, StatusCode};
use testing::{Answer, eventually};

use super::{SOON, Stage};

/// A visitor in a line.
#[derive(Clone)]
pub(crate) struct Visitor {
    pub(crate) show: ShowId,
    pub(crate) account: AccountId,
    pub(crate) token: String,
    pub(crate) ticket: TicketId,
    pub(crate) place_ticket: String,
}

impl Stage {
    pub(crate) fn token(&self, account: AccountId) -> String {
        self.token_as(account, Role::User)
    }

    pub(crate) fn admin_token(&self) -> String {
        self.token_as(AccountId::new(), Role::Admin)
    }

    fn token_as(&self, account: AccountId, role: Role) -> String {
        testing::token(&self.slot.master_key(), account, role)
    }

    pub(crate) async fn call(
        &self,
        node: usize,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<&str>,
    ) -> Answer {
        let url = format!("http://{}/api/v1{path}", self.nodes[node]);
        let mut request = self.http.request(method, url);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_owned());
        }
        Answer::to(request).await
    }

    pub(crate) async fn post_queue(&self, node: usize, show: ShowId, token: &str) -> Answer {
        self.call(node, Method::POST, &format!("/shows/{show}/queue"), Some(token), None).await
    }

    /// Joins with a solved challenge.
    pub(crate) async fn join_with(
        &self,
        node: usize,
        show: ShowId,
        token: &str,
        solution: &str,
    ) -> Answer {
        let url = format!("http://{}/api/v1/shows/{show}/queue", self.nodes[node]);
        let request = self.http.post(url).bearer_auth(token);
        Answer::to(request.header("challenge-solution", solution)).await
    }

    /// A new visitor joins.
    pub(crate) async fn join(&self, node: usize, show: ShowId) -> Visitor {
        self.join_new(node, show).await.0
    }

    /// The same; also returns the status of the place.
    pub(crate) async fn join_new(&self, node: usize, show: ShowId) -> (Visitor, PlaceStatus) {
        let account = AccountId::new();
        let token = self.token(account);
        let answer = self.post_queue(node, show, &token).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        placed(show, account, token, &answer)
    }

    /// This account joins, perhaps again; `None` if the line cannot be reached for a moment.
    pub(crate) async fn try_join(
        &self,
        node: usize,
        show: ShowId,
        account: AccountId,
    ) -> Option<(Visitor, PlaceStatus)> {
        let token = self.token(account);
        let answer = self.post_queue(node, show, &token).await;
        if answer.status == StatusCode::SERVICE_UNAVAILABLE {
            return None;
        }
        // A join whose answer was lost is answered as the place that is there.
        assert!(answer.status.is_success(), "{}: {}", answer.status, answer.body);
        Some(placed(show, account, token, &answer))
    }

    pub(crate) async fn look(&self, node: usize, visitor: &Visitor) -> PlaceStatus {
        let answer = self.ask(node, visitor).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        answer.place()
    }

    pub(crate) async fn ask(&self, node: usize, visitor: &Visitor) -> Answer {
        let Visitor { show, ticket, place_ticket, .. } = visitor;
        let path = format!("/shows/{show}/queue/{ticket}?placeTicket={place_ticket}");
        self.call(node, Method::GET, &path, None, None).await
    }

    pub(crate) async fn leave(&self, node: usize, visitor: &Visitor) -> StatusCode {
        let path = format!("/shows/{}/queue/{}", visitor.show, visitor.ticket);
        self.call(node, Method::DELETE, &path, Some(&visitor.token), None).await.status
    }

    /// Waits until the place is in this state, and returns it.
    pub(crate) async fn until(&self, node: usize, who: &Visitor, state: PlaceState) -> PlaceStatus {
        eventually(&format!("{state:?}"), SOON, || async {
            let place = self.look(node, who).await;
            (place.state == state).then_some(place)
        })
        .await
    }
}

/// A visitor who got a place by this answer, and the place.
fn placed(
    show: ShowId,
    account: AccountId,
    token: String,
    answer: &Answer,
) -> (Visitor, PlaceStatus) {
    let place = answer.place();
    let (ticket, place_ticket) = (place.ticket_id, place.place_ticket.clone());
    (Visitor { show, account, token, ticket, place_ticket }, place)
}
