package config

import (
	"errors"
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
		if s.Addr, err = parseHost(host); err == nil && s.Addr.IsLoopback() {
			err = errors.New("this machine itself: hushgate serves servers on other machines")
		}
		s.addrSet = err == nil
	}
	if err != nil {
		p.add(Error{Line: line, Keyword: keyword, Expected: want, Found: quote(text), Reason: err.Error()})
	}
}

// serverTable makes serverSettings, the settings of a server. They are the same in both syntaxes.
func serverTable() []setting[rawServer] {
	flag := func(field func(*rawServer) *bool) kind[rawServer] { return boolean(field, false) }
	return []setting[rawServer]{
		{
			word: "check", not: "no-check", key: "check", about: "check its health", otherwise: "off",
			kind: flag(func(s *rawServer) *bool { return &s.Check }),
		},
		{
			word: "backup", not: "no-backup", key: "backup", about: "used when no other server is up", otherwise: "off",
			kind: flag(func(s *rawServer) *bool { return &s.Backup }),
		},
		{
			word: "disabled", not: "enabled", key: "disabled", about: "starts in maintenance", otherwise: "enabled",
			kind: flag(func(s *rawServer) *bool { return &s.Disabled }),
		},
		{
			word: "send-proxy", not: "no-send-proxy", key: "send-proxy", about: "a PROXY header", otherwise: "no",
			kind: flag(func(s *rawServer) *bool { return &s.proxyV1 }),
		},
		{
			word: "send-proxy-v2", not: "no-send-proxy-v2", key: "send-proxy-v2", about: "a PROXY header", otherwise: "no",
			kind: flag(func(s *rawServer) *bool { return &s.proxyV2 }),
		},
		{
			word: "check-send-proxy", not: "no-check-send-proxy", key: "check-send-proxy", about: "checks send one, too",
			otherwise: "no", kind: flag(func(s *rawServer) *bool { return &s.checkProxy }),
		},
		{
			word: "inter", key: "inter", about: "between checks",
			kind: interval(func(s *rawServer) *time.Duration { return &s.Inter }, 2*time.Second),
		},
		{
			word: "fastinter", key: "fastinter", about: "between checks", otherwise: "as `inter`",
			kind: interval(func(s *rawServer) *time.Duration { return &s.FastInter }, 0),
		},
		{
			word: "downinter", key: "downinter", about: "between checks", otherwise: "as `inter`",
			kind: interval(func(s *rawServer) *time.Duration { return &s.DownInter }, 0),
		},
		{
			word: "rise", key: "rise", about: "checks in a row that turn it up, down",
			kind: count(func(s *rawServer) *int { return &s.Rise }, 2, 1, math.MaxInt32),
		},
		{
			word: "fall", key: "fall", about: "checks in a row that turn it up, down",
			kind: count(func(s *rawServer) *int { return &s.Fall }, 3, 1, math.MaxInt32),
		},
		{
			word: "weight", key: "weight", about: "share, 0 to 256",
			kind: count(func(s *rawServer) *int { return &s.Weight }, 1, 0, 256),
		},
		{word: "addr", key: "addr", about: "where to check", otherwise: "the server's own", kind: ofServer(setCheckAddr)},
		{word: "port", key: "port", about: "where to check", otherwise: "the server's own", kind: ofServer(setCheckPort)},
		{word: "source", key: "source", about: "also on a server's line", kind: ofServer(setSource)},
	}
}

// minInter is the shortest interval between health checks: HAProxy's unit of time.
const minInter = time.Millisecond

func setCheckAddr(s *rawServer, text string, _ time.Duration) (want string) {
	addr, err := parseHost(strings.Trim(text, "[]"))
	if err != nil {
		return "the IP address of a host"
	}
	s.CheckAddr = addr
	return ""
}

func setCheckPort(s *rawServer, text string, _ time.Duration) (want string) {
	port, err := parsePort(text)
	if err != nil {
		return wantInt(1, math.MaxUint16)
	}
	s.CheckPort = port
	return ""
}
