-- Gives a place back at once: one in the line, or one that was admitted.
-- ARGV 1 ticket
-- Returns 'FLUSHED'; 'PLACE' or 'PASS' for what was given back, or 'NOTHING'.
-- Atomic, because it races with being admitted.
local epoch = epoch_of_line()
if not epoch then return 'FLUSHED' end
local ticket = ARGV[1]
local rank = take_out(ticket)
local was_active = redis.call('ZREM', active, ticket) == 1
redis.call('ZREM', choosing, ticket)
local was_admitting = redis.call('ZREM', admitting, ticket) == 1
if not rank and not was_active and not was_admitting then return 'NOTHING' end
local account = forget(ticket)
if account then remember_end(ticket, 'LEFT', account) end
tell(epoch, 'g', rank or '', 'l', ticket)
if rank then return 'PLACE' end
return 'PASS'
