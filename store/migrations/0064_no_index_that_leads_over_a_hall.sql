-- Batches lock `partitions` first and read `show_seats` later. Without this line they would wait for each other.
lock table partitions in exclusive mode;
drop index show_seats_by_tier;
