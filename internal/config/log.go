package config

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
)

// The words that a log target may contain, as in HAProxy, and one format more, for files.
var (
	logFormats    = []string{"local", "rfc3164", "rfc5424", "priority", "short", "timed", "iso", "raw", "traditional"}
	logFacilities = strings.Fields("kern user mail daemon auth syslog lpr news uucp cron auth2 ftp ntp audit alert " +
		"cron2 local0 local1 local2 local3 local4 local5 local6 local7")
	logLevels = strings.Fields("emerg alert crit err warning notice info debug")
)

// Structured reports whether the target takes the fields of a line beside it.
func (t LogTarget) Structured() bool {
	return t.Address == "journal" || strings.HasPrefix(t.Address, "journal@")
}

// The values of LogTarget.Proto.
const (
	protoOctetCount = "octet-count"
	protoLegacy     = "legacy"
)

const (
	notTarget  = "not stdout, stderr, the path of a socket, or an address for UDP or tcp@ADDRESS"
	notAny     = "not stdout, stderr, journal, file@PATH, the path of a socket, or an address for UDP, tcp@ADDRESS or tls@ADDRESS"
	yamlTarget = "only a YAML file may name such a target: HAProxy has none"
	ringTarget = "rings are not served: name the syslog itself, as tcp@ADDRESS"
)

// parseLogTarget reads the address of a log line into the form of LogTarget.Address. Native allows what HAProxy does not know.
func parseLogTarget(s string, native bool) (string, error) {
	scheme, rest, schemed := strings.Cut(s, "@")
	switch {
	case s == "stdout" || s == "fd@1":
		return "stdout", nil
	case s == "stderr" || s == "fd@2":
		return "stderr", nil
	case strings.HasPrefix(s, "/") || strings.HasPrefix(s, "unix@/"):
		return strings.TrimPrefix(s, "unix@"), nil
	case !native && (s == "journal" || slices.Contains([]string{"journal", "file", "tls", "tls4", "tls6"}, scheme) && schemed):
		return "", errors.New(yamlTarget)
	case s == "journal":
		return s, nil
	case !schemed:
		return syslogAddress("", s, native)
	}
	switch scheme {
	case "journal", "file":
		if !filepath.IsAbs(rest) || strings.HasSuffix(rest, "/") {
			return "", errors.New("its path is not the absolute path of a file")
		}
		return scheme + "@" + filepath.Clean(rest), nil
	case "udp", "ipv4", "ipv6":
		return syslogAddress("", strings.TrimPrefix(s, "udp@"), native)
	case "udp4", "udp6", "tcp", "tcp4", "tcp6", "tls", "tls4", "tls6":
		return syslogAddress(scheme, rest, native)
	case "ring":
		return "", errors.New(ringTarget)
	}
	return "", errors.New(notTargetOf(native))
}

func notTargetOf(native bool) string {
	if native {
		return notAny
	}
	return notTarget
}

// syslogAddress reads the host and port of a syslog.
func syslogAddress(scheme, s string, native bool) (string, error) {
	host, port, err := splitAddress(s)
	if err != nil {
		return "", err
	}
	if port == "" {
		port = "514" // RFC 3164; HAProxy takes it for TCP too
		if strings.HasPrefix(scheme, "tls") {
			port = "6514" // RFC 5425
		}
	}
	if _, err := parsePort(port); err != nil {
		return "", fmt.Errorf("the port is %w", err)
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		if strings.HasSuffix(scheme, "4") && !addr.Is4() || strings.HasSuffix(scheme, "6") && !addr.Is6() {
			return "", fmt.Errorf("%s is not an address for %s", addr, scheme)
		}
		host = addr.String()
		if addr.Is6() {
			host = "[" + host + "]"
		}
	} else if !isHostName(host) {
		return "", errors.New(notTargetOf(native))
	}
	if scheme != "" {
		scheme += "@"
	}
	return scheme + host + ":" + port, nil
}

// parseLog reads the words after `log`: TARGET [len N] [format F] FACILITY [LEVEL].
func (p *problems) parseLog(line int, words []string) (LogTarget, bool) {
	before := len(p.errs)
	t := LogTarget{Format: "local", Level: "debug"}
	var err error
	if t.Address, err = parseLogTarget(words[0], false); err != nil {
		p.add(Error{Line: line, Keyword: "log", Expected: "a target", Found: quote(words[0]), Reason: err.Error()})
	}
	if strings.HasPrefix(t.Address, "tcp") {
		t.Proto = protoLegacy // as HAProxy, which has the other one for the servers of a ring alone
	}
	words = words[1:]
	for len(words) >= 2 && slices.Contains([]string{"len", "format", "sample"}, words[0]) {
		switch words[0] {
		case "len":
			n, err := parseInt(words[1], minLogLen, maxLogLen)
			if err != nil {
				p.expected(line, "log len", wantInt(minLogLen, maxLogLen), words[1])
			}
			t.Length = n
		case "format":
			t.Format = p.oneOf(line, "log format", words[1], logFormats[:len(logFormats)-1])
		case "sample":
			p.wrong(line, "log sample", "not served: every line is sent")
		}
		words = words[2:]
	}
	if len(words) == 0 {
		p.expected(line, "log", "a syslog facility, such as local0 or mail", "")
		return t, false
	}
	t.Facility = p.oneOf(line, "log", words[0], logFacilities)
	if len(words) > 1 {
		t.Level = p.oneOf(line, "log", words[1], logLevels)
	}
	if len(words) > 2 {
		p.expected(line, "log", "nothing after the level", words[2])
	}
	return t, len(p.errs) == before
}

// The bounds of `len`, as in HAProxy.
const (
	minLogLen = 80
	maxLogLen = 65535
)

// wantTag describes a tag. RFC 5424 section 6 allows 48 characters; a bracket or a colon would end it.
const wantTag = "at most 48 letters, digits and signs without a blank, colon or bracket"

func checkTag(s string) error {
	odd := func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`:[]<>"`, r) }
	if s == "" || len(s) > 48 || strings.IndexFunc(s, odd) >= 0 {
		return errors.New("a log's readers could not find its end")
	}
	return nil
}

// tag is the setting log-tag.
func tag[T any](field func(*T) *string) kind[T] {
	k := text(field, "", wantTag, checkTag)
	k.shown = ""
	return k.byLine(func(p *haproxyParser, to *T, name string, args []string, _ bool) bool {
		word := argument(args)
		p.atMost(name, args, 1)
		if err := checkTag(word); err != nil {
			p.add(Error{Line: p.line, Keyword: name, Expected: wantTag, Found: quote(word), Reason: err.Error()})
			return false
		}
		*field(to) = word
		return true
	})
}

// tagged returns targets whose lines carry a tag.
func tagged(logs []LogTarget, tag string) []LogTarget {
	out := slices.Clone(logs)
	for i := range out {
		out[i].Tag = tag
	}
	return out
}

// oneOf returns word if it is known, and reports it otherwise.
func (p *problems) oneOf(line int, keyword, word string, known []string) string {
	if slices.Contains(known, word) {
		return word
	}
	p.add(Error{
		Line: line, Keyword: keyword, Expected: orList(known), Found: quote(word), Suggestion: nearest(word, known),
	})
	return ""
}

// orList writes words as "a, b or c".
func orList(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// isHostName reports whether s looks like the name of a host rather than like a mistyped address.
func isHostName(s string) bool {
	odd := func(r rune) bool { return !isNameRune(r) && r != '-' && r != '.' }
	return strings.Trim(s, "0123456789.") != "" && strings.IndexFunc(s, odd) < 0
}
