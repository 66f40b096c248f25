-- Changes what a key is bound to, unless the binding has changed.
-- KEYS[1]: the key's binding
-- ARGV[1]: the old binding   ARGV[2]: the new one, or empty to free the key   ARGV[3]: seconds to live
-- Returns: 1, or 0 if the binding was not the old one
-- Atomic: of two nodes that take over a request that a third left undone, one succeeds.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return 0
end
if ARGV[2] == '' then
    redis.call('DEL', KEYS[1])
else
    redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
end
return 1
