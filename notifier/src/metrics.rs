//! What a notifier measures.

platform::metrics! {
    Counter "usher_live_closed_total" [code] "WebSockets closed by the notifier, by close code.";
    Gauge "usher_live_sockets" [] "Open WebSockets of the notifier.";
}
