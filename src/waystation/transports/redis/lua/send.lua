-- ARGV: time, batch, its bodies, window of dedupe keys in seconds, how long an unread reply is kept in seconds.
-- batch: for each topic {topic, stretches, sizes of bodies, specials}. A stretch is of consecutive messages: {how many, their
-- fields in common, places of those that differ, these in turns}. specials says of some messages, by their place: {priority,
-- due or false, dedupe key or false, message id}. A reply address is no topic: it has no groups.
-- Returns, for each message that was a duplicate: place of its topic, its place there, the id of the first.

local batch, window, reply_s = cmsgpack.unpack(ARGV[2]), tonumber(ARGV[4]), ARGV[5]
local next_body = body_reader(ARGV[3])
local duplicates = {}

local function is_duplicate(topic, about, at, index)
  local name = dedupe_name(topic, about[3])
  local first = call('GET', name)
  if first then
    local until_, id = first:match('^(%S+) (.*)$')
    if tonumber(until_) > now then
      duplicates[#duplicates + 1] = { at, index, id }
      return true
    end
  end
  call('SET', name, exact(now + window) .. ' ' .. about[4], 'PX', math.ceil(window * 1000))
  return false
end

local function send_special(topic, fields, about, at, index)
  if about[3] and is_duplicate(topic, about, at, index) then return nil end
  if about[2] and about[2] > now then
    schedule(topic, about[2], about[4], about[3], about[1], fields)
    return nil
  end
  return publish(topic, fields, about[1])
end

-- Calls `act` with the fields and the place of each message. The fields are the same table each time.
local function each_message(stretches, sizes, act)
  local index = 0
  for _, stretch in ipairs(stretches) do
    local count, fields, gaps, values = unpack(stretch)
    local body, at, width = #fields + 2, 0, #gaps
    fields[body - 1] = 'data'
    for _ = 1, count do
      index = index + 1
      for i = 1, width do fields[gaps[i]] = values[at + i] end
      at = at + width
      fields[body] = next_body(sizes[index])
      act(fields, index)
    end
  end
end

local function reply(address, stretches, sizes)
  local stream = stream_of(address)
  each_message(stretches, sizes, function(fields) call('XADD', stream, '*', unpack(fields)) end)
  call('EXPIRE', stream, reply_s)
  ring(address)
end

local function send(topic, stretches, sizes, specials, at)
  ensure_topic(topic)
  note_size(topic, math.max(unpack(sizes)))
  local last
  each_message(stretches, sizes, function(fields, index)
    local about = specials and specials[index]
    if about then
      last = send_special(topic, fields, about, at, index) or last
    else
      last = append(topic, fields)
    end
  end)
  if last then
    note_offset(topic, last)
    ring(topic)
  end
end

for at, part in ipairs(batch) do
  local topic, stretches, sizes, specials = unpack(part)
  if topic:sub(1, 7) == '_reply.' then
    reply(topic, stretches, sizes)
  else
    send(topic, stretches, sizes, specials, at)
  end
end
return duplicates
