-- Decided bookings, and what follows from them. Order of locks for everybody:
-- partition, account_quotas (sorted), bookings, seat_claims, orders, outbox.
create type booking_kind as enum ('HOLD', 'ORDER');
create type booking_status as enum ('ALLOCATED', 'REJECTED');
create type booking_state as enum
    ('HELD', 'PAYMENT_PENDING', 'CONFIRMED', 'EXPIRED', 'FAILED', 'CANCELLED', 'RELEASED');
create type rejection as enum
    ('SEAT_TAKEN', 'SOLD_OUT', 'LIMIT_EXCEEDED', 'SALE_CLOSED', 'PASS_USED', 'EXPIRED',
     'IDEMPOTENCY_KEY_REUSED', 'INTERNAL');

create table bookings (
    show_id uuid not null references shows,
    booking_id uuid not null,
    account_id uuid not null,
    tier text not null,
    kind booking_kind not null,
    -- the outcome: written once, with the row
    status booking_status not null,
    reason rejection,
    taken_seats text[],
    alternatives text[],
    -- null for a rejected booking
    seat_ids text[],
    -- the place whose pass bought it; null where the room was off
    ticket_id uuid,
    idempotency_key text,
    -- epoch of the partition that decided; null for a refusal outside of a session
    epoch bigint,
    -- where an allocated booking stands now
    state booking_state,
    -- lapses then, while HELD or PAYMENT_PENDING
    expires_at timestamptz,
    -- of the last event
    seq integer not null default 1,
    decided_at timestamptz not null default clock_timestamp(),
    primary key (show_id, booking_id),
    constraint bookings_outcome_is_whole check (
        (status = 'ALLOCATED' and reason is null and state is not null and seat_ids is not null)
        or (status = 'REJECTED' and reason is not null and state is null)),
    constraint bookings_live_ones_lapse check (
        state is null or state not in ('HELD', 'PAYMENT_PENDING') or expires_at is not null)
);
comment on table bookings is 'One row per decided request, winners and losers; a request without a row is still queued.';
-- Ids are unguessable and unique across shows; clients ask without naming the show.
create unique index bookings_by_id on bookings (booking_id);
create unique index bookings_idempotency on bookings (show_id, account_id, idempotency_key)
    where idempotency_key is not null;
-- A pass buys at most one live booking.
create unique index bookings_pass_used_once on bookings (show_id, ticket_id)
    where ticket_id is not null and state in ('HELD', 'PAYMENT_PENDING', 'CONFIRMED');
create index bookings_due on bookings (show_id, tier, expires_at)
    where state in ('HELD', 'PAYMENT_PENDING');
create index bookings_due_anywhere on bookings (expires_at)
    where state in ('HELD', 'PAYMENT_PENDING');
create index bookings_by_account on bookings (account_id, decided_at desc);

-- An outcome, once written, never changes.
create function bookings_keep_their_outcome() returns trigger language plpgsql as $$
begin
    if (new.status, new.reason, new.seat_ids, new.account_id, new.kind)
        is distinct from (old.status, old.reason, old.seat_ids, old.account_id, old.kind) then
        raise exception 'the outcome of booking % cannot change', old.booking_id
            using errcode = 'integrity_constraint_violation';
    end if;
    return new;
end $$;
create trigger bookings_keep_their_outcome before update on bookings
    for each row execute function bookings_keep_their_outcome();

create type claim_state as enum ('HELD', 'SOLD', 'RELEASED');

create table seat_claims (
    claim_id bigint generated always as identity,
    show_id uuid not null,
    seat_id text not null,
    booking_id uuid not null,
    state claim_state not null,
    claimed_at timestamptz not null default clock_timestamp(),
    ended_at timestamptz,
    primary key (show_id, claim_id),
    foreign key (show_id, seat_id) references show_seats
);
comment on table seat_claims is 'Every claim on a seat there ever was; a released one stays as history.';
-- No seat is sold twice: this index is the proof, not the code above it.
create unique index seat_claims_one_live on seat_claims (show_id, seat_id)
    where state in ('HELD', 'SOLD');
create index seat_claims_by_booking on seat_claims (show_id, booking_id);

create table account_quotas (
    show_id uuid not null references shows,
    account_id uuid not null,
    -- seats of live bookings, over all tiers
    live integer not null check (live >= 0),
    primary key (show_id, account_id)
);
comment on table account_quotas is 'How many seats of a show an account holds or owns.';

create type order_status as enum
    ('PAYMENT_PENDING', 'CONFIRMED', 'EXPIRED', 'FAILED', 'CANCELLED');

create table orders (
    show_id uuid not null references shows,
    order_id uuid not null,
    booking_id uuid not null,
    reference text not null,
    account_id uuid not null references accounts,
    tier text not null,
    seat_ids text[] not null,
    -- contract::api::bookings::OrderLine, as a list
    lines jsonb not null,
    amount bigint not null check (amount >= 0),
    currency text not null,
    status order_status not null default 'PAYMENT_PENDING',
    -- contract::api::bookings::Customer
    customer jsonb not null,
    created_at timestamptz not null default clock_timestamp(),
    expires_at timestamptz not null,
    confirmed_at timestamptz,
    ticket_code text,
    primary key (show_id, order_id),
    foreign key (show_id, booking_id) references bookings,
    constraint orders_one_per_booking unique (show_id, booking_id),
    constraint orders_ticket_code_key unique (show_id, ticket_code)
);
comment on table orders is 'What is paid for.';
create unique index orders_by_id on orders (order_id);
create unique index orders_by_reference on orders (reference);
create index orders_by_account on orders (account_id, created_at desc, order_id);

create table order_transitions (
    order_id uuid not null,
    at timestamptz not null default clock_timestamp(),
    from_status order_status,
    to_status order_status not null,
    primary key (order_id, to_status)
);
comment on table order_transitions is 'Every status an order has had; no status is entered twice.';
create function orders_record_transition() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        insert into order_transitions (order_id, from_status, to_status)
            values (new.order_id, null, new.status);
    elsif new.status is distinct from old.status then
        insert into order_transitions (order_id, from_status, to_status)
            values (new.order_id, old.status, new.status);
    end if;
    return null;
end $$;
create trigger orders_record_transition after insert or update on orders
    for each row execute function orders_record_transition();

create table tier_changes (
    show_id uuid not null,
    tier text not null,
    version bigint not null,
    -- seats that were claimed and seats that came free under this version
    claimed text[] not null,
    freed text[] not null,
    at timestamptz not null default clock_timestamp(),
    primary key (show_id, tier, version),
    foreign key (show_id, tier) references partitions
);
comment on table tier_changes is 'What changed under each version of a partition, so that a map in memory can catch up.';

create table outbox (
    outbox_id bigint generated always as identity primary key,
    event_id uuid not null unique,
    show_id uuid not null,
    booking_id uuid not null,
    seq integer not null,
    routing_key text not null,
    -- contract::message::BookingEvent
    body jsonb not null,
    created_at timestamptz not null default clock_timestamp(),
    published_at timestamptz,
    constraint outbox_one_event_per_step unique (booking_id, seq)
);
comment on table outbox is 'Events on their way to the broker, written with what they tell. Published ones are kept for a day.';
create index outbox_unpublished on outbox (outbox_id) where published_at is null;
create index outbox_published on outbox (published_at) where published_at is not null;
