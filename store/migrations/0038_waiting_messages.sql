create table if not exists waiting_messages (
    waiting_id bigint generated always as identity primary key,
    routing_key text not null,
    body bytea not null,
    why text not null,
    -- after this no version may allocate what is in it
    deadline timestamptz not null,
    since timestamptz not null default clock_timestamp()
);
comment on table waiting_messages is 'Requests in words of a newer version than the allocator that was given them. Whichever knows the words puts them back on their queue; past their deadline they end EXPIRED.';
