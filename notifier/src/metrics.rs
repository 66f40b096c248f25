//! What a notifier measures.

platform::metrics! {
    Counter "usher_live_closed_total" [code] "WebSockets closed by the notifier, by close code.";
    Gauge "usher_live_sockets" [] "Open WebSockets of the notifier.";
    Counter "usher_mails_failed_total" [why]
        "Mails that will never be sent: refused, too-old (or tried too often), or unwritable.";
    Gauge "usher_mails_oldest_seconds" [] "Age of the oldest mail that waits.";
    Counter "usher_mails_put_off_total" [why] "Attempts to send a mail that failed for now.";
    Counter "usher_mails_sent_total" [kind] "Mails that the SMTP server took.";
    Gauge "usher_mails_waiting" [] "Mails that are neither sent nor failed.";
    Counter "usher_seats_reads_failed_total" [] "Reads of the seats of a watched show that failed.";
    Counter "usher_seats_reads_total" [of]
        "Reads for the watchers of seats: of some seats, or of a whole show.";
    Gauge "usher_seats_watched_shows" [] "Shows whose seats somebody watches on this node.";
}
