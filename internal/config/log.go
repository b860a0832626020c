package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// The words that a log target may contain, as in HAProxy.
var (
	logFormats    = []string{"local", "rfc3164", "rfc5424", "raw"}
	logFacilities = strings.Fields("kern user mail daemon auth syslog lpr news uucp cron auth2 ftp ntp audit alert " +
		"cron2 local0 local1 local2 local3 local4 local5 local6 local7")
	logLevels = strings.Fields("emerg alert crit err warning notice info debug")
)

// parseLogTarget reads the address of a log line into the form of LogTarget.Address.
func parseLogTarget(s string) (string, error) {
	const syslogPort = "514"
	switch {
	case s == "stdout" || s == "fd@1":
		return "stdout", nil
	case s == "stderr" || s == "fd@2":
		return "stderr", nil
	case strings.HasPrefix(s, "/") || strings.HasPrefix(s, "unix@/"):
		return strings.TrimPrefix(s, "unix@"), nil
	}
	s = strings.TrimPrefix(s, "udp@")
	if strings.Contains(s, "@") {
		return "", errors.New("not stdout, stderr, the path of a socket, or an address for UDP")
	}
	host, port, err := splitAddress(s)
	if err != nil {
		return "", err
	}
	if port == "" {
		port = syslogPort
	}
	if _, err := parsePort(port); err != nil {
		return "", fmt.Errorf("the port is %w", err)
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		host = addr.String()
		if addr.Is6() {
			host = "[" + host + "]"
		}
	} else if !isHostName(host) {
		return "", errors.New("not stdout, stderr, the path of a socket, or an address for UDP")
	}
	return host + ":" + port, nil
}

// parseLog reads the words after `log`: TARGET [len N] [format F] FACILITY [LEVEL].
func (p *problems) parseLog(line int, words []string) (LogTarget, bool) {
	before := len(p.errs)
	t := LogTarget{Format: "local", Level: "debug"}
	var err error
	if t.Address, err = parseLogTarget(words[0]); err != nil {
		p.add(Error{Line: line, Keyword: "log", Expected: "a target", Found: quote(words[0]), Reason: err.Error()})
	}
	words = words[1:]
	for len(words) >= 2 && slices.Contains([]string{"len", "format", "sample"}, words[0]) {
		switch words[0] {
		case "len":
			if _, err := parseInt(words[1], 80, 65535); err != nil {
				p.expected(line, "log len", wantInt(80, 65535), words[1])
			}
			p.note(line, "log len has no effect: hushgate does not cut its lines")
		case "format":
			t.Format = p.oneOf(line, "log format", words[1], logFormats)
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
