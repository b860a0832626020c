// Package plan works out what a configuration means on a machine: the interfaces of each side, the tables of the shards and
// their numbering, rules for the firewall, filters for the packet sockets, health checks, and warnings. It changes nothing
// and starts nothing; package gateway puts a plan into effect.
//
// Start with New in plan.go. Build in build.go translates the configuration. Inherit in inherit.go numbers the result like
// the configuration before it. Saved in saved.go is the form for a process that takes over.
package plan
