-- Nodes that take bookings. A producer that a node could not report is in no other table, so nobody may conclude from
-- its absence that nothing was accepted.
create table reporters (
    reporter_id uuid primary key,
    complete_until timestamptz not null
) with (fillfactor = 50);
comment on table reporters is 'Nodes that take bookings. Every producer that a node began before complete_until is in accepted.';
