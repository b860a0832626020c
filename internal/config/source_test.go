package config

import (
	"strings"
	"testing"
)

// TestSourceOfProxiedServers: in HAProxy's syntax a server with send-proxy and without source is reached from the gateway's
// own address, which the kernel chooses by the route, as HAProxy does. Each line that sets a server-side address is obeyed.
func TestSourceOfProxiedServers(t *testing.T) {
	const route4, route6, client = "0.0.0.0:1024-32767", "[::]:1024-32767", "0.0.0.0 usesrc clientip"
	for _, c := range []struct {
		name, defaults, frontend, backend, server string

		want  string
		notes string // what is said, each line's first words
	}{
		{
			name: "neither", server: "server s 10.0.0.11:25", want: client,
			notes: "backend bk: no source: the server sees the client's address",
		},
		{
			name: "send-proxy", server: "server s 10.0.0.11:25 send-proxy", want: route4,
			notes: "server s: send-proxy without source: connections come from this machine's own address",
		},
		{
			name: "version 2", server: "server s [2001:db8::11]:25 send-proxy-v2", want: route6,
			notes: "server s: send-proxy without source",
		},
		{
			name: "of default-server", backend: "default-server send-proxy", server: "server s 10.0.0.11:25", want: route4,
			notes: "server s: send-proxy without source",
		},
		{
			name: "taken back", backend: "default-server send-proxy", server: "server s 10.0.0.11:25 no-send-proxy", want: client,
			notes: "backend bk: no source",
		},
		{
			name: "of the defaults", defaults: "default-server send-proxy", server: "server s 10.0.0.11:25", want: route4,
			notes: "server s: send-proxy without source",
		},
		{
			name: "the client's in the backend", backend: "source 0.0.0.0 usesrc clientip", server: "server s 10.0.0.11:25 send-proxy", want: client,
			notes: "server s: send-proxy with usesrc clientip: the server must trust PROXY headers from every address",
		},
		{
			name: "the client's in the defaults", defaults: "source 0.0.0.0 usesrc clientip", server: "server s 10.0.0.11:25 send-proxy", want: client,
			notes: "server s: send-proxy with usesrc clientip",
		},
		{
			name: "the client's of default-server", backend: "default-server source 0.0.0.0 usesrc clientip", server: "server s 10.0.0.11:25 send-proxy", want: client,
			notes: "server s: send-proxy with usesrc clientip",
		},
		{
			name: "the client's on its line", backend: "source 10.0.0.1", server: "server s 10.0.0.11:25 send-proxy source 0.0.0.0 usesrc clientip", want: client,
			notes: "server s: send-proxy with usesrc clientip",
		},
		{
			name: "the client's, plainly", backend: "source 0.0.0.0 usesrc clientip", server: "server s 10.0.0.11:25", want: client,
		},
		{
			name: "an address", backend: "source 10.0.0.1", server: "server s 10.0.0.11:25 send-proxy", want: "10.0.0.1:1024-32767",
		},
		{
			name: "no address in particular", backend: "source 0.0.0.0", server: "server s 10.0.0.11:25 send-proxy", want: route4,
		},
		{
			name: "of the other family", backend: "source 0.0.0.0", server: "server s [2001:db8::11]:25 send-proxy", want: route6,
		},
		{
			name: "ports alone", server: "server s 10.0.0.11:25 send-proxy source *:2000-2999", want: "0.0.0.0:2000-2999",
		},
		{
			name: "no header", backend: "source 0.0.0.0", server: "server s 10.0.0.11:25", want: route4,
			notes: "server s has the source 0.0.0.0 and no send-proxy",
		},
		{
			name: "in a frontend", frontend: "source 0.0.0.0 usesrc clientip", server: "server s 10.0.0.11:25", want: client,
			notes: "source: HAProxy ignores it in a frontend, so that servers see the proxy's address; here they see the client's",
		},
		{
			name: "in a frontend, before a server with send-proxy", frontend: "source 0.0.0.0 usesrc clientip",
			server: "server s 10.0.0.11:25 send-proxy", want: route4,
			notes: "source: it has no effect in a frontend, as in HAProxy: write it in backend bk\nserver s: send-proxy without source",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := strings.Join([]string{
				"defaults", " log stdout format raw mail", " " + c.defaults, "frontend ft", " bind :25", " " + c.frontend,
				" tcp-request inspect-delay 10s", " tcp-request content reject if { req_len gt 0 }", " default_backend bk", "backend bk",
				" " + c.backend, " " + c.server + " check", "",
			}, "\n")
			cfg, warnings, err := Parse("test.cfg", []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			if got := cfg.Backends[0].Servers[0].Source.String(); got != c.want && (c.want != client || cfg.Backends[0].Servers[0].Source.Set()) {
				t.Errorf("source %s, want %s", got, c.want)
			}
			checkSaid(t, warnings, c.notes)
		})
	}
}

// TestSourceBesideABindOfAnyAddress: a service on an unprivileged port of all addresses may stand beside a server-side
// address that the kernel chooses. The port is left out of its range when the address is known; it is an error only if no
// other port is left.
func TestSourceBesideABindOfAnyAddress(t *testing.T) {
	const fix = ": give it a range without that one, such as source "
	for _, c := range []struct{ bind, server, want string }{
		{":2525", "10.0.0.11:25 send-proxy", ""},
		{"[::]:2525", "[2001:db8::11]:25 send-proxy-v2", ""},
		{":2525", "10.0.0.11:25 send-proxy source 0.0.0.0:2500-2600", ""},
		{":2525", "10.0.0.11:25 send-proxy source *:2525", "its source has the port of bind 0.0.0.0:2525 of listen l" + fix + "0.0.0.0:2526-2526"},
		{"[::]:2525", "[2001:db8::11]:25 send-proxy source :::2525", "its source has the port of bind [::]:2525 of listen l" + fix + "[::]:2526-2526"},
		{
			"[2001:db8::1]:2525", "[2001:db8::11]:25 send-proxy source [2001:db8::1]",
			"its source has the port of bind [2001:db8::1]:2525 of listen l" + fix + "[2001:db8::1]:2526-32767",
		},
	} {
		text := "listen l\n bind " + c.bind + "\n tcp-request inspect-delay 20s\n tcp-request content reject if REQ_CONTENT\n server s " +
			c.server + "\n"
		_, _, err := Parse("a.cfg", []byte(text))
		if c.want == "" && err != nil || c.want != "" && (err == nil || err.Error() != "a.cfg:5: server s: "+c.want) {
			t.Errorf("bind %s, server %s: got %v, want %q", c.bind, c.server, err, c.want)
		}
	}
}

// TestSourceInYAML: in hushgate's own syntax the client's address is always the default. With send-proxy this gives a
// warning until the file says which of the two is meant.
func TestSourceInYAML(t *testing.T) {
	for _, c := range []struct{ backend, server, want, notes string }{
		{"", "", "client", ""},
		{"", "send-proxy: true", "client", "server s: send-proxy without source: the connection comes from the client's address"},
		{"source: client", "send-proxy: true", "client", ""},
		{"source: gateway", "send-proxy: true", "0.0.0.0:1024-32767", ""},
		{"source: gateway", "send-proxy: true, source: client", "client", ""},
		{"", "send-proxy-v2: true, source: gateway", "0.0.0.0:1024-32767", ""},
		{"", `send-proxy: true, source: "gateway:2000-2999"`, "0.0.0.0:2000-2999", ""},
		{"", `send-proxy: true, source: "10.0.0.1"`, "10.0.0.1:1024-32767", ""},
	} {
		text := "frontends: [{name: ft, bind: ':25', inspect-delay: 20s, default_backend: bk}]\nbackends:\n  - name: bk\n    " +
			c.backend + "\n    servers: [{name: s, address: '10.0.0.11:25', check: true, " + c.server + "}]\n"
		cfg, warnings, err := Parse("test.yaml", []byte(text))
		if err != nil {
			t.Fatalf("%+v: %v", c, err)
		}
		source := cfg.Backends[0].Servers[0].Source
		if got := source.String(); got != c.want && (c.want != "client" || source.Set()) {
			t.Errorf("%+v: source %s", c, got)
		}
		checkSaid(t, warnings, c.notes)
	}
}

// checkSaid compares warnings with the expected first words, one line each. It leaves out the note that one bind serves one
// family, which each such file gives.
func checkSaid(t *testing.T, warnings []Warning, want string) {
	t.Helper()
	var got []string
	for _, w := range warnings {
		if !strings.HasPrefix(w.Text, "bind :25 serves") && !strings.Contains(w.Text, "smtpchk") {
			got = append(got, w.Text)
		}
	}
	lines := strings.Split(want, "\n")
	if want == "" {
		lines = nil
	}
	if len(got) != len(lines) {
		t.Errorf("%d warnings, want %d: %q", len(got), len(lines), got)
		return
	}
	for i, w := range got {
		if !strings.HasPrefix(w, lines[i]) {
			t.Errorf("said %q, want %q", w, lines[i])
		}
	}
}
