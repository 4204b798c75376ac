-- ARGV: time, group, owner, topic, cursor, last, count, lease in seconds, keyed.
-- Takes what the owner has read already: the `count` entries after the cursor up to `last`. keyed: place, key and id of each
-- that has a key. Returns {lease, places of those that have to wait for others of their key}, or 0: then nothing was taken,
-- because somebody else has, or because something goes first.

local group, owner, topic, keyed = ARGV[2], ARGV[3], ARGV[4], cmsgpack.unpack(ARGV[9])

look_around()
local place = open_place(group, topic)
if not place or place.cursor ~= ARGV[5] then return 0 end
look_at_time(place)
for _, part in ipairs({ ':ready', ':urgent', ':ahead' }) do
  if call('EXISTS', place.name .. part) == 1 then
    save(place)
    return 0
  end
end

local lease = {
  owner = owner, first = place.cursor, last = ARGV[6], count = tonumber(ARGV[7]), open = tonumber(ARGV[7]), held = 0,
  done = {},
}
local waiting, done = {}, {}
if place.ordered then load_keys(place, each_of(keyed, 2, 3)) end
for i = 1, #keyed, 3 do
  if has_to_wait(place, keyed[i + 1], owner) then
    local entry = call('XRANGE', place.stream, keyed[i + 2], keyed[i + 2])[1]
    if entry then hold_entry(place, entry[1], entry[2], 0, now, false) end
    waiting[#waiting + 1], done[keyed[i]] = keyed[i], true
  end
end
if #waiting > 0 then put_done(lease, done) end
move_cursor(place, lease.last, place.offset + lease.count)
local number = ''
if lease.open > 0 then number = begin_lease(place, lease, tonumber(ARGV[8])) end
save(place)
return { number, waiting }
