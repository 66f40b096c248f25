-- A claim is made by a statement that reads its seat, and the seats of a show that has been on sale never change.
-- Locks as in 0047, and claims before seats, as `taken_seats` does.
lock table partitions in exclusive mode;
lock table seat_claims, show_seats in access exclusive mode;
alter table seat_claims drop constraint seat_claims_show_id_seat_id_fkey;
