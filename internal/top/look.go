package top

import (
	"context"
	"slices"
	"time"

	"hushgate/internal/admin"
)

// Look is how the gateway is at one moment.
type Look struct {
	At          time.Time
	Status      admin.Status
	Frontends   []admin.Frontend
	Servers     []admin.Server
	Counters    map[string]uint64 // the sum over the labels
	Tables      []Table
	Busy        map[string]time.Duration // how long each shard has worked
	Connections []admin.Connection
	More        bool // there are more connections than these
	Level       admin.Level
}

// over reports whether a connection has ended, and been counted as such, although it still has a record.
func over(c *admin.Connection) bool {
	return slices.Contains([]string{"lingering", "saying", "dropped", "tarpit"}, c.Phase)
}

// Batch is what has ended since the batch before.
type Batch struct {
	At       time.Time
	Verdicts []admin.Verdict
	Lost     uint64 // verdicts that were missed
}

// Source is the gateway as the screen knows it.
type Source interface {
	Look(ctx context.Context) (Look, error)
	// Verdicts waits until there are some, or until none can come any more: then it says why, and may be asked again later.
	Verdicts(ctx context.Context) (Batch, error)
	SetServer(ctx context.Context, name string, state admin.ServerState) error
	// Kill ends connections of an address, an address and port, or a network, and says how many.
	Kill(ctx context.Context, client string) (int, error)
}

// The bounds of what is kept and asked for.
const (
	maxConnections = 2000 // that are asked for at once
	maxBatch       = 4096 // verdicts that wait for the screen
)
