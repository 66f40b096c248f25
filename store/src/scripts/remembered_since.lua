-- What a key is bound to, and since when this Redis remembers every key that was bound.
-- KEYS[1]: idempotency_since
-- KEYS[2]: the key's binding, if one is asked for
-- KEYS[3]: the key's binding as an earlier version wrote it
-- ARGV[1]: now, in milliseconds of PostgreSQL's clock
-- Returns: the binding or false, since when in milliseconds, and the earlier version's binding or false
-- Atomic: a missing binding proves something only if the memory was whole at the same moment.

-- A Redis that was restarted, or replaced another, may lack the last keys.
local info = redis.pcall('INFO', 'server')
local this = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''
local known, since = string.match(redis.call('GET', KEYS[1]) or '', '^(%w*) (%d+)$')
if known ~= this then
    since = ARGV[1]
    redis.call('SET', KEYS[1], this .. ' ' .. since)
end
local function bound(key) return key and redis.call('GET', key) or false end
return {bound(KEYS[2]), tonumber(since), bound(KEYS[3])}
