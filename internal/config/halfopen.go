package config

import "fmt"

// halfOpenShare: one in so many of a shard's records may be half-open (see dataplane.Limits, which holds to it).
const halfOpenShare = 4

// HalfOpenWarning says what becomes of half-open where it is more than so many shards can keep, each with its share of
// maxconn; empty if it fits, or was not given.
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
