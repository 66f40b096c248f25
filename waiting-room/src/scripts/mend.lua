-- Mends what does not fit because some keys were lost: everybody in the line has a record and an
-- account, and is either ready, by a node that holds or by having been heard of, or absent.
-- ARGV tickets
-- Returns how many were mended.
-- Atomic, because each of them may be admitted, or come back, at the same moment. Nodes that have
-- a socket of one are told, and hold it again.
local epoch = epoch_of_line()
if not epoch then return 0 end
local now, mended, gone = text(now_ms()), {}, {}

local function mend(ticket)
  local rank = redis.call('ZSCORE', line, ticket)
  local record = rank and redis.call('HGET', places, ticket)
  if not record then
    -- Out of the line; whoever has the ticket comes back to it.
    gone[#gone + 1] = take_out(ticket)
    local was_ready = redis.call('ZREM', ready, ticket)
    local was_there = redis.call('ZREM', seen, ticket) + redis.call('ZREM', absent, ticket)
    return was_ready + was_there + redis.call('HDEL', held, ticket) > 0 or rank
  end
  local was_known = redis.call('HSETNX', accounts, string.match(record, '^%S+'), ticket) == 0
  local is_ready = redis.call('ZSCORE', ready, ticket)
  local is_absent = redis.call('ZSCORE', absent, ticket)
  local is_held = redis.call('HEXISTS', held, ticket) == 1
  local is_seen = redis.call('ZSCORE', seen, ticket)
  local fits = is_ready and not is_absent and is_held == not is_seen
    or is_absent and not is_ready and not is_held and not is_seen
  if fits then return not was_known end
  redis.call('HDEL', held, ticket)
  redis.call('ZREM', absent, ticket)
  redis.call('ZADD', ready, rank, ticket)
  redis.call('ZADD', seen, now, ticket)
  return true
end

for _, ticket in ipairs(ARGV) do
  if mend(ticket) then mended[#mended + 1] = ticket end
end
if #mended > 0 then tell(epoch, 'g', table.concat(gone, ' '), 'r', table.concat(mended, ' ')) end
return #mended
