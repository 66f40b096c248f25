//! The checks once everything is quiet again: the tables alone, answers to clients against the
//! tables, a subscriber against the outbox, Redis against the tables, and the queues.

mod scene;
mod tables;
mod told;
mod order;
mod places;
mod events;
mod locks;
mod queues;

pub use events::subscribe;
pub use locks::lock_differences;
pub use queues::left_over;
pub use scene::{Findings, Scene};
pub use tables::uncounted;

/// Checks everything. A check that cannot be made is a finding, too.
pub async fn check(scene: &Scene<'_>) -> Findings {
    let mut findings = Findings::default();
    if let Err(error) = check_into(scene, &mut findings).await {
        findings.add("checks that could not be made", format!("{error:#}"));
    }
    findings
}

async fn check_into(scene: &Scene<'_>, findings: &mut Findings) -> anyhow::Result<()> {
    tables::check(scene, findings).await?;
    told::check(scene, findings).await?;
    order::check(scene, findings).await?;
    places::check(scene, findings);
    for difference in lock_differences(scene.arena, scene.pool, scene.halls).await? {
        findings.add("seat locks in Redis differ from the claims", difference);
    }
    for queue in queues::left_over(scene.arena, scene.halls).await? {
        findings.add("queues that are not empty", queue);
    }
    events::check(scene, findings).await
}
