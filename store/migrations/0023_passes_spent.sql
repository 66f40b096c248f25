-- no-transaction
-- A pass that was paid with is spent, also when the order was cancelled since.
create index concurrently if not exists bookings_cancelled_by_pass on bookings (show_id, ticket_id)
    where ticket_id is not null and state = 'CANCELLED';
