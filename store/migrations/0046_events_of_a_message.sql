-- A message tells of many bookings that were decided together, so a row of the outbox does, too. Its
-- event_id, booking_id and seq are those of its first event.
comment on table outbox is 'Messages on their way to the broker, written with what they tell. Published ones are kept for a day.';
comment on constraint outbox_one_event_per_step on outbox is 'Of the first event of a message; the others are of bookings whose row is new, or locked.';
comment on column outbox.body is 'contract::message::BookingEvent, or a list of them';

create view outbox_events as
    select o.outbox_id, e.place, o.show_id, (e.event ->> 'bookingId')::uuid as booking_id,
        (e.event ->> 'seq')::integer as seq, e.event, o.published_at
    from outbox o
    cross join lateral jsonb_array_elements(
        case jsonb_typeof(o.body) when 'array' then o.body else jsonb_build_array(o.body) end)
        with ordinality as e (event, place);
comment on view outbox_events is 'Every event of the last day, one by one: for checks and figures.';

-- Events of one message are much alike. Not every server is built with lz4.
do $$ begin
    alter table outbox alter column body set compression lz4;
exception when feature_not_supported then null;
end $$;
