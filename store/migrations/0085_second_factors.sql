-- What a sign-in needs beside the password, where its owner has set it up. All of it is additions: a version that knows
-- nothing of second factors runs beside this one, and asks for none.
create table second_factors (
    account_id uuid primary key references accounts on delete cascade,
    -- the account's id and the secret, sealed with the master key: nonce, ciphertext, tag
    sealed_secret bytea not null,
    made_at timestamptz not null default clock_timestamp(),
    -- a sign-in needs it from then on; null until its owner has shown a first code
    confirmed_at timestamptz,
    -- of the last code that was accepted, in steps of 30 s: a code is good once
    last_step bigint not null default 0
);
comment on table second_factors is 'Secrets of authenticator apps, at most one of each account.';

create table recovery_codes (
    account_id uuid not null references second_factors on delete cascade,
    -- keyed hash: the codes are short enough to be guessed from a plain one
    code_mac bytea not null,
    primary key (account_id, code_mac)
);
comment on table recovery_codes is 'Codes for an owner whose authenticator is lost; a row goes when its code is used.';
