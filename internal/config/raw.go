package config

import (
	"slices"
	"time"
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

type rawGlobal struct {
	outside, inside  []string
	shards, maxConn  at[int]
	halfOpen, buffer at[int]
	hardStop         at[time.Duration]
	fail             at[string]
	logs             []LogTarget
	logsSet          bool
	firewall         Firewall
	capture          Capture
	announce         at[bool]
	reversePath      at[string]
	logLine          int // of the last log in a global section
}

// rawProxy is a frontend, a backend, both at once (listen), or the defaults that they begin as.
type rawProxy struct {
	kind     section
	name     string
	line     int
	disabled bool

	mode       at[string]
	logs       []LogTarget
	logGlobal  at[bool]
	logWrong   bool // a log line was in error
	maxConn    at[int]
	timeouts   map[string]at[time.Duration] // client, server, connect, check, queue, tunnel
	logFormat  at[LogFormat]
	dontNull   at[bool]
	delay      at[time.Duration]
	delayText  string // as it was written in HAProxy's syntax
	delayWrong bool   // a line that should have set it was in error
	rules      ruleSet
	action     at[Action]
	rejectText at[string]
	noServer   at[string]
	binds      []rawBind
	backend    at[string]
	useBackend bool // backend was set by use_backend, which goes before default_backend

	retries     at[int]
	redispatch  at[bool]
	check       at[Check]
	source      at[Source] // of servers that have none
	sourceWrong bool       // the line that should have set it was in error
	template    rawServer  // default-server
	servers     []rawServer
	users       []*rawProxy // the frontends of this backend; found by resolve

	partial bool            // its end was not read
	unfit   bool            // a frontend that is not for hushgate at all
	tried   map[string]bool // the keywords that the section has, rightly or wrongly: what was tried is not called missing
}

// rawServer is a Server in the making.
type rawServer struct {
	Server
	addrSet, portSet           bool
	checkAddr                  bool
	checkPort                  bool
	fastInterSet, downInterSet bool
	sourceSet                  bool
	proxyV1, proxyV2           bool // both may be set: then it is version 2, as in HAProxy
	checkProxy                 bool
	broken                     bool // some of its words were in error: what they would have said is not known
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
	p.timeouts = make(map[string]at[time.Duration], len(d.timeouts))
	for k, v := range d.timeouts {
		p.timeouts[k] = v
	}
	return &p
}

// factory is what holds when no section called defaults and no line says otherwise: HAProxy's values.
func factory() *rawProxy {
	return &rawProxy{template: rawServer{Server: Server{
		Inter: defaultInter, Rise: defaultRise, Fall: defaultFall, Weight: defaultWeight,
	}}}
}

// The defaults, HAProxy's where it has any.
const (
	defaultInter   = 2 * time.Second
	defaultRise    = 2
	defaultFall    = 3
	defaultWeight  = 1
	defaultRetries = 3
	defaultConnect = 5 * time.Second
	defaultMaxConn = 1_000_000
	// defaultHardStop leaves room for the time that systemd gives a service to stop, which is 90 s.
	defaultHardStop = 30 * time.Second

	defaultRejectText   = "554 5.5.1 Protocol error"
	defaultNoServerText = "421 4.3.2 Service not available, try again later"
)

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
