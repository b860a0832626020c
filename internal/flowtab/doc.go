// Package flowtab holds the tables of a shard: records in slabs (Slab), an index of integers that finds them (Index), and
// deadline queues whose links are part of the records (Queues). No record holds a pointer, so that the garbage collector need
// not scan them, however many there are. No operation pauses for more than a small part of a table. The package knows nothing
// of what a record is, takes no lock and reads no clock; results depend only on the order of operations.
package flowtab
