-- ARGV: time, topics, subscriptions, how long a temporary group is kept, in seconds.
-- topics: names. subscriptions: {group, pattern, start, ordered, temporary} each.

for _, topic in ipairs(cmsgpack.unpack(ARGV[2])) do ensure_topic(topic) end
for _, subscription in ipairs(cmsgpack.unpack(ARGV[3])) do
  local group, pattern, start, ordered, temporary = unpack(subscription)
  if not pattern:find('[*#]') then ensure_topic(pattern) end
  local field = group .. ' ' .. pattern
  if call('HEXISTS', base .. 'subscriptions', field) == 0 then
    call('HSET', base .. 'subscriptions', field, cmsgpack.pack({ ordered = ordered }))
    if temporary then call('ZADD', base .. 'temporary', exact(now + tonumber(ARGV[4])), group) end
    for _, topic in ipairs(call('SMEMBERS', base .. 'topics')) do
      if matches(pattern, topic) then
        local cursor, offset = find_start(topic, start)
        join(group, topic, ordered, cursor, offset)
      end
    end
  end
end
return 0
