-- Where an offset or a time is: the id after which what is wanted begins, and how many entries there were up to there.

local function count_up(topic, id, offset, is_far_enough)
  while true do
    local entries = call('XRANGE', stream_of(topic), '(' .. id, '+', 'COUNT', 200)
    for _, entry in ipairs(entries) do
      if is_far_enough(entry[1], offset) then return id, offset end
      id, offset = entry[1], offset + 1
    end
    if #entries < 200 then return id, offset end
  end
end

local function first_place(topic)
  return '0-0', tonumber(call('HGET', base .. 'about:' .. topic, 'trimmed') or 0)
end

local function at_end(topic) return last_id(topic), next_offset(topic) end

local function at_offset(topic, wanted)
  local id, offset = first_place(topic)
  if wanted <= offset then return id, offset end
  if wanted >= next_offset(topic) then return at_end(topic) end
  local noted = call(
    'ZREVRANGEBYSCORE', base .. 'offsets:' .. topic, exact(wanted), '-inf', 'WITHSCORES', 'LIMIT', 0, 1)
  if noted[1] and tonumber(noted[2]) > offset then id, offset = noted[1], tonumber(noted[2]) end
  return count_up(topic, id, offset, function(_, reached) return reached >= wanted end)
end

-- The place before the first entry from this time on, in milliseconds.
local function at_time(topic, ms)
  local wanted = sortable(string.format('%.0f-0', math.max(ms, 0)))
  local id, offset = first_place(topic)
  local noted, low, high = base .. 'offsets:' .. topic, 0, call('ZCARD', base .. 'offsets:' .. topic)
  while low < high do
    local middle = math.floor((low + high) / 2)
    local point = call('ZRANGE', noted, middle, middle, 'WITHSCORES')
    if sortable(point[1]) < wanted then
      low = middle + 1
      if tonumber(point[2]) > offset then id, offset = point[1], tonumber(point[2]) end
    else
      high = middle
    end
  end
  return count_up(topic, id, offset, function(next_id) return sortable(next_id) >= wanted end)
end

-- start: "earliest", "new", "offset N" or "time MILLISECONDS".
local function find_start(topic, start)
  local kind, number = start:match('^(%a+) ?(.*)$')
  if kind == 'new' then return at_end(topic) end
  if kind == 'offset' then return at_offset(topic, tonumber(number)) end
  if kind == 'time' then return at_time(topic, tonumber(number)) end
  return first_place(topic)
end
