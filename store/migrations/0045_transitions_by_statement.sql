-- The transitions of a batch's orders are written by one statement instead of one per order.
drop trigger orders_record_transition on orders;
drop function orders_record_transition();

create function orders_record_first_status() returns trigger language plpgsql as $$
begin
    insert into order_transitions (order_id, from_status, to_status)
        select order_id, null, status from made;
    return null;
end $$;
create trigger orders_record_first_status after insert on orders
    referencing new table as made
    for each statement execute function orders_record_first_status();

create function orders_record_transition() returns trigger language plpgsql as $$
begin
    insert into order_transitions (order_id, from_status, to_status)
        select order_id, was.status, is_now.status
        from was join is_now using (show_id, order_id)
        where is_now.status is distinct from was.status;
    return null;
end $$;
create trigger orders_record_transition after update on orders
    referencing old table as was new table as is_now
    for each statement execute function orders_record_transition();
