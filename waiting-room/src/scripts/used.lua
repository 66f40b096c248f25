-- Frees the slots of visitors whose pass has bought a confirmed order; their places end.
-- ARGV tickets; tickets that are not active are skipped, so a second call does no harm
-- Returns how many slots came free.
-- Atomic, because the slot, the place and the change that tells of it go together.
local epoch = epoch_of_line()
if not epoch then return 0 end
local freed, gone = {}, {}
for _, ticket in ipairs(ARGV) do
  redis.call('ZREM', choosing, ticket)
  if redis.call('ZREM', active, ticket) == 1 then
    -- A loss may have made an admitted visitor join again with the ticket.
    gone[#gone + 1] = take_out(ticket)
    local account = forget(ticket)
    if account then remember_end(ticket, 'EXPIRED', account) end
    freed[#freed + 1] = ticket
  end
end
if #freed > 0 then tell(epoch, 'x', table.concat(freed, ' '), 'g', table.concat(gone, ' ')) end
return #freed
