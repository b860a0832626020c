// Package config turns a configuration file into a resolved, immutable Config: every name is looked up, every default
// filled in, every value checked.
//
// There are two syntaxes and one model. The first is HAProxy's own, for the part of it that hushgate serves, so that a
// file written for HAProxy can be run as it is. The second is YAML, with HAProxy's words as keys, and keys for what
// HAProxy has no word for. Both are read into the same raw form (raw.go), in which each value knows its line, and
// resolve.go makes the Config of it. Whatever is in a file and is not understood is an error, never skipped in
// silence; what is understood and has no meaning here is a Warning marked as a note.
//
// The package opens nothing but the file and asks the network nothing: whether an interface exists or a server can be
// reached is for others to find out.
//
// What can be set is in tables (settings.go): each setting has one entry, with its names in both syntaxes, how it is read, its
// bounds, its default and what the reference says of it. Both parsers look words up there.
//
// Start reading at Parse in load.go, then settings.go, haproxy.go and yaml.go, then resolve.go. rules.go, which finds out what
// a set of acl and tcp-request lines does to an early talker, can be read on its own.
package config
