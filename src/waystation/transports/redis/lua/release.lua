-- ARGV: time, group or nothing, beginning of the owner's name, whether it died, then numbers of leases that it keeps.
-- Takes back leases: of a feed that closes, that lost track of some, or of a process that is gone. Returns how many.

local wanted, owner, died = ARGV[2], ARGV[3], ARGV[4] == '1'
local kept, ended = {}, 0
for i = 5, #ARGV do kept[ARGV[i]] = true end

local function release(group)
  for _, topic in ipairs(call('SMEMBERS', base .. 'topics:' .. group)) do
    local place = open_place(group, topic)
    if place then
      for _, number in ipairs(call('HKEYS', place.name .. ':leases')) do
        local lease = not kept[number] and read_lease(place, number)
        if lease and lease.owner:sub(1, #owner) == owner then
          end_lease(place, number, died)
          ended = ended + 1
        end
      end
      save(place)
    end
  end
end

if wanted ~= '' then
  release(wanted)
else
  local groups = {}
  each_subscription(function(group) groups[group] = true end)
  for group in pairs(groups) do release(group) end
end
return ended
