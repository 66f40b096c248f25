-- Who runs which theatre, and who changed what.
create type staff_role as enum ('organiser', 'box_office', 'check_in');
create table staff (
    theatre_id uuid not null references theatres,
    account_id uuid not null references accounts,
    role staff_role not null,
    since timestamptz not null default clock_timestamp(),
    primary key (theatre_id, account_id)
);
comment on table staff is 'What accounts may do in theatres, beside the role of the account itself.';
create index staff_of_account on staff (account_id);

alter table movies add column owner_id uuid;
comment on column movies.owner_id is 'Account of the organiser who entered it; null: an admin or an earlier version did.';

create table audit_log (
    entry_id bigint generated always as identity primary key,
    at timestamptz not null default clock_timestamp(),
    -- null: no account, but a program, or a person with SQL
    actor uuid,
    -- application_name of the connection
    via text not null,
    action text not null,
    subject_id uuid not null,
    theatre_id uuid,
    -- the columns that differ; a layout by its digest
    before jsonb,
    after jsonb,
    address text,
    request_id uuid
);
comment on table audit_log is 'Every change of the catalogue, of sales and of roles. Entries are only added.';
create index audit_log_of_theatre on audit_log (theatre_id, entry_id);
create index audit_log_of_subject on audit_log (subject_id, entry_id);
create index audit_log_of_actor on audit_log (actor, entry_id);

create function audit_log_is_kept() returns trigger language plpgsql as $$
begin
    raise exception 'entries of the audit log are kept as they are'
        using errcode = 'integrity_constraint_violation';
end $$;
create trigger audit_log_is_kept before update or delete on audit_log
    for each row execute function audit_log_is_kept();
create trigger audit_log_is_not_emptied before truncate on audit_log
    for each statement execute function audit_log_is_kept();

-- A row as the log has it: no secret, nothing that is long, and of a person only the role, since entries stay for ever.
create function as_logged(of_row jsonb) returns jsonb language sql stable as $$
    select case when of_row ? 'password_hash'
        then jsonb_build_object('account_id', of_row -> 'account_id', 'role', of_row -> 'role')
        when of_row ? 'layout'
        then jsonb_set(of_row, '{layout}', to_jsonb('sha256:' || encode(sha256(convert_to(of_row ->> 'layout', 'UTF8')), 'hex')))
        else of_row end - 'created_at'
$$;

-- Writes what was done to a row. Triggers do it, not programs, so that no change is without its entry, whoever makes it and
-- with whatever version; and in the same transaction, so that there is no entry without a change.
-- First argument: what kind of thing; second: the column of its id; third: that of its theatre, if it has one.
create function log_change() returns trigger language plpgsql as $$
declare
    was jsonb := case when tg_op <> 'INSERT' then as_logged(to_jsonb(old)) end;
    is_now jsonb := case when tg_op <> 'DELETE' then as_logged(to_jsonb(new)) end;
    thing jsonb := coalesce(is_now, was);
    did text := case tg_op when 'INSERT' then 'created' when 'DELETE' then 'removed' else 'changed' end;
begin
    if tg_op = 'UPDATE' then
        select jsonb_object_agg(key, value) into was from jsonb_each(was)
            where value is distinct from is_now -> key;
        if was is null then
            return null;
        end if;
        select jsonb_object_agg(key, is_now -> key) into is_now from jsonb_object_keys(was) as key;
        did := case
            when is_now ->> 'retired_at' is not null then 'retired'
            when is_now ->> 'sale_state' = 'ON_SALE' then 'opened'
            when is_now ->> 'sale_state' is not null then lower(is_now ->> 'sale_state')
            else did end;
    end if;
    insert into audit_log (actor, via, action, subject_id, theatre_id, before, after, address, request_id)
    values (nullif(current_setting('usher.actor', true), '')::uuid,
        current_setting('application_name'), tg_argv[0] || '.' || did,
        (thing ->> tg_argv[1])::uuid,
        case when tg_nargs > 2 then (thing ->> tg_argv[2])::uuid end,
        was, is_now,
        nullif(current_setting('usher.address', true), ''),
        nullif(current_setting('usher.request', true), '')::uuid);
    return null;
end $$;

create trigger movies_are_logged after insert or update or delete on movies
    for each row execute function log_change('movie', 'movie_id');
create trigger theatres_are_logged after insert or update or delete on theatres
    for each row execute function log_change('theatre', 'theatre_id', 'theatre_id');
create trigger screens_are_logged after insert or update or delete on screens
    for each row execute function log_change('screen', 'screen_id', 'theatre_id');
create trigger shows_are_logged after insert or update or delete on shows
    for each row execute function log_change('show', 'show_id', 'theatre_id');
create trigger staff_is_logged after insert or update or delete on staff
    for each row execute function log_change('staff', 'account_id', 'theatre_id');
create trigger admins_are_logged after insert on accounts
    for each row when (new.role = 'admin') execute function log_change('account', 'account_id');
create trigger roles_are_logged after update of role on accounts
    for each row when (old.role is distinct from new.role) execute function log_change('account', 'account_id');
