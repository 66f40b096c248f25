-- Shows are never deleted. All partitions of a show, and all its sales, share-locked the one row of
-- `shows` for each new row that refers to it. Whoever decides locks a row of `partitions`
-- first, so it waits with nothing else locked.
lock table partitions in exclusive mode;
lock table shows in access exclusive mode;
alter table bookings drop constraint bookings_show_id_fkey;
