package config

import (
	"math"
	"slices"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// frontendTable makes frontendSettings: the settings of the client side, and those that both sides have. In YAML they are
// the keys of frontends.
func frontendTable() []setting[rawProxy] {
	return append([]setting[rawProxy]{
		{key: "name", kind: sectionName(), about: "`name`"},
		{
			word: "mode", in: everySide, anonymousToo: true, least: 1, want: "tcp",
			kind: ofLine((*haproxyParser).mode), about: "the only mode", otherwise: "`tcp`",
		},
		{
			word: "option", in: everySide, anonymousToo: true, canNegate: true, least: 1, want: "an option",
			kind: ofLine((*haproxyParser).option),
		},
		{
			word: "timeout", in: everySide, anonymousToo: true, least: 2, want: "a timeout's name and " + wantTime,
			kind: ofLine((*haproxyParser).timeout),
		},
		{
			word: "log", key: "log", in: everySide, anonymousToo: true, canNegate: true,
			kind:  ofLine((*haproxyParser).log).byNode((*yamlReader).frontendLog),
			about: "where the connections' lines go", otherwise: "none",
		},
		{
			word: "log-tag", key: "log-tag", in: frontendSide, anonymousToo: true, least: 1, want: "a name",
			kind: tag(func(p *rawProxy) *string { return &p.logTag }), about: "the program's name in this frontend's messages",
			otherwise: "the global one",
		},
		{
			word: "description", in: everySide &^ inDefaults, structural: true, anonymousToo: true, least: 1, want: "a text",
			kind: ofLine(func(*haproxyParser, []string, bool) {}), about: "as in HAProxy",
		},
		{
			word: "disabled", in: everySide, anonymousToo: true, kind: ofLine((*haproxyParser).disabled), about: "as in HAProxy",
		},
		{
			word: "enabled", in: everySide, anonymousToo: true, kind: ofLine((*haproxyParser).enabled), about: "as in HAProxy",
		},
		{
			word: "bind", key: "bind", in: inFrontend | inListen, structural: true, least: 1, want: "[ADDR]:PORT",
			kind: ofLine((*haproxyParser).bind).byNode(func(r *yamlReader, f *rawProxy, key string, node ast.Node) {
				f.tried[key] = true
				r.list(key, node, true, func(item ast.Node) { f.binds = append(f.binds, r.bind(key, item)...) })
			}),
			about: "where clients connect", otherwise: "required",
		},
		{
			word: "tcp-request", in: frontendSide, structural: true, notServed: true, least: 1,
			want: "inspect-delay, content or connection", kind: ofLine((*haproxyParser).tcpRequest),
		},
		{
			key: "inspect-delay", kind: ofNode(func(r *yamlReader, f *rawProxy, key string, node ast.Node) {
				d, ok := r.duration(key, node)
				if f.delayWrong = !ok; ok {
					f.delay = at[time.Duration]{d, lineOf(node)}
				}
			}),
		},
		{
			word: "acl", in: frontendSide, structural: true, notServed: true, least: 2, want: "a name and a condition",
			kind: ofLine((*haproxyParser).acl), about: "see below",
		},
		{
			word: "stick-table", in: everySide &^ inDefaults, structural: true, least: 1, want: wantStickTable,
			kind: ofLine((*haproxyParser).stickTable), about: "where clients are counted", otherwise: "none",
		},
		{
			word: "maxconn", in: frontendSide, anonymousToo: true, least: 1, want: "a number",
			kind: number(func(p *rawProxy) *int { return &p.maxConn }, 0, 0, math.MaxInt32), about: "accepted, no effect", otherwise: "none",
		},
		{
			word: "default_backend", key: "default_backend", in: frontendSide, structural: true, anonymousToo: true, least: 1,
			want: "a backend's name",
			kind: ofLine((*haproxyParser).defaultBackend).byNode(func(r *yamlReader, f *rawProxy, key string, node ast.Node) {
				f.tried[key] = true
				if s := r.checked(key, "a name", node, checkName); s.set() {
					f.backend = s
				}
			}),
			about: "where quiet clients go", otherwise: "required",
		},
		{
			word: "use_backend", in: inFrontend | inListen, structural: true, least: 1, want: "a backend's name",
			kind: ofLine((*haproxyParser).useBackend), about: "the same",
		},
		{
			word: "option tcplog", in: everySide, kind: ofLine((*haproxyParser).tcplog), about: "the lines' shape",
			otherwise: "in any case",
		},
		{word: "option httplog", in: frontendSide, most: 1, kind: ofLine((*haproxyParser).httplog), older: true},
		{
			word: "option dontlognull", key: "dontlognull", in: frontendSide, canNegate: true, otherwise: "off",
			kind:  boolean(func(p *rawProxy) *bool { return &p.front.DontLogNull }, false),
			about: "no line for connections that end in the hold without an octet",
		},
		{
			word: "timeout client", key: "timeout.client", in: frontendSide, about: "a spliced connection that is idle so long is reset",
			kind: timeout("client", func(p *rawProxy) *time.Duration { return &p.front.ClientTimeout }, 0),
		},
		{
			word: "timeout client-fin", key: "timeout.client-fin", in: frontendSide,
			about: "silence of a client that has not closed although its server has",
			kind:  timeout("client-fin", func(p *rawProxy) *time.Duration { return &p.front.ClientFIN }, 0),
		},
	}, slices.Concat(nativeFrontendTable(), treatmentTable())...)
}

// nativeFrontendTable has the settings of frontends that HAProxy does not have.
func nativeFrontendTable() []setting[rawProxy] {
	action := func(p *rawProxy) *Action { return &p.front.Action }
	return []setting[rawProxy]{
		{
			key: "on-early-talk", about: "`reset`; `reply`: one line of SMTP, then FIN; `tempfail`: the same",
			kind: word(action, ActionReset, ActionReset, ActionReply, ActionTempfail, ActionObserve, ActionTarpit, ActionSilentDrop),
		},
		{key: "reject", older: true, kind: word(action, ActionReset, ActionReset, ActionReply)},
		{
			key: "reject-text", about: "the line",
			kind: text(func(p *rawProxy) *string { return &p.front.RejectText }, "554 5.5.1 Protocol error",
				"an SMTP reply", checkReply),
		},
		{
			key: "no-server-text", about: "what a quiet client is told when no server is available",
			kind: text(func(p *rawProxy) *string { return &p.front.NoServerText },
				"421 4.3.2 Service not available, try again later", "an SMTP reply", checkReply),
		},
		{
			key: "teaser", about: "the first line of the greeting", otherwise: "none",
			kind: text(func(p *rawProxy) *string { return &p.front.Teaser }, "", "a line of a greeting", checkTeaser),
		},
		{
			key: "access", about: "who is let in, kept out or treated otherwise", otherwise: "none",
			kind: ofNode((*yamlReader).access),
		},
		{
			key: "hide-pipeconnect", about: "hide PIPECONNECT in the servers' answers to EHLO",
			kind: boolean(func(p *rawProxy) *bool { return &p.front.HidePipeconnect }, false),
		},
		{
			key: "timeout.half-open", about: "how long a handshake may take", otherwise: "15 s", // the core's, as the next
			kind: timeout("half-open", func(p *rawProxy) *time.Duration { return &p.front.HalfOpen }, 0),
		},
		{
			key: "timeout.time-wait", about: "how long an ended connection is remembered", otherwise: "1 min",
			kind: timeout("time-wait", func(p *rawProxy) *time.Duration { return &p.front.TimeWait }, 0),
		},
		{
			key: "tarpit-time", about: "how long a connection stays in the tarpit", otherwise: "10 min", // the core's
			kind: periodFrom(time.Second, false, func(p *rawProxy) *time.Duration { return &p.front.TarpitTime }, 0),
		},
		{
			word: "log-format", key: "log-format", in: frontendSide, anonymousToo: true, least: 1, want: "a format", otherwise: "`tcplog`",
			about: "the lines' shape", kind: logFormatKind(),
		},
	}
}

// backendTable makes backendSettings, the settings of the server side. In YAML they are the keys of backends.
func backendTable() []setting[rawProxy] {
	return append([]setting[rawProxy]{
		{key: "name", kind: sectionName(), about: "`name`"},
		{
			word: "balance", key: "balance", in: backendSide, anonymousToo: true, least: 1, want: "roundrobin",
			kind: ofLine((*haproxyParser).balance).byNode(func(r *yamlReader, _ *rawProxy, key string, node ast.Node) {
				if s, ok := r.text(key, "roundrobin", node); ok {
					r.setBalance(s.line, s.value)
				}
			}),
			about: "by weight", otherwise: "`roundrobin`",
		},
		{
			word: "retries", key: "retries", in: backendSide, anonymousToo: true, least: 1, want: "a number",
			kind:  number(func(p *rawProxy) *int { return &p.back.Retries }, 3, 0, maxRetries),
			about: "attempts at servers after a failed one",
		},
		{
			word: "source", key: "source", in: everySide, anonymousToo: true, least: 1, want: "0.0.0.0 usesrc clientip",
			kind:  ofLine((*haproxyParser).source).byNode((*yamlReader).backendSource),
			about: "also on a server's line", otherwise: "client",
		},
		{
			word: "server", key: "servers", in: inBackend | inListen, structural: true, least: 2, want: "NAME ADDR[:PORT]",
			kind: ofLine((*haproxyParser).server).byNode(func(_ *yamlReader, b *rawProxy, _ string, node ast.Node) {
				b.serverNodes, b.tried["server"] = node, true
			}),
			about: "one mail server", otherwise: "required",
		},
		{
			word: "default-server", key: "default-server", in: backendSide, structural: true, anonymousToo: true, least: 1,
			want:  "a server's settings",
			kind:  ofLine((*haproxyParser).defaultServer).byNode((*yamlReader).defaultServer),
			about: "settings for the servers after it",
		},
		{
			word: "option redispatch", key: "redispatch", in: backendSide, canNegate: true, most: 1, otherwise: "**on**",
			kind:  boolean(redispatch, true).byLine((*haproxyParser).redispatch),
			about: "a retry takes another server",
		},
		{
			word: "option smtpchk", key: "smtpchk", in: backendSide, most: 2, otherwise: "`option tcp-check`",
			kind: ofLine((*haproxyParser).smtpchk).byNode((*yamlReader).smtpchk), about: "checks speak SMTP",
		},
		{
			word: "option tcp-check", in: backendSide, about: "checks only connect", otherwise: "yes",
			kind: tcpCheck(),
		},
	}, backendTimeouts()...)
}

func backendTimeouts() []setting[rawProxy] {
	return []setting[rawProxy]{
		{
			word: "timeout connect", key: "timeout.connect", in: backendSide, about: "how long a server may take to answer",
			kind: timeout("connect", func(p *rawProxy) *time.Duration { return &p.back.Connect }, defaultConnect),
		},
		{
			word: "timeout queue", key: "timeout.queue", in: backendSide,
			about: "how long a client may wait for a server after the delay",
			kind:  timeout("queue", func(p *rawProxy) *time.Duration { return &p.back.Queue }, 0),
		},
		{
			word: "timeout server", key: "timeout.server", in: backendSide, about: "as `timeout client`",
			kind: timeout("server", func(p *rawProxy) *time.Duration { return &p.back.ServerTimeout }, 0),
		},
		{
			word: "timeout server-fin", key: "timeout.server-fin", in: backendSide,
			about: "the same for a server whose client has closed",
			kind:  timeout("server-fin", func(p *rawProxy) *time.Duration { return &p.back.ServerFIN }, 0),
		},
		{
			word: "timeout check", key: "timeout.check", in: backendSide, about: "of a whole check", otherwise: "`inter`",
			kind: timeout("check", func(p *rawProxy) *time.Duration { return &p.back.Check.Timeout }, 0),
		},
		{
			word: "timeout tunnel", in: backendSide, about: "in place of `timeout client` and `timeout server`", otherwise: "not set",
			kind: timeout("tunnel", func(p *rawProxy) *time.Duration { return &p.tunnel }, 0),
		},
	}
}

// tcpCheck is the default way to check servers.
func tcpCheck() kind[rawProxy] {
	k := ofLine(func(p *haproxyParser, _ []string, _ bool) { p.proxy.setCheck(Check{Kind: CheckTCP}, p.line) })
	k.fill = func(p *rawProxy) { p.back.Check.Kind = CheckTCP }
	return k
}

func redispatch(p *rawProxy) *bool { return &p.back.Redispatch }

// sectionName is the name of a section in YAML.
func sectionName() kind[rawProxy] {
	k := text(func(p *rawProxy) *string { return &p.name }, "", "a name", checkName)
	k.fill = nil
	return k
}

// setCheck sets how servers are checked, but keeps the timeout.
func (p *rawProxy) setCheck(c Check, line int) {
	c.Timeout = p.back.Check.Timeout
	p.back.Check, p.lines["check"] = c, line
}

// defaultConnect also replaces a 0.
const defaultConnect = 5 * time.Second

// maxRetries is the largest number that a flow record can count.
const maxRetries = 255
