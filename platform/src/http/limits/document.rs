//! The limits in the description of the API.

use utoipa::openapi::{OpenApi, RefOr, Response, path::PathItem};

use super::route::Route;

/// Adds to each operation of these routes the refusal by its limit.
pub(super) fn describe(document: &mut OpenApi, routes: &[Route]) {
    for Route { method, path, limit } in routes {
        let Some(item) = document.paths.paths.get_mut(*path) else { continue };
        let PathItem { get, put, post, delete, patch, .. } = item;
        let operation = match *method {
            "GET" => get,
            "PUT" => put,
            "POST" => post,
            "DELETE" => delete,
            "PATCH" => patch,
            _ => continue,
        };
        let Some(operation) = operation else { continue };
        let refusal = Response::new(format!("RATE_LIMITED, by the limit `{limit}`"));
        operation.responses.responses.insert("429".into(), RefOr::T(refusal));
    }
}
