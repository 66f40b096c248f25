-- What is shown, where, and when.
create table movies (
    movie_id uuid primary key,
    title text not null,
    description text not null,
    genres text[] not null,
    rating text not null,
    duration_minutes integer not null check (duration_minutes between 1 and 1000),
    release_date date not null,
    poster_url text,
    language text not null,
    created_at timestamptz not null default clock_timestamp(),
    -- retired movies keep their shows and orders, and leave the lists
    retired_at timestamptz
);
comment on table movies is 'Films.';
create index movies_by_title on movies (title, movie_id) where retired_at is null;

create table theatres (
    theatre_id uuid primary key,
    name text not null,
    address text not null,
    city text not null,
    latitude double precision not null check (latitude between -90 and 90),
    longitude double precision not null check (longitude between -180 and 180),
    created_at timestamptz not null default clock_timestamp(),
    retired_at timestamptz
);
comment on table theatres is 'Buildings with screens.';

create table screens (
    screen_id uuid primary key,
    theatre_id uuid not null references theatres,
    name text not null,
    -- contract::api::catalogue::ScreenTier, as a list
    tiers jsonb not null,
    -- contract::api::catalogue::Layout
    layout jsonb not null,
    created_at timestamptz not null default clock_timestamp(),
    retired_at timestamptz
);
comment on table screens is 'Halls with their seat layout. A show copies its seats from here when it is created, so a change touches no show that exists.';

create type room_mode as enum ('OFF', 'FIFO', 'LOTTERY', 'REJECT');
create type sale_state as enum ('SCHEDULED', 'ON_SALE', 'CLOSED', 'CANCELLED');

create table shows (
    show_id uuid primary key,
    movie_id uuid not null references movies,
    theatre_id uuid not null references theatres,
    screen_id uuid not null references screens,
    starts_at timestamptz not null,
    prequeue_opens_at timestamptz,
    sale_opens_at timestamptz not null,
    sale_closes_at timestamptz not null,
    -- what an organiser decided; sold out is derived from the tiers
    sale_state sale_state not null default 'SCHEDULED',
    currency text not null check (currency ~ '^[A-Z]{3}$'),
    max_seats_per_user integer not null check (max_seats_per_user between 1 and 20),
    hold_seconds integer not null default 600 check (hold_seconds between 1 and 86400),
    order_seconds integer not null default 300 check (order_seconds between 1 and 86400),
    room_mode room_mode not null default 'FIFO',
    room_rate_per_second double precision not null default 100
        check (room_rate_per_second between 0.01 and 100000),
    room_burst integer not null default 10 check (room_burst between 1 and 100000),
    room_max_active integer check (room_max_active between 1 and 10000000),
    room_paused boolean not null default false,
    closed_at timestamptz,
    created_at timestamptz not null default clock_timestamp(),
    retired_at timestamptz,
    constraint shows_times_in_order check (sale_opens_at < sale_closes_at)
);
comment on table shows is 'Screenings that are sold; everything below a show is keyed by it first, so that a show can move.';
create index shows_by_start on shows (starts_at, show_id) where retired_at is null;
create index shows_by_movie on shows (movie_id, starts_at) where retired_at is null;
create index shows_on_sale on shows (show_id) where sale_state = 'ON_SALE';

create table partitions (
    show_id uuid not null references shows,
    tier text not null check (tier ~ '^[A-Z][A-Z0-9_]{0,31}$'),
    name text not null,
    -- minor units of the show's currency
    price bigint not null check (price >= 0),
    general_admission boolean not null,
    -- sellable seats
    capacity integer not null check (capacity >= 0),
    -- free seats; every transaction that changes it has updated this row first
    available integer not null,
    -- counts changes of availability; tier_changes holds what changed under each number
    version bigint not null default 0,
    -- counts the sessions that have consumed the partition's queue; only the last may commit
    epoch bigint not null default 0,
    owner text,
    -- set once the queue is declared and bound; null again when the sale has closed
    queue_ready_at timestamptz,
    primary key (show_id, tier),
    constraint partitions_available_in_range check (available between 0 and capacity)
);
comment on table partitions is 'One tier of one show: one queue, one allocator, one row that orders all its changes.';

create table show_seats (
    show_id uuid not null,
    seat_id text not null,
    tier text not null,
    -- place in the hall: rows from the front, seats from the left, gaps counted
    row_index integer not null,
    seat_index integer not null,
    primary key (show_id, seat_id),
    foreign key (show_id, tier) references partitions
);
comment on table show_seats is 'Sellable seats of a show, copied from its screen. General admission has made-up labels.';
create index show_seats_by_tier on show_seats (show_id, tier);
