-- The allocator that commits a batch publishes its events itself, at once. Until then relays leave them to it; they are the net
-- where it fails or dies.
lock table partitions in exclusive mode;
alter table outbox add column left_until timestamptz;
comment on column outbox.left_until is 'Until then whoever wrote the message publishes it; after that, or if null, any relay does.';
