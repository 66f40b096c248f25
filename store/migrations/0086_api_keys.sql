-- Keys with which a partner's programs act as an account. All of it is additions.
create table api_keys (
    key_id uuid primary key,
    account_id uuid not null references accounts on delete cascade,
    name text not null,
    scopes text[] not null,
    -- number of the secret that is good; the secrets themselves are derived, not stored
    turn integer not null default 0,
    -- the secret before it is good until then
    previous_until timestamptz,
    created_at timestamptz not null default clock_timestamp(),
    -- null: it has no end of its own
    expires_at timestamptz,
    -- at most a minute old
    last_used_at timestamptz
);
comment on table api_keys is 'Keys of programs that call the API as an account; a row goes when its key is deleted.';
create index api_keys_by_account on api_keys (account_id, created_at);

-- Whoever changes a role or a password, by whatever means, ends the keys of the account: somebody else may have made them.
-- Where a password is voided (`usher admin grant`), the second factor may be somebody else's as well.
create function end_keys() returns trigger language plpgsql as $$
begin
    delete from api_keys where account_id = new.account_id;
    if new.password_hash = '!' then
        delete from second_factors where account_id = new.account_id;
    end if;
    return null;
end $$;

create trigger accounts_end_keys after update of role, password_hash on accounts
    for each row
    when (old.role is distinct from new.role
        or old.password_hash is distinct from new.password_hash)
    execute function end_keys();
