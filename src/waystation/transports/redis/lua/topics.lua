-- ARGV: time. Returns {topic, entries, next offset, bytes, first id, last id, groups} each.

local function id_at(topic, from, command)
  local found = call(command, stream_of(topic), from, from == '-' and '+' or '-', 'COUNT', 1)[1]
  return found and found[1] or ''
end

look_around()
local found = {}
for _, topic in ipairs(call('SMEMBERS', base .. 'topics')) do
  local bytes = redis.pcall('MEMORY', 'USAGE', stream_of(topic))
  local groups = call('SMEMBERS', base .. 'groups:' .. topic)
  found[#found + 1] = {
    topic, call('XLEN', stream_of(topic)), next_offset(topic), type(bytes) == 'number' and bytes or 0,
    id_at(topic, '-', 'XRANGE'), id_at(topic, '+', 'XREVRANGE'), groups,
  }
end
return found
