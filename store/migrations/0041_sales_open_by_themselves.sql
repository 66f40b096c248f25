-- A sale opens at its time without anybody's call. Not one that was entered before there was this, and none whose
-- time was past when it was entered: it waits for the call.
alter table shows
    add column opens_itself boolean not null default false;
