-- ARGV: time, owner, what it says, how long that is believed, how long its temporary groups are kept, both in seconds,
-- then groups. Returns those of them that are not there.

call('HSET', base .. 'members', ARGV[2], exact(now) .. ' ' .. ARGV[3])
call('ZADD', base .. 'heard', exact(now), ARGV[2])
if ARGV[3] == '' then
  call('HDEL', base .. 'members', ARGV[2])
  call('ZREM', base .. 'heard', ARGV[2])
end
local old = call('ZRANGEBYSCORE', base .. 'heard', '-inf', '(' .. exact(now - tonumber(ARGV[4])))
for _, owner in ipairs(old) do
  call('HDEL', base .. 'members', owner)
  call('ZREM', base .. 'heard', owner)
end
local known, gone = {}, {}
each_subscription(function(group) known[group] = true end)
for i = 6, #ARGV do
  if not known[ARGV[i]] then gone[#gone + 1] = ARGV[i] end
  if call('ZSCORE', base .. 'temporary', ARGV[i]) then
    call('ZADD', base .. 'temporary', exact(now + tonumber(ARGV[5])), ARGV[i])
  end
end
look_around()
return gone
