-- Notes that visitors are there, and returns where each of them is.
-- ARGV 1 '1' to return the records, too, 2 the node that has a socket of each of them ('' for
--      none), 3... tickets
-- Returns {'FLUSHED'}; or {'OK', epoch, seq, then for each ticket: 'WAITING', 'ADMITTING',
--      'ADMITTED', 'LEFT', 'EXPIRED' or 'UNKNOWN', and its record, or its account where the place
--      has ended, or ''}.
-- Atomic, so that an absent visitor who comes back is not expired in between.
local epoch = epoch_of_line()
if not epoch then return {'FLUSHED'} end
local now, node = now_ms(), ARGV[2]
-- A node that is not listed would never be noticed as gone.
if node ~= '' then redis.call('ZADD', nodes, 'NX', text(now), node) end
local answer = {'OK', epoch, redis.call('HGET', head, 'seq') or '0'}
for i = 3, #ARGV do
  local ticket = ARGV[i]
  local where, detail = 'UNKNOWN', ''
  local waits
  if node == '' then waits = hear(ticket, now) else waits = hold(ticket, node) end
  if waits then
    where = 'WAITING'
  elseif redis.call('ZSCORE', admitting, ticket) then
    where = 'ADMITTING'
  elseif redis.call('ZSCORE', active, ticket) then
    where = 'ADMITTED'
  else
    local how = redis.call('HGET', ended, ticket)
    if how then where, detail = string.match(how, '^(%S+) (%S+)$') end
  end
  if ARGV[1] == '1' and detail == '' then
    detail = redis.call('HGET', places, ticket) or ''
  end
  answer[#answer + 1] = where
  answer[#answer + 1] = detail
end
return answer
