//! Bookings: requests are checked, published, and answered 202 once the broker has confirmed them.
//! Also reading bookings, and holds, orders, payments and cancellations.

mod door;
mod submit;
mod repetition;
mod holds;
mod orders;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use platform::Shutdown;
use store::bound_keys;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::Ingress;

/// How often Redis is asked whether it still has all the keys it was given.
const TEND_EVERY: Duration = Duration::from_secs(1);

/// Keeps the record of since when Redis knows all keys: it begins anew once Redis has lost keys or
/// was not told of one.
pub(crate) fn tend_memory(ingress: &Arc<Ingress>, shutdown: &Shutdown) {
    let (ingress, stop) = (Arc::clone(ingress), shutdown.clone());
    shutdown.spawn(async move {
        let untold = &ingress.pipeline.untold;
        loop {
            // Keys that are added meanwhile are left for the next round.
            let n_untold = untold.load(Ordering::SeqCst);
            if n_untold > 0 && bound_keys::begin_anew(&ingress.cache).await.is_ok() {
                untold.fetch_sub(n_untold, Ordering::SeqCst);
            }
            let now = ingress.board.borrow().now();
            // If Redis is away, the next round or the next refused request asks again.
            let _ = bound_keys::tend(&ingress.cache, now).await;
            if !stop.sleep(TEND_EVERY).await {
                return;
            }
        }
    });
}

pub(crate) fn router() -> OpenApiRouter<Arc<Ingress>> {
    OpenApiRouter::default()
        .routes(routes!(submit::create))
        .routes(routes!(submit::read))
        .routes(routes!(holds::create))
        .routes(routes!(holds::read, holds::release))
        .routes(routes!(orders::create))
        .routes(routes!(orders::read))
        .routes(routes!(orders::read_by_reference))
        .routes(routes!(orders::confirm_payment))
        .routes(routes!(orders::cancel))
        .routes(routes!(orders::read_ticket))
        .routes(routes!(orders::list))
}
