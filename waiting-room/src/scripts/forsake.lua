-- Visitors whose node is gone are absent, and have their grace to come back to another one.
-- ARGV 1 ms of silence after which a node is gone, 2 '1' once everybody was looked at, 3... tickets;
--      those whom a living node holds are left alone
-- Returns how many are absent now.
-- Atomic, because they may have come back already. Nodes that have a socket of one all the same
-- are told, and hold on.
local epoch = epoch_of_line()
if not epoch then return 0 end
local now, free = now_ms(), {}
local alive_since = now - tonumber(ARGV[1])

local function is_gone(node)
  local heard = redis.call('ZSCORE', nodes, node)
  return not heard or tonumber(heard) < alive_since
end

for i = 3, #ARGV do
  local ticket = ARGV[i]
  local holder = redis.call('HGET', held, ticket)
  if holder and is_gone(holder) then
    redis.call('HDEL', held, ticket)
    if redis.call('ZREM', ready, ticket) == 1 then
      redis.call('ZADD', absent, text(now), ticket)
      free[#free + 1] = ticket
    end
  end
end
if ARGV[2] == '1' then redis.call('ZREMRANGEBYSCORE', nodes, '-inf', '(' .. text(alive_since)) end
if #free > 0 then tell(epoch, 'r', table.concat(free, ' ')) end
return #free
