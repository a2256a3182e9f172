-- A new generation, made here and not by the caller: a command that is repeated, or runs late, can never bring an old one
-- back. It is the time in microseconds, and greater than the one before whatever the clock does. Numbers from 2^53 on are
-- none of ours.
local function next_generation(key, keep)
  local time = redis.call('TIME')
  local generation = time[1] * 1000000 + time[2]
  local held = redis.pcall('GET', key)
  if type(held) == 'string' then
    local number = tonumber(held)
    if number and number >= generation and number < 9007199254740991 then
      generation = number + 1
    end
  end
  local text = string.format('%020.0f', generation)
  redis.call('SET', key, text, 'PX', keep)
  return text
end
