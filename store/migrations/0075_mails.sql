-- Mails that were asked for. A row is written in the transaction that causes it, and holds no secret: a link's token is
-- derived from the mail's id and the master key, and only its hash is stored. Beside a running sale: nothing that is sold
-- touches these tables.
create table mails (
    mail_id uuid primary key,
    -- what it says, as contract::mail::MailKind has it; without a check, for kinds of later versions
    kind text not null,
    account_id uuid not null references accounts on delete cascade,
    recipient text not null,
    -- SHA-256 of the token of its link that verifies the recipient; none once the link was used
    token_hash bytea,
    made_at timestamptz not null default clock_timestamp(),
    -- it is not sent any more from then on, nor does its link work
    expires_at timestamptz not null,
    -- when it goes (again) into the queue
    due_at timestamptz not null default clock_timestamp(),
    -- nobody else sends it before
    claimed_until timestamptz,
    attempts integer not null default 0,
    ended_at timestamptz,
    -- why it was never sent; none if it was
    failure text
);
comment on table mails is 'Mails that were asked for: those that wait, those that were sent, those that failed.';
create index mails_by_due on mails (due_at) where ended_at is null;
create index mails_by_end on mails (ended_at) where ended_at is not null;
create index mails_by_account on mails (account_id, made_at);
create unique index mails_by_token on mails (token_hash) where token_hash is not null;

alter table accounts add column email_verified_at timestamptz;
comment on column accounts.email_verified_at is 'When a link that was sent to the address was used.';
