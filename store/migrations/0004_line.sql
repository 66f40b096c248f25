-- What of the line must survive the loss of Redis.
create table lines (
    show_id uuid primary key references shows,
    -- counts rebuilds after a loss
    epoch integer not null default 1,
    -- no number above it was handed out in this epoch; written ahead of use
    high_water bigint not null default 0,
    opened_at timestamptz not null default clock_timestamp()
);
comment on table lines is 'The line of a show: its epoch and how far its numbers may have gone.';

create table admissions (
    show_id uuid not null references shows,
    ticket_id uuid not null,
    account_id uuid not null,
    lane smallint not null,
    epoch integer not null,
    number bigint not null,
    admitted_at timestamptz not null default clock_timestamp(),
    primary key (show_id, ticket_id)
);
comment on table admissions is 'Who was let in, appended before the pass goes out.';
create index admissions_in_order on admissions (show_id, epoch, lane, number);
