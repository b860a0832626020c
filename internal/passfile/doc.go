// Package passfile keeps what is remembered of clients, passes and offenders, in a file, so that a restart does not make every
// good sender wait again.
//
// Write replaces the file as a whole or not at all: it writes a file beside it, and renames that when it is on the disk. Read
// takes nothing from a file that is damaged, cut off, of another version or not hushgate's at all. Such a file is renamed, so
// that the next Write does not destroy it, and the error says so; it is never a reason not to start.
//
// The file has ages, and the wall clock of the moment when it was written. Read adds the time since. If the clock was set
// back meanwhile, that time is unknown and counts as nothing.
//
// The format, version 1:
//
//	"hushgate-passes 1\n"
//	wall clock                8 octets, seconds since 1970
//	each pass                 client, age
//	each offender             client, time left, number of ages (1 octet), ages
//	number of passes          8 octets
//	number of offenders       8 octets
//	SHA-256 of all before     32 octets
//
// A client is one octet, 0 to 32 for the length of an IPv4 prefix and 33 to 161 for 33 more than that of an IPv6 prefix, and
// those octets of the prefix that its length reaches. Numbers of 8 octets are big-endian; times are whole seconds. The age of a
// pass is the difference to that of the pass before, a signed varint: passes are saved in order, so it is small. An IPv4
// pass takes 6 or 7 octets. All other times are unsigned varints.
package passfile
