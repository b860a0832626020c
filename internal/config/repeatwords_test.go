package config

import (
	"io"
	"net"
	"strings"
	"testing"

	"hushgate/internal/unusedport"
)

// TestRepeatedServerWords: the same for the words after a server's address, on one line and after those of default-server.
func TestRepeatedServerWords(t *testing.T) {
	haproxyProgram(t)
	header := func(ifFirst, ifLast string) func(*proxyProcess) winner {
		return func(p *proxyProcess) winner {
			p.connect()
			c := p.accept("A")
			begin := make([]byte, 6)
			_, _ = io.ReadFull(c, begin)
			return by(string(begin), ifFirst, ifLast)
		}
	}
	for _, c := range []struct {
		first, second, beside string
		want                  winner
		observe               func(*proxyProcess) winner
	}{
		{"weight 2", "weight 3", "", last, stat("b", "s", "weight", "2", "3")},
		{"rise 4", "rise 5", "check", last, stat("b", "s", "check_rise", "4", "5")},
		{"fall 4", "fall 5", "check", last, stat("b", "s", "check_fall", "4", "5")},
		{"check", "no-check", "", last, stat("b", "s", "status", "UP", "no check")},
		{"backup", "no-backup", "", last, stat("b", "s", "bck", "1", "0")},
		{"disabled", "enabled", "", last, stat("b", "s", "status", "MAINT", "no check")},
		{"enabled", "disabled", "", last, stat("b", "s", "status", "no check", "MAINT")},
		{"source 127.0.0.2", "source 127.0.0.3", "", last, seenFrom},
		{"source 127.0.0.2", "source 0.0.0.0 usesrc clientip", "", last, nil},
		{"send-proxy", "send-proxy-v2", "", last, header("PROXY ", "\r\n\r\n\x00\r")},
		{"send-proxy-v2", "send-proxy", "", first, header("\r\n\r\n\x00\r", "PROXY ")},
		{"send-proxy-v2", "no-send-proxy-v2", "send-proxy", last, header("\r\n\r\n\x00\r", "PROXY ")},
		{"addr 127.0.0.9", "addr 127.0.0.1", "check", last, firstWords("", "HELO localhost")},
		{"port 9", "port {PORTB}", "check", last, checked},
		{"inter 1h", "inter 20ms", "check", last, func(p *proxyProcess) winner {
			_ = p.accept("A").Close()
			_ = p.accept("A").Close() // otherwise HAProxy waits for a reply
			return last
		}},
		{"id 5", "id 6", "", last, nil},
	} {
		t.Run(c.first+", "+c.second, func(t *testing.T) {
			t.Parallel()
			write := func(defaults, words string) string {
				return "defaults\n    mode tcp\nfrontend f\n    tcp-request content reject if { req_len gt 0 }\n    bind {BIND}\n" +
					"    default_backend b\nbackend b\n    option smtpchk\n    default-server " + defaults + "\n    server s {A} " + c.beside + " " + words + "\n"
			}
			r := repetition{want: c.want}
			one, two := c.first, c.second
			r.compare(t, write("weight 1", one+" "+two), write("weight 1", one), write("weight 1", two))
			r.compare(t, write(one, two), write(one, ""), write("weight 1", two))
			for _, text := range []string{write("weight 1", one+" "+two), write(one, two)} {
				if c.observe == nil {
					continue
				}
				if got := c.observe(startHAProxy(t, text)); got != c.want {
					t.Errorf("HAProxy goes by %s, and the table says %s", got, c.want)
				}
			}
		})
	}
}

// TestFamiliesOfABind: which families a bind serves, in whatever order its words stand, as HAProxy's socket does.
func TestFamiliesOfABind(t *testing.T) {
	for bind, want := range map[string]string{
		"[::]:25":                     ":25",
		":::25 v4v6":                  ":25",
		":::25 v6only":                "[::]:25",
		":::25 v6only v4v6":           "[::]:25",
		":::25 v4v6 v6only":           "[::]:25",
		"ipv6@:25":                    ":25",
		"ipv6@*:25 v6only":            "[::]:25",
		"ipv4@:25 v4v6":               "0.0.0.0:25",
		"0.0.0.0:25 v4v6":             "0.0.0.0:25",
		"0.0.0.0:25 v6only":           "0.0.0.0:25",
		"[2001:db8::1]:25 v4v6":       "[2001:db8::1]:25",
		":25 interface a":             ":25 interface a",
		":25 interface a interface b": ":25 interface b",
	} {
		cfg, _, err := Parse("bind.cfg", []byte("listen l\n    mode tcp\n    tcp-request content reject if REQ_CONTENT\n    bind "+bind+
			"\n    server a 10.0.0.1:25\n    server b [2001:db8::2]:25\n"))
		if err != nil || cfg.Frontends[0].Binds[0].String() != want {
			t.Errorf("bind %s: got %+v, %v; want %s", bind, cfg, err, want)
		}
	}
}

// TestBindFamiliesInHAProxy: HAProxy itself confirms that table.
func TestBindFamiliesInHAProxy(t *testing.T) {
	for bind, want := range map[string]string{
		"[::]:{PORT}": "46", ":::{PORT} v6only": "6", ":::{PORT} v6only v4v6": "6", ":::{PORT} v4v6 v6only": "6",
		"ipv6@:{PORT}": "46", "ipv6@*:{PORT} v6only": "6", "0.0.0.0:{PORT} v4v6": "4", "0.0.0.0:{PORT} v6only": "4",
	} {
		port := unusedport.Pick(t)
		p := startHAProxy(t, "frontend f\n    bind {BIND}\n    bind "+strings.ReplaceAll(bind, "{PORT}", port)+" interface lo\n")
		p.info("Version") // its sockets are open from here on
		got := ""
		for family, host := range map[string]string{"4": "127.0.0.1", "6": "::1"} {
			if c, err := net.Dial("tcp", net.JoinHostPort(host, port)); err == nil {
				got += family
				_ = c.Close()
			}
		}
		if got = strings.Replace(got, "64", "46", 1); got != want {
			t.Errorf("bind %s: HAProxy serves %q, the table says %q", bind, got, want)
		}
	}
}
