-- Records that admissions are in the log: the visitors are active until their passes expire, or for
-- longer if Redis knows of a renewal.
-- ARGV for each: ticket, ms for which its pass is still valid (not the moment at which it expires,
--      since the clocks of Postgres and Redis need not agree), ms at which it was admitted
-- Returns how many were new; nil where Redis has lost the line.
-- Atomic, so that a visitor counts against the cap at every moment.
local epoch = epoch_of_line()
if not epoch then return nil end
local news, gone, now = {}, {}, now_ms()
for i = 1, #ARGV, 3 do
  local ticket = ARGV[i]
  local was_admitting = redis.call('ZREM', admitting, ticket) == 1
  -- A loss may have made the visitor join again with the ticket while being admitted.
  gone[#gone + 1] = take_out(ticket)
  -- A visitor who left meanwhile stays gone.
  if redis.call('HEXISTS', ended, ticket) == 0 then
    local added = redis.call('ZADD', active, 'GT', text(now + tonumber(ARGV[i + 1])),
      ticket) == 1
    if was_admitting or added then news[#news + 1] = ticket .. ' ' .. ARGV[i + 2] end
  end
end
if #news > 0 or #gone > 0 then
  tell(epoch, 'p', table.concat(news, ' '), 'g', table.concat(gone, ' '))
end
return #news
