-- Gives an account its place: the one it has, the one it comes back to, or the next.
-- ARGV 1 account, 2 ticket for a new place, 3 joined_at in ms, 4 '1' where the place is drawn by
--      lot, 5 secret of the lot, 6 epoch of the reservation, 7 number reserved up to (0: none),
--      8 ticket to come back with ('' for none), and of it: 9 number, 10 epoch, 11 joined_at,
--      12 '1' where it was drawn
-- Returns {'FLUSHED'}; {'FULL', epoch} where numbers must be reserved first; or {'NEW', 'BACK',
--      'WAITING', 'ADMITTING' or 'ADMITTED', seq, ticket, record, epoch}.
-- Atomic, because one account has one place however many devices ask at once, and no number may
-- be given out twice.
local epoch = epoch_of_line()
if not epoch then return {'FLUSHED'} end
local account = ARGV[1]
local now = now_ms()

local function answer(how, ticket, record)
  return {how, redis.call('HGET', head, 'seq') or '0', ticket, record, epoch}
end

local known = redis.call('HGET', accounts, account)
local record = known and redis.call('HGET', places, known)
if record then
  if hear(known, now) then return answer('WAITING', known, record) end
  if redis.call('ZSCORE', admitting, known) then return answer('ADMITTING', known, record) end
  local until_ms = redis.call('ZSCORE', active, known)
  if until_ms and tonumber(until_ms) > now then return answer('ADMITTED', known, record) end
end

-- A permutation of 0 to 2^20 - 1 under the secret: six Feistel rounds over two halves of 10 bits.
local function drawn_rank(number)
  local left, right = math.floor((number - 1) / 1024), (number - 1) % 1024
  for round = 1, 6 do
    local mixed = redis.sha1hex(ARGV[5] .. ':' .. round .. ':' .. right)
    left, right = right, bit.bxor(left, tonumber(string.sub(mixed, 1, 3), 16) % 1024)
  end
  return left * 1024 + right + 1
end

-- Where a number stands: the drawn before all others, so the two never meet.
local function rank_of(number, drawn)
  if drawn == '1' and number <= DRAWN_MAX then return drawn_rank(number) end
  return DRAWN_MAX + number
end

local function place(how, ticket, number, of_epoch, joined_at, drawn)
  local rank = text(rank_of(number, drawn))
  local made = table.concat({account, text(number), rank, of_epoch, joined_at}, ' ')
  redis.call('HSET', places, ticket, made)
  redis.call('HSET', accounts, account, ticket)
  redis.call('ZADD', line, rank, ticket)
  hear(ticket, now)
  tell(epoch, 'j', rank)
  return answer(how, ticket, made)
end

local counter = tonumber(redis.call('HGET', head, 'counter'))
if ARGV[8] ~= '' and redis.call('HEXISTS', ended, ARGV[8]) == 0 then
  local number = tonumber(ARGV[9])
  if number > 0 and number <= counter then
    return place('BACK', ARGV[8], number, ARGV[10], ARGV[11], ARGV[12])
  end
end

local reserved = tonumber(redis.call('HGET', head, 'reserved') or '0')
if ARGV[6] == epoch and tonumber(ARGV[7]) > reserved then
  reserved = tonumber(ARGV[7])
  redis.call('HSET', head, 'reserved', ARGV[7])
end
if counter >= reserved then return {'FULL', epoch} end
local number = redis.call('HINCRBY', head, 'counter', 1)
return place('NEW', ARGV[2], number, epoch, ARGV[3], ARGV[4])
