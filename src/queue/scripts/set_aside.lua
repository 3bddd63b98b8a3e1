-- Says how large a package is that was set aside, and how it begins.
--
-- KEYS: packages that are set aside
-- ARGV: which, 0 being the one that was set aside first; bytes of its beginning
-- Returns {bytes, beginning}, or nothing where there are fewer.
local package = redis.call('LINDEX', KEYS[1], -1 - tonumber(ARGV[1]))
return package and { #package, string.sub(package, 1, tonumber(ARGV[2])) }
