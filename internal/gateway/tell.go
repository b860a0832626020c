package gateway

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"hushgate/dataplane"
	"hushgate/internal/numbers"
)

// tellPatience is how long the kernel may take to tell its counters.
const tellPatience = 5 * time.Second

// tell logs every number. It does not wait: a shard that is busy is told about when it has answered, and what concerns all shards when
// all have.
func (g *gateway) tell(ctx context.Context) {
	within, cancel := context.WithTimeout(ctx, tellPatience)
	defer cancel()
	g.tellThings(g.parts(within)...)
	all := &gathering{looks: make([]look, len(g.loops)), missing: len(g.loops), done: g.tellOfAll}
	for i, l := range g.loops {
		l.Do(ctx, func(s *dataplane.Shard) {
			v := lookAt(l, s)
			go func() { // so that the shard does not wait
				g.tellThings(v.ofShard(i)...)
				all.add(i, v)
			}()
		})
	}
}

// ofShard lists all that a shard shows.
func (v *look) ofShard(i int) []thing {
	return append([]thing{{ofShards, labels("shard", strconv.Itoa(i)), &v.Stats, nil}}, v.things(i)...)
}

// tellOfAll logs what is known when all shards have answered.
func (g *gateway) tellOfAll(looks []look) {
	c, now, sum := control{g}, g.inForce(), sumOf(looks)
	g.tellThings(c.process(now, &sum)...)
	g.tellThings(c.traffic(looks)...)
	g.tellThings(policyThings(&sum)...)
	g.tellThings(c.frontendThings(now, &sum)...)
	g.tellThings(c.serverThings(now, &sum)...)
}

// gathering waits for what shards show.
type gathering struct {
	done func([]look)

	mu      sync.Mutex
	looks   []look
	missing int
}

func (s *gathering) add(shard int, v look) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looks[shard] = v
	if s.missing--; s.missing == 0 {
		s.done(s.looks)
	}
}

// tellThings logs a line for each thing. Numbers of one name form a group. Reasons for dropped frames that did not occur are left out.
func (g *gateway) tellThings(list ...thing) {
	for _, t := range list {
		var line []any
		for _, l := range t.labels {
			line = append(line, slog.String(l.Name, l.Value))
		}
		var group []any
		name := ""
		flush := func() {
			if name != "" {
				line = append(line, slog.Group(name, group...))
			}
			group, name = nil, ""
		}
		for n := range t.Each(t.numbers, t.labels...) {
			own := n.Labels[len(t.labels):]
			if len(own) == 0 || n.Word != name {
				flush()
			}
			switch {
			case len(own) == 0:
				line = append(line, shown(n.Word, &n))
			case n.Value > 0 || own[0].Name != "reason":
				name, group = n.Word, append(group, shown(own[0].Value, &n))
			}
		}
		flush()
		if t.err != nil {
			line = append(line, "err", t.err)
		}
		g.log.Info(t.Message, line...) //nolint:sloglint // the messages are constants: see the groups in numbers.go
	}
}

// shown is a number in the log.
func shown(key string, n *numbers.Number) slog.Attr {
	switch {
	case n.Unit == numbers.Nanoseconds:
		return slog.Duration(key, time.Duration(n.Value))
	case n.Unit == numbers.Moment && n.Value > 0:
		return slog.Time(key, time.Unix(0, int64(n.Value)))
	}
	return slog.Uint64(key, n.Value)
}
