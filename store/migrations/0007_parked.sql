create table parked_messages (
    parked_id bigint generated always as identity primary key,
    routing_key text not null,
    body bytea not null,
    why text not null,
    parked_at timestamptz not null default clock_timestamp()
);
comment on table parked_messages is 'Messages of request queues that could not be understood, for a person to read; bookings that could be made out in them were refused.';
