package gateway

import (
	"sync"

	"hushgate/dataplane"
	"hushgate/internal/connlog"
)

// tally counts by frontend and by server what the shards count as a whole. It is a sink of every shard. The numbers belong to
// names, so that they go on over reloads and takeovers.
type tally struct {
	mu        sync.Mutex
	frontends map[string]*frontTally
	servers   map[connlog.Server]*serverTally

	names    *connlog.Names
	services []*frontTally  // by ServiceID
	byServer []*serverTally // by ServerID
}

// frontTally counts the ended connections of a frontend.
type frontTally struct {
	Verdicts map[string]uint64 `json:"verdicts"`
	ToClient uint64            `json:"to_client"` // octets
	ToServer uint64            `json:"to_server"`

	last entry // the latest early talk, without names if there was none in this process
}

// ended counts all verdicts.
func (t *frontTally) ended() (n uint64) {
	for _, v := range t.Verdicts {
		n += v
	}
	return n
}

// serverTally counts the ended connections of a server.
type serverTally struct {
	Ended    uint64 `json:"ended"`
	Failed   uint64 `json:"failed"` // attempts to connect
	ToClient uint64 `json:"to_client"`
	ToServer uint64 `json:"to_server"`
}

// set takes the names of a configuration. Numbers of what has no name any more are forgotten.
func (t *tally) set(names *connlog.Names) {
	t.mu.Lock()
	defer t.mu.Unlock()
	frontends, servers := map[string]*frontTally{}, map[connlog.Server]*serverTally{}
	t.services, t.byServer = nil, nil
	for _, s := range names.Services {
		f := t.frontends[s.Frontend]
		if f == nil {
			f = frontends[s.Frontend]
		}
		if f == nil {
			f = &frontTally{Verdicts: map[string]uint64{}}
		}
		frontends[s.Frontend] = f
		t.services = append(t.services, f)
	}
	for _, s := range names.Servers {
		v := t.servers[s]
		if v == nil {
			v = &serverTally{}
		}
		servers[s] = v
		t.byServer = append(t.byServer, v)
	}
	t.frontends, t.servers, t.names = frontends, servers, names
}

// Take implements drive.Sink.
func (t *tally) Take(_ int, events []dataplane.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range events {
		e := &events[i]
		switch e.Kind {
		case dataplane.EventClosed:
			f := t.services[e.Service]
			f.Verdicts[e.Verdict.String()]++
			f.ToClient += e.BytesToClient
			f.ToServer += e.BytesToServer
			if e.Verdict == dataplane.VerdictEarlyTalker {
				f.last = entry{*e, t.names}
			}
			if e.Server == dataplane.NoServer {
				continue
			}
			s := t.byServer[e.Server]
			if e.Connected != 0 {
				s.Ended++
				s.ToClient += e.BytesToClient
				s.ToServer += e.BytesToServer
			}
		case dataplane.EventServerFailed:
			t.byServer[e.Server].Failed++
		default:
		}
	}
}

// frontend returns the numbers of a frontend.
func (t *tally) frontend(name string) frontTally {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := frontTally{Verdicts: map[string]uint64{}}
	if f := t.frontends[name]; f != nil {
		v.ToClient, v.ToServer, v.last = f.ToClient, f.ToServer, f.last
		for verdict, n := range f.Verdicts {
			v.Verdicts[verdict] = n
		}
	}
	return v
}

// server returns the numbers of a server.
func (t *tally) server(name connlog.Server) serverTally {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.servers[name]; s != nil {
		return *s
	}
	return serverTally{}
}

// savedTally is a tally for another process.
type savedTally struct {
	Frontends map[string]*frontTally  `json:"frontends,omitempty"`
	Servers   map[string]*serverTally `json:"servers,omitempty"` // by "backend/server"
}

// save returns a copy of all numbers.
func (t *tally) save() savedTally {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := savedTally{map[string]*frontTally{}, map[string]*serverTally{}}
	for name, f := range t.frontends {
		own := *f
		own.Verdicts = map[string]uint64{}
		for verdict, n := range f.Verdicts {
			own.Verdicts[verdict] = n
		}
		v.Frontends[name] = &own
	}
	for name, s := range t.servers {
		own := *s
		v.Servers[name.Backend+"/"+name.Name] = &own
	}
	return v
}

// add adds the numbers of another process to those that have the same names.
func (t *tally) add(v savedTally) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, f := range t.frontends {
		if was := v.Frontends[name]; was != nil {
			for verdict, n := range was.Verdicts {
				f.Verdicts[verdict] += n
			}
			f.ToClient, f.ToServer = f.ToClient+was.ToClient, f.ToServer+was.ToServer
		}
	}
	for name, s := range t.servers {
		if was := v.Servers[name.Backend+"/"+name.Name]; was != nil {
			s.Ended, s.Failed = s.Ended+was.Ended, s.Failed+was.Failed
			s.ToClient, s.ToServer = s.ToClient+was.ToClient, s.ToServer+was.ToServer
		}
	}
}
