package gateway

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"time"

	"hushgate/dataplane"
	"hushgate/internal/drive"
	"hushgate/internal/plan"
)

// drawKeys draws the secrets that all shards share.
func drawKeys(c *dataplane.Config) { c.CookieKey, c.HashKey = newKey(), newKey() }

func newKey() (k [2]uint64) {
	var r [16]byte
	_, _ = rand.Read(r[:]) // never fails
	return [2]uint64{binary.LittleEndian.Uint64(r[:8]), binary.LittleEndian.Uint64(r[8:])}
}

func (g *gateway) tellShards(ctx context.Context, c dataplane.Control) {
	for _, l := range g.loops {
		l.Do(ctx, func(s *dataplane.Shard) { s.Apply(c) })
	}
}

func (g *gateway) remaining(ctx context.Context) (n int) {
	for _, l := range g.loops {
		m, _ := drive.Ask(ctx, l, (*dataplane.Shard).Remaining)
		n += m
	}
	return n
}

// used asks the shards for the services and servers with connections.
func (g *gateway) used(ctx context.Context) (known plan.Uses) {
	for _, l := range g.loops {
		u, _ := drive.Ask(ctx, l, func(s *dataplane.Shard) (u plan.Uses) {
			u.Add(s.Uses())
			return u
		})
		known.Add(u.Services, u.Servers)
	}
	return known
}

// secretLife is how long one secret is used for the initial sequence numbers of new connections.
const secretLife = time.Hour

func (g *gateway) renewSecrets(ctx context.Context) {
	every(ctx, secretLife, func() { g.tellShards(ctx, dataplane.NewSecret(newKey())) })
}
