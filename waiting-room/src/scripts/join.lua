-- Gives accounts their places: the one each has, the one it comes back to, or the next.
-- ARGV 1 secret of the lot, 2 epoch of the reservation, 3 number reserved up to (0: none); then of
--      each joiner: account, ticket for a new place, joined_at in ms, '1' where the place is drawn
--      by lot, ticket to come back with ('' for none), and of it number, epoch, joined_at, '1'
--      where it was drawn
-- Returns {'FLUSHED'}; or {'OK', epoch, seq, then for each joiner: 'NEW', 'BACK', 'WAITING',
--      'ADMITTING' or 'ADMITTED', ticket, record; or 'FULL', '', '' where numbers must be
--      reserved first}.
-- Atomic, because one account has one place however many devices ask at once, and no number may
-- be given out twice.
local epoch = epoch_of_line()
if not epoch then return {'FLUSHED'} end
local now = now_ms()
local secret = ARGV[1]
local joined = {}

-- A permutation of 0 to 2^20 - 1 under the secret: six Feistel rounds over two halves of 10 bits.
local function drawn_rank(number)
  local left, right = math.floor((number - 1) / 1024), (number - 1) % 1024
  for round = 1, 6 do
    local mixed = redis.sha1hex(secret .. ':' .. round .. ':' .. right)
    left, right = right, bit.bxor(left, tonumber(string.sub(mixed, 1, 3), 16) % 1024)
  end
  return left * 1024 + right + 1
end

-- Where a number stands: the drawn before all others, so the two never meet.
local function rank_of(number, drawn)
  if drawn == '1' and number <= DRAWN_MAX then return drawn_rank(number) end
  return DRAWN_MAX + number
end

local function place(how, account, ticket, number, of_epoch, joined_at, drawn)
  local rank = text(rank_of(number, drawn))
  local made = table.concat({account, text(number), rank, of_epoch, joined_at}, ' ')
  redis.call('HSET', places, ticket, made)
  redis.call('HSET', accounts, account, ticket)
  redis.call('ZADD', line, rank, ticket)
  hear(ticket, now)
  joined[#joined + 1] = rank
  return how, ticket, made
end

local mark = redis.call('HMGET', head, 'counter', 'reserved')
local counter, reserved = tonumber(mark[1]), tonumber(mark[2] or '0')
if ARGV[2] == epoch and tonumber(ARGV[3]) > reserved then
  reserved = tonumber(ARGV[3])
  redis.call('HSET', head, 'reserved', ARGV[3])
end

local function join(account, ticket, joined_at, drawn, back, number, of_epoch, was_joined_at, was_drawn)
  local known = redis.call('HGET', accounts, account)
  local record = known and redis.call('HGET', places, known)
  if record then
    if hear(known, now) then return 'WAITING', known, record end
    if redis.call('ZSCORE', admitting, known) then return 'ADMITTING', known, record end
    local until_ms = redis.call('ZSCORE', active, known)
    if until_ms and tonumber(until_ms) > now then return 'ADMITTED', known, record end
  end
  if back ~= '' and redis.call('HEXISTS', ended, back) == 0 then
    number = tonumber(number)
    if number > 0 and number <= counter then
      return place('BACK', account, back, number, of_epoch, was_joined_at, was_drawn)
    end
  end
  if counter >= reserved then return 'FULL', '', '' end
  counter = redis.call('HINCRBY', head, 'counter', 1)
  return place('NEW', account, ticket, counter, epoch, joined_at, drawn)
end

local answer = {'OK', epoch, '0'}
for i = 4, #ARGV, 9 do
  local how, ticket, record = join(unpack(ARGV, i, i + 8))
  answer[#answer + 1] = how
  answer[#answer + 1] = ticket
  answer[#answer + 1] = record
end
if #joined > 0 then
  answer[3] = text(tell(epoch, 'j', table.concat(joined, ' ')))
else
  answer[3] = redis.call('HGET', head, 'seq') or '0'
end
return answer
