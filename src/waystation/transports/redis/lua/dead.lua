-- ARGV: time, group or nothing, after which number, count. Returns dead letters as entries, the oldest first.

local group, after, count = ARGV[2], ARGV[3], ARGV[4]
if group == '' then return call('XRANGE', base .. 'dead', '(' .. after .. '-0', '+', 'COUNT', count) end
local found = {}
for _, number in ipairs(call('ZRANGEBYSCORE', base .. 'dead:' .. group, '(' .. after, '+inf', 'LIMIT', 0, count)) do
  local entry = call('XRANGE', base .. 'dead', number .. '-0', number .. '-0')[1]
  if entry then found[#found + 1] = entry end
end
return found
