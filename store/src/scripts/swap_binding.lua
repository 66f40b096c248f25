-- Changes what a key is bound to, unless somebody else has changed it.
-- KEYS[1]: the key's binding
-- ARGV[1]: what it is   ARGV[2]: what it becomes; empty: it is bound no more   ARGV[3]: seconds to live
-- Returns: whether it was so
-- Atomic: of two that take over what a third left undone, one does.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return 0
end
if ARGV[2] == '' then
    redis.call('DEL', KEYS[1])
else
    redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
end
return 1
