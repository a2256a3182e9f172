-- Writes an entry unless a newer one is there. Stamps have a fixed width, so they compare as texts; an absent key reads
-- as the empty text, which is smaller than every stamp.
local held = redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1)
if KEYS[2] then
  redis.call('SET', KEYS[2], ARGV[4], 'PX', ARGV[5])
end
if held > ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
