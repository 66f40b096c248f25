//! What to do about a batch that the store refused.

use store::StoreError;

/// What to do about a batch that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Run it again at once.
    Again,
    /// Run it again when the database is back.
    Wait,
    /// Run it again until somebody has mended the installation: no booking is at fault.
    Broken,
    /// The map was wrong: read it again first.
    Reload,
    /// Another session has the partition: nothing of ours counts any more.
    Displaced,
    /// Something in the batch breaks it: find it.
    Poisoned,
}

/// Classifies a failure of [`Ledger::settle`](crate::batch::Ledger::settle). Only a booking's own
/// data can condemn it: what is not certain is the installation's.
pub(crate) fn failure(error: &StoreError) -> Failure {
    match error {
        StoreError::Contended(_) => Failure::Again,
        StoreError::Unavailable(_) => Failure::Wait,
        StoreError::StaleEpoch => Failure::Displaced,
        StoreError::ChangesMissing { .. } => Failure::Reload,
        StoreError::Data(_) => Failure::Poisoned,
        StoreError::Unreadable(_) | StoreError::Installation { .. } => Failure::Broken,
        // Another writer of outcomes, or of the same pass or key, came between: look again.
        StoreError::Constraint { constraint, .. } if has_another_writer(constraint) => {
            Failure::Reload
        }
        StoreError::Constraint { constraint, .. } => of_constraint(constraint),
    }
}

/// What is left of a failure that reading the map again has not mended.
pub(crate) fn lasting_failure(error: &StoreError) -> Failure {
    match error {
        StoreError::Constraint { constraint, .. } => of_constraint(constraint),
        _ => Failure::Broken,
    }
}

fn has_another_writer(constraint: &str) -> bool {
    ["bookings_", "seat_claims_", "partitions_"].iter().any(|table| constraint.starts_with(table))
}

/// A booking breaks constraints of what is written for it alone; counts and events are kept for
/// all, and a booking that meets a wrong one is not what made it wrong.
fn of_constraint(constraint: &str) -> Failure {
    let own = ["bookings_", "seat_claims_", "orders_", "order_transitions_"];
    if own.iter().any(|table| constraint.starts_with(table)) {
        Failure::Poisoned
    } else {
        Failure::Broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_for_all_condemns_nobody_where_it_is_wrong() {
        for name in [
            "account_quotas_live_check",
            "partitions_available_check",
            "partition_sessions_pkey",
            "shows_pkey",
            "outbox_pkey",
        ] {
            assert_eq!(of_constraint(name), Failure::Broken, "{name}");
        }
        for name in ["orders_account_id_fkey", "bookings_pass_used_once", "seat_claims_one_live"] {
            assert_eq!(of_constraint(name), Failure::Poisoned, "{name}");
        }
        assert!(!has_another_writer("partition_sessions_pkey"));
        assert!(has_another_writer("partitions_available_check"));
        let missing = StoreError::ChangesMissing { known: 1, latest: 3 };
        assert_eq!(lasting_failure(&missing), Failure::Broken);
        assert_eq!(failure(&StoreError::Unreadable("state X".into())), Failure::Broken);
    }
}
