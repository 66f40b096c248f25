-- no-transaction
-- Takes the place of `show_seats_by_tier`. Until PostgreSQL's statistics know a show, an index that begins with the show looks as
-- good to find one seat as the primary key, and has fewer levels: every claim read all seats of the show.
create index concurrently if not exists show_seats_of_tier on show_seats (tier, show_id);
