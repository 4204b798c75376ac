-- ARGV: time, "retry" or "purge", then numbers of dead letters. Returns how many there were.

local function put_back(group, topic, entry)
  local place = open_place(group, topic)
  if not place then return false end
  local fields = {}
  for i = 15, #entry[2] do fields[#fields + 1] = entry[2][i] end
  hold(place, sortable('0-0'), entry[2][14], fields, {
    attempts = 0, due = now, stays = true, suspect = false, key = key_of(fields) })
  save(place)
  return true
end

local count = 0
for i = 3, #ARGV do
  local id = ARGV[i] .. '-0'
  local entry = call('XRANGE', base .. 'dead', id, id)[1]
  if entry then
    local group, topic = entry[2][2], entry[2][4]
    if ARGV[2] == 'purge' or put_back(group, topic, entry) then
      call('XDEL', base .. 'dead', id)
      call('ZREM', base .. 'dead:' .. group, ARGV[i])
      if call('EXISTS', place_name(group, topic)) == 1 then call('HINCRBY', place_name(group, topic), 'dead', -1) end
      count = count + 1
    end
  end
end
return count
