-- Locks as in 0047.
lock table partitions in exclusive mode;
drop index show_seats_by_tier;
