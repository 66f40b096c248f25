-- One index for both; ids of claims are only their order.
lock table partitions in exclusive mode;
alter table seat_claims drop constraint seat_claims_pkey,
    add constraint seat_claims_pkey primary key using index seat_claims_by_booking_and_seat;
drop index seat_claims_by_booking;
