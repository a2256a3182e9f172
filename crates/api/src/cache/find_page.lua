-- Returns the current generation and the page's entry. Starts a generation when there is none.
-- KEYS: generation, page. ARGV: milliseconds to keep the generation.
--
-- GETEX changes nothing here. Like every write, it is refused when Redis would refuse to start a new generation.
local generation = redis.pcall('GETEX', KEYS[1])
if type(generation) == 'table' and not string.find(generation.err, 'WRONGTYPE', 1, true) then
  return generation
end
if type(generation) ~= 'string' or #generation ~= 20 or string.find(generation, '%D') then
  generation = next_generation(KEYS[1], ARGV[1])
end
local page = redis.pcall('GET', KEYS[2])
if type(page) == 'table' then
  if not string.find(page.err, 'WRONGTYPE', 1, true) then
    return page
  end
  redis.call('DEL', KEYS[2])
  return {generation, ''}
end
return {generation, page}
