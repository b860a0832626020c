package top

import (
	"context"
	"sync"
	"time"

	"hushgate/internal/admin"
	"hushgate/internal/console"
)

// calm is the shortest time between two batches: the screen does not draw more often for them.
const calm = 200 * time.Millisecond

// live is the Source that asks a running gateway.
type live struct {
	client *console.Client
	now    func() time.Time

	asked int // the process whose level is known; looks come one after the other
	level admin.Level

	mu      sync.Mutex
	running bool
	batch   Batch
	ended   error         // why the stream has ended, until that was told
	news    chan struct{} // there is a batch, or the stream has ended
}

// Live returns a Source that asks the gateway of a client.
func Live(c *console.Client) Source {
	return &live{client: c, now: time.Now, news: make(chan struct{}, 1)}
}

// Look implements Source. The frontends come before the connections: what ends in between is in neither then, and not in both.
func (l *live) Look(ctx context.Context) (v Look, err error) {
	v.At = l.now()
	o, err := l.client.Overview(ctx)
	if err != nil {
		return v, err
	}
	v.Status, v.Frontends, v.Servers = o.Status, o.Frontends, o.Servers
	counters, err := l.client.Counters(ctx)
	if err != nil {
		return v, err
	}
	v.count(counters)
	if v.Connections, v.More, err = l.client.SomeConnections(ctx, maxConnections); err != nil {
		return v, err
	}
	v.Level, err = l.levelWith(ctx, v.Status.PID)
	return v, err
}

// levelWith asks what this user may do. It asks each process once. An older release does not tell: it refuses what may not be done.
func (l *live) levelWith(ctx context.Context, pid int) (admin.Level, error) {
	if l.asked == pid {
		return l.level, nil
	}
	level, known, err := l.client.Level(ctx)
	if err != nil {
		return 0, err
	}
	if !known {
		level = admin.Admin
	}
	l.asked, l.level = pid, level
	return level, nil
}

// Verdicts implements Source.
func (l *live) Verdicts(ctx context.Context) (Batch, error) {
	l.mu.Lock()
	if !l.running && l.ended == nil {
		l.running = true
		go l.follow(ctx)
	}
	l.mu.Unlock()
	select {
	case <-l.news:
	case <-ctx.Done():
		return Batch{}, context.Cause(ctx)
	}
	select {
	case <-time.After(calm):
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	got, err := l.batch, l.ended
	got.At = l.now()
	l.batch, l.ended = Batch{}, nil
	return got, err
}

// follow reads the stream to its end.
func (l *live) follow(ctx context.Context) {
	err := l.client.Verdicts(ctx, func(v *admin.Verdict, lost uint64) error {
		l.add(v, lost)
		return nil
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running, l.ended = false, err
	l.tell()
}

// add keeps a verdict for the next batch. One that has no room is counted.
func (l *live) add(v *admin.Verdict, lost uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.batch.Lost += lost
	switch {
	case v == nil:
	case len(l.batch.Verdicts) < maxBatch:
		l.batch.Verdicts = append(l.batch.Verdicts, *v)
	default:
		l.batch.Lost++
	}
	l.tell()
}

func (l *live) tell() {
	select {
	case l.news <- struct{}{}:
	default:
	}
}

// SetServer implements Source.
func (l *live) SetServer(ctx context.Context, name string, state admin.ServerState) error {
	return l.client.SetServerState(ctx, name, state)
}

// Kill implements Source.
func (l *live) Kill(ctx context.Context, client string) (int, error) {
	return l.client.KillClient(ctx, client)
}
