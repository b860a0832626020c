package config

import (
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// bind handles `bind ADDR:PORT[,...] [SETTINGS]`.
func (p *haproxyParser) bind(args []string, _ bool) {
	var binds []Bind
	for _, address := range strings.Split(args[0], ",") {
		some, err := parseBind(address)
		if err != nil {
			p.add(Error{Line: p.line, Keyword: "bind", Expected: "[ADDR]:PORT", Found: quote(address), Reason: err.Error()})
			continue
		}
		binds = append(binds, some...)
	}
	given, ok := p.bindSettings(args[1:])
	if !ok {
		return
	}
	_, only6 := given["v6only"]
	_, both := given["v4v6"]
	for _, b := range binds {
		b.Interface = given["interface"]
		b.AnyFamily = b.AnyFamily && !only6 || both && b.Addr.IsUnspecified()
		p.proxy.binds = append(p.proxy.binds, at[Bind]{b, p.line})
	}
}

// bindSettings reads what follows the address.
func (p *haproxyParser) bindSettings(args []string) (given map[string]string, ok bool) {
	given = map[string]string{}
	for len(args) > 0 {
		word := args[0]
		if why := refusedBindSettings[word]; why != "" {
			p.wrong(p.line, "bind "+word, "not served: %s", why)
			return nil, false // its values, if it has any, would be misread
		}
		takes, known := bindSettings[word]
		if !known {
			p.unknown(p.line, "bind", word, "setting", slices.Sorted(maps.Keys(bindSettings)))
			return nil, false
		}
		given[word] = ""
		if args = args[1:]; takes == 1 {
			if len(args) == 0 {
				p.expected(p.line, "bind "+word, "a value", "")
				return nil, false
			}
			given[word], args = args[0], args[1:]
		}
		if slices.Contains(ignoredBindSettings, word) {
			p.note(p.line, "bind %s is ignored: %s", word, aboutSockets)
		}
	}
	if device, named := given["interface"]; named {
		if err := checkInterface(device); err != nil {
			p.expected(p.line, "bind interface", "an interface's name", device)
			return nil, false
		}
	}
	return given, true
}

// bindSettings are those that may follow a bind's address, and how many words belong to each.
var bindSettings = map[string]int{
	"interface": 1, "name": 1, "v4v6": 0, "v6only": 0, "transparent": 0, "backlog": 1, "maxconn": 1, "nice": 1, "id": 1,
	"process": 1, "thread": 1,
}

var ignoredBindSettings = []string{"backlog", "maxconn", "nice", "id", "process", "thread"}

var refusedBindSettings = map[string]string{
	"accept-proxy":         "clients are known by their own address",
	"accept-netscaler-cip": "clients are known by their own address",
	"alpn":                 "hushgate ends no TLS",
	"crt":                  "hushgate ends no TLS",
	"defer-accept":         "it waits for the client to talk, which an SMTP client does not",
	"mss":                  "the MSS follows from the servers and the interfaces",
	"namespace":            "start hushgate in the namespace",
	"ssl":                  "hushgate ends no TLS, and with TLS from the start it is the client that talks first",
	"tfo":                  "data in a SYN is ignored",
}

// server handles `server NAME ADDR[:PORT] [SETTINGS]`.
func (p *haproxyParser) server(args []string, _ bool) {
	s := p.proxy.template
	s.Name, s.Line = args[0], p.line
	p.serverAddress(&s, p.line, "server", args[1])
	if err := checkName(s.Name); err != nil {
		p.add(Error{Line: p.line, Keyword: "server", Expected: "a name", Found: quote(s.Name), Reason: err.Error()})
	}
	p.serverSettings("server "+quoteOdd(s.Name), &s, args[2:])
	p.proxy.servers = append(p.proxy.servers, s)
}

func (p *haproxyParser) defaultServer(args []string, _ bool) {
	p.serverSettings("default-server", &p.proxy.template, args)
}

// serverAddress reads ADDR[:PORT] into s.
func (p *problems) serverAddress(s *rawServer, line int, keyword, text string) {
	const want = "an IP address and a port"
	host, port, err := splitAddress(text)
	if err == nil && port != "" {
		if s.Port, err = parsePort(port); err == nil {
			s.portSet = true
		}
	}
	if err == nil {
		s.Addr, err = parseHost(host)
		s.addrSet = err == nil
	}
	if err != nil {
		p.add(Error{Line: line, Keyword: keyword, Expected: want, Found: quote(text), Reason: err.Error()})
	}
}

// serverFlags are settings without a value.
var serverFlags = map[string]func(s *rawServer){
	"check":     func(s *rawServer) { s.Check = true },
	"no-check":  func(s *rawServer) { s.Check = false },
	"backup":    func(s *rawServer) { s.Backup = true },
	"no-backup": func(s *rawServer) { s.Backup = false },
	"disabled":  func(s *rawServer) { s.Disabled = true },
	"enabled":   func(s *rawServer) { s.Disabled = false },

	"send-proxy":          func(s *rawServer) { s.proxyV1 = true },
	"no-send-proxy":       func(s *rawServer) { s.proxyV1 = false },
	"send-proxy-v2":       func(s *rawServer) { s.proxyV2 = true },
	"no-send-proxy-v2":    func(s *rawServer) { s.proxyV2 = false },
	"check-send-proxy":    func(s *rawServer) { s.checkProxy = true },
	"no-check-send-proxy": func(s *rawServer) { s.checkProxy = false },
}

// serverValues are settings with one value; each says what was expected when it cannot be had.
var serverValues = map[string]func(s *rawServer, value string, bare time.Duration) (want string){
	"inter": func(s *rawServer, v string, bare time.Duration) string { return setTime(&s.Inter, v, bare) },
	"fastinter": func(s *rawServer, v string, bare time.Duration) string {
		s.fastInterSet = true
		return setTime(&s.FastInter, v, bare)
	},
	"downinter": func(s *rawServer, v string, bare time.Duration) string {
		s.downInterSet = true
		return setTime(&s.DownInter, v, bare)
	},
	"rise":   func(s *rawServer, v string, _ time.Duration) string { return setInt(&s.Rise, v, 1, math.MaxInt32) },
	"fall":   func(s *rawServer, v string, _ time.Duration) string { return setInt(&s.Fall, v, 1, math.MaxInt32) },
	"weight": func(s *rawServer, v string, _ time.Duration) string { return setInt(&s.Weight, v, 0, 256) },
	"addr": func(s *rawServer, v string, _ time.Duration) (want string) {
		addr, err := parseHost(strings.Trim(v, "[]"))
		if s.CheckAddr, s.checkAddr = addr, true; err != nil {
			want = "the IP address of a host"
		}
		return want
	},
	"port": func(s *rawServer, v string, _ time.Duration) (want string) {
		port, err := parsePort(v)
		if s.CheckPort, s.checkPort = port, true; err != nil {
			want = wantInt(1, math.MaxUint16)
		}
		return want
	},
}

// minInter is the shortest interval between checks: HAProxy's unit.
const minInter = time.Millisecond

func setTime(d *time.Duration, v string, bare time.Duration) (want string) {
	t, err := parseTime(v, bare)
	if err != nil || t < minInter {
		return wantTime + ", of at least 1ms"
	}
	*d = t
	return ""
}

func setInt(n *int, v string, least, most int) (want string) {
	i, err := parseInt(v, least, most)
	if err != nil {
		return wantInt(least, most)
	}
	*n = i
	return ""
}

var refusedServerSettings = map[string]string{
	"agent-check":          "state comes from health checks",
	"ca-file":              "hushgate speaks no TLS",
	"check-ssl":            "checks speak SMTP in the clear",
	"cookie":               "hushgate does not tie clients to servers",
	"crt":                  "hushgate speaks no TLS",
	"error-limit":          "state comes from health checks",
	"init-addr":            "names are not looked up",
	"maxconn":              "hushgate does not limit connections to a server; let the server do so",
	"maxqueue":             "hushgate does not limit connections to a server; let the server do so",
	"minconn":              "hushgate does not limit connections to a server; let the server do so",
	"namespace":            "start hushgate in the namespace",
	"observe":              "state comes from health checks",
	"on-error":             "state comes from health checks",
	"on-marked-down":       "connections that stand live on",
	"on-marked-up":         "connections that stand live on",
	"redir":                "it is about HTTP",
	"resolvers":            "names are not looked up",
	"send-proxy-v2-ssl":    "hushgate speaks no TLS",
	"send-proxy-v2-ssl-cn": "hushgate speaks no TLS",
	"proxy-v2-options":     "the header has addresses alone",
	"slowstart":            "a server that comes up takes its full share at once",
	"ssl":                  "hushgate speaks no TLS; STARTTLS passes through it",
	"tfo":                  "hushgate sends no data in a SYN",
	"track":                "each server is checked by itself",
	"verify":               "hushgate speaks no TLS",
}

func (p *haproxyParser) serverSettings(keyword string, s *rawServer, args []string) {
	for len(args) > 0 {
		word := args[0]
		args = args[1:]
		if set, ok := serverFlags[word]; ok {
			set(s)
			continue
		}
		if set, ok := serverValues[word]; ok {
			value := ""
			if len(args) > 0 {
				value, args = args[0], args[1:]
			}
			if want := set(s, value, time.Millisecond); want != "" {
				p.expected(p.line, keyword+" "+word, want, value)
			}
			continue
		}
		if word == "source" {
			source, rest, ok := p.sourceOf(keyword+" source", args)
			if !ok {
				return
			}
			s.Source, s.sourceSet, args = source, true, rest
			continue
		}
		if word == "id" && len(args) > 0 {
			p.note(p.line, "id is ignored: hushgate knows its servers by name")
			args = args[1:]
			continue
		}
		if why := refusedServerSettings[word]; why != "" {
			p.wrong(p.line, keyword+" "+word, "not served: %s", why)
			return // its values, if it has any, would be misread
		}
		p.unknown(p.line, keyword, word, "setting", knownServerSettings())
		return
	}
}

func knownServerSettings() []string {
	return slices.Concat(slices.Sorted(maps.Keys(serverFlags)), slices.Sorted(maps.Keys(serverValues)), []string{"source"})
}
