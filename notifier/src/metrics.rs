//! What a notifier measures.

platform::metrics! {
    Counter "usher_live_closed_total" [code] "WebSockets closed by the notifier, by close code.";
    Gauge "usher_live_sockets" [] "Open WebSockets of the notifier.";
    Counter "usher_seats_reads_failed_total" [] "Reads of the seats of a watched show that failed.";
    Counter "usher_seats_reads_total" [of]
        "Reads for the watchers of seats: of some seats, or of a whole show.";
    Gauge "usher_seats_watched_shows" [] "Shows whose seats somebody watches on this node.";
}
