-- Starts a new generation. It is generated here and not by the caller, so that a command that is repeated or runs late
-- cannot restore an old one. It is the time in microseconds, and always greater than the one before, even if the clock is
-- set back. Numbers from 2^53 on were not stored by this service.
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
