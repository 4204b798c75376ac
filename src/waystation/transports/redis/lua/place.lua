-- A group's place on a topic. `place.py` of memory:// has the same rules, in Python.
--
-- A place is a hash: `cursor`, the id of the last entry that was passed; `offset`, how many that were; `ordered`; `turns`.
-- Beside it, under its name and a suffix:
--   :leases  hash   number -> who holds it, and which of the entries after `first` up to `last` are done
--   :ends    zset   number -> when that lease ends
--   :let:N   set    names of held messages that belong to lease N
--   :held    hash   name -> attempts, due, key ...: messages that must come again, or overtake others
--   :bodies  hash   name -> the message's fields: what is held needs nothing of the stream any more
--   :ready   zset   names, in the order of their entries: can be taken
--   :due     zset   name -> when it will be ready
--   :keys    hash   key -> how many of its messages are out, how many parked, and who has it
--   :behind  zset   keys and names of parked messages: they wait until those before them are settled for good
--   :urgent  zset   ids of entries with a priority, the highest first
--   :ahead   zset   ids of entries after the cursor that were taken already
-- A held message's name begins with its place in the order and its entry's id: "0001700000000000-000…1:1700000000000-1:7".

local function place_name(group, topic) return base .. 'place:' .. group .. ':' .. topic end

local function open_place(group, topic)
  local name = place_name(group, topic)
  local found = call('HMGET', name, 'cursor', 'offset', 'ordered')
  if not found[1] then return nil end
  return {
    name = name, group = group, topic = topic, stream = stream_of(topic),
    cursor = found[1], offset = tonumber(found[2]), ordered = found[3] == '1',
    keys = {}, changed = {}, free = {}, held = {}, noted = {}, rings = false,
  }
end

local function move_cursor(place, cursor, offset)
  place.cursor, place.offset = cursor, offset
  call('HSET', place.name, 'cursor', cursor, 'offset', exact(offset))
end

-- --- leases ---

local function read_lease(place, number)
  local text = call('HGET', place.name .. ':leases', number)
  return text and cmsgpack.unpack(text) or nil
end

-- lease: owner, first, last, count (entries after `first` up to `last`), open, held, done (pairs: from, to), of 0 .. count - 1.
local function write_lease(place, number, lease)
  if lease.open + lease.held > 0 then
    call('HSET', place.name .. ':leases', number, cmsgpack.pack(lease))
    return
  end
  call('HDEL', place.name .. ':leases', number)
  call('ZREM', place.name .. ':ends', number)
end

local function done_places(lease)
  local done = {}
  for i = 1, #lease.done, 2 do
    for index = lease.done[i], lease.done[i + 1] do done[index] = true end
  end
  return done
end

local function put_done(lease, done)
  local pairs_, index, count = {}, 0, 0
  while index < lease.count do
    if done[index] then
      local first = index
      while done[index + 1] and index + 1 < lease.count do index = index + 1 end
      pairs_[#pairs_ + 1], pairs_[#pairs_ + 2] = first, index
      count = count + index - first + 1
    end
    index = index + 1
  end
  lease.done, lease.open = pairs_, lease.count - count
end

-- Gives a lease its number and its end.
local function begin_lease(place, lease, lease_s)
  local number = string.format('%.0f', call('HINCRBY', base .. 'counters', 'lease', 1))
  write_lease(place, number, lease)
  call('ZADD', place.name .. ':ends', exact(now + lease_s), number)
  return number
end

local function entries_of(place, lease)
  if lease.count == 0 then return {} end
  return call('XRANGE', place.stream, '(' .. lease.first, lease.last)
end

-- Takes back what a lease still has. `died`: its holder said nothing more, so that each attempt counts, and each message is
-- suspected of its death. Else it is as if nothing had been delivered.
local function end_lease(place, number, died)
  local lease = read_lease(place, number)
  if not lease then return 0 end
  local ended = lease.open + lease.held
  call('HDEL', place.name .. ':leases', number)
  call('ZREM', place.name .. ':ends', number)
  if lease.held > 0 then
    local names = call('SMEMBERS', place.name .. ':let:' .. number)
    call('DEL', place.name .. ':let:' .. number)
    load_all(place, names)
    for _, name in ipairs(names) do
      local held = place.held[name]
      -- An attempt in company may have been cut short by another message: alone it is the same one.
      if died and held.suspect ~= IN_COMPANY then held.attempts = held.attempts + 1 end
      if died then held.suspect = held.suspect and ALONE or IN_COMPANY end
      held.due = now
      held.stays = held.stays or held.attempts > 0
      enter(place, name, held)
      leave(place, held.key)
    end
  end
  if lease.open > 0 then
    local entries, done = entries_of(place, lease), done_places(lease)
    if #entries ~= lease.count then
      -- Somebody has deleted entries that were not settled. Which is which cannot be said any more: all that is left comes.
      call('HINCRBY', base .. 'counters', 'lost', lease.count - #entries)
      done = {}
    end
    if place.ordered then load_keys_of(place, entries) end
    for index, entry in ipairs(entries) do
      if not done[index - 1] then
        hold_entry(place, entry[1], entry[2], died and 1 or 0, now, died and IN_COMPANY)
        leave(place, key_of(entry[2]))
      end
    end
  end
  return ended
end

-- --- time ---

-- Ends leases that are over, makes ready what is due.
local function look_at_time(place)
  for _, number in ipairs(call('ZRANGEBYSCORE', place.name .. ':ends', '-inf', exact(now), 'LIMIT', 0, 16)) do
    end_lease(place, number, true)
  end
  write_held(place)
  local due = call('ZRANGEBYSCORE', place.name .. ':due', '-inf', exact(now), 'LIMIT', 0, 1000)
  if #due == 0 then return end
  for _, name in ipairs(due) do
    note(place, ':due', name, false)
    note(place, ':ready', name, 0)
  end
  place.rings = true
  write_held(place)
end

local function first_score(key)
  local first = call('ZRANGE', key, 0, 0, 'WITHSCORES')
  return first[2] and tonumber(first[2]) or math.huge
end

local function next_time(place)
  return math.min(first_score(place.name .. ':ends'), first_score(place.name .. ':due'))
end

-- --- priorities ---

-- Notes entries with a priority that a place has before it.
local function note_urgent(place, id, priority)
  call('ZADD', place.name .. ':urgent', -priority, sortable(id))
end

local function find_urgent(place)
  if call('HEXISTS', base .. 'about:' .. place.topic, 'priorities') == 0 then return end
  local after = place.cursor
  while true do
    local entries = call('XRANGE', place.stream, '(' .. after, '+', 'COUNT', 200)
    for _, entry in ipairs(entries) do
      local priority = priority_of(entry[2])
      if priority > 0 then note_urgent(place, entry[1], priority) end
      after = entry[1]
    end
    if #entries < 200 then return end
  end
end

-- --- groups ---

local function join(group, topic, ordered, cursor, offset)
  local name = place_name(group, topic)
  if call('EXISTS', name) == 1 then return end
  call('HSET', name, 'cursor', cursor, 'offset', exact(offset), 'ordered', ordered and '1' or '0')
  call('SADD', base .. 'groups:' .. topic, group)
  call('SADD', base .. 'topics:' .. group, topic)
  find_urgent(open_place(group, topic))
end

local function each_subscription(act)
  local found = call('HGETALL', base .. 'subscriptions')
  for i = 1, #found, 2 do
    local group, pattern = found[i]:match('^(.-) (.*)$')
    act(group, pattern, cmsgpack.unpack(found[i + 1]))
  end
end

local known_topics = {}

-- Makes a topic exist. Groups whose pattern fits read it from its beginning.
local function ensure_topic(topic)
  if known_topics[topic] then return end
  known_topics[topic] = true
  if call('SADD', base .. 'topics', topic) == 0 then return end
  each_subscription(function(group, pattern, about)
    if matches(pattern, topic) then
      join(group, topic, about.ordered, '0-0', 0)
      ring(topic, group)
    end
  end)
end

local place_parts = {
  ':leases', ':ends', ':held', ':bodies', ':ready', ':due', ':keys', ':behind', ':urgent', ':ahead',
}

-- Forgets all that a place holds.
local function clear(place)
  for _, number in ipairs(call('HKEYS', place.name .. ':leases')) do call('DEL', place.name .. ':let:' .. number) end
  for _, part in ipairs(place_parts) do call('DEL', place.name .. part) end
  place.keys, place.changed, place.free, place.held, place.noted = {}, {}, {}, {}, {}
end
