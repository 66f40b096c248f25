-- What must outlive Redis of those who were let in, and what frees their slots.
alter table admissions
    -- where the pass was renewed: its last end; without it, one lifetime after admitted_at
    add column valid_until timestamptz,
    -- where its owner gave it back, or an admin took it
    add column revoked_at timestamptz;
create index admissions_by_account on admissions (show_id, account_id, admitted_at desc);
create index admissions_by_time on admissions (show_id, admitted_at, ticket_id);
create index admissions_revoked on admissions (revoked_at) where revoked_at is not null;
create index orders_confirmed on orders (show_id, confirmed_at) where confirmed_at is not null;
