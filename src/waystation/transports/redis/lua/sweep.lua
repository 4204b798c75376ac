-- ARGV: time, how long settled messages are kept, how long those of a topic that nobody reads, how often this is done, all
-- in seconds.
-- Removes from every topic what is not needed any more. Never what a group has not settled, nor what a consumer group of
-- Redis's own has not acknowledged.

local keep_s, unread_s = tonumber(ARGV[2]), tonumber(ARGV[3])

local function after(id)
  local ms, number = id:match('^(%d+)-(%d+)$')
  if number == '18446744073709551615' then return string.format('%.0f-0', tonumber(ms) + 1) end
  return ms .. '-' .. string.format('%.0f', tonumber(number) + 1)
end

local function keep(least, id)
  if least == nil or sortable(id) < sortable(least) then return id end
  return least
end

local function pairs_of(list)
  local found = {}
  for i = 1, #list, 2 do found[list[i]] = list[i + 1] end
  return found
end

local function strangers(topic, least)
  for _, about in ipairs(call('XINFO', 'GROUPS', stream_of(topic))) do
    local group = pairs_of(about)
    least = keep(least, after(group['last-delivered-id']))
    if group['pending'] > 0 then least = keep(least, call('XPENDING', stream_of(topic), group['name'])[2]) end
  end
  return least
end

local function readers(topic)
  local least
  for _, group in ipairs(call('SMEMBERS', base .. 'groups:' .. topic)) do
    local place = open_place(group, topic)
    if place then
      least = keep(least, after(place.cursor))
      for _, number in ipairs(call('HKEYS', place.name .. ':leases')) do
        local lease = read_lease(place, number)
        if lease.open > 0 then least = keep(least, after(lease.first)) end
      end
    end
  end
  return least
end

look_around()
local swept = tonumber(call('HGET', base .. 'counters', 'swept') or 0)
if now >= swept and now < swept + tonumber(ARGV[4]) then return 0 end -- somebody else has just done it
call('HSET', base .. 'counters', 'swept', exact(now))
for _, topic in ipairs(call('SMEMBERS', base .. 'topics')) do
  if call('XLEN', stream_of(topic)) > 0 then
    local least = strangers(topic, readers(topic))
    local kept_s = least and keep_s or math.max(keep_s, unread_s)
    least = keep(least, string.format('%.0f-0', math.max(0, math.floor((now - kept_s) * 1000) + 1)))
    local removed = call('XTRIM', stream_of(topic), 'MINID', '~', least)
    if removed > 0 then
      local trimmed = call('HINCRBY', base .. 'about:' .. topic, 'trimmed', removed)
      call('ZREMRANGEBYSCORE', base .. 'offsets:' .. topic, '-inf', '(' .. exact(trimmed))
    end
  end
end
return 0
