-- no-transaction
-- Old answers are looked for once a minute by each node: not among all of the day.
create index concurrently if not exists idempotent_answers_by_age on idempotent_answers (created_at);
