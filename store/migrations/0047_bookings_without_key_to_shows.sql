-- Shows are never deleted. All partitions of a show, and all its sales, share-locked the one row of
-- `shows` for each new row that refers to it. Tables are locked in the order in which reads lock them.
lock table shows in access exclusive mode;
alter table bookings drop constraint bookings_show_id_fkey;
