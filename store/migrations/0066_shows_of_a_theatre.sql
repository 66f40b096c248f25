-- no-transaction
create index concurrently if not exists shows_of_theatre on shows (theatre_id, starts_at) where retired_at is null;
