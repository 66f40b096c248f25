-- No seat is free, but some are only held. Written by allocators alone: they are upgraded last.
alter type rejection add value if not exists 'ALL_HELD';
