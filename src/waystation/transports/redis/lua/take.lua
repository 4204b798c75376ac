-- ARGV: time, group, owner, pattern, limit, bytes, lease in seconds, whether the owner holds something, its turn.
-- Takes at most `limit` messages, and about so many bytes of bodies, from the group's places on topics that fit.
-- Returns {seconds until something is due, state, place ...}: state is "gone" if there is no such group, "held" if there is
-- something for whoever holds nothing else, "more" if there may be more, "later" if there may, but the owner should work
-- first, else "". A place is {topic, lease, held, fresh,
-- indexes, last, largest}: held messages are {attempt, name, fields}, fresh ones {id, fields}; indexes are their places
-- among those that the lease stands for, none if they are 0, 1, 2 ...; last is where the place's cursor is now; largest is
-- the size of the topic's largest body, if that is over 64 KiB.

local group, pattern, turn = ARGV[2], ARGV[4], tonumber(ARGV[9])
local PASSED_MAX = 5000 -- entries that one call looks at beyond what it takes
local PRIORITY_TURNS = 10 -- of so many turns one takes the oldest first

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
    if has_parked_enough(skipped, #taken) then
      state = 'later'
      break
    end
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
  local lease = new_lease(place)
  local held, fresh, indexes = {}, {}, {}
  if take_ready(place, held) then
    take_urgent(place, held)
    busy = busy or #held > 0
    take_fresh(place, fresh, indexes, lease)
  end
  local found
  if #held + #fresh > 0 then
    local number = lend(place, lease, held)
    if #fresh == lease.count then indexes = {} end
    found = { place.topic, number, held, fresh, indexes, lease.last, largest_of(place.topic) }
  end
  save_taken(place)
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
