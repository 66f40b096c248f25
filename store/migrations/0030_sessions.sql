-- Who is signed in where, and what ends it. All of it is additions: a version that knows nothing of
-- sessions runs beside this one.
alter table accounts
    -- counts how often all tokens of the account were ended; a token carries the count it was made at
    add column token_generation bigint not null default 0;

create table sessions (
    session_id uuid primary key,
    account_id uuid not null references accounts on delete cascade,
    -- as the account's when the session began: where the account's is larger, the session is over
    generation bigint not null,
    -- number of the refresh token that is good; the tokens themselves are not stored
    turn integer not null default 0,
    turned_at timestamptz not null default clock_timestamp(),
    began_at timestamptz not null default clock_timestamp(),
    -- however often it is refreshed
    expires_at timestamptz not null
);
comment on table sessions is 'Sign-ins that can be refreshed; a row goes when its session ends.';
create index sessions_by_account on sessions (account_id, turned_at);
create index sessions_by_end on sessions (expires_at);

create table revocations (
    -- of the transaction that wrote it: readers go on from the oldest that was still open
    xact xid8 not null default pg_current_xact_id(),
    number bigint generated always as identity,
    account_id uuid not null,
    -- tokens of a smaller generation are refused
    valid_from bigint not null,
    revoked_at timestamptz not null default clock_timestamp(),
    primary key (xact, number)
);
comment on table revocations is 'Accounts whose tokens were ended before their time; followed by every node, kept for a day.';
create index revocations_by_time on revocations (revoked_at);

create table password_links (
    -- SHA-256 of the token that the operator was given
    token_hash bytea primary key,
    account_id uuid not null references accounts on delete cascade,
    made_at timestamptz not null default clock_timestamp(),
    expires_at timestamptz not null
);
comment on table password_links is 'One-time links with which a password is set; a row goes when its link is used.';
create index password_links_by_account on password_links (account_id);
create index password_links_by_end on password_links (expires_at);

-- Whoever changes a role or a password, or deletes an account, by whatever means, ends its tokens.
create function end_tokens() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' then
        insert into revocations (account_id, valid_from) values (old.account_id, 9223372036854775807);
        return null;
    end if;
    new.token_generation := greatest(new.token_generation, old.token_generation + 1);
    delete from sessions where account_id = new.account_id;
    delete from password_links where account_id = new.account_id;
    insert into revocations (account_id, valid_from) values (new.account_id, new.token_generation);
    return new;
end $$;

create trigger accounts_end_tokens before update of role, password_hash, token_generation on accounts
    for each row
    when (old.role is distinct from new.role
        or old.password_hash is distinct from new.password_hash
        or old.token_generation is distinct from new.token_generation)
    execute function end_tokens();
create trigger accounts_end_tokens_deleted after delete on accounts
    for each row execute function end_tokens();
