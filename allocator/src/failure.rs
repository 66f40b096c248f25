//! What to do when the store fails to write a batch.

use store::StoreError;

/// What to do about a batch that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Run it again at once.
    Again,
    /// Run it again when the database is back.
    Wait,
    /// Run it again until the installation is repaired: no booking is at fault.
    Broken,
    /// Run it again after reading the map again, which was wrong.
    Reload,
    /// End the session: a newer session has the partition.
    Displaced,
    /// Find the booking that breaks the batch.
    Poisoned,
}

/// Classifies a failure of [`Ledger::settle`](crate::batch::Ledger::settle). A booking is at fault
/// only for its own data; in doubt the installation is at fault.
pub(crate) fn failure(error: &StoreError) -> Failure {
    match error {
        StoreError::Contended(_) => Failure::Again,
        StoreError::Unavailable(_) => Failure::Wait,
        StoreError::StaleEpoch => Failure::Displaced,
        StoreError::ChangesMissing { .. } => Failure::Reload,
        StoreError::Data(_) => Failure::Poisoned,
        StoreError::Unreadable(_) | StoreError::Installation { .. } => Failure::Broken,
        // Another writer of outcomes, or of the same pass or key, came between: read again.
        StoreError::Constraint { constraint, .. } if has_another_writer(constraint) => {
            Failure::Reload
        }
        StoreError::Constraint { constraint, .. } => of_constraint(constraint),
    }
}

/// How to treat a failure that remains after the map was read again.
pub(crate) fn lasting_failure(error: &StoreError) -> Failure {
    match error {
        StoreError::Constraint { constraint, .. } => of_constraint(constraint),
        _ => Failure::Broken,
    }
}

fn has_another_writer(constraint: &str) -> bool {
    ["bookings_", "seat_claims_", "partitions_"].iter().any(|table| constraint.starts_with(table))
}

/// A booking is at fault for constraints on rows that are written for it alone. Counts and events
/// are shared: a booking that finds a wrong one did not cause it.
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
        for name in ["orders_account_exists", "bookings_pass_used_once", "seat_claims_one_live"] {
            assert_eq!(of_constraint(name), Failure::Poisoned, "{name}");
        }
        assert!(!has_another_writer("partition_sessions_pkey"));
        assert!(has_another_writer("partitions_available_check"));
        let missing = StoreError::ChangesMissing { known: 1, latest: 3 };
        assert_eq!(lasting_failure(&missing), Failure::Broken);
        assert_eq!(failure(&StoreError::Unreadable("state X".into())), Failure::Broken);
    }
}
