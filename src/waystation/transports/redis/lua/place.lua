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
--   :behind:KEY  zset  names of parked messages: they wait until those before them are settled for good
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
    keys = {}, changed = {}, rings = false,
  }
end

local function move_cursor(place, cursor, offset)
  place.cursor, place.offset = cursor, offset
  call('HSET', place.name, 'cursor', cursor, 'offset', exact(offset))
end

-- --- keys ---

local function read_key(text)
  local out, parked, owner = text:match('^(%d+) (%d+) (.*)$')
  return { out = tonumber(out), parked = tonumber(parked), owner = owner }
end

local function load_key(place, key)
  local found = place.keys[key]
  if found == nil then
    local text = call('HGET', place.name .. ':keys', key)
    found = text and read_key(text) or false
    place.keys[key] = found
  end
  return found
end

-- Loads the keys in a list that has one at every `step`th place from `first` on, together: one by one they cost the server
-- more than the rest of a message.
local function load_keys(place, list, first, step)
  local missing = {}
  for i = first, #list, step do
    local key = list[i]
    if place.keys[key] == nil then
      place.keys[key] = false
      missing[#missing + 1] = key
    end
  end
  for from = 1, #missing, 1000 do
    local texts = call('HMGET', place.name .. ':keys', unpack(missing, from, math.min(from + 999, #missing)))
    for i, text in ipairs(texts) do
      if text then place.keys[missing[from + i - 1]] = read_key(text) end
    end
  end
end

local function load_keys_of(place, entries)
  local keys = {}
  for _, entry in ipairs(entries) do keys[#keys + 1] = key_of(entry[2]) end
  load_keys(place, keys, 1, 1)
end

local function change_key(place, key, state)
  place.keys[key] = state
  place.changed[key] = true
end

-- Writes what has changed of keys, and wakes members. To be called once, at the end.
local function save(place)
  local written, gone = {}, {}
  for key in pairs(place.changed) do
    local state = place.keys[key]
    if state then
      written[#written + 1] = key
      written[#written + 1] = state.out .. ' ' .. state.parked .. ' ' .. state.owner
    else
      gone[#gone + 1] = key
    end
  end
  call_with(written, 'HSET', place.name .. ':keys')
  call_with(gone, 'HDEL', place.name .. ':keys')
  place.changed = {}
  if place.rings then ring(place.topic, place.group) end
end

-- --- held messages ---

local IN_COMPANY, ALONE = 1, 2

local function let_out(place, name, due)
  if due > now then
    call('ZADD', place.name .. ':due', exact(due), name)
  else
    call('ZADD', place.name .. ':ready', 0, name)
  end
  place.rings = true
end

local function let_out_first(place, key, state)
  if state.parked == 0 then return change_key(place, key, false) end
  local name = call('ZPOPMIN', place.name .. ':behind:' .. key)[1]
  local held = cmsgpack.unpack(call('HGET', place.name .. ':held', name))
  state.parked, state.out, state.owner = state.parked - 1, 1, ''
  change_key(place, key, state)
  let_out(place, name, held.due)
end

-- held: attempts, due, stays (it was tried before, so that a seek does not drop it), suspect, key. A suspect's owner died,
-- once (IN_COMPANY: it is taken with others like it) or again since then (ALONE).
local function enter(place, name, held)
  call('HSET', place.name .. ':held', name, cmsgpack.pack(held))
  if not held.key or not place.ordered then return let_out(place, name, held.due) end
  local state = load_key(place, held.key) or { out = 0, parked = 0, owner = '' }
  call('ZADD', place.name .. ':behind:' .. held.key, 0, name)
  state.parked = state.parked + 1
  change_key(place, held.key, state)
  if state.out == 0 then let_out_first(place, held.key, state) end
end

local function hold(place, order, id, fields, held)
  local number = call('HINCRBY', base .. 'counters', 'held', 1)
  local name = order .. ':' .. id .. ':' .. string.format('%.0f', number)
  call('HSET', place.name .. ':bodies', name, cmsgpack.pack(fields))
  enter(place, name, held)
  return name
end

local function hold_entry(place, id, fields, attempts, due, suspect)
  hold(place, sortable(id), id, fields, {
    attempts = attempts, due = due, stays = attempts > 0, suspect = suspect, key = key_of(fields),
  })
end

-- One message of a key is settled: after the last one that is out, the first parked one is let out.
local function leave(place, key)
  if not key or not place.ordered then return end
  local state = load_key(place, key)
  if not state then return end
  state.out = state.out - 1
  change_key(place, key, state)
  if state.out <= 0 then let_out_first(place, key, state) end
end

-- Makes a key busy with one more message of this owner's, or says that the message has to wait.
local function has_to_wait(place, key, owner)
  if not key or not place.ordered then return false end
  local known = load_key(place, key)
  if not known then
    change_key(place, key, { out = 1, parked = 0, owner = owner })
  elseif known.owner == owner and known.parked == 0 then
    known.out = known.out + 1
    change_key(place, key, known)
  else
    return true
  end
  return false
end

local function drop_held(place, name)
  call('HDEL', place.name .. ':held', name)
  call('HDEL', place.name .. ':bodies', name)
end

local function id_in(name) return name:match('^[^:]*:([^:]*):') end

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
    table.sort(names)
    call('DEL', place.name .. ':let:' .. number)
    for _, name in ipairs(names) do
      local held = cmsgpack.unpack(call('HGET', place.name .. ':held', name))
      -- An attempt in company may have been cut short by another message: alone it is the same one.
      if not died or held.suspect == IN_COMPANY then held.attempts = held.attempts - 1 end
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
  local due = call('ZRANGEBYSCORE', place.name .. ':due', '-inf', exact(now), 'LIMIT', 0, 1000)
  if #due == 0 then return end
  for _, name in ipairs(due) do call('ZADD', place.name .. ':ready', 0, name) end
  call_with(due, 'ZREM', place.name .. ':due')
  place.rings = true
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
  ':leases', ':ends', ':held', ':bodies', ':ready', ':due', ':keys', ':urgent', ':ahead',
}

-- Forgets all that a place holds.
local function clear(place)
  for _, key in ipairs(call('HKEYS', place.name .. ':keys')) do call('DEL', place.name .. ':behind:' .. key) end
  for _, number in ipairs(call('HKEYS', place.name .. ':leases')) do call('DEL', place.name .. ':let:' .. number) end
  for _, part in ipairs(place_parts) do call('DEL', place.name .. part) end
  place.keys, place.changed = {}, {}
end
