package config

import (
	"math"
	"slices"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// globalTable makes globalSettings, the settings of the process. Those without a HAProxy word exist in YAML only.
func globalTable() []setting[rawGlobal] {
	return append([]setting[rawGlobal]{
		{
			key: "outside", about: "interfaces towards clients and servers", otherwise: "found from the addresses and routes",
			kind: interfaces(func(g *rawGlobal) *[]string { return &g.Outside }),
		},
		{
			key: "inside", about: "interfaces towards clients and servers", otherwise: "found from the addresses and routes",
			kind: interfaces(func(g *rawGlobal) *[]string { return &g.Inside }),
		},
		{
			word: "nbthread", key: "shards", about: "shards", otherwise: "one for each processor",
			kind: number(shards, 0, 0, maxShards).byLine(number(shards, 0, 1, maxShards).line),
		},
		{
			word: "maxconn", key: "maxconn", about: "connections in all phases",
			kind: number(func(g *rawGlobal) *int { return &g.MaxConn }, 1_000_000, 1, math.MaxInt32).
				byLine((*haproxyParser).globalMaxConn),
		},
		{
			key: "half-open", about: "half-open connections of one shard", otherwise: "65536", // the core's
			kind: number(func(g *rawGlobal) *int { return &g.HalfOpen }, 0, 1, math.MaxInt32),
		},
		{
			key: "tarpit-entries", about: "how many connections may be in the tarpit", otherwise: "a quarter of `maxconn`", // the core's
			kind: number(func(g *rawGlobal) *int { return &g.Tarpit }, 0, 1, math.MaxInt32),
		},
		{
			// In octets. The kernel counts some hundred octets for even the smallest frame.
			key: "receive-buffer", about: "octets of the kernel's queue for each packet socket", otherwise: "33554432", // the core's
			kind: number(func(g *rawGlobal) *int { return &g.ReceiveBuffer }, 0, 1<<16, math.MaxInt32),
		},
		{
			word: "hard-stop-after", key: "hard-stop-after", about: "how long mail in flight may go on after SIGTERM",
			kind: hardStop(),
		},
		{
			word: "log", key: "log", about: "where lines go", otherwise: "`stdout",
			kind: kind[rawGlobal]{line: (*haproxyParser).globalLog}.byNode(func(r *yamlReader, g *rawGlobal, key string, node ast.Node) {
				g.Logs, g.logsSet = r.logs(key, node), true
			}),
		},
		{
			key: "log-sample-above", about: "how many lines about rejected clients of a frontend are written in a second",
			kind: number(func(g *rawGlobal) *int { return &g.LogSampleAbove }, 1000, 0, math.MaxInt32),
		},
		{
			key: "recall", about: "how many connections that have ended are remembered, for `hushgate explain`",
			kind: number(func(g *rawGlobal) *int { return &g.Recall }, 100_000, 0, 10_000_000),
		},
		{
			word: "log-tag", key: "log-tag", about: "the program's name in messages", otherwise: "`hushgate`",
			kind: tag(func(g *rawGlobal) *string { return &g.LogTag }),
		},
		{
			key: "fail", about: "what happens to clients while hushgate does not run",
			kind: word(func(g *rawGlobal) *Fail { return &g.Fail }, FailClosed, FailClosed, FailOpen),
		},
		{
			key: "announce", about: "answer ARP requests and neighbour solicitations",
			kind: boolean(func(g *rawGlobal) *bool { return &g.Announce }, false),
		},
		{
			key: "metrics", about: "the address and port at which Prometheus reads `/metrics`",
			kind: text(func(g *rawGlobal) *string { return &g.Metrics }, NoMetrics, "an address and port such as 127.0.0.1:9163, or none", listener("Prometheus")),
		},
		{
			key: "reverse-path", about: "by which interfaces answers to clients may leave",
			kind: word(func(g *rawGlobal) *ReversePath { return &g.ReversePath }, PathStrict, PathStrict, PathLoose, PathOff),
		},
	}, slices.Concat(firewallTable(), captureTable(), memoryTable(), dnsListsTable(), offendersTable(), apiTable(), remoteAPITable(), statsTable())...)
}

func shards(g *rawGlobal) *int { return &g.Shards }

// maxShards bounds nbthread: PACKET_FANOUT takes at most this many sockets, and HAProxy this many threads.
const maxShards = 64

// hardStop is bounded so that it fits into the time that systemd gives a service to stop, 90 s.
func hardStop() kind[rawGlobal] {
	k := period(func(g *rawGlobal) *time.Duration { return &g.HardStopAfter }, 30*time.Second)
	line := k.line
	return k.byLine(func(p *haproxyParser, g *rawGlobal, name string, args []string, _ bool) bool {
		ok := line(p, g, name, args, false)
		if ok && g.HardStopAfter == 0 { // no limit, in HAProxy
			p.note(p.line, "%s 0: no limit; here that is the longest time there is, %s", name, formatTime(maxTime))
			g.HardStopAfter = maxTime
		}
		return ok
	})
}

func firewallTable() []setting[rawGlobal] {
	return []setting[rawGlobal]{
		{
			key: "firewall.manage", about: "install the rules that hushgate needs",
			kind: boolean(func(g *rawGlobal) *bool { return &g.Firewall.Manage }, true),
		},
		{
			key: "firewall.forward", about: "accept the servers' other traffic",
			kind: boolean(func(g *rawGlobal) *bool { return &g.Firewall.Forward }, false),
		},
		{
			key: "firewall.masquerade", about: "masquerade the servers' outgoing connections",
			kind: boolean(func(g *rawGlobal) *bool { return &g.Firewall.Masquerade }, false),
		},
		{
			key: "firewall.snat", about: "the address that the servers' outgoing connections come from",
			otherwise: "what `masquerade` says", kind: ofNode((*yamlReader).snat),
		},
		{
			key: "firewall.clamp-mss", about: "reduce the MSS of the servers' other connections",
			kind: boolean(func(g *rawGlobal) *bool { return &g.Firewall.ClampMSS }, false),
		},
		{
			key: "firewall.sysctls", about: "set `ip_forward` and, on one arm, `send_redirects`",
			kind: boolean(func(g *rawGlobal) *bool { return &g.Firewall.Sysctls }, false),
		},
	}
}

// captureTable makes captureSettings. Their defaults apply as soon as a file is named.
func captureTable() []setting[rawGlobal] {
	return []setting[rawGlobal]{
		{
			key: "capture.file", about: "keeps the first packets of rejected connections", otherwise: "none",
			kind: text(func(g *rawGlobal) *string { return &g.Capture.File }, "", "an absolute path that ends in .pcapng",
				checkCaptureFile),
		},
		{
			// At least room for a few connections, so that a file does not end with every connection.
			key: "capture.size", about: "octets of one file", otherwise: "10 MB",
			kind: number(func(g *rawGlobal) *int { return &g.Capture.Size }, 10<<20, 1<<16, math.MaxInt32),
		},
		{
			key: "capture.files", about: "how many files are kept",
			kind: number(func(g *rawGlobal) *int { return &g.Capture.Files }, 7, 1, 1000),
		},
		{
			key: "capture.age", about: "how long packets are kept",
			kind: period(func(g *rawGlobal) *time.Duration { return &g.Capture.Age }, 7*24*time.Hour),
		},
		{
			key: "capture.memory", about: "octets of each shard", otherwise: "16 MB",
			kind: number(func(g *rawGlobal) *int { return &g.Capture.Memory }, 16<<20, 1<<16, math.MaxInt32),
		},
	}
}
