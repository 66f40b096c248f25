-- Gives accounts their places: the place the account has, the lost place it comes back to, or a new
-- one.
-- ARGV 1 secret of the lot, 2 epoch of the reservation, 3 last number reserved (0: none), 4 to 6
--      the stretch it is for: version of its rule, '1' where it is drawn, base; 7 and 8 epoch and
--      seq of the last change that the node knows; then for each joiner:
--      account, ticket for a new place, joined_at in ms, version of the rule for it (0: none),
--      '1' where that rule draws lots, place ticket to come back with ('' for none), and from that
--      ticket number, epoch, joined_at, base ('' for a ticket from before there were stretches),
--      lot ('-' where it was not drawn; without a base '1' where it was)
-- Returns {'FLUSHED'}, with 'BEHIND' where Redis lacks changes; or {'OK', epoch, seq, then for each
--      joiner: 'NEW', 'BACK', 'WAITING', 'ADMITTING' or 'ADMITTED', ticket, record; or 'FULL', '',
--      '' where numbers must be reserved first, under the joiner's rule}.
-- Atomic, because one account has one place however many of its devices ask at once, and no number
-- may be given out twice.
local lost = lost_or_behind(tonumber(ARGV[7]), tonumber(ARGV[8]), true)
if lost then return lost end
local epoch = epoch_of_line()
local now = now_ms()
local secret = ARGV[1]
local joined = {}

-- Lots of a drawn stretch, the same number as `LOTS` in the crate `store`, and how many further
-- lots are tried where one is taken.
local LOTS = 67108864
local TRIES = 10000

-- The lot of an account in this show, always the same.
local function lot_of(account)
  return tonumber(string.sub(redis.sha1hex(secret .. ':' .. account), 1, 7), 16) % LOTS
end

-- The first free rank of an account in a drawn stretch, and how many lots after its own that is;
-- nil where all lots tried are taken.
local function drawn_rank(account, base, from)
  local lot = lot_of(account)
  for past = from, from + TRIES do
    local rank = base + 1 + (lot + past) % LOTS
    local at = text(rank)
    if redis.call('ZCOUNT', line, at, at) == 0 then return rank, past end
  end
  return nil
end

-- The rank of a ticket from before there were stretches. Drawn ranks are a permutation of 0 to
-- 2^20 - 1 under the secret, in six Feistel rounds over two halves of 10 bits.
local function rank_of_old(number, drawn)
  if drawn ~= '1' or number > DRAWN_MAX then return DRAWN_MAX + number end
  local left, right = math.floor((number - 1) / 1024), (number - 1) % 1024
  for round = 1, 6 do
    local mixed = redis.sha1hex(secret .. ':' .. round .. ':' .. right)
    left, right = right, bit.bxor(left, tonumber(string.sub(mixed, 1, 3), 16) % 1024)
  end
  return left * 1024 + right + 1
end

local function place(how, account, ticket, rank, record)
  rank = text(rank)
  local made = account .. ' ' .. text(record.number) .. ' ' .. rank .. ' ' .. record.epoch
    .. ' ' .. record.joined_at
  if record.base ~= '' then made = made .. ' ' .. record.base .. ' ' .. record.lot end
  redis.call('HSET', places, ticket, made)
  redis.call('HSET', accounts, account, ticket)
  redis.call('ZADD', line, rank, ticket)
  hear(ticket, now)
  joined[#joined + 1] = rank
  return how, ticket, made
end

local mark = redis.call('HMGET', head, 'counter', 'reserved', 'rule', 'drawn', 'base')
local counter, reserved = tonumber(mark[1]), tonumber(mark[2] or '0')
local rule, drawn, base = tonumber(mark[3] or '0'), mark[4] or '0', tonumber(mark[5] or DRAWN_MAX)
if ARGV[2] == epoch then
  if tonumber(ARGV[3]) > reserved then
    reserved = tonumber(ARGV[3])
    redis.call('HSET', head, 'reserved', ARGV[3])
  end
  -- A reservation with a higher base begins a new stretch, above all earlier ones.
  if tonumber(ARGV[6]) > base then
    rule, drawn, base = math.max(rule, tonumber(ARGV[4])), ARGV[5], tonumber(ARGV[6])
    redis.call('HSET', head, 'rule', text(rule), 'drawn', drawn, 'base', ARGV[6])
  end
end

-- Takes over a newer rule; false where it orders places in another way, so that a new stretch must
-- begin first. An older rule comes from a node that has not heard of the newer one.
local function stands_under(asked, wants_lot)
  if asked <= rule then return true end
  if wants_lot ~= drawn then return false end
  rule = asked
  redis.call('HSET', head, 'rule', text(rule))
  return true
end

local function join(account, ticket, joined_at, asked, wants_lot, back, number, of_epoch,
    was_joined_at, was_base, lot)
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
      local rank
      if was_base == '' then
        rank = rank_of_old(number, lot)
      elseif lot == '-' then
        rank = tonumber(was_base) + number
      else
        rank, lot = drawn_rank(account, tonumber(was_base), tonumber(lot))
      end
      -- A Redis that once lost changes may have given one number to two tickets: the first keeps
      -- it.
      if rank and redis.call('ZCOUNT', line, text(rank), text(rank)) > 0 then rank = nil end
      if rank then
        return place('BACK', account, back, rank, {number = number, epoch = of_epoch,
          joined_at = was_joined_at, base = was_base, lot = lot})
      end
    end
  end
  if not stands_under(tonumber(asked), wants_lot) or counter >= reserved then
    return 'FULL', '', ''
  end
  local rank, past = nil, '-'
  if drawn == '1' then
    rank, past = drawn_rank(account, base, 0)
    if not rank then return 'FULL', '', '' end
  end
  counter = redis.call('HINCRBY', head, 'counter', 1)
  return place('NEW', account, ticket, rank or base + counter, {number = counter, epoch = epoch,
    joined_at = joined_at, base = text(base), lot = past})
end

local answer = {'OK', epoch, '0'}
for i = 9, #ARGV, 11 do
  local how, ticket, record = join(unpack(ARGV, i, i + 10))
  answer[#answer + 1] = how
  answer[#answer + 1] = ticket
  answer[#answer + 1] = record
end
if #joined > 0 then
  answer[3] = text(tell(epoch, 'j', table.concat(joined, ' ')))
  keep_until_forgotten()
else
  answer[3] = redis.call('HGET', head, 'seq') or '0'
end
return answer
