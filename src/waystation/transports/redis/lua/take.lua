-- ARGV: time, group, owner, pattern, limit, bytes, lease in seconds, whether the owner holds something, its turn.
-- Takes at most `limit` messages, and about so many bytes of bodies, from the group's places on topics that fit.
-- Returns {seconds until something is due, state, place ...}: state is "gone" if there is no such group, "held" if there is
-- something for whoever holds nothing else, "more" if there may be more, else "". A place is {topic, lease, held, fresh,
-- indexes, last, largest}: held messages are {attempt, name, fields}, fresh ones {id, fields}; indexes are their places
-- among those that the lease stands for, none if they are 0, 1, 2 ...; last is where the place's cursor is now; largest is
-- the size of the topic's largest body, if that is over 64 KiB.

local group, owner, pattern = ARGV[2], ARGV[3], ARGV[4]
local room, bytes_room, lease_s = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local busy, turn = ARGV[8] == '1', tonumber(ARGV[9])
local PASSED_MAX = 5000 -- entries that one call looks at beyond what it takes
local COMPANY_MAX = 100 -- suspects taken together: a thousand of them take a dozen rounds
local PRIORITY_TURNS = 10 -- of so many turns one takes the oldest first

local state = ''

local function weigh(fields) bytes_room = bytes_room - #fields[#fields] end

local function largest_of(topic) return tonumber(call('HGET', base .. 'about:' .. topic, 'largest') or 0) end

local function at_once(place)
  local largest = largest_of(place.topic)
  return largest == 0 and 200 or math.max(1, math.min(200, math.floor(bytes_room / largest)))
end

-- Chooses among what is ready: the names to take, and whether other messages may go with them. A suspect may have killed who
-- had it: it goes to somebody who has nothing else, with other suspects whose owner has died only once.
local function choose(place)
  local names, company, alone = {}, {}, {}
  local ready = call('ZRANGE', place.name .. ':ready', 0, math.max(room, COMPANY_MAX) - 1)
  load_held(place, ready)
  for _, name in ipairs(ready) do
    local suspect = place.held[name].suspect
    local kind = suspect == IN_COMPANY and company or suspect and alone or names
    kind[#kind + 1] = name
  end
  if #company + #alone == 0 then return names, true end
  state = 'held'
  if busy then return {}, false end
  if #company > 1 then return { unpack(company, 1, math.min(#company, COMPANY_MAX)) }, false end
  local name = company[1] or alone[1]
  place.held[name].suspect = ALONE
  change_held(place, name, place.held[name])
  return { name }, false
end

-- Takes held messages, as long as there is room, and calls `tell` with the name and key of each.
local function take_names(place, names, taken, tell)
  local first = 1
  while first <= #names and room > 0 and bytes_room > 0 do
    local last = math.min(#names, first + math.min(room, at_once(place)) - 1)
    local bodies = call('HMGET', place.name .. ':bodies', unpack(names, first, last))
    for i, body in ipairs(bodies) do
      if bytes_room <= 0 then return end
      local name, fields = names[first + i - 1], cmsgpack.unpack(body)
      local held = place.held[name]
      taken[#taken + 1] = { held.attempts + 1, name, fields }
      weigh(fields)
      room = room - 1
      tell(name, place.ordered and held.key)
    end
    first = last + 1
  end
end

-- Takes parked messages that come right behind those of their keys that were just taken. One at a time, everything that
-- comes of a key would have to be parked from its first parked message on.
local function take_parked(place, keys, taken)
  local lines, all, free = {}, {}, {}
  for _, key in ipairs(keys) do
    if #all >= room then break end
    if load_key(place, key).parked > 0 then
      local line = first_parked(place, key, room - #all)
      lines[#lines + 1] = line
      for _, name in ipairs(line) do all[#all + 1] = name end
    end
  end
  load_held(place, all)
  for _, line in ipairs(lines) do
    for _, name in ipairs(line) do
      if place.held[name].due > now or place.held[name].suspect then break end
      free[#free + 1] = name
    end
  end
  take_names(place, free, taken, function(name, key)
    local state = load_key(place, key)
    state.out, state.parked = state.out + 1, state.parked - 1
    change_key(place, key, state)
    note_parked(place, key, name, false)
  end)
end

-- Takes what is ready; says whether other messages may go with it.
local function take_ready(place, taken)
  local names, is_open = choose(place)
  local keys = {}
  load_all(place, names)
  take_names(place, names, taken, function(name, key)
    note(place, ':ready', name, false)
    if not key then return end
    local state = load_key(place, key)
    state.owner = owner
    change_key(place, key, state)
    keys[#keys + 1] = key
  end)
  if is_open then take_parked(place, keys, taken) end
  return is_open and room > 0
end

local function take_urgent(place, taken)
  if call('EXISTS', place.name .. ':urgent') == 0 then return end
  if call('HINCRBY', place.name, 'turns', 1) % PRIORITY_TURNS == 0 then return end
  local cursor = sortable(place.cursor)
  while room > 0 and bytes_room > 0 do
    local sorted = call('ZPOPMIN', place.name .. ':urgent')[1]
    if not sorted then return end
    local id = plain(sorted)
    local entry = sorted > cursor and call('XRANGE', place.stream, id, id)[1]
    if entry then
      call('SADD', place.name .. ':ahead', id)
      local fields = entry[2]
      if has_to_wait(place, key_of(fields), owner) then
        hold_entry(place, id, fields, 0, now, false)
      else
        local name = name_held(place, sorted, id, fields)
        change_held(place, name, { attempts = 0, due = now, stays = false, suspect = false, key = key_of(fields) })
        taken[#taken + 1] = { 1, name, fields }
        weigh(fields)
        room = room - 1
      end
    end
  end
end

local function take_fresh(place, taken, indexes, lease)
  local chunk, done, ahead = at_once(place), {}, call('SCARD', place.name .. ':ahead') > 0
  local cursor, count, skipped = place.cursor, 0, 0
  while room > 0 and bytes_room > 0 and skipped < PASSED_MAX do
    local asked = math.min(room, chunk)
    local entries = call('XRANGE', place.stream, '(' .. cursor, '+', 'COUNT', asked)
    if place.ordered then load_keys_of(place, entries) end
    for _, entry in ipairs(entries) do
      cursor = entry[1]
      if ahead and call('SREM', place.name .. ':ahead', cursor) == 1 then
        done[count], skipped = true, skipped + 1
      elseif has_to_wait(place, key_of(entry[2]), owner) then
        hold_entry(place, cursor, entry[2], 0, now, false)
        done[count], skipped = true, skipped + 1
      else
        taken[#taken + 1], indexes[#indexes + 1] = entry, count
        weigh(entry[2])
        room = room - 1
      end
      count = count + 1
      if bytes_room <= 0 then break end
    end
    if #entries < asked then break end
  end
  if skipped >= PASSED_MAX then state = 'more' end
  if count == 0 then return end
  lease.first, lease.last, lease.count = place.cursor, cursor, count
  if skipped > 0 then put_done(lease, done) else lease.open = count end
  move_cursor(place, cursor, place.offset + count)
end

local function take(place)
  look_at_time(place)
  local lease = { owner = owner, first = place.cursor, last = place.cursor, count = 0, open = 0, held = 0, done = {} }
  local held, fresh, indexes = {}, {}, {}
  if take_ready(place, held) then
    take_urgent(place, held)
    take_fresh(place, fresh, indexes, lease)
  end
  local found
  lease.held = #held
  if #held + #fresh > 0 then
    local number = begin_lease(place, lease, lease_s)
    for _, message in ipairs(held) do note(place, ':let:' .. number, message[2], true) end
    if #fresh == lease.count then indexes = {} end
    found = { place.topic, number, held, fresh, indexes, lease.last, largest_of(place.topic) }
  end
  write(place, ':ready')
  place.rings = false -- whoever is woken finds it taken; what is left over, its taker comes back for
  if call('EXISTS', place.name .. ':ready') == 1 then ring(place.topic, group) end
  save(place)
  return found
end

look_around()
local topics = { pattern }
if pattern:find('[*#]') then
  topics = {}
  for _, topic in ipairs(call('SMEMBERS', base .. 'topics:' .. group)) do
    if matches(pattern, topic) then topics[#topics + 1] = topic end
  end
  table.sort(topics)
end
local found, due = {}, first_score(base .. 'schedule')
for i = 1, #topics do
  local place = open_place(group, topics[(i + turn) % #topics + 1])
  if place and room > 0 and bytes_room > 0 and state ~= 'held' then
    found[#found + 1] = take(place)
    busy = busy or #found > 0
    due = math.min(due, next_time(place))
  elseif not place then
    state = 'gone'
  end
end
if pattern:find('[*#]') and call('HEXISTS', base .. 'subscriptions', group .. ' ' .. pattern) == 0 then state = 'gone' end
return { due == math.huge and '' or exact(math.max(due - now, 0)), state, unpack(found) }
