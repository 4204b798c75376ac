-- ARGV: time, group, owner, topic, limit, bytes, lease in seconds, whether the owner holds something, cursor, last, count,
-- keyed.
-- Takes what is ready; else what the owner has read already: the `count` entries after the cursor up to `last`. keyed: place,
-- key and id of each that has a key.
-- Returns {lease or nothing, places of entries that have to wait for others of their key, held, state, where the place's
-- cursor is now}: held and state as in `take`, "more" if somebody else has moved the cursor. Or 0: it has to be taken
-- otherwise.

local group, topic = ARGV[2], ARGV[4]

look_around()
local place = open_place(group, topic)
if not place then return 0 end
look_at_time(place)
for _, part in ipairs({ ':urgent', ':ahead' }) do
  if call('EXISTS', place.name .. part) == 1 then
    save(place)
    return 0
  end
end

local lease = new_lease(place)
if call('EXISTS', place.name .. ':ready') == 1 then
  local held, found = {}, 0
  take_ready(place, held)
  if #held > 0 then found = { lend(place, lease, held), {}, held, state, place.cursor } end
  save_taken(place)
  return found
end
if place.cursor ~= ARGV[9] then
  save(place)
  return { '', {}, {}, 'more', place.cursor }
end

lease.last, lease.count, lease.open = ARGV[10], tonumber(ARGV[11]), tonumber(ARGV[11])
local keyed = place.ordered and cmsgpack.unpack(ARGV[12]) or {}
local waiting, done = {}, {}
load_keys(place, each_of(keyed, 2, 3))
for i = 1, #keyed, 3 do
  if has_to_wait(place, keyed[i + 1], owner) then
    local entry = call('XRANGE', place.stream, keyed[i + 2], keyed[i + 2])[1]
    if entry then hold_entry(place, entry[1], entry[2], 0, now, false) end
    waiting[#waiting + 1], done[keyed[i]] = keyed[i], true
  end
end
if #waiting > 0 then put_done(lease, done) end
if has_parked_enough(#waiting, lease.open) then state = 'later' end
move_cursor(place, lease.last, place.offset + lease.count)
local number = ''
if lease.open > 0 then number = lend(place, lease, {}) end
save(place)
return { number, waiting, {}, state, place.cursor }
