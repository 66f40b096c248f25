-- Batches lock `partitions` first and read `show_seats` later. Without this line they would wait for each other.
lock table partitions in exclusive mode;
-- A wheelchair place or the one beside it: given to whoever names it, and to nobody by choice of the system. Shows that were
-- entered before have none.
alter table show_seats add column kept_back boolean not null default false;
