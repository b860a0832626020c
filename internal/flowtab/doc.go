// Package flowtab holds the tables of a shard: records in slabs (Slab), an index of integers that finds them (Index), and
// deadline queues that are part of the records (Queues). No record holds a pointer, so that the garbage collector has
// nothing to look at however many there are, and nothing here pauses for more than a small part of its size. It knows
// nothing of what a record is, takes no lock and reads no clock; order of operations alone decides every result.
package flowtab
