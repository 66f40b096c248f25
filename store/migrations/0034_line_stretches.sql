-- How a line is ordered, through every change of its mode: docs/decisions/0016.
-- Counts what decides whether a place is drawn: a node that has not heard of a change yet must not
-- undo it. By a trigger, so that it counts whoever writes.
alter table shows add column room_version bigint not null default 0;
create function shows_count_room_versions() returns trigger language plpgsql as $$
begin
    if (new.room_mode, new.sale_opens_at) is distinct from (old.room_mode, old.sale_opens_at) then
        new.room_version := old.room_version + 1;
    end if;
    return new;
end $$;
create trigger shows_count_room_versions before update on shows
    for each row execute function shows_count_room_versions();

-- The stretch of the line that places are added to.
alter table lines
    -- under which rule it stands
    add column rule bigint not null default 0,
    -- whether its places are drawn, or in the order in which they are taken
    add column drawn boolean not null default false,
    -- every rank in it lies above, and every rank of those before not
    add column rank_base bigint not null default 1048576;
