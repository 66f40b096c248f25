-- Records that visitors are admitted and logged: they are active until their pass expires.
-- ARGV for each: ticket, ms for which its pass is valid still, ms at which it was admitted. Not the
--      time at which it ends: the clock of the log need not be the store's.
-- Returns how many were news.
-- Atomic, so that a visitor counts against the cap at every moment.
local epoch = epoch_of_line()
if not epoch then return 0 end
local news, gone, now = {}, {}, now_ms()
for i = 1, #ARGV, 3 do
  local ticket = ARGV[i]
  local was_admitting = redis.call('ZREM', admitting, ticket) == 1
  -- Back in the line by a ticket, because the store had lost that it was being admitted.
  gone[#gone + 1] = take_out(ticket)
  -- Whoever left meanwhile stays gone.
  if redis.call('HEXISTS', ended, ticket) == 0 then
    local added = redis.call('ZADD', active, 'NX', text(now + tonumber(ARGV[i + 1])),
      ticket) == 1
    if was_admitting or added then news[#news + 1] = ticket .. ' ' .. ARGV[i + 2] end
  end
end
if #news > 0 or #gone > 0 then
  tell(epoch, 'p', table.concat(news, ' '), 'g', table.concat(gone, ' '))
end
return #news
