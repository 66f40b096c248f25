-- Makes visitors absent whose node is gone; they have the grace to come back to another node.
-- ARGV 1 ms of silence after which a node is gone, 2 '1' in the last call, which forgets the nodes
--      that are gone, 3... tickets; visitors held by a living node stay as they are
-- Returns how many visitors were made absent.
-- Atomic, because the visitors may have come back already. A node that has a socket of one of them
-- hears of it by the change, and holds the visitor again.
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
