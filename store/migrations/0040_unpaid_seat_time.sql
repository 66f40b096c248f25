-- Seats that are held and not paid for are kept from everybody else for nothing.
alter table account_quotas
    -- seats times seconds that they were claimed by bookings which ended without payment; each at least one
    add column unpaid_seat_seconds bigint not null default 0,
    -- how many bookings that were
    add column unpaid_times integer not null default 0;
-- Null for what was decided before, and where the reason is another.
alter table bookings
    -- which limit a booking that is refused with LIMIT_EXCEEDED would have passed (contract::booking::Limit)
    add column limit_hit text;
