// Package gateway connects the parts and runs them: it reads the configuration, makes a plan (package plan), installs rules,
// opens ports, drives shards (package drive), checks servers, logs connections, and undoes all of it at the end. It has no
// logic of TCP or NAT. Start with Run in start.go.
package gateway
