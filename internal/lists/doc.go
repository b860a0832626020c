// Package lists turns files of networks into immutable tables that answer which line of the file matches an address.
//
// Three syntaxes are read. Plain has one address or network on a line. HAProxy is the same with what HAProxy's pattern
// files (acl ... src -f FILE) allow beside it. Postfix is the CIDR table of cidr_table(5) with the results permit, reject
// and dunno. In all of them the first line that matches wins, whatever the lengths of the prefixes.
//
// A file is hostile until it is read: its size, its lines and the number of its entries are bounded, each mistake is an
// error with file and line, and a file with a mistake yields no table. Postfix skips such a line with a warning and uses the
// rest; a gateway that did so would let in, or keep out, whom the line was about.
//
// The package does not know what a match means, who is asking, or how often a line matched: callers count by the number of
// the entry that Table.Lookup returns.
//
// Start with Read and Table.Lookup. A File is read again when it has changed.
package lists
