//! A route, and how often it may be called.

/// A route and the name of its limit.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    pub method: &'static str,
    /// The path as the router has it.
    pub path: &'static str,
    pub limit: &'static str,
}
