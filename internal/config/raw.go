package config

import (
	"maps"
	"slices"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// at is a value with the line on which it was set. Line 0 means that it was not set.
type at[T any] struct {
	value T
	line  int
}

func (a at[T]) set() bool { return a.line > 0 }

// or returns the value, or otherwise if none was set.
func (a at[T]) or(otherwise T) T {
	if a.set() {
		return a.value
	}
	return otherwise
}

// rawConfig is a file as it was read: each value is checked, but names are not looked up yet.
type rawConfig struct {
	native  bool // YAML: logs go to standard output unless the file says otherwise
	global  rawGlobal
	proxies []*rawProxy // in the file's order, with the defaults sections already applied
	lists   []List      // that rules ask for, by the number in policy.Test
	partial bool        // some sections could not be read; names that are not found may be theirs
}

// newRaw returns the raw form of an empty file.
func newRaw() rawConfig {
	raw := rawConfig{global: rawGlobal{lines: lines{}}}
	fill(globalSettings, &raw.global)
	raw.global.Capture, raw.global.Offenders = Capture{}, Offenders{}
	return raw
}

type rawGlobal struct {
	Global
	lines   lines
	logsSet bool
	logLine int // line of the last log in a global section

	siteLines []int // of DNSLists.Sites
	listNames []listName
}

// rawProxy is a frontend, a backend, both at once (listen), or a defaults section.
type rawProxy struct {
	kind     section
	name     string
	line     int
	disabled bool

	front   Frontend // the settings that are read without further resolution
	back    Backend
	tunnel  time.Duration
	maxConn int
	lines   lines

	mode       at[string]
	logs       []LogTarget
	logGlobal  at[bool]
	logTag     string
	logWrong   bool // a log line was in error
	delay      at[time.Duration]
	delayText  string // as written in HAProxy's syntax
	delayWrong bool   // the line that should have set it has an error
	rules      ruleSet
	table      *stickTable
	binds      []rawBind
	backend    at[string]
	useBackend bool // backend was set by use_backend, which takes precedence over default_backend

	source      at[Source] // server-side address of servers that have none of their own
	sourceWrong bool       // the line that should have set it has an error
	template    rawServer  // default-server
	servers     []rawServer
	serverNodes ast.Node    // in YAML, kept until default-server is read, which may come later in the file
	users       []*rawProxy // the frontends of this backend; found by resolve

	partial bool            // the end of the section was not read
	unfit   bool            // a frontend that hushgate is not meant for
	tried   map[string]bool // the keywords that the section has, correct or not; such a keyword is not reported as missing
}

// rawServer is a Server while it is being read.
type rawServer struct {
	Server
	addrSet, portSet bool
	sourceSet        bool
	proxyV1, proxyV2 bool // if both are set, version 2 is used, as in HAProxy
	checkProxy       bool
	broken           bool // some of its words have errors, so their values are not known
}

// mayHave reports whether the section has, or may have, lines with a keyword: some lines could perhaps not be read.
func (p *rawProxy) mayHave(keyword string) bool { return p.tried[keyword] || p.partial }

// begin returns a new section that starts as a copy of the defaults d.
func (d *rawProxy) begin(kind section, name string, line int) *rawProxy {
	p := *d
	p.kind, p.name, p.line = kind, name, line
	p.logs = slices.Clone(d.logs)
	p.rules = d.rules.inherit()
	p.tried = map[string]bool{}
	p.table = nil
	p.lines = maps.Clone(d.lines)
	return &p
}

// factory returns the built-in defaults.
func factory() *rawProxy {
	p := rawProxy{lines: lines{}}
	fill(proxySettings, &p)
	fill(serverSettings, &p.template)
	return &p
}

// section is a kind of section. Each kind is one bit, so that the sections of a keyword form a set.
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

// sectionNames maps each kind to HAProxy's keyword.
var sectionNames = map[section]string{
	inDefaults: "defaults", inFrontend: "frontend", inListen: "listen", inBackend: "backend",
}

func (s section) String() string { return sectionNames[s] }
