-- Taking what is ready for an owner. `take` and `claim` have these in common: group, owner, and from ARGV[5] on, limit, bytes,
-- lease in seconds, whether the owner holds something.

local owner = ARGV[3]
local room, bytes_room, lease_s = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local busy, state = ARGV[8] == '1', ''
local COMPANY_MAX = 100 -- suspects taken together: a thousand of them take a dozen rounds

local PARKED_MAX = 100 -- messages that a call parks, beyond as many as it takes, for an owner that has something to do

-- Whether to look no further now: to park what others have to settle first is of no use to an owner that has something to
-- do, and the further it looks, the more keys of theirs it meets. It comes back before long, as others must not wait either.
local function has_parked_enough(parked, taken)
  return parked > PARKED_MAX + taken and (busy or taken > 0)
end

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

-- Gives the owner a lease of what it has taken; what was held is in a list of {attempt, name, fields}. Returns its number.
local function lend(place, lease, held)
  lease.held = #held
  local number = begin_lease(place, lease, lease_s)
  for _, message in ipairs(held) do note(place, ':let:' .. number, message[2], true) end
  return number
end

local function new_lease(place)
  return { owner = owner, first = place.cursor, last = place.cursor, count = 0, open = 0, held = 0, done = {} }
end

-- Writes a place of which something was taken. Whoever was to be woken finds it taken; what is left over, its taker comes
-- back for.
local function save_taken(place)
  write(place, ':ready')
  place.rings = call('EXISTS', place.name .. ':ready') == 1
  save(place)
end
