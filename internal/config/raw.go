package config

import (
	"maps"
	"slices"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// at is a value with the line on which it was set; line 0 means that it was not.
type at[T any] struct {
	value T
	line  int
}

func (a at[T]) set() bool { return a.line > 0 }

// or returns the value, or the given one when none was set.
func (a at[T]) or(otherwise T) T {
	if a.set() {
		return a.value
	}
	return otherwise
}

// rawConfig is a file as it was read: values are checked one by one, names are not looked up yet.
type rawConfig struct {
	native  bool // YAML: logs go to standard output unless the file says otherwise
	global  rawGlobal
	proxies []*rawProxy // in the file's order; the sections called defaults are already applied
	partial bool        // some sections could not be read, so that names may be theirs
}

// newRaw is a file that says nothing.
func newRaw() rawConfig {
	raw := rawConfig{global: rawGlobal{lines: lines{}}}
	fill(globalSettings, &raw.global)
	raw.global.Capture = Capture{}
	return raw
}

type rawGlobal struct {
	Global
	lines   lines
	logsSet bool
	logLine int // of the last log in a global section
}

// rawProxy is a frontend, a backend, both at once (listen), or the defaults that they begin as.
type rawProxy struct {
	kind     section
	name     string
	line     int
	disabled bool

	front   Frontend // the settings that need no more than reading
	back    Backend
	tunnel  time.Duration
	maxConn int
	lines   lines

	mode       at[string]
	logs       []LogTarget
	logGlobal  at[bool]
	logWrong   bool // a log line was in error
	delay      at[time.Duration]
	delayText  string // as it was written in HAProxy's syntax
	delayWrong bool   // a line that should have set it was in error
	rules      ruleSet
	binds      []rawBind
	backend    at[string]
	useBackend bool // backend was set by use_backend, which goes before default_backend

	source      at[Source] // of servers that have none
	sourceWrong bool       // the line that should have set it was in error
	template    rawServer  // default-server
	servers     []rawServer
	serverNodes ast.Node    // of YAML, until default-server is read, wherever that stands
	users       []*rawProxy // the frontends of this backend; found by resolve

	partial bool            // its end was not read
	unfit   bool            // a frontend that is not for hushgate at all
	tried   map[string]bool // the keywords that the section has, rightly or wrongly: what was tried is not called missing
}

// rawServer is a Server in the making.
type rawServer struct {
	Server
	addrSet, portSet bool
	sourceSet        bool
	proxyV1, proxyV2 bool // both may be set: then it is version 2, as in HAProxy
	checkProxy       bool
	broken           bool // some of its words were in error: what they would have said is not known
}

// mayHave reports whether the section has lines with a keyword, or had some that could not be read.
func (p *rawProxy) mayHave(keyword string) bool { return p.tried[keyword] || p.partial }

// begin returns a copy of the defaults d as the start of a section of its own.
func (d *rawProxy) begin(kind section, name string, line int) *rawProxy {
	p := *d
	p.kind, p.name, p.line = kind, name, line
	p.logs = slices.Clone(d.logs)
	p.rules = d.rules.inherit()
	p.tried = map[string]bool{}
	p.lines = maps.Clone(d.lines)
	return &p
}

// factory is what holds when no section called defaults and no line says otherwise.
func factory() *rawProxy {
	p := rawProxy{lines: lines{}}
	fill(proxySettings, &p)
	fill(serverSettings, &p.template)
	return &p
}

// section is a kind of section, one bit each, so that a keyword's sections are a set.
type section uint8

const (
	inDefaults section = 1 << iota
	inFrontend
	inListen
	inBackend

	frontendSide = inDefaults | inFrontend | inListen
	backendSide  = inDefaults | inBackend | inListen
	everySide    = frontendSide | backendSide
)

// sectionNames gives HAProxy's words.
var sectionNames = map[section]string{
	inDefaults: "defaults", inFrontend: "frontend", inListen: "listen", inBackend: "backend",
}

func (s section) String() string { return sectionNames[s] }
