//! The metrics of the waiting room.

platform::metrics! {
    Counter "usher_backlogs_unread_total" [] "Failed reads of the queues' backlogs.";
    Gauge "usher_line_absent" [show] "Visitors in the line who are not connected.";
    Gauge "usher_line_active" [show] "Admitted visitors who count against the cap.";
    Counter "usher_line_admitted_again_total" []
        "Admissions written to the log again because the first node did not finish.";
    Counter "usher_line_admitted_total" [] "Visitors admitted.";
    Counter "usher_line_asked_after_loss_total" []
        "Joins looked up in the log of admissions after Redis had lost the line.";
    Counter "usher_line_behind_total" []
        "Lines begun anew because Redis lacked changes or was another instance.";
    Counter "usher_line_challenged_total" [solution] "Joins refused with CHALLENGE_REQUIRED.";
    Gauge "usher_line_choosing" [show] "Admitted visitors who may still choose seats.";
    Gauge "usher_line_choosing_most" [show] "Most visitors who may choose seats at once.";
    Counter "usher_line_desk_full_total" [] "Joins refused because too many joins waited.";
    Counter "usher_line_follow_failed_total" [] "Failed reads of the lines' changes.";
    Counter "usher_line_forsaken_total" [] "Visitors made absent because their node fell silent.";
    Counter "usher_line_intervals_total" [shown, wait]
        "Waits that ended within, sooner or later than the first interval shown, or a later one.";
    Histogram "usher_line_joins_at_once" [] "Joins that shared one call to Redis.";
    Counter "usher_line_joins_total" [new] "Joins answered with a place, by whether it is new.";
    Counter "usher_line_left_total" [] "Visitors who left the line or gave their pass back.";
    Counter "usher_line_load_failed_total" [] "Failed loads of a line from Redis.";
    Counter "usher_line_loaded_total" [] "Loads of a line from Redis.";
    Gauge "usher_line_pace" [show]
        "Share of the rate at which visitors are admitted: 1 is all of it, 0 is none.";
    Counter "usher_line_partly_lost_total" []
        "Lines begun anew because Redis had lost a part of them.";
    Counter "usher_line_passes_used_total" [] "Slots under the cap freed by confirmed orders.";
    Counter "usher_line_questions_refused_total" []
        "Requests without a place ticket refused because too many asked for unknown places.";
    Counter "usher_line_rebuilt_total" [] "Lines begun anew because Redis had lost them.";
    Counter "usher_line_round_failed_total" [] "Background rounds of a line that failed.";
    Counter "usher_line_script_failed_total" [script] "Failed calls of a script in Redis.";
    Counter "usher_line_slow_clients_total" [] "Clients cut off because they did not read.";
    Gauge "usher_line_sockets" [] "Open WebSockets of the line.";
    Counter "usher_line_sockets_gone_total" [] "WebSockets of the line that ended without a close.";
    Counter "usher_line_sockets_replaced_total" []
        "WebSockets of the line closed because their account opened too many.";
    Counter "usher_line_stream_lost_total" []
        "Loads of a line begun because changes of the line were missed.";
    Counter "usher_line_ticket_refused_total" [] "Place tickets refused.";
    Gauge "usher_line_waiting" [show] "Visitors in the line.";
    Gauge "usher_lines_tended" [] "Lines that this node tends.";
    Gauge "usher_lines_to_load" [] "Lines that this node has to load.";
    Gauge "usher_redis_may_evict" [policy]
        "1 where Redis may evict keys; set its maxmemory-policy to noeviction.";
}
