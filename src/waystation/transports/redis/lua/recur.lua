-- ARGV: time, name, topic, rule, due or nothing, next due, messages, their bodies. Returns when it is due now, or nothing.
-- messages: {topic, fields, size of its body, priority} each.

local name, topic, rule, due, next_due = ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local text = call('HGET', base .. 'recurring', name)
local next_body = body_reader(ARGV[8])
local entry = text and cmsgpack.unpack(text)
local is_same = entry and entry.topic == topic and entry.rule == rule

local function put(paused)
  entry = { topic = topic, rule = rule, due = exact(next_due), paused = paused }
  call('HSET', base .. 'recurring', name, cmsgpack.pack(entry))
end

if due == '' then
  if not is_same then put(entry and entry.paused or false) end
  return entry.due
end
if not is_same then return '' end
if tonumber(entry.due) == tonumber(due) then
  put(entry.paused)
  if not entry.paused then
    for _, message in ipairs(cmsgpack.unpack(ARGV[7])) do
      ensure_topic(message[1])
      note_size(message[1], message[3])
      local fields = message[2]
      fields[#fields + 1], fields[#fields + 2] = 'data', next_body(message[3])
      note_offset(message[1], publish(message[1], fields, message[4]))
      ring(message[1])
    end
  end
end
return entry.due
