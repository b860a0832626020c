package config

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestStats: the words of `stats`, and what is wrong with others.
func TestStats(t *testing.T) {
	const rest = "\nfrontend f\n    bind :25\n    tcp-request inspect-delay 1s\n    tcp-request content reject if { req.len gt 0 }\n" +
		"    default_backend b\nbackend b\n    server s 192.0.2.1:25\n"
	for _, c := range []struct {
		line string
		want []StatsSocket
		err  string
		note string
	}{
		{line: "socket /s", want: []StatsSocket{{Path: "/s", Level: "operator", Mode: 0o600}}},
		{line: "socket unix@/s mode 660 level admin user u group g expose-fd listeners", note: "expose-fd of stats socket is ignored", want: []StatsSocket{
			{Path: "/s", Level: "admin", User: "u", Group: "g", Mode: 0o660},
		}},
		{line: "socket /s uid 5 gid 6", want: []StatsSocket{{Path: "/s", Level: "operator", User: "5", Group: "6", Mode: 0o600}}},
		{line: "socket ipv4@127.0.0.1:9999 level admin", note: "stats socket ipv4@127.0.0.1:9999 is ignored"},
		{line: "socket 127.0.0.1:9999", note: "stats socket 127.0.0.1:9999 is ignored"},
		{line: "socket fd@3", note: "stats socket fd@3 is ignored"},
		{line: "bind-process 1", note: "stats bind-process is ignored"},
		{line: "socket", err: "the path is missing"},
		{line: "socket s", err: "it is not absolute"},
		{line: "socket /s level root", err: "the level is user, operator or admin, not \"root\""},
		{line: "socket /s mode 8", err: "a mode is an octal number up to 777, not \"8\""},
		{line: "socket /s mode 1777", err: "a mode is an octal number up to 777"},
		{line: "socket /s mode", err: "mode needs a value, or is not known"},
		{line: "socket /s owner root", err: "\"owner\" is not known"},
		{line: "socket /s group a/b", err: "\"a/b\" is no name of a group"},
		{line: "socket /s uid x", err: "uid is not a whole number"},
		{line: "socket /s\n    stats socket /s", err: "there is another one at /s"},
		{line: "timeout", err: "stats timeout"},
		{line: "timeout 0", err: "a time that is not 0"},
		{line: "maxconn 0", err: "a whole number from 1 to 10000"},
		{line: "enable", err: "socket, timeout or maxconn"},
	} {
		cfg, warnings, err := Parse("test.cfg", []byte("global\n    stats "+c.line+rest))
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), "test.cfg:") {
				t.Errorf("%s: %v", c.line, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.line, err)
			continue
		}
		if !slices.Equal(cfg.Global.Stats.Sockets, c.want) {
			t.Errorf("%s: %+v", c.line, cfg.Global.Stats.Sockets)
		}
		if c.note != "" && !slices.ContainsFunc(warnings, func(w Warning) bool { return strings.Contains(w.Text, c.note) }) {
			t.Errorf("%s: %v", c.line, warnings)
		}
		if s := cfg.Global.Stats; s.Timeout != 10*time.Second || s.MaxConn != 10 {
			t.Errorf("%s: %+v", c.line, s)
		}
	}
}
