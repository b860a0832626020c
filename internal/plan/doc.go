// Package plan works out what a configuration means on a machine: which interfaces are whose, the tables of the shards and
// how they are numbered, rules for the firewall, filters for the packet sockets, health checks, and warnings. It changes
// nothing and starts nothing; what is done with a plan is the affair of package gateway.
//
// Start with New in plan.go. Build in build.go translates the configuration; Inherit in inherit.go numbers the result like
// the configuration before it, and Saved in saved.go is its form for a process that takes over.
package plan
