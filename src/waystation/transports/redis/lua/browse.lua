-- ARGV: time, topic, start or "after ID OFFSET", count. Returns {offset of the first entry, entries}.

look_around()
local topic = ARGV[2]
local id, offset = ARGV[3]:match('^after (%S+) (%d+)$')
if not id then id, offset = find_start(topic, ARGV[3]) end
return { tonumber(offset), call('XRANGE', stream_of(topic), '(' .. id, '+', 'COUNT', ARGV[4]) }
