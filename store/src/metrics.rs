//! What is measured about the database, by every service that uses it.

platform::metrics! {
    Counter "usher_board_read_failed_total" [] "Readings of the board that failed.";
    Counter "usher_board_shows_read_total" [] "Shows read again because they had changed.";
    Counter "usher_database_pool_full_total" []
        "Calls refused because every database connection was in use for 3 s.";
    Counter "usher_expired_unseen_total" []
        "Bookings with a key that had no outcome when their time was over, and were refused.";
    Histogram "usher_look_bookings" [] "Bookings looked up by one query.";
    Counter "usher_looks_refused_total" [] "Bookings not looked up because too many look-ups waited.";
    Counter "usher_revocations_read_failed_total" [] "Readings of ended tokens that failed.";
    Gauge "usher_revoked_passes" [] "Passes revoked in the last day, as kept in memory.";
    Counter "usher_revoked_read_failed_total" [] "Readings of revoked passes that failed.";
    Counter "usher_sessions_replaced_total" []
        "Sign-in sessions ended because their account began one too many.";
    Gauge "usher_shows_unreadable" [] "Shows left out because they use words of a newer version.";
}
