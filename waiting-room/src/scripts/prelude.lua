-- Put before every script of the line.
--
-- KEYS of every script, all under the hash tag of the show:
--  1 head       hash   epoch, counter (last number given out), reserved (highest it may give out),
--                      seq (of the last change), held_until and lenient_until, swept_at (ms),
--                      rule, drawn and base of the stretch that places are added to,
--                      redis (run id of the Redis that has given out the numbers),
--                      forget_at (ms): when the line's keys expire,
--                      to_restore (epoch): set after a loss until all visitors with a valid pass
--                      are in `active` again
--  2 bucket     hash   tokens, at (ms): how many may be admitted now; missing means empty
--  3 line       zset   ticket -> rank: everybody in the line
--  4 ready      zset   ticket -> rank: visitors in the line who are there, and may be admitted
--  5 seen       zset   ticket -> ms: when each ready visitor without a socket was last heard of
--  6 absent     zset   ticket -> ms: when each visitor who is not ready was last heard of
--  7 places     hash   ticket -> "account number rank epoch joined_at base lot", the time in ms;
--                      lot is how many lots past its own a place was drawn, - where it was not
--                      drawn
--  8 accounts   hash   account -> ticket
--  9 ended      hash   ticket -> "LEFT account" or "EXPIRED account"; of the last day
-- 10 admitting  zset   ticket -> ms: taken from the line, not yet in Postgres's log
-- 11 active     zset   ticket -> ms: admitted visitors, and when their passes expire
-- 12 changes    stream what each script changed, for the nodes: e epoch, s seq,
--                      j ranks that joined, g ranks that are gone, l tickets that left,
--                      x tickets that expired, p "ticket admitted_at" of the admitted, o opened,
--                      r tickets that no node holds any more, y ranks gone before a loss
-- 13 held       hash   ticket -> node: ready visitors with a socket, there as long as the node is
-- 14 nodes      zset   node -> ms: when each node was last heard of
-- 15 choosing   zset   ticket -> ms: visitors who count as choosing seats, and when admitted
-- 16 ended_at   zset   ticket -> ms: when each place in `ended` ended
local head, bucket, line, ready, seen, absent = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local places, accounts, ended = KEYS[7], KEYS[8], KEYS[9]
local admitting, active, changes = KEYS[10], KEYS[11], KEYS[12]
local held, nodes, choosing, ended_at = KEYS[13], KEYS[14], KEYS[15], KEYS[16]

local DRAWN_MAX = 1048576
local CHANGES_MAX = 100000
local DAY_MS = 86400000

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000
end

local function text(number)
  return string.format('%.0f', number)
end

-- The epoch; nil where Redis has lost the line.
local function epoch_of_line()
  local mark = redis.call('HMGET', head, 'epoch', 'counter')
  if mark[1] and mark[2] then return mark[1] end
  return nil
end

-- The run id of this Redis. A Redis with another run id was restarted or took over from another
-- one, and may lack the last changes.
local function this_redis()
  local info = redis.pcall('INFO', 'server')
  return type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''
end

-- The answer where Redis has lost the line, or lacks changes that a node has seen; nil where
-- neither is so. A line that lacks changes is given up, so that it begins anew above every number
-- that may have been given out. With `numbers`, this must also be the Redis that gave out the
-- numbers so far.
local function lost_or_behind(seen_epoch, seen_seq, numbers)
  local mark = redis.call('HMGET', head, 'epoch', 'counter', 'seq', 'redis')
  if not mark[1] or not mark[2] then return {'FLUSHED'} end
  local epoch, seq = tonumber(mark[1]), tonumber(mark[3] or '0')
  local is_behind = epoch < seen_epoch or epoch == seen_epoch and seq < seen_seq
  if numbers then
    local this = this_redis()
    if mark[4] then
      is_behind = is_behind or mark[4] ~= this
    else
      redis.call('HSET', head, 'redis', this)
    end
  end
  if not is_behind then return nil end
  redis.call('UNLINK', unpack(KEYS))
  return {'FLUSHED', 'BEHIND'}
end

-- Adds an entry to the stream of changes, under the next seq; a node that misses one loads the line
-- again.
local function tell(epoch, ...)
  local seq = redis.call('HINCRBY', head, 'seq', 1)
  redis.call('XADD', changes, 'MAXLEN', '~', CHANGES_MAX, '*', 'e', epoch, 's', seq, ...)
  return seq
end

-- Takes a ticket out of the line; returns its rank, or nil where it was not in the line.
local function take_out(ticket)
  local rank = redis.call('ZSCORE', line, ticket)
  if not rank then return nil end
  redis.call('ZREM', line, ticket)
  redis.call('ZREM', ready, ticket)
  redis.call('ZREM', seen, ticket)
  redis.call('ZREM', absent, ticket)
  redis.call('HDEL', held, ticket)
  return text(tonumber(rank))
end

-- A visitor was heard of, and is ready again; false where the ticket is not in the line.
local function hear(ticket, now)
  local rank = redis.call('ZSCORE', line, ticket)
  if not rank then return false end
  if redis.call('HEXISTS', held, ticket) == 0 then
    redis.call('ZREM', absent, ticket)
    redis.call('ZADD', ready, rank, ticket)
    redis.call('ZADD', seen, text(now), ticket)
  end
  return true
end

-- A node has a socket of the visitor, who is there until the node releases the ticket or is gone;
-- false where the ticket is not in the line.
local function hold(ticket, node)
  local rank = redis.call('ZSCORE', line, ticket)
  if not rank then return false end
  redis.call('ZREM', absent, ticket)
  redis.call('ZREM', seen, ticket)
  redis.call('ZADD', ready, rank, ticket)
  redis.call('HSET', held, ticket, node)
  return true
end

-- Forgets the record of a ticket; returns its account, or nil.
local function forget(ticket)
  local record = redis.call('HGET', places, ticket)
  if not record then return nil end
  local account = string.match(record, '^%S+')
  redis.call('HDEL', places, ticket)
  if redis.call('HGET', accounts, account) == ticket then
    redis.call('HDEL', accounts, account)
  end
  return account
end

-- Remembers how a place ended; the sweep forgets it after a day.
local function remember_end(ticket, how, account)
  redis.call('HSET', ended, ticket, how .. ' ' .. account)
  redis.call('ZADD', ended_at, text(now_ms()), ticket)
end

-- Makes the keys expire at `forget_at`, even if no node is left to delete them. A key that is made
-- anew has no expiry, so this is called where keys are made, and by every sweep.
local function keep_until_forgotten()
  local forget_at = redis.call('HGET', head, 'forget_at')
  if not forget_at then return end
  for _, key in ipairs(KEYS) do redis.call('PEXPIREAT', key, forget_at) end
end

