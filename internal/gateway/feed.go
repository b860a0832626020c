package gateway

import (
	"context"
	"sync"
	"time"

	"hushgate/dataplane"
	"hushgate/internal/admin"
	"hushgate/internal/connlog"
	"hushgate/internal/policy"
)

// feedRoom is how many ended connections wait for those who watch. Who reads more slowly than they come misses the oldest.
const feedRoom = 4096

// feed keeps the latest ended connections for the clients of the control API that watch them. It is a sink of every shard, which
// never waits for a reader: what it costs does not depend on how many read.
type feed struct {
	mu      sync.Mutex
	readers map[chan struct{}]bool // each is told that there is something new
	ring    []entry                // none while nobody watches
	end     uint64                 // how many entries there ever were
	names   *connlog.Names
}

// entry is an ended connection, with the names of its time.
type entry struct {
	event dataplane.Event
	names *connlog.Names
}

// set takes the names of a configuration.
func (f *feed) set(names *connlog.Names) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.names = names
}

// Take implements drive.Sink.
func (f *feed) Take(_ int, events []dataplane.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.readers) == 0 {
		return
	}
	before := f.end
	for i := range events {
		if events[i].Kind == dataplane.EventClosed {
			f.ring[f.end%feedRoom] = entry{events[i], f.names}
			f.end++
		}
	}
	if f.end == before {
		return
	}
	for news := range f.readers {
		select {
		case news <- struct{}{}:
		default:
		}
	}
}

// join adds a reader, which begins with what comes next.
func (f *feed) join() (news chan struct{}, from uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.readers == nil {
		f.readers = map[chan struct{}]bool{}
	}
	if f.ring == nil {
		f.ring = make([]entry, feedRoom)
	}
	news = make(chan struct{}, 1)
	f.readers[news] = true
	return news, f.end
}

func (f *feed) leave(news chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if delete(f.readers, news); len(f.readers) == 0 {
		f.ring = nil
	}
}

// next copies entries from a position on, as many as there is room for in list. It returns the position after them, and how many
// were missed before.
func (f *feed) next(from uint64, list []entry) (n int, to, lost uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if oldest := f.end - min(f.end, feedRoom); from < oldest {
		lost, from = oldest-from, oldest
	}
	for n < len(list) && from < f.end {
		list[n] = f.ring[from%feedRoom]
		n++
		from++
	}
	return n, from, lost
}

// Watch implements admin.Viewer.
func (c control) Watch(ctx context.Context, beat time.Duration, tell func(list []admin.Verdict, lost uint64) error) error {
	news, from := c.feed.join()
	defer c.feed.leave(news)
	pause := time.NewTicker(beat)
	defer pause.Stop()
	var list [64]entry
	for {
		select {
		case <-news:
		case <-pause.C:
			if err := tell(nil, 0); err != nil {
				return err
			}
			continue
		case <-ctx.Done():
			return nil
		case <-c.serving.Done():
			return nil
		}
		for {
			n, to, lost := c.feed.next(from, list[:])
			if from = to; n == 0 {
				break
			}
			verdicts := make([]admin.Verdict, n)
			for i := range verdicts {
				verdicts[i] = c.verdict(&list[i])
			}
			if err := tell(verdicts, lost); err != nil {
				return err
			}
		}
	}
}

// verdict describes an ended connection.
func (c control) verdict(v *entry) admin.Verdict {
	e, names := &v.event, v.names
	svc := &names.Services[e.Service]
	out := admin.Verdict{
		Time: c.clock.Wall(e.Closed), Client: e.Client.String(), ClientPort: int(e.ClientPort), Service: svc.Address, Frontend: svc.Frontend,
		Backend: svc.Backend, Verdict: e.Verdict.String(), Cause: e.Cause.String(), Rule: names.Rule(e), Observed: e.Observed,
		HeldMs: since(e.Established, e.Closed), FirstByteMs: since(e.Established, e.FirstByte), BannerMs: since(e.Established, e.Banner),
		TotalMs: e.Closed.Sub(e.Established).Milliseconds(), BytesToClient: e.BytesToClient, BytesToServer: e.BytesToServer,
		Retries: int(e.Retries), TalkBytes: int(e.TalkLen), Talk: string(connlog.AppendEscaped(nil, e.TalkHead[:min(e.TalkLen, dataplane.TalkSample)])),
	}
	if e.Connect != 0 {
		out.HeldMs = since(e.Established, e.Connect)
	}
	if e.Server != dataplane.NoServer {
		out.Server = names.Servers[e.Server].Name
	}
	if e.Pass != policy.PassUnused {
		out.Pass = e.Pass.String()
	}
	if e.Signature.Known() {
		out.Signature = e.Signature.String()
	}
	return out
}
