//! The metrics of ingress.

platform::metrics! {
    Counter "usher_accepted_total" [show, tier] "Bookings accepted.";
    Counter "usher_accepted_unnumbered_total" []
        "Bookings accepted without a number; the proof that a queue may go cannot count them.";
    Counter "usher_accounts_created_total" [] "Accounts created.";
    Counter "usher_api_key_reads_total" []
        "API keys read from PostgreSQL: of each key in use, one a second.";
    Counter "usher_api_keys_refused_total" [why]
        "Calls with an API key refused: forged, ended (deleted, expired, an earlier secret), or scope.";
    Counter "usher_catalogue_calls_total" [] "Calls that read the catalogue or a seat map.";
    Counter "usher_catalogue_reads_failed_total" []
        "Reads of an answer in demand that failed, so that callers got the one before for longer.";
    Counter "usher_catalogue_reads_total" []
        "Calls that read the catalogue or a seat map whose answer this node did not have.";
    Histogram "usher_envelope_bookings" [] "Bookings published in one message.";
    Counter "usher_intake_full_total" []
        "Bookings refused because too many of their partition waited to be published.";
    Counter "usher_key_questions_refused_total" []
        "Questions about a key that were refused because there were too many.";
    Counter "usher_key_questions_total" []
        "Questions to PostgreSQL about a key that Redis did not know, with the refused ones.";
    Counter "usher_key_waits_total" []
        "Requests that waited for another request with the same Idempotency-Key.";
    Counter "usher_keys_untold_total" [] "Used keys that could not be written to Redis.";
    Counter "usher_logins_refused_total" []
        "Sign-ins refused because the password or the code was wrong.";
    Counter "usher_not_accepted_total" [] "Bookings that the broker refused or did not confirm.";
    Counter "usher_pass_refused_total" [why] "Passes refused.";
    Counter "usher_password_turns_refused_total" [why]
        "Sign-ins refused with SIGN_IN_BUSY: full (too many waited) or late (waited too long).";
    Gauge "usher_password_turns_waiting" [] "Sign-ins waiting until a password can be hashed.";
    Gauge "usher_producers" [] "Producers of this node that are not sealed.";
    Counter "usher_sessions_reused_total" []
        "Sign-in sessions ended because a used refresh token came back.";
    Counter "usher_waits_unheard_total" []
        "Requests that waited for an outcome but were not woken by it because too many waited.";
}
