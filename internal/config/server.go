package config

import (
	"math"
	"strings"
	"time"
)

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

// timeSettings are those of serverValues that are times.
var timeSettings = map[string]bool{"inter": true, "fastinter": true, "downinter": true}

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
