-- no-transaction
-- Without the show, whose claims PostgreSQL takes for a few while it is new: a query for the claims of a booking is not
-- led to them.
create unique index concurrently if not exists seat_claims_by_booking_and_seat
    on seat_claims (booking_id, seat_id);
