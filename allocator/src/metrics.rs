//! What an allocator measures.

platform::metrics! {
    Histogram "usher_batch_bookings" [] "Bookings decided by one transaction.";
    Counter "usher_batch_failed_total" [failure] "Transactions of batches that failed.";
    Gauge "usher_bookings_undecided" [show, tier] "Bookings accepted and not decided.";
    Counter "usher_decided_total" [show, tier, outcome]
        "Bookings decided: ALLOCATED, or the reason why not.";
    Counter "usher_decided_without_redis_total" []
        "Batches decided without seat locks because the locks were not whole.";
    Counter "usher_events_published_total" [] "Booking events published.";
    Gauge "usher_events_stuck" [] "Messages of booking events that cannot be published.";
    Counter "usher_lapsed_total" [] "Bookings ended by the sweep because their time was over.";
    Counter "usher_parked_total" [why]
        "Messages kept because they are unreadable, and bookings set aside because they are poison.";
    Gauge "usher_partitions_held" [] "Partitions that this allocator keeps.";
    Counter "usher_queue_foreign_total" [] "Queues found with other arguments than Usher's.";
    Counter "usher_queue_trials_total" [outcome]
        "Queues without a consumer that were tried on a connection of their own.";
    Counter "usher_queues_given_up_total" []
        "Queues of closed sales deleted a day late, with bookings that were never decided.";
    Counter "usher_redelivered_total" [] "Bookings delivered again after they were decided.";
    Counter "usher_seat_locks_failed_total" [] "Comparisons of seat locks with claims that failed.";
    Counter "usher_seat_locks_left_to_a_walk_total" []
        "Events whose seat locks wait for the next walk because too many events waited.";
    Counter "usher_seat_locks_lost_total" [] "Times the seat locks of a partition were not whole.";
    Counter "usher_seat_locks_mended_total" [] "Seat locks that a walk made equal to the claims.";
    Counter "usher_sessions_failed_total" [] "Sessions of partitions that failed.";
    Counter "usher_set_aside_for_newer_total" []
        "Messages set aside because they use words of a newer version.";
    Counter "usher_set_aside_total" [queue] "Messages taken from booking.parked or booking.unrouted.";
    Counter "usher_unpaid_limit_reached_total" [show, limit]
        "Bookings refused because of seats held and not paid for.";
    Gauge "usher_waiting_for_installation" [code]
        "Partitions that wait until a fault of the installation is mended.";
    Gauge "usher_waiting_for_newer" [] "Messages that wait for an allocator of a newer version.";
}
