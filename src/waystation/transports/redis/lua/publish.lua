-- Appending to topics, now or when it is time.

local top = {} -- by topic: the milliseconds before which no entry can be appended, where the clock is behind

local function append(topic, fields)
  local stream = stream_of(topic)
  if ARGV[1] == '' then return call('XADD', stream, '*', unpack(fields)) end
  local ms = math.max(math.floor(now * 1000), top[topic] or 0)
  local id = redis.pcall('XADD', stream, string.format('%.0f-*', ms), unpack(fields))
  if type(id) ~= 'table' then return id end
  top[topic] = tonumber(last_id(topic):match('^%d+'))
  return call('XADD', stream, string.format('%.0f-*', top[topic]), unpack(fields))
end

-- Every so many entries, the offset of one is noted, so that others can be found from there.
local INDEX_EVERY = 512

local function note_offset(topic, id)
  local about = base .. 'about:' .. topic
  local found = call('HMGET', about, 'trimmed', 'noted')
  local offset = tonumber(found[1] or 0) + call('XLEN', stream_of(topic))
  if offset - tonumber(found[2] or 0) < INDEX_EVERY then return end
  call('HSET', about, 'noted', exact(offset))
  call('ZADD', base .. 'offsets:' .. topic, exact(offset), id)
end

local function publish(topic, fields, priority)
  local id = append(topic, fields)
  if priority > 0 then
    call('HSET', base .. 'about:' .. topic, 'priorities', '1')
    for _, group in ipairs(call('SMEMBERS', base .. 'groups:' .. topic)) do
      call('ZADD', place_name(group, topic) .. ':urgent', -priority, sortable(id))
    end
  end
  return id
end

local function note_size(topic, bytes)
  if bytes <= 65536 then return end
  local about = base .. 'about:' .. topic
  if bytes > tonumber(call('HGET', about, 'largest') or 0) then call('HSET', about, 'largest', exact(bytes)) end
end

-- --- schedule ---

local function schedule(topic, due, id, dedupe, priority, fields)
  local number = string.format('%020.0f', call('HINCRBY', base .. 'counters', 'scheduled', 1))
  local is_next = due < first_score(base .. 'schedule')
  call('ZADD', base .. 'schedule', exact(due), number)
  call('HSET', base .. 'scheduled', number, cmsgpack.pack({ topic, id, dedupe, priority, fields }))
  call('SADD', base .. 'scheduled:' .. id, number)
  if is_next then ring(topic) end -- so that whoever waits knows until when
end

local function unschedule(number, id)
  call('ZREM', base .. 'schedule', number)
  call('HDEL', base .. 'scheduled', number)
  call('SREM', base .. 'scheduled:' .. id, number)
end

local function publish_due()
  local topics = {}
  for _, number in ipairs(call('ZRANGEBYSCORE', base .. 'schedule', '-inf', exact(now), 'LIMIT', 0, 500)) do
    local topic, id, _, priority, fields = unpack(cmsgpack.unpack(call('HGET', base .. 'scheduled', number)))
    unschedule(number, id)
    topics[topic] = publish(topic, fields, priority)
  end
  for topic, id in pairs(topics) do
    note_offset(topic, id)
    ring(topic)
  end
end

local function dedupe_name(topic, key) return base .. 'dedupe:' .. topic .. ':' .. key end

-- Groups of one instance each whose instance has said nothing for too long.
local function remove_group(group)
  local topics = call('SMEMBERS', base .. 'topics:' .. group)
  for _, topic in ipairs(topics) do
    local place = open_place(group, topic)
    if place then clear(place) end
    call('DEL', place_name(group, topic))
    call('SREM', base .. 'groups:' .. topic, group)
    ring(topic, group)
  end
  call('DEL', base .. 'topics:' .. group)
  call('ZREM', base .. 'temporary', group)
  local known = #topics > 0
  each_subscription(function(of, pattern)
    if of == group then
      call('HDEL', base .. 'subscriptions', of .. ' ' .. pattern)
      known = true
    end
  end)
  for _, number in ipairs(call('ZRANGE', base .. 'dead:' .. group, 0, -1)) do
    call('XDEL', base .. 'dead', number .. '-0')
  end
  call('DEL', base .. 'dead:' .. group)
  return known
end

local function look_around()
  publish_due()
  for _, group in ipairs(call('ZRANGEBYSCORE', base .. 'temporary', '-inf', exact(now), 'LIMIT', 0, 16)) do
    remove_group(group)
  end
end

-- Returns what gives bodies of so many bytes, which come one after the other in one string.
local function body_reader(bodies)
  local at = 1
  return function(size)
    at = at + size
    return bodies:sub(at - size, at - 1)
  end
end
