-- What a place holds: who has which key, and messages that were parked, come again or overtake others.
--
-- What changes is noted, and written together: one by one, a dozen commands for each message that is held cost the server
-- more than all the rest of it.

-- --- what is noted ---

local HASH, SORTED, SET = { 'HSET', 'HDEL' }, { 'ZADD', 'ZREM' }, { 'SADD', 'SREM' }
local commands = { [':held'] = HASH, [':bodies'] = HASH, [':ready'] = SORTED, [':due'] = SORTED, [':behind'] = SORTED }

-- Notes what is to be put under a part of a place: a hash's value, a score, or true; false: it goes.
local function note(place, part, name, value)
  local noted = place.noted[part]
  if not noted then
    noted = {}
    place.noted[part] = noted
  end
  noted[name] = value
end

-- Writes what was noted of a part. To be called before the part is read.
local function write(place, part)
  local noted = place.noted[part]
  if not noted then return end
  place.noted[part] = nil
  local kind, put, gone = commands[part] or SET, {}, {}
  for name, value in pairs(noted) do
    if not value then
      gone[#gone + 1] = name
    elseif kind == HASH then
      put[#put + 1], put[#put + 2] = name, part == ':held' and cmsgpack.pack(value) or value
    else
      if kind == SORTED then put[#put + 1] = exact(value) end
      put[#put + 1] = name
    end
  end
  call_with(put, kind[1], place.name .. part)
  call_with(gone, kind[2], place.name .. part)
end

-- --- keys ---

local keys_read = {} -- by their texts, of which there are few

local function read_key(text)
  local found = keys_read[text]
  if not found then
    local out, parked, owner = text:match('^(%d+) (%d+) (.*)$')
    found = { tonumber(out), tonumber(parked), owner }
    keys_read[text] = found
  end
  return { out = found[1], parked = found[2], owner = found[3] }
end

-- Loads what is known of keys into the place, together, as `load_held` does it for held messages.
local function load_keys(place, keys)
  local missing = {}
  for _, key in ipairs(keys) do
    if place.keys[key] == nil then
      place.keys[key] = false
      missing[#missing + 1] = key
    end
  end
  get_with(missing, place.name .. ':keys', function(key, text) place.keys[key] = text and read_key(text) end)
end

local function load_key(place, key)
  if place.keys[key] == nil then load_keys(place, { key }) end
  return place.keys[key]
end

local function load_keys_of(place, entries)
  local keys = {}
  for _, entry in ipairs(entries) do keys[#keys + 1] = key_of(entry[2]) end
  load_keys(place, keys)
end

local function change_key(place, key, state)
  place.keys[key] = state
  place.changed[key] = true
end

local function write_keys(place)
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
end

-- --- held messages ---

local IN_COMPANY, ALONE = 1, 2

local function load_held(place, names)
  local missing = {}
  for _, name in ipairs(names) do
    if not place.held[name] then missing[#missing + 1] = name end
  end
  get_with(missing, place.name .. ':held', function(name, text) place.held[name] = cmsgpack.unpack(text) end)
end

-- Loads what is known of held messages, and of their keys.
local function load_all(place, names)
  local keys = {}
  load_held(place, names)
  for _, name in ipairs(names) do keys[#keys + 1] = place.ordered and place.held[name].key or nil end
  load_keys(place, keys)
end

-- Notes what is known of a held message: attempts that came to an end, due, stays (it was tried before, so that a seek does
-- not drop it), suspect, key. A suspect's owner died, once (IN_COMPANY: it is taken with others like it) or again since
-- then (ALONE).
local function change_held(place, name, held)
  place.held[name] = held
  note(place, ':held', name, held)
end

local function drop_held(place, name)
  place.held[name] = nil
  note(place, ':held', name, false)
  note(place, ':bodies', name, false)
end

-- Parked messages of a key are those that begin so, in their order. No key's beginning is another's.
local function beginning(key) return #key .. ':' .. key end

local function note_parked(place, key, name, is_parked)
  note(place, ':behind', beginning(key) .. ':' .. name, is_parked and 0)
end

local function first_parked(place, key, count)
  local first, names = beginning(key), {}
  local found = call(
    'ZRANGEBYLEX', place.name .. ':behind', '[' .. first .. ':', '(' .. first .. ';', 'LIMIT', 0, count)
  for i, member in ipairs(found) do names[i] = member:sub(#first + 2) end
  return names
end

local function let_out(place, name, due)
  if due > now then note(place, ':due', name, due) else note(place, ':ready', name, 0) end
  place.rings = true
end

-- Lets out the first parked message of each key of which none is out any more.
local function let_out_first(place)
  local names = {}
  if next(place.free) then write(place, ':behind') end
  for key in pairs(place.free) do
    local state = load_key(place, key)
    if state.parked == 0 then
      change_key(place, key, false)
    else
      local name = first_parked(place, key, 1)[1]
      note_parked(place, key, name, false)
      state.parked, state.out, state.owner = state.parked - 1, 1, ''
      change_key(place, key, state)
      names[#names + 1] = name
    end
  end
  place.free = {}
  load_held(place, names)
  for _, name in ipairs(names) do let_out(place, name, place.held[name].due) end
end

local function enter(place, name, held)
  change_held(place, name, held)
  if not held.key or not place.ordered then return let_out(place, name, held.due) end
  local state = load_key(place, held.key) or { out = 0, parked = 0, owner = '' }
  note_parked(place, held.key, name, true)
  state.parked = state.parked + 1
  change_key(place, held.key, state)
  if state.out == 0 then place.free[held.key] = true end
end

local numbers, NUMBERS = { next = 1, last = 0 }, 100

-- Returns a name for a message that is held from now on. Numbers are fetched so many at a time; some are left out.
local function name_held(place, order, id, fields)
  if numbers.next > numbers.last then
    numbers.last = call('HINCRBY', base .. 'counters', 'held', NUMBERS)
    numbers.next = numbers.last - NUMBERS + 1
  end
  local name = order .. ':' .. id .. ':' .. string.format('%.0f', numbers.next)
  numbers.next = numbers.next + 1
  note(place, ':bodies', name, cmsgpack.pack(fields))
  return name
end

local function hold(place, order, id, fields, held) enter(place, name_held(place, order, id, fields), held) end

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
  if state.out <= 0 then place.free[key] = true end
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

local function id_in(name) return name:match('^[^:]*:([^:]*):') end

-- --- the end ---

-- Writes all that was noted of messages, so that it can be read.
local function write_held(place)
  let_out_first(place)
  for part in pairs(place.noted) do write(place, part) end
end

-- Writes all that has changed, and wakes members. To be called at the end.
local function save(place)
  write_held(place)
  write_keys(place)
  if place.rings then ring(place.topic, place.group) end
  place.rings = false
end
