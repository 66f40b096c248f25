//! Who may call how often. Each route has a limit with a name, chosen by method and path before
//! anything else is read: a refusal costs no more than reading a token.
//!
//! The account's quota comes first: it is what one person can need. The address's quota stops farms
//! of accounts, and is wide enough for everybody behind one address of a carrier. *Strangers*,
//! callers without a valid token where one is needed, have a quota of their own, so that they use
//! up nothing of the customers at the same address.

mod buckets;
mod document;
mod limiter;
mod network;
mod quota;
mod route;

use std::{
    collections::HashMap,
    convert::Infallible,
    future::{Ready, ready},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderMap, Method, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use contract::{AccountId, api::socket::BEARER_PROTOCOL};
use futures_util::future::Either;
use limiter::Left;
pub use limiter::Limiter;
pub use network::Network;
use pin_project_lite::pin_project;
pub use quota::Quota;
pub use route::Route;
use tower::{Service, layer::layer_fn};
use utoipa_axum::router::OpenApiRouter;

use super::{ApiResult, Door, extract};
use crate::Shutdown;

/// A limit: how often an account may call, and an address.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    pub name: &'static str,
    pub account: Quota,
    /// All accounts behind one address together.
    pub address: Quota,
    pub strangers: Strangers,
}

/// What the limit does with callers without a valid token.
#[derive(Clone, Copy, Debug)]
pub enum Strangers {
    /// They are served, within this quota for each address.
    Served(Quota),
    /// They are refused with 401 anyway, within the service's own limit for strangers.
    Refused,
}

/// Whose request it is, if that is proven.
type Identify = Box<dyn Fn(&mut Parts) -> Option<AccountId> + Send + Sync>;

/// The limits of a service's routes. Cheap to clone.
#[derive(Clone)]
pub struct Guard(Arc<Shares>);

struct Shares {
    listed: &'static [Route],
    routes: HashMap<&'static str, Vec<(Method, usize)>>,
    limits: Vec<Share>,
    strangers: Limiter<Network>,
    identify: Identify,
}

/// A limit, with what is used of its quotas.
struct Share {
    account: Limiter<AccountId>,
    address: Limiter<Network>,
    strangers: Option<Limiter<Network>>,
}

impl Share {
    fn of(limit: &Limit) -> Self {
        let Limit { name, account, address, strangers } = *limit;
        Self {
            account: Limiter::new(name, "account", account),
            address: Limiter::new(name, "address", address),
            strangers: match strangers {
                Strangers::Served(quota) => Some(Limiter::new(name, "stranger", quota)),
                Strangers::Refused => None,
            },
        }
    }
}

impl Guard {
    /// Limits these routes. `strangers` is the limit, by address, of calls that need an account and
    /// come without one; its name is the service's. `identify` says whose a request is.
    ///
    /// # Panics
    /// If a route names an unknown limit, or a limit has no route.
    #[must_use]
    pub fn start(
        routes: &'static [Route],
        limits: &[Limit],
        strangers: (&'static str, Quota),
        identify: impl Fn(&mut Parts) -> Option<AccountId> + Send + Sync + 'static,
        shutdown: &Shutdown,
    ) -> Self {
        let mut by_path: HashMap<_, Vec<_>> = HashMap::new();
        for Route { method, path, limit } in routes.iter().copied() {
            let index = limits.iter().position(|known| known.name == limit);
            let index = index.unwrap_or_else(|| panic!("{method} {path} names no limit: {limit}"));
            let method = method.parse().expect("a method's name");
            by_path.entry(path).or_default().push((method, index));
        }
        let names = |limit: &&Limit| routes.iter().any(|route| route.limit == limit.name);
        if let Some(unused) = limits.iter().find(|limit| !names(limit)) {
            panic!("no route has the limit {}", unused.name);
        }
        let guard = Self(Arc::new(Shares {
            listed: routes,
            routes: by_path,
            limits: limits.iter().map(Share::of).collect(),
            strangers: Limiter::new(strangers.0, "stranger", strangers.1),
            identify: Box::new(identify),
        }));
        let (tidied, stop) = (Arc::clone(&guard.0), shutdown.clone());
        shutdown.spawn(async move {
            while stop.sleep(limiter::TIDY_EVERY).await {
                tidied.tidy();
            }
        });
        guard
    }

    /// Limits every route of the router, says so in its description, and lets every handler know who
    /// is calling.
    pub fn before(self, mut router: OpenApiRouter, door: Door) -> OpenApiRouter {
        document::describe(router.get_openapi_mut(), self.0.listed);
        let guarded = move |routes| Guarded { guard: self.clone(), door: door.clone(), routes };
        router.layer(layer_fn(guarded))
    }

    /// What the caller has left: of the account's quota, where there is an account.
    fn check(&self, parts: &mut Parts) -> ApiResult<Option<Left>> {
        // Other paths and methods are answered 404 and 405, which cost nothing.
        let Some(share) = self.share(parts) else { return Ok(None) };
        let address = Network::of(extract::client_address(parts)?);
        if let Some(account) = (self.0.identify)(parts) {
            let left = share.account.count(&account)?;
            share.address.take(&address)?;
            return Ok(Some(left));
        }
        share.strangers.as_ref().unwrap_or(&self.0.strangers).count(&address).map(Some)
    }

    fn share(&self, parts: &Parts) -> Option<&Share> {
        let path = parts.extensions.get::<MatchedPath>()?;
        // The route for GET also answers HEAD.
        let method = if parts.method == Method::HEAD { &Method::GET } else { &parts.method };
        let methods = self.0.routes.get(path.as_str())?;
        let (_, index) = methods.iter().find(|(known, _)| known == method)?;
        self.0.limits.get(*index)
    }
}

impl Shares {
    fn tidy(&self) {
        self.strangers.tidy();
        for share in &self.limits {
            share.account.tidy();
            share.address.tidy();
            share.strangers.iter().for_each(Limiter::tidy);
        }
    }
}

/// Routes behind a guard. Not axum's `from_fn`, which makes each request wait for two more boxed
/// futures.
#[derive(Clone)]
struct Guarded<S> {
    guard: Guard,
    door: Door,
    routes: S,
}

impl<S> Service<Request> for Guarded<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<Told<S::Future>, Ready<Result<Response, Infallible>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.routes.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        parts.extensions.insert(self.door.clone());
        match self.guard.check(&mut parts) {
            Ok(left) => {
                let answer = self.routes.call(Request::from_parts(parts, body));
                Either::Left(Told { answer, left })
            }
            Err(refusal) => Either::Right(ready(Ok(refusal.into_response()))),
        }
    }
}

pin_project! {
    /// An answer that tells the caller what is left of the quota.
    struct Told<F> {
        #[pin]
        answer: F,
        left: Option<Left>,
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for Told<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let told = self.project();
        let Poll::Ready(Ok(mut response)) = told.answer.poll(cx) else { return Poll::Pending };
        if let Some(left) = told.left.take() {
            left.tell(response.headers_mut());
        }
        Poll::Ready(Ok(response))
    }
}

/// The account of a valid access token, from the header, or from the subprotocol, for clients that
/// cannot set a header. The token of the header is remembered for the handler.
#[must_use]
pub fn by_token(parts: &mut Parts) -> Option<AccountId> {
    let by_header = extract::caller(parts).ok().flatten();
    let token = by_header.or_else(|| {
        let token = offered(&parts.headers, BEARER_PROTOCOL)?;
        extract::door(parts).ok()?.access.verify(token).ok()
    });
    token.map(|token| token.account)
}

/// The first WebSocket subprotocol with this prefix that the client offers, without the prefix.
#[must_use]
pub fn offered<'r>(headers: &'r HeaderMap, prefix: &str) -> Option<&'r str> {
    let values = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).find_map(|offer| offer.trim().strip_prefix(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: &[Route] = &[Route { method: "GET", path: "/a", limit: "some" }];

    fn start(names: &[&'static str]) {
        let quota = Quota::per_second(1);
        let limit = |name: &&'static str| Limit {
            name,
            account: quota,
            address: quota,
            strangers: Strangers::Refused,
        };
        let limits: Vec<Limit> = names.iter().map(limit).collect();
        _ = Guard::start(ROUTES, &limits, ("none", quota), by_token, &Shutdown::default());
    }

    #[tokio::test]
    #[should_panic(expected = "GET /a names no limit: some")]
    async fn a_route_cannot_name_a_limit_that_is_not_there() {
        start(&["other"]);
    }

    #[tokio::test]
    #[should_panic(expected = "no route has the limit other")]
    async fn a_limit_cannot_be_there_for_no_route() {
        start(&["some", "other"]);
    }
}
