//! Requiring a solved challenge before a new place is given out.

use axum::http::HeaderMap;
use contract::api::problem::Code;
use platform::http::{ApiError, ApiResult};

use crate::{
    room::{WaitingRoom, challenge::Joining},
    scripts::keys::LineKeys,
};

/// The header that carries a solution.
const SOLUTION: &str = "challenge-solution";

/// Lets an account join that has a place, proves one, or brings a solution. Any other account gets
/// 403 with a challenge, where challenges are on.
pub(crate) async fn solved(
    room: &WaitingRoom,
    keys: &LineKeys,
    joining: Joining,
    proves_a_place: bool,
    headers: &HeaderMap,
) -> ApiResult<()> {
    let Some(challenge) = &room.challenge else { return Ok(()) };
    if proves_a_place || room.store.has_place(keys, joining.account).await? {
        return Ok(());
    }
    let solution = headers.get(SOLUTION).and_then(|value| value.to_str().ok());
    if let Some(solution) = solution
        && let Some(solved) = challenge.check(joining, solution)
        && room.store.is_first_use(keys, &solved.id, solved.expires_at - joining.now).await?
    {
        return Ok(());
    }
    metrics::counter!("usher_line_challenged_total",
        "solution" => if solution.is_some() { "wrong" } else { "none" })
    .increment(1);
    let posed = serde_json::to_value(challenge.pose(joining)).map_err(ApiError::internal)?;
    let detail = "solve the challenge and join again with its solution as Challenge-Solution";
    let refused = ApiError::new(Code::ChallengeRequired, detail);
    Err(refused.with("challenge", posed))
}
