-- Gives a place back at once: one in the line, or one that was admitted.
-- ARGV 1 ticket
-- Returns 'FLUSHED', 'LEFT', or 'NOTHING' where there was nothing to give back.
-- Atomic, because it races with being admitted.
local epoch = epoch_of_line()
if not epoch then return 'FLUSHED' end
local ticket = ARGV[1]
local rank = take_out(ticket)
local was_active = redis.call('ZREM', active, ticket) == 1
if not rank and not was_active then return 'NOTHING' end
local account = forget(ticket)
if account then remember_end(ticket, 'LEFT', account) end
tell(epoch, 'g', rank or '', 'l', ticket)
return 'LEFT'
