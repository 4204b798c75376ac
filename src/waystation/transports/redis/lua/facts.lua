-- ARGV: time. Returns how many entries were deleted by others before they were settled, and how many topics there are.

return { tonumber(call('HGET', base .. 'counters', 'lost') or 0), call('SCARD', base .. 'topics') }
