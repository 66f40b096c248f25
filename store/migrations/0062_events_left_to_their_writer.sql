-- The allocator that commits a batch publishes its events itself, at once. Relays leave the message to that allocator for three
-- seconds; after that any relay publishes it.
lock table partitions in exclusive mode;
alter table outbox add column left_until timestamptz;
comment on column outbox.left_until is 'Until then whoever wrote the message publishes it; after that, or if null, any relay does.';
