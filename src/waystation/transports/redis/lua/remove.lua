-- ARGV: time, group. Forgets a group; returns whether there was one.

return remove_group(ARGV[2]) and 1 or 0
