-- ARGV: time, message id, then due and how a message says it, or nothing: then it is cancelled.
-- Returns how many messages there were by this id.

look_around()
local numbers = call('SMEMBERS', base .. 'scheduled:' .. ARGV[2])
for _, number in ipairs(numbers) do
  local message = cmsgpack.unpack(call('HGET', base .. 'scheduled', number))
  if ARGV[3] then
    local fields = message[5]
    for i = 1, #fields, 2 do
      if fields[i] == 'ce_delivertime' then fields[i + 1] = ARGV[4] end
    end
    call('HSET', base .. 'scheduled', number, cmsgpack.pack(message))
    call('ZADD', base .. 'schedule', ARGV[3], number)
    ring(message[1])
  else
    unschedule(number, ARGV[2])
    if message[3] then call('DEL', dedupe_name(message[1], message[3])) end
  end
end
look_around()
return #numbers
