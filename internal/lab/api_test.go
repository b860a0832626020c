package lab

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"hushgate/internal/admin"
)

// TestAPI: what each resource of the API says and does, with real clients and servers. Every answer is as the description says, and
// every operation of the description is asked for. All of it goes on after an upgrade.
func TestAPI(t *testing.T) {
	beside(t)
	s := newAPISite(t)
	for i, f := range families {
		n := fmt.Sprint([]int{4, 6}[i])
		s.held(f, n)
		s.passed(f)
		s.delayed(f, n)
		s.servers(f, n)
		s.offended(f, n)
	}
	s.overview()
	s.refused()
	s.remote()
	s.examples()
	s.upgraded()
	for o, asked := range s.known {
		if !asked {
			t.Errorf("%s was not asked for", o)
		}
	}
	s.stop()
}

// held ends connections that are held, in both ways.
func (s *apiSite) held(f family, n string) {
	c, other := s.dial(f, f.client), s.dial(f, f.talker)
	v := s.seen(c, "held")
	s.seen(other, "held")
	if v.Frontend != "ft"+n || v.DelayMs != time.Hour.Milliseconds() || v.DelayLeftMs == nil || *v.DelayLeftMs > v.DelayMs || v.Server != "" {
		s.t.Errorf("a held connection: %+v", v)
	}
	s.kills(fmt.Sprintf(`{"client": %q, "phases": ["spliced"]}`, f.client), 0)
	s.kills(fmt.Sprintf(`{"client": %q, "phases": ["held"]}`, f.client), 1)
	s.expect("a held client that was ended", c.line(), "421 4.3.2 Service not available, try again later", c.line(), string(EndFIN))
	s.kills(fmt.Sprintf(`{"frontend": "ft%s", "phases": ["held"], "how": "reset"}`, n), 1)
	s.expect("a held client that was reset", other.line(), string(EndReset))
}

// passed gives a client a pass, ends its spliced connection at both ends, and takes the pass away.
func (s *apiSite) passed(f family) {
	s.ask("POST", "/v1/passes", fmt.Sprintf(`{"client": %q}`, f.client), 204, nil)
	var p admin.PassPage
	s.ask("GET", "/v1/passes?client="+f.client, "", 200, &p)
	if len(p.Passes) != 1 || !strings.HasPrefix(p.Passes[0].Client, f.client+"/") || p.Passes[0].LeftMs <= 0 {
		s.t.Errorf("passes: %+v", p)
	}
	c := s.dial(f, f.client)
	banner := c.line()
	s.expect("a command", c.noop(), "250 2.0.0 Ok")
	v := s.seen(c, "spliced")
	if banner != "220 "+v.Server || v.BytesToServer != uint64(len("NOOP\r\n")) || v.BannerMs == nil || v.Pass == "" {
		s.t.Errorf("%s, a spliced connection: %+v", banner, v)
	}
	s.kills(fmt.Sprintf(`{"client": %q, "server": "%s/%s"}`, c.LocalAddr(), v.Backend, v.Server), 1)
	s.expect("a spliced client that was ended", c.line(), string(EndReset))
	s.ask("DELETE", "/v1/passes/"+f.client, "", 204, nil)
	s.ask("DELETE", "/v1/passes/"+f.client, "", 404, nil)
	c = s.dial(f, f.client)
	s.seen(c, "held")
	s.kills(fmt.Sprintf(`{"client": %q, "phases": ["held"]}`, f.client), 1)
}

// delayed changes the delay: new clients have the new one, and those that wait keep theirs.
func (s *apiSite) delayed(f family, n string) {
	waits := s.dial(f, f.client)
	s.seen(waits, "held")
	var v admin.Frontend
	s.ask("PATCH", "/v1/frontends/ft"+n, `{"delay_ms": 0}`, 200, &v)
	if v.DelayMs != 0 || v.ConfiguredDelayMs != time.Hour.Milliseconds() {
		s.t.Errorf("a delay that was changed: %+v", v)
	}
	s.seen(waits, "held")
	if b := s.dial(f, f.talker).line(); !strings.HasPrefix(b, "220 ") {
		s.t.Errorf("without a delay: %q", b)
	}
	s.ask("PATCH", "/v1/frontends/ft"+n, `{"delay_ms": null}`, 200, &v)
	if v.DelayMs != time.Hour.Milliseconds() {
		s.t.Errorf("the delay of the configuration: %+v", v)
	}
	s.kills(fmt.Sprintf(`{"frontend": "ft%s", "phases": ["held", "spliced"]}`, n), 2)
	_ = waits.line()
	s.ask("PATCH", "/v1/frontends/ft"+n, `{"delay_ms": 0}`, 200, nil)
}

// servers drains one and takes the other one's weight: new connections go elsewhere, and others go on.
func (s *apiSite) servers(f family, n string) {
	var list []*smtpClient
	banners := func() (all string) { // of three new clients
		for range 3 {
			c := s.dial(f, f.client)
			all += strings.TrimPrefix(c.line(), "220 ")
			list = append(list, c)
		}
		return all
	}
	set := func(server, change string) (v admin.Server) {
		s.t.Helper()
		s.ask("PATCH", "/v1/servers/bk"+n+"/"+server, change, 200, &v)
		return v
	}
	if v := set("a", `{"state": "drain"}`); v.State != admin.ServerDrain || !v.ByHand || v.Check == nil {
		s.t.Errorf("a drained server: %+v", v)
	}
	s.expect("with a drained", banners(), "bbb")
	set("a", `{"state": "ready"}`)
	if v := set("b", `{"weight": 0}`); v.Weight != 0 || v.ConfiguredWeight != 1 {
		s.t.Errorf("a server without weight: %+v", v)
	}
	waitFor(s.t, "a to be up", func() bool {
		var v admin.Server
		s.ask("GET", "/v1/servers/bk"+n+"/a", "", 200, &v)
		return v.Up
	})
	s.expect("with b of no weight", banners(), "aaa")
	set("b", `{"weight": null}`)
	if v := set("a", `{"state": "maint"}`); v.State != admin.ServerMaint || v.Check == nil || v.Check.Enabled || v.Connections != 3 {
		s.t.Errorf("a server in maintenance: %+v", v)
	}
	s.expect("with a in maintenance", banners(), "bbb")
	for i, c := range list {
		s.expect(fmt.Sprintf("client %d goes on", i), c.noop(), "250 2.0.0 Ok")
	}
	set("a", `{"state": "ready", "checks": false}`)
	set("a", `{"checks": true}`)
	s.ask("PATCH", "/v1/servers/bk"+n+"/nobody", `{"state": "ready"}`, 404, nil)
	s.kills(fmt.Sprintf(`{"server": "bk%s/b", "phases": ["spliced"]}`, n), 6)
	for i, c := range list {
		want := string(EndReset)
		if i/3 == 1 { // of server a
			want = "250 2.0.0 Ok"
		}
		s.expect(fmt.Sprintf("client %d, of b's the connections were ended", i), c.noop(), want)
	}
	s.kills(fmt.Sprintf(`{"service": %q, "phases": ["spliced"]}`, net.JoinHostPort(f.vip, "25")), 3)
}

// offended makes a client an offender and forgives it; then it talks early, which the stream of verdicts tells.
func (s *apiSite) offended(f family, n string) {
	s.ask("PATCH", "/v1/frontends/ft"+n, `{"delay_ms": null}`, 200, nil)
	s.ask("POST", "/v1/offenders", fmt.Sprintf(`{"client": %q, "for_ms": 60000}`, f.talker), 200, nil)
	var p admin.OffenderPage
	s.ask("GET", "/v1/offenders?client="+f.talker, "", 200, &p)
	if len(p.Offenders) != 1 || !p.Offenders[0].Listed || p.Offenders[0].LeftMs == nil || *p.Offenders[0].LeftMs > 60000 {
		s.t.Errorf("offenders: %+v", p)
	}
	if c, err := s.l.Client.Dial(s.ctx, f.talker, net.JoinHostPort(f.vip, "25")); err == nil {
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		_, err := c.Read(make([]byte, 1))
		s.expect("an offender", string(classify(err)), string(EndReset))
		_ = c.Close()
	} else if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.ECONNREFUSED) {
		s.t.Errorf("an offender: %v", err)
	}
	s.ask("DELETE", "/v1/offenders/"+f.talker, "", 200, nil)
	s.ask("DELETE", "/v1/offenders/"+f.talker, "", 404, nil)

	q, err := http.NewRequestWithContext(s.ctx, "GET", "http://hushgate/v1/verdicts?verdict=early-talker&client="+f.talker, nil)
	must(s.t, err)
	a, err := overUnix(filepath.Join(s.files.dir, "api.sock")).Do(q)
	must(s.t, err)
	defer func() { _ = a.Body.Close() }()
	s.note("GET", "/v1/verdicts")
	talker := s.dial(f, f.talker)
	s.seen(talker, "held")
	_, err = io.WriteString(talker, "EHLO bot\r\n")
	must(s.t, err)
	s.expect("the talker", talker.line(), string(EndReset))
	d := json.NewDecoder(a.Body)
	d.DisallowUnknownFields()
	var v admin.Verdict
	must(s.t, d.Decode(&v))
	if v.Client != f.talker || v.Verdict != "early-talker" || v.Talk != `EHLO bot\r\n` || v.Frontend != "ft"+n || v.FirstByteMs == nil {
		s.t.Errorf("the talker's verdict: %+v", v)
	}
	var e admin.Explanation
	s.ask("GET", "/v1/explain/"+f.talker, "", 200, &e)
	if e.Verdicts["early-talker"] == 0 {
		s.t.Errorf("the talker explained: %+v", e)
	}
}

// overview reads what is about the gateway as a whole.
func (s *apiSite) overview() {
	held := s.dial(families[0], families[0].client)
	s.seen(held, "held")
	var v admin.Status
	s.ask("GET", "/v1/status", "", 200, &v)
	if !v.Ready || v.Shards != 2 || v.Configuration.File != s.g.File || v.Servers.Total != 4 || v.Connections["held"] != 1 || len(v.Interfaces) != 2 || v.PID != s.g.PID() {
		s.t.Errorf("status: %+v", v)
	}
	var c admin.ClientPage
	s.ask("GET", "/v1/clients?client="+families[0].client, "", 200, &c)
	if len(c.Clients) != 1 || c.Clients[0].Connections < 1 || c.Clients[0].Rate < 10 {
		s.t.Errorf("clients: %+v", c)
	}
	var f admin.Frontends
	waitFor(s.t, "every end to be counted", func() bool {
		s.ask("GET", "/v1/frontends", "", 200, &f)
		return len(f.Frontends) == 2 && f.Frontends[0].Verdicts["early-talker"] == 1 && f.Frontends[1].Verdicts["early-talker"] == 1
	})
	if f.Frontends[0].Connections < 1 || f.Frontends[0].BytesToServer == 0 {
		s.t.Errorf("frontends: %+v", f)
	}
	s.ask("GET", "/v1/frontends/ft6", "", 200, nil)
	s.ask("GET", "/v1/frontends/nobody", "", 404, nil)
	var list admin.Servers
	s.ask("GET", "/v1/servers", "", 200, &list)
	if len(list.Servers) != 4 || list.Servers[1].Name != "b" || list.Servers[1].Ended < 6 || list.Servers[1].BytesToServer == 0 {
		s.t.Errorf("servers: %+v", list)
	}
	var counters admin.Counters
	s.ask("GET", "/v1/counters", "", 200, &counters)
	if !slices.ContainsFunc(counters.Counters, func(c admin.Counter) bool { return c.Labels["phase"] == "held" && c.Gauge && c.Count == 1 }) {
		s.t.Errorf("no gauge of held connections in %+v", counters)
	}
	s.ask("POST", "/v1/counters/log", "", 204, nil)
	s.curves()
	s.ask("DELETE", "/v1/clients/"+families[0].client, "", 204, nil)
	s.ask("DELETE", "/v1/clients/198.18.255.1", "", 404, nil)
	s.kills(fmt.Sprintf(`{"client": %q, "phases": ["held"]}`, families[0].client), 1)
	s.ask("GET", "/v1/status?verbose=1", "", 400, nil)
	s.ask("POST", "/v1/connections/kill", `{"phases": ["held"]}`, 400, nil)
	if !strings.Contains(s.ask("GET", "/v1/openapi.yaml", "", 200, nil), "openapi: 3.1.0") {
		s.t.Error("the description is another document")
	}
}

// curves reads what was noted in the course of time. The first sample says only from where on to count, so one more client talks early.
func (s *apiSite) curves() {
	sampled := func(what string, ok func(h *admin.History) bool) {
		waitFor(s.t, what, func() bool {
			var h admin.History
			s.ask("GET", "/v1/history", "", 200, &h)
			return ok(&h)
		})
	}
	sampled("a sample with the connection", func(h *admin.History) bool { return slices.Contains(h.Connections["held"], 1) })
	bot := s.dial(families[0], families[0].talker)
	_, err := io.WriteString(bot, "EHLO bot\r\n")
	must(s.t, err)
	s.expect("the talker", bot.line(), string(EndReset))
	sampled("a sample with the talker", func(h *admin.History) bool {
		return slices.ContainsFunc(h.Verdicts["early-talker"], func(n uint64) bool { return n > 0 })
	})
	var v admin.Silences
	s.ask("GET", "/v1/silences", "", 200, &v)
	var early uint64
	for _, n := range v.EarlyTalk {
		early += n
	}
	if early != 3 {
		s.t.Errorf("the histogram has %d early talkers", early)
	}
}

// refused has a wrong configuration refused with the reason; the one in force stays.
func (s *apiSite) refused() {
	good, err := os.ReadFile(s.g.File)
	must(s.t, err)
	var before, after admin.Status
	s.ask("GET", "/v1/status", "", 200, &before)
	for _, c := range []struct{ from, to, says string }{
		{"inspect-delay: 1h", "inspect-delay: soon", "hushgate.yaml:7: inspect-delay: expected "},
		{"/tokens,", "/none,", "serve the API at [::]:9164: open " + s.files.dir + "/none: no such file"},
	} {
		must(s.t, os.WriteFile(s.g.File, bytes.Replace(good, []byte(c.from), []byte(c.to), 1), 0o600))
		var p admin.Problem
		if s.ask("POST", "/v1/reload", "", 422, &p); !strings.Contains(p.Detail, c.says) {
			s.t.Errorf("%s: %+v", c.to, p)
		}
	}
	s.ask("GET", "/v1/status", "", 200, &after)
	s.expect("the configuration in force", after.Configuration.SHA256, before.Configuration.SHA256)
	must(s.t, os.WriteFile(s.g.File, append(good, "# changed\n"...), 0o600))
	s.ask("POST", "/v1/reload", "", 200, nil)
	s.ask("GET", "/v1/status", "", 200, &after)
	if after.Configuration.SHA256 == before.Configuration.SHA256 {
		s.t.Error("the reload has no effect")
	}
}

// far asks over TCP from the client's host.
func (s *apiSite) far(f family, cert, token, method, path string) (status int, text string, err error) {
	cfg := &tls.Config{RootCAs: s.files.roots}
	if c, ok := s.files.clients[cert]; ok {
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c, nil }
	}
	c := http.Client{Timeout: time.Minute, Transport: &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true, DialContext: func(ctx context.Context, _, to string) (net.Conn, error) {
		return s.l.Client.Dial(ctx, f.client, to)
	}}}
	scheme := "https"
	if cert == "plain" {
		scheme = "http"
	}
	q, err := http.NewRequestWithContext(s.ctx, method, scheme+"://"+net.JoinHostPort(f.vip, apiPort)+path, nil)
	if err != nil {
		return 0, "", err
	}
	if token != "" {
		q.Header.Set("Authorization", "Bearer "+token)
	}
	a, err := c.Do(q)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = a.Body.Close() }()
	b, err := io.ReadAll(a.Body)
	if err == nil && cert != "plain" {
		s.conform(method, path, "", a, b)
	}
	return a.StatusCode, string(b), err
}

// remote asks over TCP, with certificates and tokens that are right and wrong.
func (s *apiSite) remote() {
	for _, f := range families {
		for _, c := range []struct {
			cert, token, method string
			status              int // 0: the handshake fails
		}{
			{"me", "", "GET", 200},
			{"me", "", "POST", 403},
			{"ops.example.net", "", "POST", 204},
			{"stranger", "", "GET", 0},
			{"", apiToken, "GET", 200},
			{"", apiToken, "POST", 403},
			{"", adminToken, "POST", 204},
			{"", adminToken + "x", "GET", 401},
			{"me", adminToken + "x", "GET", 401},
			{"", "", "GET", 401},
			{"plain", adminToken, "GET", 400},
		} {
			path := map[string]string{"GET": "/v1/status", "POST": "/v1/counters/log"}[c.method]
			status, text, err := s.far(f, c.cert, c.token, c.method, path)
			if status != c.status || (err == nil) != (c.status != 0) {
				s.t.Errorf("%s: certificate %q, token %.5q, %s: %d %s, %v", f.name, c.cert, c.token, c.method, status, text, err)
			}
		}
	}
}

// examples runs the commands that the documentation shows, with the places and names of this site.
func (s *apiSite) examples() {
	text, err := os.ReadFile("../../docs/api.md")
	must(s.t, err)
	s.files.write(s.t, "token", []byte(apiToken))
	names := strings.NewReplacer("/run/hushgate", s.files.dir, "/bk/mx1", "/bk4/a", "/frontends/ft", "/frontends/ft4", "192.0.2.1:9164", "127.0.0.1:"+apiPort)
	n := 0
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "curl ") || strings.Contains(line, "/v1/upgrade") {
			continue // upgraded does that
		}
		n++
		endless, options := strings.HasPrefix(line, "curl -N "), "curl -sS --fail-with-body "
		if endless {
			options += "--max-time 2 "
		}
		out, err := s.l.Gateway.Run(s.ctx, "sh", "-c", "cd "+s.files.dir+"; "+names.Replace(strings.Replace(line, "curl ", options, 1)))
		if ended := err == nil; ended == endless || endless && !strings.Contains(err.Error(), "exit status 28") {
			s.t.Errorf("%s: %v", line, err)
		}
		s.t.Logf("%s%.300s", line, out)
	}
	if n < 20 {
		s.t.Errorf("%d examples", n)
	}
	s.ask("PATCH", "/v1/servers/bk4/a", `{"weight": null}`, 200, nil)
}

// upgraded has the program started again: connections, what was set by hand, the sockets and the listener over TCP go on.
func (s *apiSite) upgraded() {
	f := families[1]
	s.ask("PATCH", "/v1/servers/bk6/b", `{"state": "drain"}`, 200, nil)
	s.ask("POST", "/v1/passes", fmt.Sprintf(`{"client": %q}`, f.client), 204, nil)
	goesOn, waits := s.dial(f, f.client), s.dial(f, f.talker)
	s.expect("the banner", goesOn.line(), "220 a")
	s.seen(waits, "held")
	out, err := s.l.Gateway.Run(s.ctx, "curl", "-sS", "--fail-with-body", "--abstract-unix-socket", "hushgate", "-X", "POST", "http://hushgate/v1/upgrade")
	must(s.t, err)
	s.expect("the answer to the upgrade", out, "")
	s.note("POST", "/v1/upgrade")
	var v admin.Status
	s.ask("GET", "/v1/status", "", 200, &v)
	if v.PID == s.g.PID() {
		s.t.Error("the old process answers")
	}
	s.expect("a client goes on", goesOn.noop(), "250 2.0.0 Ok")
	s.seen(waits, "held")
	s.expect("a client with a pass", s.dial(f, f.client).line(), "220 a")
	for _, f := range families {
		if status, text, err := s.far(f, "ops.example.net", "", "GET", "/v1/status"); status != 200 {
			s.t.Errorf("over TCP after the upgrade: %d %s, %v", status, text, err)
		}
	}
	var b admin.Server
	s.ask("GET", "/v1/servers/bk6/b", "", 200, &b)
	s.expect("what was set by hand", string(b.State), string(admin.ServerDrain))
}

// stop ends the process that is there after the upgrade.
func (s *apiSite) stop() {
	var v admin.Status
	s.ask("GET", "/v1/status", "", 200, &v)
	s.kills(`{"frontend": "ft6", "phases": ["held", "spliced"], "how": "reset"}`, 3)
	for _, c := range s.clients {
		_ = c.Close()
	}
	must(s.t, syscall.Kill(v.PID, syscall.SIGTERM))
	must(s.t, s.g.Wait()) // the old process has ended already; the new one shares its output
}
