create table allocators (
    allocator_id uuid primary key,
    name text not null,
    heartbeat_at timestamptz not null default clock_timestamp()
);
comment on table allocators is 'Live allocators; partitions are shared among those heard of in the last seconds.';
