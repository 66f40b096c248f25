-- Who can sign in.
create type account_role as enum ('user', 'admin');

create table accounts (
    account_id uuid primary key,
    name text not null,
    email text not null,
    phone text,
    -- PHC string, argon2id
    password_hash text not null,
    role account_role not null default 'user',
    created_at timestamptz not null default clock_timestamp()
);
comment on table accounts is 'People who can sign in.';
-- One account per address, however it is written.
create unique index accounts_email_key on accounts (lower(email));

create table signing_keys (
    kid text primary key,
    public_key bytea not null,
    -- sealed with the master key: nonce, ciphertext, tag
    sealed_private_key bytea not null,
    created_at timestamptz not null default clock_timestamp(),
    -- passes signed with it are refused from then on; null while it is in use
    retired_at timestamptz
);
comment on table signing_keys is 'Ed25519 keys that sign admission passes; the newest signs, all that are not retired verify.';

create table idempotent_answers (
    account_id uuid not null references accounts,
    idempotency_key text not null,
    -- SHA-256 over method, path and body
    fingerprint bytea not null,
    status smallint not null,
    body jsonb not null,
    created_at timestamptz not null default clock_timestamp(),
    primary key (account_id, idempotency_key)
);
comment on table idempotent_answers is 'Answers to keyed writes other than bookings, kept for a day; bookings prove theirs by their id.';
