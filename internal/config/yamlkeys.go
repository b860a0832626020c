package config

import (
	"errors"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// The keys of a YAML file, from the outermost inwards.

func (r *yamlReader) top(node ast.Node) {
	keys := keysOf(r, globalSettings, &r.raw.global, r.raw.global.lines)
	keys["capture"] = r.capture(keys["capture"])
	keys["dnsbl"] = r.dnsLists(keys["dnsbl"])
	keys["offenders"] = r.offenders(keys["offenders"])
	keys["frontends"] = func(key string, node ast.Node) { r.list(key, node, false, r.frontend) }
	keys["backends"] = func(key string, node ast.Node) {
		before := len(r.errs)
		r.list(key, node, false, r.backend)
		r.raw.partial = len(r.errs) > before && !slices.ContainsFunc(r.raw.proxies, (*rawProxy).hasServers)
	}
	r.mapping("the file", node, keys)
}

// interfaces is a list of interface names, or one name.
func interfaces(field func(*rawGlobal) *[]string) kind[rawGlobal] {
	return ofNode(func(r *yamlReader, g *rawGlobal, key string, node ast.Node) {
		to := field(g)
		r.list(key, node, true, func(item ast.Node) {
			name := r.checked(key, "an interface's name", item, checkInterface)
			if name.set() && !slices.Contains(*to, name.value) {
				*to = append(*to, name.value)
			}
		})
	})
}

// snat reads an address, or one of each family.
func (r *yamlReader) snat(g *rawGlobal, key string, node ast.Node) {
	const want = "an IP address of this machine's, or one of each family"
	to := &g.Firewall.SNAT
	r.list(key, node, true, func(item ast.Node) {
		s, ok := r.text(key, want, item)
		if !ok {
			return
		}
		a, err := parseHost(strings.Trim(s.value, "[]"))
		if err == nil && slices.ContainsFunc(*to, func(o netip.Addr) bool { return o.Is4() == a.Is4() }) {
			err = errors.New("another address of its family is already in the list")
		}
		if err != nil {
			r.add(Error{Line: s.line, Keyword: key, Expected: want, Found: quote(s.value), Reason: err.Error()})
			return
		}
		*to = append(*to, a)
	})
}

// logs reads a list of targets; an empty list means that nothing is written.
func (r *yamlReader) logs(key string, node ast.Node) (to []LogTarget) {
	if seq, ok := node.(*ast.SequenceNode); !ok || len(seq.Values) > 0 {
		r.list(key, node, true, func(item ast.Node) { to = append(to, r.logTarget(key, item)) })
	}
	return to
}

// logTarget reads "stdout" or {to, format, facility, level, ...}.
func (r *yamlReader) logTarget(key string, node ast.Node) LogTarget {
	var t LogTarget
	table, made := logSettings, lines{}
	fill(table, &t)
	if !isKeys(node) {
		table[0].node(r, &t, key, node)
	} else {
		before := len(r.errs)
		r.mapping(key, node, keysOf(r, table, &t, made))
		if t.Address == "" && len(r.errs) == before {
			r.wrong(lineOf(node), key, "needs to: "+wantLogTarget)
		}
	}
	r.fitLogTarget(&t, made)
	return t
}

const wantLogTarget = "stdout, stderr, journal, file@PATH, the path of a socket or an address"

// fitLogTarget completes a target, and reports keys that it cannot have.
func (r *yamlReader) fitLogTarget(t *LogTarget, made lines) {
	scheme, _, _ := strings.Cut(t.Address, "@")
	overTLS := strings.HasPrefix(scheme, "tls")
	if !made.set("format") {
		t.Format = defaultFormat(scheme)
	}
	if overTLS || strings.HasPrefix(scheme, "tcp") {
		if !made.set("log-proto") {
			t.Proto = protoOctetCount
		}
	} else if made.set("log-proto") {
		r.wrong(made["log-proto"], "log-proto", "only a target tcp@ADDRESS or tls@ADDRESS has it")
	}
	for _, key := range []string{"ca-file", "crt", "verify", "verifyhost"} {
		if made.set(key) && !overTLS {
			r.wrong(made[key], key, "only a target tls@ADDRESS has it")
		}
	}
	if overTLS && !made.set("verify") {
		t.Verify = verifyRequired
	}
	for _, key := range []string{"format", "len"} {
		if made.set(key) && scheme == "journal" {
			r.wrong(made[key], key, "the journal takes fields, and no message with a header")
		}
	}
}

// defaultFormat returns the format of messages for a kind of target.
func defaultFormat(scheme string) string {
	switch scheme {
	case "stdout", "stderr", "journal":
		return "raw"
	case "file":
		return "traditional"
	case "tls", "tls4", "tls6":
		return "rfc5424" // RFC 5425 carries nothing else
	}
	return "local"
}

// The values of LogTarget.Verify.
const (
	verifyRequired = "required"
	verifyNone     = "none"
)

// logTable makes logSettings, the settings of a log target.
func logTable() []setting[LogTarget] {
	file := func(what string, field func(*LogTarget) *string) setting[LogTarget] {
		return setting[LogTarget]{
			key: what, otherwise: "none",
			kind: text(field, "", "an absolute path", checkAbsolute),
		}
	}
	ca := file("ca-file", func(t *LogTarget) *string { return &t.CAFile })
	ca.about, ca.otherwise = "certificates of the authorities", "the system's"
	crt := file("crt", func(t *LogTarget) *string { return &t.Crt })
	crt.about = "a certificate and its key"
	return []setting[LogTarget]{
		{key: "to", kind: ofNode(func(r *yamlReader, t *LogTarget, key string, node ast.Node) {
			s := r.checked(key, "a target", node, func(s string) error { _, err := parseLogTarget(s, true); return err })
			t.Address, _ = parseLogTarget(s.value, true) // the error was already reported
		})},
		{key: "format", kind: word(func(t *LogTarget) *string { return &t.Format }, "local", logFormats...)},
		{key: "facility", kind: word(func(t *LogTarget) *string { return &t.Facility }, standardOutput.Facility, logFacilities...)},
		{key: "level", kind: word(func(t *LogTarget) *string { return &t.Level }, standardOutput.Level, logLevels...)},
		{
			key: "len", about: "a longer message is cut", otherwise: "none is cut",
			kind: number(func(t *LogTarget) *int { return &t.Length }, 0, minLogLen, maxLogLen),
		},
		{
			key: "log-proto", about: "how messages are separated", otherwise: "`octet-count`",
			kind: word(func(t *LogTarget) *string { return &t.Proto }, "", protoOctetCount, protoLegacy),
		},
		ca, crt,
		{
			key: "verify", about: "whether the certificate of the syslog must be valid", otherwise: "`required`",
			kind: word(func(t *LogTarget) *string { return &t.Verify }, "", verifyRequired, verifyNone),
		},
		{
			key: "verifyhost", about: "the name in the certificate", otherwise: "the host in `to`",
			kind: text(func(t *LogTarget) *string { return &t.VerifyHost }, "", "a host's name or address", func(s string) error {
				if _, err := netip.ParseAddr(s); err != nil && !isHostName(s) {
					return errors.New("it is neither")
				}
				return nil
			}),
		},
	}
}

// checkAbsolute accepts the absolute path of a file.
func checkAbsolute(s string) error {
	if !filepath.IsAbs(s) {
		return errors.New("it is not absolute")
	}
	return nil
}

// needsName reports an item without a name, unless another error of the item was already reported.
func (r *yamlReader) needsName(name string, what string, line, before int) {
	if name == "" && len(r.errs) == before {
		r.wrong(line, what, "needs a name")
	}
}

func (r *yamlReader) frontend(node ast.Node) {
	f := factory().begin(inFrontend, "", lineOf(node))
	if !r.isMapping("frontends", node) {
		return
	}
	f.logGlobal = at[bool]{true, f.line}
	before := len(r.errs)
	r.mapping("frontends", node, keysOf(r, frontendSettings, f, f.lines))
	r.rejectText(f)
	r.needsName(f.name, "frontends", f.line, before)
	r.raw.proxies = append(r.raw.proxies, f)
}

// rejectText checks what is told to early talkers: with tempfail that they are to come again.
func (r *yamlReader) rejectText(f *rawProxy) {
	const key = "reject-text"
	switch at, is := f.lines[key], f.lines.set(key); {
	case f.front.Action == ActionTempfail && !is:
		f.front.RejectText = tempfailText
	case f.front.Action == ActionTempfail && !strings.HasPrefix(f.front.RejectText, "4"):
		r.add(Error{
			Line: at, Keyword: key, Expected: "an SMTP reply that begins with 4", Found: quote(f.front.RejectText),
			Reason: "on-early-talk: tempfail tells clients to come again",
		})
	case is && f.front.Action != ActionReply && f.front.Action != ActionTempfail:
		r.note(at, "reject-text has an effect only with on-early-talk: reply or tempfail")
	}
}

// tempfailText is the default of reject-text with on-early-talk: tempfail. 421 says that the connection is closed (RFC 5321 section
// 4.2.3).
const tempfailText = "421 4.7.0 Try again later, and wait for the greeting"

func (r *yamlReader) frontendLog(f *rawProxy, key string, node ast.Node) {
	f.logs, f.logGlobal = r.logs(key, node), at[bool]{false, lineOf(node)}
}

// bind reads ":25", or {address, interface}.
func (r *yamlReader) bind(key string, node ast.Node) []rawBind {
	var b bindWords
	before := len(r.errs)
	if !isKeys(node) {
		b.address, _ = r.text(key, wantBind, node)
	} else {
		r.mapping(key, node, keysOf(r, bindSettings, &b, nil))
	}
	binds, err := parseBind(b.address.value)
	if len(r.errs) == before && err != nil {
		r.add(Error{Line: lineOf(node), Keyword: key, Expected: wantBind, Found: quote(b.address.value), Reason: err.Error()})
	}
	out := make([]rawBind, len(binds))
	for i, one := range binds {
		one.Interface = b.device
		out[i] = rawBind{one, lineOf(node), b.address.value}
	}
	return out
}

func (r *yamlReader) backend(node ast.Node) {
	b := factory().begin(inBackend, "", lineOf(node))
	if !r.isMapping("backends", node) {
		return
	}
	before := len(r.errs)
	r.mapping("backends", node, keysOf(r, backendSettings, b, b.lines))
	r.needsName(b.name, "backends", b.line, before)
	if b.serverNodes != nil {
		r.list("servers", b.serverNodes, false, func(item ast.Node) { r.server(b, item) })
	}
	r.raw.proxies = append(r.raw.proxies, b)
}

func (r *yamlReader) backendSource(b *rawProxy, key string, node ast.Node) {
	var s rawServer
	ofServer(setSource).node(r, &s, key, node)
	b.source = at[Source]{s.Source, lineOf(node)}
}

func (r *yamlReader) smtpchk(b *rawProxy, key string, node ast.Node) {
	const want = "HELO or EHLO and a domain"
	switch s, ok := r.text(key, want, node); {
	case ok && strings.TrimSpace(s.value) == "":
		r.expected(s.line, key, want, "")
	case ok:
		b.setCheck(r.smtpCheck(s.line, strings.Fields(s.value)), s.line)
	}
}

func (r *yamlReader) defaultServer(b *rawProxy, key string, node ast.Node) {
	before := len(r.errs)
	r.mapping(key, node, keysOf(r, serverSettings, &b.template, nil))
	b.template.broken = len(r.errs) > before
}

func (r *yamlReader) server(b *rawProxy, node ast.Node) {
	s := b.template
	s.Line = lineOf(node)
	before := len(r.errs)
	var address at[string]
	keys := keysOf(r, serverSettings, &s, nil)
	keys["name"] = func(key string, node ast.Node) { s.Name = r.checked(key, "a name", node, checkName).value }
	keys["address"] = func(key string, node ast.Node) {
		var ok bool
		if address, ok = r.text(key, "an IP address and a port", node); ok {
			r.serverAddress(&s, address.line, key, address.value)
		}
	}
	r.mapping("servers", node, keys)
	r.needsName(s.Name, "servers", s.Line, before)
	if !address.set() && len(r.errs) == before {
		r.wrong(s.Line, "servers", "needs an address")
	}
	s.broken = s.broken || len(r.errs) > before
	b.servers = append(b.servers, s)
}
