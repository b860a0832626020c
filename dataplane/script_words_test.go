package dataplane

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

func (p *player) configure(words []string) {
	fe, be := &p.cfg.Frontends[0], &p.cfg.Backends[0]
	duration := func(s string) time.Duration {
		d, err := time.ParseDuration(s)
		if err != nil {
			p.fatalf("%v", err)
		}
		return d
	}
	for i := 0; i+1 < len(words); i += 2 {
		v := words[i+1]
		switch words[i] {
		case "delay":
			fe.Delay = duration(v)
		case "action":
			fe.Action = map[string]Action{"reset": ActionReset, "reply": ActionReply, "observe": ActionObserve}[v]
		case "live":
			fe.Live = v == "on"
		case "idle":
			fe.Times.Idle = duration(v)
		case "client-fin":
			fe.Times.ClientFIN = duration(v)
		case "server-fin":
			fe.Times.ServerFIN = duration(v)
		case "half-open":
			fe.Times.HalfOpen = duration(v)
		case "time-wait":
			fe.Times.TimeWait = duration(v)
		case "queue":
			be.Queue = duration(v)
		case "connect":
			be.Connect = duration(v)
		case "retries":
			be.Retries, _ = strconv.Atoi(v)
		case "servers":
			n, _ := strconv.Atoi(v)
			be.Servers = be.Servers[:n]
			p.cfg.Servers = p.cfg.Servers[:n]
		case "service":
			p.cfg.Services[0].Closed = v == "closed"
		case "members": // of the backend, of those that there are
			be.Servers = nil
			for n := range strings.SplitSeq(v, ",") {
				n, _ := strconv.Atoi(n)
				be.Servers = append(be.Servers, ServerID(n-1))
			}
		case "send-proxy", "source":
			p.introduction(words[i], v)
		case "reject-text":
			fe.RejectText = v + "\r\n"
		case "up":
			for j := range p.cfg.Servers {
				p.cfg.Servers[j].Up = v == "yes"
			}
		default:
			p.fatalf("unknown configuration %q", words[i])
		}
	}
}

// control handles `=` steps: expected events, and changes of server state.
func (p *player) control() {
	w := p.step.Words
	switch w[0] {
	case "server":
		n, _ := strconv.Atoi(w[1])
		p.shard.Apply(ServerState{Server: ServerID(n - 1), Up: w[2] == "up"})
	case "reload": // the rest is as behind `config`, and the tables may not change
		cfg := *p.cfg
		cfg.Frontends, cfg.Backends = slices.Clone(cfg.Frontends), slices.Clone(cfg.Backends)
		cfg.Services, cfg.Servers = slices.Clone(cfg.Services), slices.Clone(cfg.Servers)
		p.cfg = &cfg
		p.configure(w[1:])
		p.shard.Apply(Reload{&cfg})
	case "shutdown":
		p.shard.Apply(Shutdown{Now: len(w) > 1 && w[1] == "now"})
		p.shard.Advance(p.start.Add(p.step.Time))
		p.collect()
	case "remaining":
		if n, _ := strconv.Atoi(w[1]); p.shard.Remaining() != n {
			p.fatalf("%d remain, expected %d", p.shard.Remaining(), n)
		}
	case "flows":
		if n, _ := strconv.Atoi(w[1]); p.shard.Flows() != n {
			p.fatalf("%d flows, expected %d", p.shard.Flows(), n)
		}
	case "closed", "failed", "broken", "observed", "opened", "passed":
		if len(p.events) == 0 {
			p.fatalf("no event")
		}
		e := p.events[0]
		p.events = p.events[1:]
		kind := map[string]EventKind{"closed": EventClosed, "failed": EventServerFailed, "broken": EventOfferBroken, "observed": EventObserved, "opened": EventOpened, "passed": EventPassed}[w[0]]
		got := e.Verdict.String()
		if kind == EventServerFailed || kind == EventOfferBroken {
			got = fmt.Sprintf("s%d", e.Server+1)
		}
		if e.Kind != kind || got != w[1] {
			p.fatalf("event %+v", e)
		}
		for i := 2; i+1 < len(w); i += 2 {
			if w[i] == "closed-by" {
				if e.ClosedBy.String() != w[i+1] {
					p.fatalf("closed by %v", e.ClosedBy)
				}
				continue
			}
			n, _ := strconv.ParseUint(w[i+1], 10, 64)
			if v := map[string]uint64{
				"cause": uint64(e.Cause), "to-client": e.BytesToClient, "to-server": e.BytesToServer, "talk": uint64(e.TalkLen),
				"retries": uint64(e.Retries), "first-byte": uint64(e.FirstByte.Sub(p.start) / time.Millisecond),
			}[w[i]]; v != n {
				p.fatalf("%s is %d", w[i], v)
			}
		}
	case "nothing":
		if len(p.events) > 0 {
			p.fatalf("event %+v", p.events[0])
		}
	default:
		p.fatalf("unknown words %v", w)
	}
}
