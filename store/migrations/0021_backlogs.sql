create table backlogs (
    show_id uuid not null,
    tier text not null,
    -- bookings in the queue, as well as it is known
    undecided integer not null check (undecided >= 0),
    -- when the oldest of them was accepted; null where there is none
    oldest_at timestamptz,
    -- when the allocator that serves the queue last looked
    seen_at timestamptz not null default clock_timestamp(),
    primary key (show_id, tier),
    foreign key (show_id, tier) references partitions
);
comment on table backlogs is 'How far each queue is behind, written every second by the allocator that serves it; the line admits by it.';
