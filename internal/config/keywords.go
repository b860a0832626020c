package config

import (
	"maps"
	"slices"
	"strings"
)

// The reasons for which a keyword is ignored.
const (
	aboutHTTP    = "it is about HTTP"
	aboutProcess = "it is about HAProxy's process"
	aboutSockets = "it is about HAProxy's own sockets"
	alwaysSo     = "hushgate always does so"
	aboutTLS     = "it is about TLS, which passes through hushgate untouched"
	aboutHashing = "it is about balance by hash"
)

var ignoredProxyKeywords = map[string]string{
	"id":                          "hushgate knows its sections by name",
	"backlog":                     aboutSockets,
	"bind-process":                aboutProcess,
	"clitcpka-cnt":                aboutSockets,
	"clitcpka-idle":               aboutSockets,
	"clitcpka-intvl":              aboutSockets,
	"srvtcpka-cnt":                aboutSockets,
	"srvtcpka-idle":               aboutSockets,
	"srvtcpka-intvl":              aboutSockets,
	"fullconn":                    "it is about limits per server, which hushgate does not have",
	"grace":                       aboutProcess,
	"hash-type":                   aboutHashing,
	"hash-balance-factor":         aboutHashing,
	"load-server-state-from-file": aboutProcess,
	"server-state-file-name":      aboutProcess,
	"max-keep-alive-queue":        aboutHTTP,
}

// httpKeywords are accepted in a defaults section, where distributions put them, and refused elsewhere.
var httpKeywords = []string{
	"errorfile", "errorfiles", "errorloc", "errorloc302", "errorloc303", "capture", "compression", "cookie",
	"monitor-uri", "monitor-net", "redirect", "unique-id-format", "unique-id-header", "rspadd", "reqadd",
	"use-fcgi-app", "retry-on",
}

func isHTTP(name string) bool {
	return slices.Contains(httpKeywords, name) || strings.HasPrefix(name, "http-")
}

var refusedProxyKeywords = map[string]string{
	"declare":          "hushgate captures no content",
	"dispatch":         "name the servers with server",
	"email-alert":      "changes of state are logged",
	"error-log-format": "all lines of a frontend have the shape that log-format gives them",
	"external-check":   "use `option smtpchk`",
	"filter":           "hushgate does not inspect content after the banner",
	"force-persist":    "hushgate does not tie clients to servers",
	"ignore-persist":   "hushgate does not tie clients to servers",
	"log-format-sd":    "messages have no structured data; a YAML file may log into the journal, which takes fields",
	"persist":          "hushgate does not tie clients to servers",
	"rate-limit":       "hushgate has no rate limits per frontend",
	"server-template":  "name the servers one by one",
	"stick":            "hushgate does not tie clients to servers",
	"tcp-check":        "a check is `option tcp-check` (connect) or `option smtpchk`",
	"tcp-response":     "hushgate does not inspect content after the banner",
	"transparent":      "name the servers with server",
	"use-server":       "servers are chosen by balance roundrobin",
	"clitimeout":       "use timeout client",
	"srvtimeout":       "use timeout server",
	"contimeout":       "use timeout connect",
	"default":          "write the setting itself",
}

// ignoredGlobal and ignoredGlobalPrefixes list what has no effect in a global section here.
var ignoredGlobal = map[string]string{
	"daemon": aboutProcess, "user": aboutProcess, "group": aboutProcess, "uid": aboutProcess, "gid": aboutProcess,
	"chroot": aboutProcess, "pidfile": aboutProcess, "ulimit-n": aboutProcess, "nbproc": aboutProcess,
	"cpu-map": aboutProcess, "master-worker": aboutProcess, "mworker-max-reloads": aboutProcess,
	"thread-groups": aboutProcess, "thread-group": aboutProcess, "fd-hard-limit": aboutProcess,
	"numa-cpu-mapping": aboutProcess, "set-dumpable": aboutProcess, "strict-limits": aboutProcess,
	"close-spread-time": aboutProcess, "default-path": aboutProcess, "h1-accept-payload-with-any-method": aboutHTTP,
	"grace": aboutProcess, "node": aboutProcess, "description": aboutProcess,
	"localpeer": aboutProcess, "quiet": aboutProcess,
	"zero-warning": aboutProcess, "busy-polling": aboutProcess, "noepoll": aboutProcess, "nopoll": aboutProcess,
	"nosplice": aboutProcess, "noreuseport": aboutProcess, "nogetaddrinfo": aboutProcess,
	"no-memory-trimming": aboutProcess, "maxpipes": aboutProcess, "max-spread-checks": aboutProcess,
	"spread-checks": "hushgate spreads its checks by itself", "server-state-base": aboutProcess,
	"server-state-file": aboutProcess, "unix-bind": aboutProcess, "insecure-fork-wanted": aboutProcess,
	"insecure-setuid-wanted": aboutProcess, "ca-base": aboutTLS, "crt-base": aboutTLS, "maxsslconn": aboutTLS,
	"maxsslrate": aboutTLS, "issuers-chain-path": aboutTLS,
	"log-send-hostname": "choose a log line's format with format", "maxcompcpuusage": aboutHTTP,
	"maxcomprate": aboutHTTP, "maxzlibmem": aboutHTTP, "h1-case-adjust": aboutHTTP, "h1-case-adjust-file": aboutHTTP,
}

var ignoredGlobalPrefixes = map[string]string{
	"tune.": aboutProcess, "ssl-": aboutTLS, "51degrees-": aboutHTTP, "deviceatlas-": aboutHTTP, "wurfl-": aboutHTTP,
	"profiling.": aboutProcess, "httpclient.": aboutHTTP,
}

var refusedGlobal = map[string]string{
	"setenv":              "set variables where hushgate is started",
	"presetenv":           "set variables where hushgate is started",
	"unsetenv":            "set variables where hushgate is started",
	"resetenv":            "set variables where hushgate is started",
	"lua-load":            "hushgate runs no scripts",
	"lua-load-per-thread": "hushgate runs no scripts",
	"lua-prepend-path":    "hushgate runs no scripts",
	"external-check":      "use `option smtpchk`",
	"maxconnrate":         "hushgate has no such limit",
	"maxsessrate":         "hushgate has no such limit",
	"set-var":             "hushgate has no variables",
	"set-var-fmt":         "hushgate has no variables",
}

func (p *haproxyParser) globalKeyword(name string, words []string, negated bool) {
	table := globalSettings
	switch s := findWord(table, name); {
	case s != nil && negated:
		p.wrong(p.line, name, "cannot be negated with no in a global section")
		return
	case s != nil:
		p.setGlobal(s, words[1:])
		return
	}
	why, ok := ignoredGlobal[name]
	for prefix, because := range ignoredGlobalPrefixes {
		if strings.HasPrefix(name, prefix) {
			why, ok = because, true
		}
	}
	if ok {
		p.note(p.line, "%s is ignored: %s", name, why)
		return
	}
	if why, ok := refusedGlobal[name]; ok {
		p.wrong(p.line, name, "not served: %s", why)
		return
	}
	known := slices.Concat(wordsAfter(table, ""), slices.Collect(maps.Keys(ignoredGlobal)))
	slices.Sort(known)
	meant := p.unknown(p.line, "", name, "keyword in a global section", known)
	if s := findWord(table, meant); s != nil {
		p.setGlobal(s, words[1:])
	}
}

func (p *haproxyParser) setGlobal(s *setting[rawGlobal], args []string) {
	if s.line(p, &p.raw.global, s.word, args, false) {
		p.raw.global.lines[s.word] = p.line
	}
}
