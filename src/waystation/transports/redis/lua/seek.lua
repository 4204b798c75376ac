-- ARGV: time, group, pattern, start, whether to do it. Returns {topic, again, skipped, taken back, lag} of each place.

local group, pattern, start, is_meant = ARGV[2], ARGV[3], ARGV[4], ARGV[5] == '1'

-- Unsettled messages up to an id and after it, as far as they are in leases or held; and those that stay.
local function count_owed(place, wanted)
  local before, after, taken_back, stay = 0, 0, 0, {}
  local function count(id)
    if sortable(id) > wanted then after = after + 1 else before = before + 1 end
  end
  for _, number in ipairs(call('HKEYS', place.name .. ':leases')) do
    local lease = read_lease(place, number)
    taken_back = taken_back + lease.open + lease.held
    if lease.open > 0 then
      local done = done_places(lease)
      for index, entry in ipairs(entries_of(place, lease)) do
        if not done[index - 1] then count(entry[1]) end
      end
    end
  end
  local held = call('HGETALL', place.name .. ':held')
  for i = 1, #held, 2 do
    local id = id_in(held[i])
    count(id)
    if sortable(id) <= wanted and cmsgpack.unpack(held[i + 1]).stays then stay[#stay + 1] = held[i] end
  end
  return before, after, taken_back, stay
end

local function go(place, cursor, offset)
  local names = {}
  for _, number in ipairs(call('HKEYS', place.name .. ':leases')) do end_lease(place, number, false) end
  save(place)
  local _, _, _, stay = count_owed(place, sortable(cursor))
  for _, name in ipairs(stay) do
    names[#names + 1] = {
      name, cmsgpack.unpack(call('HGET', place.name .. ':held', name)), call('HGET', place.name .. ':bodies', name) }
  end
  clear(place)
  move_cursor(place, cursor, offset)
  find_urgent(place)
  for _, each in ipairs(names) do
    note(place, ':bodies', each[1], each[3])
    enter(place, each[1], each[2])
  end
  place.rings = true
  save(place)
end

local function seek(place)
  look_at_time(place)
  local cursor, offset = find_start(place.topic, start)
  local wanted, ends = sortable(cursor), next_offset(place.topic)
  local before, after, taken_back, stay = count_owed(place, wanted)
  local ahead_before, ahead_after = 0, 0
  for _, id in ipairs(call('SMEMBERS', place.name .. ':ahead')) do
    if sortable(id) > wanted then ahead_after = ahead_after + 1 else ahead_before = ahead_before + 1 end
  end
  local fresh_after = math.max(0, ends - math.max(place.offset, offset)) - ahead_after
  local fresh_before = math.max(0, offset - place.offset) - ahead_before
  local again = ends - offset - after - fresh_after
  local info = { place.topic, again, before + fresh_before - #stay, taken_back, ends - offset + #stay }
  if is_meant then go(place, cursor, offset) else save(place) end
  return info
end

look_around()
local found = {}
for _, topic in ipairs(call('SMEMBERS', base .. 'topics:' .. group)) do
  if matches(pattern, topic) then found[#found + 1] = seek(open_place(group, topic)) end
end
return found
