package gateway

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"hushgate/dataplane"
	"hushgate/internal/printable"
)

// The line that `systemctl status` shows of the process (STATUS of sd_notify(3)): what is not well first, then servers and connections.
// systemd shows the latest line alone, so each has everything.

const (
	// statusEvery is how often the line is sent, for the number of connections in it. statusPause is the shortest time between two
	// lines, however often something changes: each costs systemd a message to all who watch the service.
	statusEvery = 10 * time.Second
	statusPause = time.Second
	// statusPatience bounds how long a line waits for the shards.
	statusPatience = time.Second
	// maxReason is how much of a reason is shown, in runes.
	maxReason = 160
)

// facts are what the line says.
type facts struct {
	stopping    bool
	missing     []string // interfaces
	stress      bool
	refused     string // why the latest reload failed; empty if it did not
	usable, all int    // servers
	counted     bool   // the shards have said how many connections there are
	connections int    // whose handshake is complete, and that have not ended
	held        int64
}

// line writes the line.
func (f *facts) line() string {
	var parts []string
	if f.stopping {
		parts = append(parts, "mail in flight may go on, no new connections are accepted")
	}
	for _, name := range f.missing {
		parts = append(parts, "the interface "+name+" is missing")
	}
	if f.stress {
		parts = append(parts, "stress: a table is nearly full, delays are shortened")
	}
	if f.refused != "" {
		parts = append(parts, "the last reload was refused: "+f.refused)
	}
	if !f.stopping {
		parts = append(parts, fmt.Sprintf("%d of %d servers take new connections", f.usable, f.all))
	}
	if f.counted {
		parts = append(parts, fmt.Sprintf("%d connections, %d held", f.connections, f.held))
	}
	return "STATUS=" + printable.Text(strings.Join(parts, "; "))
}

// briefly returns the beginning of an error, which may have several lines.
func briefly(err error) string {
	first, rest, more := strings.Cut(strings.TrimSpace(err.Error()), "\n")
	if runes := []rune(first); len(runes) > maxReason {
		first = string(runes[:maxReason]) + "..."
	}
	if n := strings.Count(rest, "\n"); n > 0 {
		first += fmt.Sprintf(" (and %d more lines)", n+1)
	} else if more {
		first += " (and 1 more line)"
	}
	return first
}

// statusLine sends the line.
type statusLine struct {
	look func(context.Context) facts
	send func(states ...string)
	news chan struct{}

	mu   sync.Mutex  // the line that is sent last is the latest
	over atomic.Bool // another process has taken over, and sends lines of its own
}

// begin makes the line ready. Without it nothing is sent.
func (s *statusLine) begin(look func(context.Context) facts, send func(...string)) {
	s.look, s.send, s.news = look, send, make(chan struct{}, 1)
}

// changed has the line sent soon. It never waits.
func (s *statusLine) changed() {
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// with sends the line now, together with other messages.
func (s *statusLine) with(ctx context.Context, states ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.send == nil || s.over.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, statusPatience)
	defer cancel()
	f := s.look(ctx)
	if !s.over.Load() { // it may have taken over meanwhile
		s.send(append(states, f.line())...)
	}
}

// end has no line be sent any more.
func (s *statusLine) end() { s.over.Store(true) }

// run sends the line when something has changed, and now and then.
func (s *statusLine) run(ctx context.Context) {
	everyOr(ctx, statusEvery, s.news, func(*struct{}) {
		s.with(ctx)
		_ = pause(ctx, statusPause)
	})
}

// pause waits, or returns the error of ctx.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// tellStatus keeps the line up to date, if a service manager listens.
func (g *gateway) tellStatus(ctx context.Context) {
	if os.Getenv("NOTIFY_SOCKET") != "" {
		g.status.run(ctx)
	}
}

// facts finds out what the line says.
func (g *gateway) facts(ctx context.Context) (f facts) {
	select {
	case <-g.ending:
		f.stopping = true
	default:
	}
	for _, i := range g.interfaces() {
		if !i.Present {
			f.missing = append(f.missing, i.Name)
		}
	}
	f.usable, f.all = g.state.usable()
	if r := g.reloads.refusal(); r != nil {
		f.refused = r.Reason
	}
	counts, err := g.counts(ctx)
	if err != nil { // a shard hangs, or there are none yet: the rest is worth saying
		return f
	}
	f.counted, f.stress, f.held = true, counts.Stress, counts.Stats.Phase[dataplane.PhaseHeld]
	for _, n := range counts.Services {
		f.connections += n
	}
	return f
}
