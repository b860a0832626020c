// Package config turns a configuration file into a resolved, immutable Config: every name is looked up, every default filled
// in, every value checked.
//
// There are two syntaxes and one model. The first syntax is HAProxy's, as far as hushgate serves it, so that a file written
// for HAProxy runs as it is. The second is YAML: its keys are HAProxy's words, with further keys for settings that HAProxy
// does not have. Both are read into the same raw form (raw.go), which keeps the line of each value, and resolve.go makes the
// Config from it. A word that is not understood is an error; it is never skipped in silence. A word that is understood but
// has no effect here gives a Warning marked as a note.
//
// The package reads the file, and the files of networks that it names. It does not ask the network: other packages find out whether an interface
// exists or a server can be reached.
//
// The settings are in tables (settings.go). Each setting has one entry: its names in both syntaxes, how it is read, its
// bounds, its default and its description in the reference. Both parsers look words up there.
//
// Start reading at Parse in load.go, then settings.go, haproxy.go and yaml.go, then resolve.go. rules.go and
// conditions.go can be read on their own: they find out what a set of acl and tcp-request lines does to an early talker, and to
// whom.
package config
