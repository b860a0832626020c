package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strconv"
	"time"

	"hushgate/dataplane"
	"hushgate/internal/admin"
	"hushgate/internal/connlog"
	"hushgate/internal/drive"
	"hushgate/internal/logqueue"
	"hushgate/internal/numbers"
)

// The numbers that the log, the control API and Prometheus show are declared by the tags of structs: those of shards in dataplane, of
// loops and interfaces in drive, of the other parts in their packages, and the rest here.

// The kinds of things that have numbers.
var (
	ofProcess       = numbers.Group{Message: "process"}
	ofConfiguration = numbers.Group{Message: "configuration", Prefix: "config_"}
	ofShards        = numbers.Group{Message: "counters"}
	ofLoop          = numbers.Group{Message: "shard", Prefix: "shard_"}
	ofTables        = numbers.Group{Message: "tables", Prefix: "table_"}
	ofInterface     = numbers.Group{Message: "interface", Prefix: "interface_"}
	ofPolicy        = numbers.Group{Message: "counter"}
	ofLog           = numbers.Group{Message: "log", Prefix: "log_lines_"}
	ofDNS           = numbers.Group{Message: "DNS lists", Prefix: "dns_"}
	ofDNSList       = numbers.Group{Message: "DNS list", Prefix: "dns_list_"}
	ofResolver      = numbers.Group{Message: "resolver", Prefix: "dns_resolver_"}
	ofCapture       = numbers.Group{Message: "capture", Prefix: "capture_"}
	ofKernel        = numbers.Group{Message: "offenders in the kernel", Prefix: "kernel_offenders_"}
	ofFrontend      = numbers.Group{Message: "frontend", Prefix: "frontend_"}
	ofServer        = numbers.Group{Message: "server", Prefix: "server_"}
)

// thing is something with numbers, as they are at the moment.
type thing struct {
	numbers.Group
	labels  []numbers.Label
	numbers any
	err     error // for the log
}

func labels(pairs ...string) (list []numbers.Label) {
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, numbers.Label{Name: pairs[i], Value: pairs[i+1]})
	}
	return list
}

type buildInfo struct {
	Info int `name:"build_info" help:"the release that runs"`
}

type processNumbers struct {
	Ready   bool `name:"ready" help:"1 if clients can be passed to a server"`
	Stress  bool `name:"stress" help:"1 while tables are so full that delays are shorter"`
	Shards  int  `name:"shards" help:"shards that work side by side"`
	MaxConn int  `name:"connections_limit" help:"connections in all phases that there is room for (maxconn)"`
	Past    int  `name:"past_connections" help:"connections that have ended and that hushgate explain finds"`
	PastMax int  `name:"past_connections_capacity" help:"connections that have ended for which there is room (recall)"`
}

type captureNumbers struct {
	Lost uint64 `name:"lost" help:"rejected connections whose packets were not kept because the disk was too slow or failed"`
}

type configInfo struct {
	Info int `name:"info" help:"the configuration in force, by the SHA-256 of its file"`
}

type configNumbers struct {
	Loaded     time.Time `name:"loaded_timestamp" help:"when the configuration in force was read"`
	Reloaded   uint64    `name:"reloads" label:"result=success" help:"reloads; after a failure the previous configuration stays in force"`
	Refused    uint64    `name:"reloads" label:"result=failure"`
	Successful bool      `name:"last_reload_successful" help:"0 if the latest reload was refused; 1 also if there was none"`
	Asked      time.Time `name:"last_reload_timestamp" help:"when the latest reload ended, whatever came of it; 0 if there was none"`
	ListsRead  uint64    `name:"list_reads" label:"result=success" help:"times that the files of lists were read again because they had changed (access-watch); after a failure what they said before stays in force"`
	ListsBad   uint64    `name:"list_reads" label:"result=failure"`
}

type dnsNumbers struct {
	Unasked uint64 `name:"lookups_unasked" help:"clients that were not looked up in DNS lists because too many came at once"`
}

type frontendNumbers struct {
	Connections int               `name:"connections" help:"connections whose handshake is complete, and that have not ended"`
	Delay       time.Duration     `name:"delay" gauge:"true" help:"how long clients wait that nothing is known of"`
	ToClient    uint64            `name:"octets" label:"to=client" help:"octets of connections that have ended, by the end that got them"`
	ToServer    uint64            `name:"octets" label:"to=server"`
	Verdicts    map[string]uint64 `name:"verdicts" label:"verdict" help:"connections that have ended, by verdict"`
}

type serverNumbers struct {
	Up          bool   `name:"up" help:"1 if its health checks succeed, or if it has none"`
	Ready       bool   `name:"state" label:"state=ready" help:"1 for what the administrator wants of it: all connections, no new ones (drain), nor checks (maint)"`
	Drain       bool   `name:"state" label:"state=drain"`
	Maint       bool   `name:"state" label:"state=maint"`
	Weight      int    `name:"weight" help:"its share of clients"`
	Connections int    `name:"connections" help:"connections that it has, or is being asked to take"`
	Ended       uint64 `name:"connections_ended" help:"its connections that have ended"`
	Failed      uint64 `name:"connect_failures" help:"attempts to connect to it that failed"`
	ToClient    uint64 `name:"octets" label:"to=client" help:"octets of its connections that have ended, by the end that got them"`
	ToServer    uint64 `name:"octets" label:"to=server"`
}

type checkNumbers struct {
	Checks   uint64            `name:"checks" help:"health checks"`
	Failures uint64            `name:"check_failures" help:"health checks that failed"`
	Results  map[string]uint64 `name:"check_results" label:"code" help:"health checks by result, in HAProxy's words"`
	Downs    uint64            `name:"downs" help:"how often checks have turned it down"`
	Duration time.Duration     `name:"check_duration" gauge:"true" help:"duration of the last health check"`
	At       time.Time         `name:"last_check_timestamp" help:"when the last health check ended; 0 before the first"`
}

type checkInfo struct {
	Info int `name:"check_result_info" help:"the last health check's result, in HAProxy's words"`
}

// Counters implements admin.Viewer.
func (c control) Counters(ctx context.Context) (all []admin.Counter, err error) {
	things, err := c.things(ctx)
	if err != nil {
		return nil, err
	}
	for _, t := range things {
		for n := range t.Each(t.numbers, t.labels...) {
			v := admin.Counter{Name: n.Name, Help: n.Help, Unit: string(n.Unit), Gauge: n.Gauge, Count: n.Value, Labels: map[string]string{}}
			for _, l := range n.Labels {
				v.Labels[l.Name] = l.Value
			}
			all = append(all, v)
		}
	}
	return all, nil
}

// things lists everything that has numbers.
func (c control) things(ctx context.Context) ([]thing, error) {
	now := c.inForce()
	looks, err := c.looks(ctx)
	if err != nil {
		return nil, err
	}
	sum := sumOf(looks)
	list := []thing{{ofShards, nil, &sum.Stats, nil}}
	for i := range looks {
		list = append(list, looks[i].things(i)...)
	}
	list = slices.Concat(list, c.process(now, &sum), c.traffic(looks), c.parts(ctx))
	list = slices.Concat(list, policyThings(&sum), c.frontendThings(now, &sum), c.serverThings(now, &sum))
	return list, nil
}

// look is what a shard and its loop show.
type look struct {
	dataplane.Counts
	load    drive.Load
	dropped map[string][dataplane.Drops]uint64 // by the interface they came from
}

func lookAt(l *drive.Loop, s *dataplane.Shard) look { return look{s.Counts(), l.Load(), l.Dropped()} }

// things lists what belongs to one shard alone.
func (v *look) things(shard int) []thing {
	of := labels("shard", strconv.Itoa(shard))
	return []thing{{ofLoop, of, &v.load, nil}, {ofTables, of, &v.Tables, nil}}
}

// looks asks all shards.
func (g *gateway) looks(ctx context.Context) (all []look, err error) {
	for _, l := range g.loops {
		v, ok := drive.Look(ctx, l, func(s *dataplane.Shard) look { return lookAt(l, s) })
		if !ok {
			return nil, fmt.Errorf("ask a shard: %w", context.Cause(ctx))
		}
		all = append(all, v)
	}
	return all, nil
}

// process lists the process and its configuration.
func (c control) process(now inForce, sum *dataplane.Counts) []thing {
	up, _ := c.state.usable()
	past, room := c.bygone.Len()
	return []thing{
		{ofProcess, labels("version", c.version, "goversion", runtime.Version()), buildInfo{1}, nil},
		{ofProcess, nil, processNumbers{up > 0 && !c.stopping(), sum.Stress, len(c.loops), now.cfg.Global.MaxConn, past, room}, nil},
		{ofConfiguration, labels("file", now.cfg.File, "sha256", now.cfg.SHA256), configInfo{1}, nil},
		{ofConfiguration, nil, c.reloads.numbers(now.loaded.at), nil},
	}
}

// traffic lists the interfaces, with the sums over all shards.
func (g *gateway) traffic(looks []look) (list []thing) {
	for _, first := range g.watched[0].List {
		sum := first.Traffic()
		for _, w := range g.watched[1:] {
			more := w.Named(first.Name()).Traffic()
			numbers.Add(&sum, &more)
		}
		for i := range looks {
			more := drive.Traffic{Dropped: looks[i].dropped[first.Name()]}
			numbers.Add(&sum, &more)
		}
		list = append(list, thing{ofInterface, labels("interface", first.Name()), &sum, nil})
	}
	return list
}

// parts lists the logs, the DNS lists, and the offenders in the kernel.
func (g *gateway) parts(ctx context.Context) (list []thing) {
	g.logStats(func(target string, s logqueue.Stats) {
		list = append(list, thing{ofLog, labels("target", target), s, s.Err})
	})
	if g.keeper != nil {
		list = append(list, thing{ofCapture, nil, captureNumbers{g.keeper.Lost()}, nil})
	}
	list = append(list, g.lists.things()...)
	if s, err := g.kept.stats(ctx); err != nil {
		g.lines.often.note(topic{level: slog.LevelWarn, message: "the counters of the kernel's set of offenders cannot be read"}, "times", []any{"err", err})
	} else if s != nil {
		list = append(list, thing{ofKernel, nil, *s, nil})
	}
	return list
}

// things lists the DNS lists in force, and their resolvers.
func (d *dnsLists) things() (list []thing) {
	d.mu.Lock()
	a := d.latest
	d.mu.Unlock()
	if a == nil {
		return nil
	}
	s := a.client.Stats()
	list = []thing{{ofDNS, nil, s, nil}, {ofDNS, nil, dnsNumbers{d.unasked.Load()}, nil}}
	for _, l := range s.Lists {
		list = append(list, thing{ofDNSList, labels("list", l.Name), l, nil})
	}
	for _, r := range s.Resolvers {
		list = append(list, thing{ofResolver, labels("resolver", r.Addr.String()), r, nil})
	}
	return list
}

// policyThings lists rules and lists.
func policyThings(sum *dataplane.Counts) (list []thing) {
	for _, r := range sum.Policy.Rules {
		list = append(list, thing{ofPolicy, labels("rule", r.Rule.Full()), r, nil})
	}
	for _, l := range sum.Policy.Lists {
		list = append(list, thing{ofPolicy, labels("list", l.Name), l, nil})
	}
	return list
}

func (c control) frontendThings(now inForce, sum *dataplane.Counts) (list []thing) {
	for _, f := range c.frontendsOf(now, sum) {
		n := frontendNumbers{f.Connections, time.Duration(f.DelayMs) * time.Millisecond, f.BytesToClient, f.BytesToServer, map[string]uint64{}}
		for i := range sum.Stats.Verdict { // also those that there were none of, so that increases are seen from the first one on
			v := dataplane.Verdict(i).String()
			n.Verdicts[v] = f.Verdicts[v]
		}
		list = append(list, thing{ofFrontend, labels("frontend", f.Name), n, nil})
	}
	return list
}

// serverThings lists the servers. One that a reload has moved to another address is still the same: what it had at the old one counts too.
func (c control) serverThings(now inForce, sum *dataplane.Counts) (list []thing) {
	at := map[connlog.Server]*serverNumbers{}
	for _, s := range c.serversOf(now, sum) {
		name := connlog.Server{Backend: s.Backend, Name: s.Name}
		if before := at[name]; before != nil {
			before.Connections += s.Connections
			continue
		}
		of := labels("backend", s.Backend, "server", s.Name)
		at[name] = &serverNumbers{
			s.Up, s.State == admin.ServerReady, s.State == admin.ServerDrain, s.State == admin.ServerMaint, s.Weight, s.Connections, s.Ended,
			s.Failed, s.BytesToClient, s.BytesToServer,
		}
		list = append(list, thing{ofServer, of, at[name], nil})
		if k := s.Check; k != nil {
			n := checkNumbers{k.Checks, k.Failures, k.Results, k.Downs, time.Duration(k.DurationMs) * time.Millisecond, time.Time{}}
			if k.At != nil {
				n.At = *k.At
			}
			list = append(list, thing{ofServer, of, n, nil})
			if k.Code != "" {
				list = append(list, thing{ofServer, append(slices.Clip(of), labels("code", k.Code)...), checkInfo{1}, nil})
			}
		}
	}
	return list
}
