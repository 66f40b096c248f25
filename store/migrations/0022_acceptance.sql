-- What was accepted, against what was decided. A producer is one ingress node's requests to one partition within
-- some minutes, numbered from 0; the numbers travel with the requests. Two tables, because ingress writes one and
-- the allocator the other, within the transaction of a batch: neither waits for the other's rows.
create table accepted (
    show_id uuid not null,
    tier text not null,
    producer_id uuid not null,
    -- confirmed by the broker, as far as ingress has told; at most a second late
    numbers int8multirange not null default '{}',
    began_at timestamptz not null default clock_timestamp(),
    told_at timestamptz not null default clock_timestamp(),
    -- nothing more will come; null for ever where the node died
    sealed_at timestamptz,
    primary key (show_id, tier, producer_id)
);
comment on table accepted is 'Requests that the broker has confirmed, by number. What is here and not in decided was accepted and has no outcome.';
create index accepted_told_at on accepted (told_at);

create table decided (
    show_id uuid not null,
    tier text not null,
    producer_id uuid not null,
    numbers int8multirange not null,
    primary key (show_id, tier, producer_id)
);
comment on table decided is 'Requests that have their outcome, by number; written in the transaction that decides.';

-- Which allocator serves a queue: while it lives, a backlog that does not change need not be written again.
-- One row that somebody has locked must not keep the others from being written: no foreign keys here.
alter table backlogs add column served_by uuid, drop constraint backlogs_show_id_tier_fkey;

-- Partitions that have a queue, without those of all old shows.
create index partitions_with_queue on partitions (show_id, tier) where queue_ready_at is not null;

-- A version before numbers decides without writing them down. While one of those is about, none are given.
alter table allocators add column writes_numbers boolean not null default false;
