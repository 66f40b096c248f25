//! What every service measures.

crate::metrics! {
    Gauge "usher_breaker_open" [dependency] "Breakers of this process that are not closed.";
    Counter "usher_breaker_opened_total" [dependency]
        "Times a breaker opened because its dependency did not answer.";
    Counter "usher_breaker_refused_total" [dependency]
        "Calls refused at once because a breaker was not closed.";
    Gauge "usher_broker_connected" [name] "1 while a connection to RabbitMQ stands, else 0.";
    Counter "usher_events_interrupted_total" []
        "Times the booking events of this process stopped; it then looks at the database instead.";
    Gauge "usher_http_connections" [] "Open HTTP connections, WebSockets included.";
    Counter "usher_http_refused_total" [code] "Answers that are errors, by the code of the problem.";
    Counter "usher_http_sockets_refused_total" []
        "WebSockets and event streams refused with NODE_FULL.";
    Counter "usher_log_lines_dropped_total" []
        "Log lines lost because standard error was not read fast enough.";
    Counter "usher_publish_channel_replaced_total" []
        "Publishing channels replaced because a confirm did not arrive.";
    Counter "usher_rare_paths_total" [path]
        "Times a rare path was taken; docs/proving.md lists the paths.";
    Gauge "usher_rate_limit_keys" [limit, by]
        "Accounts or addresses that have used a part of a limit.";
    Counter "usher_rate_limit_shared_total" [limit, by]
        "Calls counted together with those of other keys because a limit had too many keys.";
    Counter "usher_rate_limited_total" [limit, by] "Calls refused with RATE_LIMITED.";
    Gauge "usher_revocations" [] "Accounts whose tokens ended in the last day, as kept in memory.";
    Counter "usher_revocations_floor_raised_total" []
        "Times all older tokens were refused because too many revocations were kept.";
    Counter "usher_tokens_refused_total" [why]
        "Tokens refused: revoked, or blind (whether an administrator still is one is unknown).";
}
