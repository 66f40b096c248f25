-- Gives a place back at once, whether it waits in the line or was admitted.
-- ARGV 1 ticket
-- Returns 'FLUSHED', or what was given back: 'PLACE', 'PASS' or 'NOTHING'.
-- Atomic, because the place may be admitted at the same moment.
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
