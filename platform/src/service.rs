//! A service: what it answers, and what it needs for that.

use std::{future::Future, sync::Arc};

use axum::Router;
use futures_util::future::BoxFuture;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

/// Asks a dependency; the error says what is missing.
type Check = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// A dependency, as `/readyz` checks it.
#[derive(Clone)]
pub(crate) struct Dependency {
    pub(crate) name: &'static str,
    /// Whether the service cannot work without it.
    pub(crate) is_needed: bool,
    pub(crate) check: Check,
}

/// A started service: what it answers, how that is described, and what it needs for that.
#[derive(Default)]
pub struct Service {
    pub(crate) router: Router,
    pub(crate) api: OpenApi,
    pub(crate) dependencies: Vec<Dependency>,
}

impl Service {
    /// A service with these routes, described, and no checks yet.
    #[must_use]
    pub fn new(described: OpenApiRouter) -> Self {
        let (router, api) = described.split_for_parts();
        Self { router, api, dependencies: Vec::new() }
    }

    /// Adds a dependency that the service cannot work without: `/readyz` answers 503 while it is
    /// missing.
    #[must_use]
    pub fn needs<F, Fut>(self, name: &'static str, check: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        let check: Check = Arc::new(move || Box::pin(check()));
        self.with(Dependency { name, is_needed: true, check })
    }

    /// Adds a dependency that the service can work without: `/readyz` names it while it is missing.
    #[must_use]
    pub fn uses<F, Fut>(self, name: &'static str, check: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        let check: Check = Arc::new(move || Box::pin(check()));
        self.with(Dependency { name, is_needed: false, check })
    }

    /// Both services on one listener. A dependency that one of them needs, both need.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.api.merge(other.api);
        let both = Self { router: self.router.merge(other.router), ..self };
        other.dependencies.into_iter().fold(both, Self::with)
    }

    fn with(mut self, dependency: Dependency) -> Self {
        let known = self.dependencies.iter_mut().find(|known| known.name == dependency.name);
        match known {
            Some(known) if known.is_needed || !dependency.is_needed => {}
            Some(known) => *known = dependency,
            None => self.dependencies.push(dependency),
        }
        self
    }
}
