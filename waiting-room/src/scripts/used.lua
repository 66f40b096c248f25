-- Frees the slots of visitors whose pass has bought a confirmed order; their places have ended.
-- ARGV tickets; those that are not active are skipped, so that it can be told twice
-- Returns how many slots came free.
-- Atomic, because the slot, the place and the news of it go together.
local epoch = epoch_of_line()
if not epoch then return 0 end
local freed, gone = {}, {}
for _, ticket in ipairs(ARGV) do
  redis.call('ZREM', choosing, ticket)
  if redis.call('ZREM', active, ticket) == 1 then
    -- Back in the line by a ticket, because the store had lost that it was admitted.
    gone[#gone + 1] = take_out(ticket)
    local account = forget(ticket)
    if account then remember_end(ticket, 'EXPIRED', account) end
    freed[#freed + 1] = ticket
  end
end
if #freed > 0 then tell(epoch, 'x', table.concat(freed, ' '), 'g', table.concat(gone, ' ')) end
return #freed
