-- ARGV: time, address, id of the last reply that was read, how many to read. Returns entries, the oldest first.
-- They are removed only when the next ones are asked for, so that a connection that is cut loses none.

local stream = stream_of(ARGV[2])
if ARGV[3] ~= '0-0' then call('XTRIM', stream, 'MINID', ARGV[3]) end
return call('XRANGE', stream, '(' .. ARGV[3], '+', 'COUNT', ARGV[4])
