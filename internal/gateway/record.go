package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"hushgate/dataplane"
	"hushgate/internal/config"
	"hushgate/internal/connlog"
	"hushgate/internal/mono"
)

// recorder turns events into log lines. The shards call take; it never waits for a log.
type recorder struct {
	log     *slog.Logger
	render  connlog.Renderer
	fronts  []front
	targets map[config.LogTarget]*connlog.Sink

	mu  sync.Mutex
	buf []byte
}

// front is how the lines of one frontend's services look and where they go.
type front struct {
	format  config.LogFormat
	targets []*connlog.Sink
	quiet   bool // option dontlognull
}

func newRecorder(cfg *config.Config, clock mono.Clock, names *connlog.Names, log *slog.Logger) (*recorder, error) {
	r := &recorder{
		log: log, render: connlog.Renderer{Clock: clock, Names: names}, targets: map[config.LogTarget]*connlog.Sink{},
	}
	byName := map[string]front{}
	for i := range cfg.Frontends {
		f := &cfg.Frontends[i]
		fr := front{format: f.LogFormat, quiet: f.DontLogNull}
		for _, t := range f.Log {
			to, err := r.target(t)
			if err != nil {
				return nil, fmt.Errorf("frontend %s: %w", f.Name, err)
			}
			fr.targets = append(fr.targets, to)
		}
		byName[f.Name] = fr
	}
	for _, t := range cfg.Global.Logs {
		if _, err := r.target(t); err != nil {
			return nil, err
		}
	}
	for _, s := range names.Services {
		r.fronts = append(r.fronts, byName[s.Frontend])
	}
	return r, nil
}

func (r *recorder) target(t config.LogTarget) (*connlog.Sink, error) {
	if to := r.targets[t]; to != nil {
		return to, nil
	}
	to, err := connlog.Target(t).Open(func(err error) { r.log.Warn("connection log", "err", err) })
	if err != nil {
		return nil, err
	}
	r.targets[t] = to
	return to, nil
}

// take logs events of a shard.
func (r *recorder) take(events []dataplane.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range events {
		switch e := &events[i]; e.Kind {
		case dataplane.EventClosed:
			r.closed(e)
		case dataplane.EventObserved:
			r.observed(e)
		case dataplane.EventServerFailed:
			r.log.Warn("server did not take a connection", "server", r.server(e.Server), "client", e.Client, "cause", e.Cause)
		case dataplane.EventOfferBroken:
			r.log.Warn("server grants less than clients were promised", "server", r.server(e.Server), "cause", e.Cause,
				"options", e.ServerOptions)
		case dataplane.EventServerOptions:
			r.log.Info("server's TCP options learnt", "server", r.server(e.Server), "options", e.ServerOptions)
		}
	}
}

func (r *recorder) server(id dataplane.ServerID) string {
	if id == dataplane.NoServer {
		return "none"
	}
	s := r.render.Names.Servers[id]
	return s.Backend + "/" + s.Name
}

// observed tells of early talk that is passed on: in postscreen's words where these are logged, else in the gateway's log.
func (r *recorder) observed(e *dataplane.Event) {
	f := &r.fronts[e.Service]
	if f.format == config.LogPostscreen {
		r.buf = r.render.AppendTalk(r.buf[:0], e)
		r.write(f)
		return
	}
	r.log.Info("early talk observed", "frontend", r.render.Names.Services[e.Service].Frontend, "client", e.Client,
		"port", e.ClientPort, "after", e.FirstByte.Sub(e.Established), "octets", e.TalkLen, "talk",
		string(connlog.AppendEscaped(nil, e.TalkHead[:min(e.TalkLen, dataplane.TalkSample)])))
}

func (r *recorder) closed(e *dataplane.Event) {
	f := &r.fronts[e.Service]
	if f.quiet && e.Verdict == dataplane.VerdictHangup && e.BytesToClient == 0 {
		return
	}
	counts := connlog.Counts{
		Active: int(e.Active), Frontend: int(e.FrontendActive), Backend: int(e.BackendActive), Server: int(e.ServerActive),
	}
	b := r.buf[:0]
	switch f.format {
	case config.LogJSON:
		b = r.render.AppendJSON(b, e, counts)
	case config.LogPostscreen:
		b = r.render.AppendPregreet(b, e)
		b = b[:len(b)-1]
	case config.LogTCP:
		b = r.render.AppendTCP(b, e, counts)
	case config.LogNone:
		return
	}
	r.buf = b
	r.write(f)
}

// write writes a line, buf, to where a frontend's go.
func (r *recorder) write(f *front) {
	for _, t := range f.targets {
		t.Line(connlog.Info, r.buf)
	}
}

// line writes a notice to every target, and to the general log.
func (r *recorder) line(v connlog.Severity, s string) {
	level := slog.LevelInfo
	if v < connlog.Notice {
		level = slog.LevelWarn
	}
	r.log.Log(context.Background(), level, s)
	for _, t := range r.targets {
		t.Line(v, []byte(s))
	}
}

func (r *recorder) close() {
	for _, t := range r.targets {
		if err := t.Close(); err != nil {
			r.log.Warn("close the connection log", "err", err)
		}
	}
}
