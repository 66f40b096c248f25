-- A pass buys one order: once one was paid with it, it buys nothing more, also after a cancellation.
create function pass_is_spent(of_show uuid, of_ticket uuid) returns boolean
language sql stable parallel safe as $$
    select exists (select from bookings b
                   where b.show_id = of_show and b.ticket_id = of_ticket and b.state = 'CONFIRMED')
        or exists (select from bookings b join orders o using (show_id, booking_id)
                   where b.show_id = of_show and b.ticket_id = of_ticket and b.state = 'CANCELLED'
                     and o.confirmed_at is not null)
$$;
