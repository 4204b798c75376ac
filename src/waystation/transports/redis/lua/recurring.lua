-- ARGV: time, "list", or "pause", "go on" or "remove" and a name.
-- Returns {name, topic, rule, due, is paused} each, or whether there was such a name.

local recurring = base .. 'recurring'
if ARGV[2] == 'list' then
  local found, all = {}, call('HGETALL', recurring)
  for i = 1, #all, 2 do
    local entry = cmsgpack.unpack(all[i + 1])
    found[#found + 1] = { all[i], entry.topic, entry.rule, entry.due, entry.paused and 1 or 0 }
  end
  return found
end
if ARGV[2] == 'remove' then return call('HDEL', recurring, ARGV[3]) end
local text = call('HGET', recurring, ARGV[3])
if not text then return 0 end
local entry = cmsgpack.unpack(text)
entry.paused = ARGV[2] == 'pause'
call('HSET', recurring, ARGV[3], cmsgpack.pack(entry))
return 1
