package runtimeapi

import (
	"fmt"
	"net"
)

// Level is what a client may do. The levels are HAProxy's: each includes those below.
type Level uint8

// The levels.
const (
	User     Level = iota // look at numbers
	Operator              // look at clients, too
	Admin                 // change things
)

// levelNames are the names of the levels.
var levelNames = [...]string{"user", "operator", "admin"}

// String returns the level's name.
func (l Level) String() string { return levelNames[l] }

// ParseLevel reads the name of a level.
func ParseLevel(s string) (Level, error) {
	for i, name := range levelNames {
		if name == s {
			return Level(i), nil
		}
	}
	return 0, fmt.Errorf("expected user, operator or admin, found %q", s)
}

// Listener accepts clients of one level.
type Listener struct {
	net.Listener
	Level Level
}
