-- no-transaction
-- Without the show: who asks for the claims of a booking cannot be led to an index that begins with the show, whose
-- claims PostgreSQL takes for a few while it is new.
create unique index concurrently if not exists seat_claims_by_booking_and_seat
    on seat_claims (booking_id, seat_id);
