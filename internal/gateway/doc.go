// Package gateway wires the parts together and gives them their life: configuration in, a plan made of it (package plan),
// rules installed, ports opened, shards driven (package drive), servers checked, connections logged, and all of it undone at
// the end. It holds no logic of TCP or NAT. Start with Run in start.go.
package gateway
