-- ARGV: time, group, owner, leases.
-- leases: {topic, number, accepted, keyed, held, others} each. accepted: pairs of places, from and to. keyed: place and key
-- of each accepted message that has one. held: names of accepted messages that were held. others: {kind, place or -1, id
-- or name, attempt, delay, reason, detail}; kind: 1 again after the delay, 2 dead letter, 3 as if it had not been delivered.
-- Returns the places in this list of leases that had ended.

local group, owner = ARGV[2], ARGV[3]
local places, order, lost = {}, {}, {}

local function place_on(topic)
  if places[topic] == nil then
    places[topic] = open_place(group, topic) or false
    order[#order + 1] = places[topic] or nil
  end
  return places[topic]
end

local function bury(place, id, fields, attempts, reason, detail)
  local number = string.format('%.0f', call('HINCRBY', base .. 'counters', 'dead', 1))
  call('XADD', base .. 'dead', number .. '-0', 'dead_group', place.group, 'dead_topic', place.topic,
    'dead_attempts', attempts, 'dead_reason', reason, 'dead_detail', detail, 'dead_time', exact(now),
    'dead_entry', id, unpack(fields))
  call('ZADD', base .. 'dead:' .. place.group, number, number)
  call('HINCRBY', place.name, 'dead', 1)
end

local function close_fresh(place, outcome)
  local kind, _, id, attempt, delay, reason, detail = unpack(outcome)
  local entry = call('XRANGE', place.stream, id, id)[1]
  if not entry then
    call('HINCRBY', base .. 'counters', 'lost', 1) -- deleted by somebody before it was settled
    return
  end
  local fields = entry[2]
  if kind == 1 then
    hold_entry(place, id, fields, attempt, now + delay, false)
  elseif kind == 2 then
    bury(place, id, fields, attempt, reason, detail)
  else
    hold_entry(place, id, fields, attempt - 1, now, false)
  end
  leave(place, key_of(fields))
end

local function close_held(place, outcome)
  local kind, _, name, attempt, delay, reason, detail = unpack(outcome)
  local held = place.held[name]
  if kind == 1 then
    held.attempts, held.due, held.stays, held.suspect = attempt, now + delay, true, false
    enter(place, name, held)
  elseif kind == 3 then
    held.attempts, held.due = attempt - 1, now
    held.stays = held.stays or held.attempts > 0
    enter(place, name, held)
  else
    if kind == 2 then
      local fields = cmsgpack.unpack(call('HGET', place.name .. ':bodies', name))
      bury(place, id_in(name), fields, attempt, reason, detail)
    end
    drop_held(place, name)
  end
  leave(place, held.key)
end

-- Settles held messages, as far as they are the lease's; returns how many are.
local function settle_held(place, number, outcomes)
  local part, names, count = ':let:' .. number, {}, 0
  local whose = place.name .. part
  for first = 1, #outcomes, 1000 do
    local asked = {}
    for i = first, math.min(first + 999, #outcomes) do asked[#asked + 1] = outcomes[i][3] end
    for i, is_member in ipairs(call('SMISMEMBER', whose, unpack(asked))) do
      if is_member == 1 then names[#names + 1] = asked[i] else outcomes[first + i - 1] = false end
    end
  end
  load_all(place, names)
  for _, outcome in ipairs(outcomes) do
    if outcome then
      note(place, part, outcome[3], false)
      close_held(place, outcome)
      count = count + 1
    end
  end
  return count
end

local function settle_fresh(place, lease, accepted, keyed, others)
  local is_whole = #accepted == 2 and accepted[1] == 0 and accepted[2] == lease.count - 1
  if is_whole and #lease.done == 0 then
    lease.done, lease.open = accepted, 0
    return
  end
  local done = done_places(lease)
  for i = 1, #accepted, 2 do
    for index = accepted[i], accepted[i + 1] do done[index] = true end
  end
  if place.ordered then load_keys(place, each_of(keyed, 2, 2)) end
  for i = 1, #keyed, 2 do
    if not done[keyed[i]] then
      done[keyed[i]] = true
      leave(place, keyed[i + 1])
    end
  end
  for _, outcome in ipairs(others) do
    local index = outcome[2]
    if index >= 0 and not done[index] then
      done[index] = true
      close_fresh(place, outcome)
    end
  end
  put_done(lease, done)
end

for i, settled in ipairs(cmsgpack.unpack(ARGV[4])) do
  local topic, number, accepted, keyed, held, others = unpack(settled)
  local place = place_on(topic)
  local lease = place and read_lease(place, number)
  if not lease or lease.owner ~= owner then
    lost[#lost + 1] = i - 1
  else
    if lease.open > 0 then settle_fresh(place, lease, accepted, keyed, others) end
    local outcomes = {}
    for _, name in ipairs(held) do outcomes[#outcomes + 1] = { 0, -1, name } end
    for _, outcome in ipairs(others) do
      if outcome[2] < 0 then outcomes[#outcomes + 1] = outcome end
    end
    lease.held = lease.held - settle_held(place, number, outcomes)
    write_lease(place, number, lease)
  end
end
for _, place in ipairs(order) do save(place) end
return lost
