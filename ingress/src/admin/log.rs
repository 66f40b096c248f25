//! The audit log, as admins and organisers read it.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse as _, Response},
};
use chrono::{DateTime, Utc};
use contract::{
    AccountId, TheatreId,
    api::{Page, staff::AuditEntry},
};
use futures_util::stream;
use platform::http::{ApiError, ApiResult, Params, asks_for};
use serde::Deserialize;
use store::audit_log::{self, Filter};
use utoipa::IntoParams;
use uuid::Uuid;

use super::write::Organiser;
use crate::{Ingress, check, errors::database, page::Window};

const NDJSON: &str = "application/x-ndjson";
/// Entries that an export reads at once.
const PIECE: i64 = 500;

#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EntriesWanted {
    /// Of this account.
    actor: Option<AccountId>,
    /// About this movie, theatre, screen, show or account.
    subject: Option<Uuid>,
    /// About this theatre, its screens, shows and staff.
    theatre_id: Option<TheatreId>,
    /// What was done, such as `show.opened`, or to what kind of thing, such as `show`.
    action: Option<String>,
    /// Not before this time.
    from: Option<DateTime<Utc>>,
    /// Before this time.
    until: Option<DateTime<Utc>>,
    /// 20 where it is absent.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u16>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
}

/// Who changed what, the newest first.
///
/// Admins see everything, organisers what belongs to their theatres. `Accept: application/x-ndjson`
/// exports all entries that are asked for, one in each line, whatever `limit` says.
#[utoipa::path(get, path = "/audit-log", tag = "administration", security(("bearer" = [])),
    params(EntriesWanted), responses(
        (status = 200, body = Page<AuditEntry>),
    )
)]
pub(super) async fn read(
    State(ingress): State<Arc<Ingress>>,
    organiser: Organiser,
    Params(wanted): Params<EntriesWanted>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let window = Window::<i64>::new(wanted.limit, wanted.cursor.as_deref())?;
    check::prose("action", wanted.action.as_deref().unwrap_or_default(), 60)?;
    for (name, time) in [("from", wanted.from), ("until", wanted.until)] {
        if let Some(time) = time {
            check::time(name, time)?;
        }
    }
    let filter = Filter {
        organiser: (!organiser.is_admin()).then_some(organiser.account()),
        actor: wanted.actor,
        subject: wanted.subject,
        theatre: wanted.theatre_id,
        action: wanted.action,
        from: wanted.from,
        until: wanted.until,
        before: window.after,
        limit: window.read(),
    };
    if asks_for(&headers, NDJSON) {
        return export(&ingress, filter).await;
    }
    let entries = audit_log::list(&ingress.pool, &filter).await.map_err(database)?;
    Ok(Json(window.page(entries, |entry| entry.entry_id)).into_response())
}

/// All entries, read piece by piece as the client takes them.
async fn export(ingress: &Arc<Ingress>, filter: Filter) -> ApiResult<Response> {
    let filter = Filter { limit: PIECE, ..filter };
    // Read before the answer begins, so that a database that is away is told as an error.
    let first = audit_log::list(&ingress.pool, &filter).await.map_err(database)?;
    let pool = ingress.pool.clone();
    let pieces = stream::try_unfold(Some(first), move |piece| {
        let (pool, mut filter) = (pool.clone(), filter.clone());
        async move {
            let Some(piece) = piece else { return Ok(None) };
            let Some(last) = piece.last() else { return Ok::<_, ApiError>(None) };
            filter.before = Some(last.entry_id);
            let is_full = i64::try_from(piece.len()).is_ok_and(|n| n == PIECE);
            let next = if is_full {
                Some(audit_log::list(&pool, &filter).await.map_err(database)?)
            } else {
                None
            };
            Ok(Some((lines(&piece)?, next)))
        }
    });
    // An error in the middle ends the connection before the end of the body, which the client sees.
    let pieces = futures_util::TryStreamExt::map_err(pieces, |error| error.code().as_str());
    let kind = [(header::CONTENT_TYPE, NDJSON)];
    Ok((kind, axum::body::Body::from_stream(pieces)).into_response())
}

fn lines(entries: &[AuditEntry]) -> ApiResult<Bytes> {
    let mut text = Vec::new();
    for entry in entries {
        serde_json::to_writer(&mut text, entry).map_err(ApiError::internal)?;
        text.push(b'\n');
    }
    Ok(text.into())
}
