-- ARGV: time, group, owner, lease in seconds, then topic and number of each lease.
-- Returns the places in this list of leases that had ended.

local group, owner, lease_s = ARGV[2], ARGV[3], tonumber(ARGV[4])
local lost = {}
for i = 5, #ARGV, 2 do
  local name, number = place_name(group, ARGV[i]), ARGV[i + 1]
  local lease = read_lease({ name = name }, number)
  if lease and lease.owner == owner then
    call('ZADD', name .. ':ends', exact(now + lease_s), number)
  else
    lost[#lost + 1] = (i - 5) / 2
  end
end
return lost
