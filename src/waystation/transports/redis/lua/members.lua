-- ARGV: time, how long what processes say is believed, in seconds. Returns {time, what it says} of each process.

local found = {}
for _, text in ipairs(call('HVALS', base .. 'members')) do
  local heard, said = text:match('^(%S+) (.*)$')
  if tonumber(heard) >= now - tonumber(ARGV[2]) then found[#found + 1] = { heard, said } end
end
return found
