-- ARGV: time, batch, its bodies, window of dedupe keys in seconds, how long an unread reply is kept in seconds.
-- batch: for each topic {topic, messages, sizes of their bodies, specials}, where specials says of some messages, by their
-- place: {priority, due or false, dedupe key or false, message id}. A reply address is no topic: it has no groups.
-- Returns, for each message that was a duplicate: place of its topic, its place there, the id of the first.

local batch, window, reply_s = cmsgpack.unpack(ARGV[2]), tonumber(ARGV[4]), ARGV[5]
local with_body = body_reader(ARGV[3])
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

local function reply(address, messages, sizes)
  for index, fields in ipairs(messages) do
    call('XADD', stream_of(address), '*', unpack(with_body(fields, sizes[index])))
  end
  call('EXPIRE', stream_of(address), reply_s)
  ring(address)
end

local function send(topic, messages, sizes, specials, at)
  ensure_topic(topic)
  note_size(topic, math.max(unpack(sizes)))
  local last
  for index, fields in ipairs(messages) do
    local about = specials and specials[index]
    with_body(fields, sizes[index])
    if about then
      last = send_special(topic, fields, about, at, index) or last
    else
      last = append(topic, fields)
    end
  end
  if last then
    note_offset(topic, last)
    ring(topic)
  end
end

for at, part in ipairs(batch) do
  local topic, messages, sizes, specials = unpack(part)
  if topic:sub(1, 7) == '_reply.' then
    reply(topic, messages, sizes)
  else
    send(topic, messages, sizes, specials, at)
  end
end
return duplicates
