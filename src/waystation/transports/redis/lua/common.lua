-- What all scripts share: names of keys, the time, topics, and appending to a topic's stream.
--
-- KEYS[1] is the prefix with its hash tag, such as "{ws}:"; every other key begins with it, so that all are in one slot.
-- ARGV[1] is the time in Unix seconds, or nothing: then it is the server's, on which all clients agree.
-- A message is a flat list of fields and values, as in its entry.

local base, call = KEYS[1], redis.call

local function read_time(text)
  if text ~= '' then return tonumber(text) end
  local now = call('TIME')
  return tonumber(now[1]) + tonumber(now[2]) / 1000000
end

local now = read_time(ARGV[1])

local function exact(number) return string.format('%.17g', number) end

-- In the order of ids: text of one length, which compares as the ids do.
local function sortable(id)
  local ms, number = id:match('^(%d+)-(%d+)$')
  return string.rep('0', 16 - #ms) .. ms .. '-' .. string.rep('0', 20 - #number) .. number
end

local function plain(sorted)
  local ms, number = sorted:match('^0*(%d+)-0*(%d+)$')
  return ms .. '-' .. number
end

local function stream_of(topic) return base .. 'topic:' .. topic end

-- "a.*" and "a.#" as in Python's `matches`.
local function matches(pattern, topic)
  if pattern == topic then return true end
  local wanted, words = {}, {}
  for word in pattern:gmatch('[^.]+') do wanted[#wanted + 1] = word end
  for word in topic:gmatch('[^.]+') do words[#words + 1] = word end
  local rest = wanted[#wanted] == '#'
  local count = rest and #wanted - 1 or #wanted
  if rest and #words <= count or not rest and #words ~= count then return false end
  for i = 1, count do
    if wanted[i] ~= '*' and wanted[i] ~= words[i] then return false end
  end
  return true
end

-- Wakes the members of a group that wait, or of all groups of a topic.
local function ring(topic, group) call('PUBLISH', base .. 'bell:' .. topic, group or '') end

-- How many entries a topic has ever had: what the next one's offset will be.
local function next_offset(topic)
  return tonumber(call('HGET', base .. 'about:' .. topic, 'trimmed') or 0) + call('XLEN', stream_of(topic))
end

local function last_id(topic)
  if call('EXISTS', stream_of(topic)) == 0 then return '0-0' end
  local about = call('XINFO', 'STREAM', stream_of(topic))
  for i = 1, #about, 2 do
    if about[i] == 'last-generated-id' then return about[i + 1] end
  end
end

-- Calls a command with a list of any length, so many elements of it at a time.
local function call_with(list, command, key)
  for first = 1, #list, 1000 do
    call(command, key, unpack(list, first, math.min(first + 999, #list)))
  end
end

-- Returns what a list has at every `step`th place from `first` on.
local function each_of(list, first, step)
  local found = {}
  for i = first, #list, step do found[#found + 1] = list[i] end
  return found
end

-- Tells what a hash has under each name of a list of any length; false: nothing.
local function get_with(list, key, tell)
  for first = 1, #list, 1000 do
    local found = call('HMGET', key, unpack(list, first, math.min(first + 999, #list)))
    for i, value in ipairs(found) do tell(list[first + i - 1], value) end
  end
end

-- Returns the value of a field of a message.
local function value_of(fields, name)
  for i = 1, #fields, 2 do
    if fields[i] == name then return fields[i + 1] end
  end
end

-- What Waystation writes begins with the key, if there is one.
local function key_of(fields) return value_of(fields, 'ce_partitionkey') end

local function priority_of(fields)
  local priority = tonumber(value_of(fields, 'ce_priority') or 0) or 0
  if priority < 0 then return 0 end
  return math.min(math.floor(priority), 9)
end
