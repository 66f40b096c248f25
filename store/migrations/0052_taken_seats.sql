-- Places of general admission are in no row and are left out. A hold that has lapsed takes no seat,
-- whether it is swept or not.
create view taken_seats as
    select c.show_id, c.seat_id, c.state = 'SOLD' as sold
    from seat_claims c
    join show_seats s using (show_id, seat_id)
    join partitions t on t.show_id = c.show_id and t.tier = s.tier and not t.general_admission
    join bookings b on b.show_id = c.show_id and b.booking_id = c.booking_id
    where c.state in ('HELD', 'SOLD') and (c.state = 'SOLD' or b.expires_at > clock_timestamp());
comment on view taken_seats is 'The seats of a show that are held or sold now, as clients see them.';
