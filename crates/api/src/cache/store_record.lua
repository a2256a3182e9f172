-- Stores a record's entry unless a newer one exists. Starts a new generation of pages if its key is given.
-- KEYS: entry, [generation]. ARGV: stamp, entry, milliseconds to keep, the stamp that was seen before the record was
-- read or '', [milliseconds to keep the generation].
--
-- Stamps have a fixed width, so they can be compared as strings. A value that is not an entry counts as absent. An entry
-- that was seen before the read is replaced whatever its stamp is, because the read is newer.
local held = redis.pcall('GETRANGE', KEYS[1], 0, 19)
if type(held) == 'table' then
  if not string.find(held.err, 'WRONGTYPE', 1, true) then
    return held
  end
  redis.call('DEL', KEYS[1])
  held = ''
elseif #held ~= 20 or string.find(held, '%D') or held > '18446744073709551615' then
  held = ''
end
if KEYS[2] then
  next_generation(KEYS[2], ARGV[5])
end
if held > ARGV[1] and held ~= ARGV[4] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
