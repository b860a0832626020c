package config

import "fmt"

// halfOpenShare: at most one in four of a shard's flow records may be half-open (dataplane.Limits enforces it).
const halfOpenShare = 4

// HalfOpenWarning returns a warning if half-open is more than a shard can keep, where maxconn is divided among so many
// shards. It returns the empty string if half-open fits or was not given.
func (g *Global) HalfOpenWarning(shards int) string {
	share := (g.MaxConn + shards - 1) / shards
	most := max(1, share/halfOpenShare)
	if g.HalfOpen <= most {
		return ""
	}
	of := fmt.Sprintf("maxconn %d", g.MaxConn)
	if shards > 1 {
		of = fmt.Sprintf("a shard's part of maxconn (%d, of %d over %d shards)", share, g.MaxConn, shards)
	}
	return fmt.Sprintf("half-open %d is more than a quarter of %s: only %d half-open connections are kept in each shard, "+
		"and SYNs beyond them are answered with cookies", g.HalfOpen, of, most)
}
