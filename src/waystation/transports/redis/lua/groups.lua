-- ARGV: time. Returns {group, topic, ready, in flight, waiting, dead, id of the oldest unsettled entry or nothing} each,
-- after the time.

local FIRST = sortable('0-0') .. ':'

local function older(oldest, id)
  if oldest == '' or sortable(id) < sortable(oldest) then return id end
  return oldest
end

local function first_fresh(place)
  local after = place.cursor
  while true do
    local entries = call('XRANGE', place.stream, '(' .. after, '+', 'COUNT', 20)
    for _, entry in ipairs(entries) do
      after = entry[1]
      if call('SISMEMBER', place.name .. ':ahead', after) == 0 then return after end
    end
    if #entries < 20 then return nil end
  end
end

local function first_open(place, lease)
  local done, index = done_places(lease), 0
  while done[index] do index = index + 1 end
  local entries = call('XRANGE', place.stream, '(' .. lease.first, lease.last, 'COUNT', index + 1)
  return entries[#entries] and entries[#entries][1]
end

-- Names are in the order of ids, but for those of dead letters that were put back, which go first.
local function oldest_held(place)
  local oldest, back = nil, ''
  for _, name in ipairs(call('HKEYS', place.name .. ':held')) do
    if name:sub(1, #FIRST) == FIRST then
      back = older(back, id_in(name))
    elseif not oldest or name < oldest then
      oldest = name
    end
  end
  return oldest and older(back, id_in(oldest)) or back ~= '' and back
end

local function about(place)
  look_at_time(place)
  save(place)
  local in_flight, oldest = 0, ''
  for _, number in ipairs(call('HKEYS', place.name .. ':leases')) do
    local lease = read_lease(place, number)
    in_flight = in_flight + lease.open + lease.held
    local id = lease.open > 0 and first_open(place, lease)
    if id then oldest = older(oldest, id) end
  end
  local waiting = call('ZCARD', place.name .. ':due') + call('ZCARD', place.name .. ':behind')
  local held = oldest_held(place)
  if held then oldest = older(oldest, held) end
  local fresh = first_fresh(place)
  if fresh then oldest = older(oldest, fresh) end
  local behind = next_offset(place.topic) - place.offset - call('SCARD', place.name .. ':ahead')
  local ready = call('ZCARD', place.name .. ':ready') + (fresh and math.max(behind, 1) or 0)
  local dead = tonumber(call('HGET', place.name, 'dead') or 0)
  return { place.group, place.topic, ready, in_flight, waiting, dead, oldest }
end

look_around()
local found = { exact(now) }
for _, topic in ipairs(call('SMEMBERS', base .. 'topics')) do
  for _, group in ipairs(call('SMEMBERS', base .. 'groups:' .. topic)) do
    found[#found + 1] = about(open_place(group, topic))
  end
end
return found
