-- ARGV: time, pattern, before or "+inf", limit. Returns {due, topic, fields} each, the next one first.

look_around()
local found, from = {}, 0
while #found < tonumber(ARGV[4]) do
  local page = call('ZRANGEBYSCORE', base .. 'schedule', '-inf', '(' .. ARGV[3], 'WITHSCORES', 'LIMIT', from, 200)
  for i = 1, #page, 2 do
    local topic, _, _, _, fields = unpack(cmsgpack.unpack(call('HGET', base .. 'scheduled', page[i])))
    if #found < tonumber(ARGV[4]) and matches(ARGV[2], topic) then found[#found + 1] = { page[i + 1], topic, fields } end
  end
  from = from + 200
  if #page < 400 then break end
end
return found
