package config

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// Stats says where HAProxy's commands are served (HAProxy: stats).
type Stats struct {
	Sockets []StatsSocket
	Timeout time.Duration // how long a client may be silent
	MaxConn int           // clients of each level at one time
}

// StatsSocket is one `stats socket`.
type StatsSocket struct {
	Path        string // absolute
	Level       string // user, operator or admin
	User, Group string // names or numbers; empty: the process's own
	Mode        uint32
}

// The defaults: HAProxy's, except that its sockets have the mode that the umask leaves. Only the owner can connect to either.
const (
	statsTimeout = 10 * time.Second
	statsMaxConn = 10
	statsLevel   = "operator"
	statsMode    = 0o600
)

const wantStatsSocket = "the absolute path of a socket, and level, mode, user, uid, group or gid with their values"

// statsTable makes the settings of HAProxy's commands.
func statsTable() []setting[rawGlobal] {
	return []setting[rawGlobal]{
		{
			word: "stats", key: "stats.socket", about: "a socket that serves HAProxy's commands", otherwise: "none",
			kind: kind[rawGlobal]{line: (*haproxyParser).globalStats}.byNode((*yamlReader).statsSockets),
		},
		{key: "stats.timeout", about: "how long a client of these sockets may be silent", kind: statsTimeoutKind()},
		{key: "stats.maxconn", about: "how many clients of each level are served at one time", kind: statsMaxConnKind()},
	}
}

func statsTimeoutKind() kind[rawGlobal] {
	return period(func(g *rawGlobal) *time.Duration { return &g.Stats.Timeout }, statsTimeout)
}

func statsMaxConnKind() kind[rawGlobal] {
	return number(func(g *rawGlobal) *int { return &g.Stats.MaxConn }, statsMaxConn, 1, 10_000)
}

// globalStats reads a line of a global section that begins with stats.
func (p *haproxyParser) globalStats(g *rawGlobal, _ string, args []string, _ bool) bool {
	rest := args[min(1, len(args)):]
	switch word := argument(args); word {
	case "socket":
		p.statsSocket(g, rest)
	case "timeout":
		statsTimeoutKind().line(p, g, "stats timeout", rest, false)
		if g.Stats.Timeout == 0 {
			p.expected(p.line, "stats timeout", "a time that is not 0", argument(rest))
		}
	case "maxconn":
		statsMaxConnKind().line(p, g, "stats maxconn", rest, false)
	case "bind-process":
		p.note(p.line, "stats bind-process is ignored: %s", aboutProcess)
	default:
		p.expected(p.line, "stats", "socket, timeout or maxconn", word)
	}
	return true
}

// statsSocket reads the words after `stats socket`. Sockets of other kinds have no effect, as before there were any.
func (p *haproxyParser) statsSocket(g *rawGlobal, args []string) {
	address := argument(args)
	for _, scheme := range []string{"fd@", "ipv4@", "ipv6@", "udp@", "abns@", "sockpair@", "unix@"} {
		rest, ok := strings.CutPrefix(address, scheme)
		if ok && scheme == "unix@" {
			address = rest
		} else if ok {
			p.note(p.line, "stats socket %s is ignored: hushgate serves these commands on sockets in the file system", address)
			return
		}
	}
	if !strings.HasPrefix(address, "/") && strings.Contains(address, ":") {
		p.note(p.line, "stats socket %s is ignored: hushgate serves these commands on sockets in the file system", address)
		return
	}
	s, ignored, err := parseStatsSocket(address, args[min(1, len(args)):])
	if err != nil {
		p.add(Error{Line: p.line, Keyword: "stats socket", Expected: wantStatsSocket, Found: quote(strings.Join(args, " ")), Reason: err.Error()})
		return
	}
	for _, word := range ignored {
		p.note(p.line, "%s of stats socket is ignored: %s", word, aboutProcess)
	}
	p.addStatsSocket(g, s)
}

func (p *haproxyParser) addStatsSocket(g *rawGlobal, s StatsSocket) {
	if err := g.addStatsSocket(s); err != nil {
		p.wrong(p.line, "stats socket", "%v", err)
	}
}

func (g *rawGlobal) addStatsSocket(s StatsSocket) error {
	for _, o := range g.Stats.Sockets {
		if o.Path == s.Path {
			return fmt.Errorf("there is another one at %s", s.Path)
		}
	}
	g.Stats.Sockets = append(g.Stats.Sockets, s)
	return nil
}

// statsSockets reads one socket or a list of them, each in HAProxy's words.
func (r *yamlReader) statsSockets(g *rawGlobal, key string, node ast.Node) {
	r.list(key, node, true, func(item ast.Node) {
		text, ok := r.text(key, wantStatsSocket, item)
		if !ok {
			return
		}
		words := strings.Fields(text.value)
		s, _, err := parseStatsSocket(argument(words), words[min(1, len(words)):])
		if err == nil {
			err = g.addStatsSocket(s)
		}
		if err != nil {
			r.add(Error{Line: text.line, Keyword: key, Expected: wantStatsSocket, Found: quote(text.value), Reason: err.Error()})
		}
	})
}

// ignoredStatsWords are words of `stats socket` that have no effect here, with the number of their values.
var ignoredStatsWords = map[string]int{
	"expose-fd": 1, "severity-output": 1, "name": 1, "id": 1, "nice": 1, "process": 1, "thread": 1, "backlog": 1, "maxconn": 1,
}

// parseStatsSocket reads a socket's path and its words.
func parseStatsSocket(path string, words []string) (s StatsSocket, ignored []string, err error) {
	s = StatsSocket{Path: path, Level: statsLevel, Mode: statsMode}
	if path == "" || path == NoFile {
		return s, nil, errors.New("the path is missing")
	}
	if err := checkSocket(path); err != nil {
		return s, nil, fmt.Errorf("the path %s: %w", filepath.Base(path), err)
	}
	for len(words) > 0 {
		word := words[0]
		if n, ok := ignoredStatsWords[word]; ok {
			ignored = append(ignored, word)
			words = words[min(1+n, len(words)):]
			continue
		}
		if len(words) < 2 {
			return s, nil, fmt.Errorf("%s needs a value, or is not known", word)
		}
		if err := s.set(word, words[1]); err != nil {
			return s, nil, err
		}
		words = words[2:]
	}
	return s, ignored, nil
}

// set sets one word.
func (s *StatsSocket) set(word, value string) error {
	switch word {
	case "level":
		if value != "user" && value != "operator" && value != "admin" {
			return fmt.Errorf("the level is user, operator or admin, not %s", quote(value))
		}
		s.Level = value
	case "mode":
		n, err := strconv.ParseUint(value, 8, 32)
		if err != nil || n > 0o777 {
			return fmt.Errorf("a mode is an octal number up to 777, not %s", quote(value))
		}
		s.Mode = uint32(n)
	case "user", "group":
		if checkGroup(value) != nil {
			return fmt.Errorf("%s is no name of a %s", quote(value), word)
		}
		if word == "user" {
			s.User = value
		} else {
			s.Group = value
		}
	case "uid", "gid":
		if _, err := parseInt(value, 0, math.MaxInt32); err != nil {
			return fmt.Errorf("%s is %w", word, err)
		}
		if word == "uid" {
			s.User = value
		} else {
			s.Group = value
		}
	default:
		return fmt.Errorf("%s is not known", quote(word))
	}
	return nil
}
