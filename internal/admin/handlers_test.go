package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestActions: what the gateway is told is what the request says.
func TestActions(t *testing.T) {
	r := newRig(t)
	for _, c := range []struct{ method, path, body, want string }{
		{"PATCH", "/v1/servers/bk/a", `{"state":"maint"}`, "server bk/a: maint, weight as it is, checks as they are"},
		{"PATCH", "/v1/servers/bk/a", `{"weight":0}`, "server bk/a: as it is, weight 0, checks as they are"},
		{"PATCH", "/v1/servers/bk/a", `{"weight":null,"checks":true}`, "server bk/a: as it is, weight configured, checks true"},
		{"PATCH", "/v1/servers/bk/a", `{"up":false}`, "server bk/a: as it is, weight as it is, checks as they are, up false"},
		{"PATCH", "/v1/frontends/ft", `{"delay_ms":null}`, "delay of ft: <nil>"},
		{"PATCH", "/v1/frontends/ft", `{"disabled":true}`, "enable ft: false"},
		{"POST", "/v1/passes", `{"client":"::ffff:198.18.0.7"}`, "grant 198.18.0.7"},
		{"DELETE", "/v1/passes/198.18.0.7", "", "take [198.18.0.7]"},
		{"DELETE", "/v1/clients/198.18.0.7", "", "forget the rate of [198.18.0.7]"},
		{"POST", "/v1/offenders", `{"client":"2001:db8::7","for_ms":1500}`, "list 2001:db8::7/128 for 1.5s"},
		{"POST", "/v1/offenders", `{"client":"198.18.7.0/24"}`, "list 198.18.7.0/24 for 0s"},
		{"DELETE", "/v1/offenders/198.18.0.7", "", "forgive 198.18.0.7/32"},
		{"DELETE", "/v1/offenders/198.18.7.0%2F24", "", "forgive 198.18.7.0/24"},
		{"POST", "/v1/connections/kill", `{"client":"[2001:db8::7]:25"}`, "kill {ID:0x0 Phases:[] Client:2001:db8::7/128 Port:25 Service:invalid AddrPort Frontend: Server:{Backend: Name:}}, reply true"},
		{"POST", "/v1/connections/kill", `{"service":"192.0.2.25:25","server":"bk/a","frontend":"ft","phases":["held"],"how":"reset"}`, "kill {ID:0x0 Phases:[held] Client:invalid Prefix Port:0 Service:192.0.2.25:25 Frontend:ft Server:{Backend:bk Name:a}}, reply false"},
		{"GET", "/v1/connections?client=198.18.1.1/15", "", "{ConnectionFilter:{ID:0x0 Phases:[] Client:198.18.0.0/15 Port:0 Service:invalid AddrPort Frontend: Server:{Backend: Name:}} Cursor: Limit:100}"},
		{"POST", "/v1/connections/kill", `{"id":"0x100000aff"}`, "kill {ID:0x100000aff Phases:[] Client:invalid Prefix Port:0 Service:invalid AddrPort Frontend: Server:{Backend: Name:}}, reply true"},
		{"GET", "/v1/connections?id=0xff", "", "{ConnectionFilter:{ID:0xff Phases:[] Client:invalid Prefix Port:0 Service:invalid AddrPort Frontend: Server:{Backend: Name:}} Cursor: Limit:100}"},
		{"GET", "/v1/history?after=7", "", "{History after 7}"},
		{"GET", "/v1/history", "", "{History after 0}"},
		{"GET", "/v1/passes?client=198.18.0.7&limit=5&cursor=x", "", "{Client:198.18.0.7/32 Cursor:x Limit:5}"},
	} {
		r.gateway.done = nil
		a, text := r.ask(t, Admin, c.method, c.path, c.body)
		if a.StatusCode >= 300 || !slices.Equal(r.gateway.done, []string{c.want}) {
			t.Errorf("%s %s %s: %s %s\ndone %q\nwant %q", c.method, c.path, c.body, a.Status, text, r.gateway.done, c.want)
		}
	}
}

// TestWrongValues: a value out of its bounds is named, with what was found and what is expected, and nothing is done.
func TestWrongValues(t *testing.T) {
	v, r := described(t), newRig(t)
	for _, c := range []struct {
		method, path, body string
		status             int
		says               string
	}{
		{"PATCH", "/v1/servers/bk/a", ``, 400, "expected a JSON object in the body"},
		{"PATCH", "/v1/servers/bk/a", `{}`, 400, "expected state, weight, checks or up"},
		{"PATCH", "/v1/servers/bk/a", `{"state":"down"}`, 400, `state: expected ready, drain or maint, found \"down\"`},
		{"PATCH", "/v1/servers/bk/a", `{"weight":257}`, 400, "weight: expected 0 to 256"},
		{"PATCH", "/v1/servers/bk/a", `{"weight":"1"}`, 400, `"field":"weight"`},
		{"PATCH", "/v1/servers/bk/a", `{"colour":1}`, 400, "colour"},
		{"PATCH", "/v1/servers/bk/a", `{"weight":1} {}`, 400, "found more after it"},
		{"PATCH", "/v1/servers/bk/nobody", `{"weight":1}`, 404, "there is no server bk/nobody"},
		{"GET", "/v1/servers/bk/nobody", "", 404, "there is no server bk/nobody"},
		{"GET", "/v1/frontends/nobody", "", 404, "there is no frontend"},
		{"PATCH", "/v1/frontends/ft", `{}`, 400, "expected delay_ms or disabled"},
		{"PATCH", "/v1/frontends/ft", `{"disabled":"no"}`, 400, `"field":"disabled"`},
		{"PATCH", "/v1/frontends/ft", `{"delay_ms":-1}`, 400, "delay_ms: expected 0 to 2147483647"},
		{"PATCH", "/v1/frontends/ft", `{"delay_ms":2147483648}`, 400, "delay_ms: expected 0 to 2147483647"},
		{"GET", "/v1/history?after=-1", "", 400, "after: expected a whole number from 0 to"},
		{"GET", "/v1/connections?limit=0", "", 400, "limit: expected a whole number from 1 to 1000"},
		{"GET", "/v1/connections?limit=1&limit=2", "", 400, "limit: expected one value, found 2"},
		{"GET", "/v1/connections?phase=standing", "", 400, "phase: expected half-open, held, spliced"},
		{"GET", "/v1/connections?client=x", "", 400, "client: expected an address or a network"},
		{"GET", "/v1/connections?client=198.18.0.7:0", "", 400, "client: expected an address or a network"},
		{"GET", "/v1/connections?id=x", "", 400, "id: expected the id of a connection such as"},
		{"POST", "/v1/connections/kill", `{"id":"0"}`, 400, "id: expected the id of a connection"},
		{"GET", "/v1/connections?server=a", "", 400, "server: expected backend/server"},
		{"GET", "/v1/connections?client=" + strings.Repeat("9", 500), "", 400, "999..."},
		{"POST", "/v1/connections/kill", `{}`, 400, "otherwise every connection would end"},
		{"POST", "/v1/connections/kill", `{"phases":["held"]}`, 400, "otherwise every connection would end"},
		{"POST", "/v1/connections/kill", `{"frontend":"ft","phases":["x"]}`, 400, "phases: expected"},
		{"POST", "/v1/connections/kill", `{"frontend":"ft","how":"x"}`, 400, "how: expected reply or reset"},
		{"POST", "/v1/connections/kill", `{"service":"192.0.2.25"}`, 400, "service: expected an address and port"},
		{"GET", "/v1/passes?client=fe80::1%25eth0", "", 400, "client: expected an address or a network"},
		{"POST", "/v1/passes", `{"client":"198.18.0.0/15"}`, 400, "client: expected the address of a client"},
		{"DELETE", "/v1/passes/x", "", 400, "client: expected the address of a client"},
		{"DELETE", "/v1/passes/2001:db8::7", "", 404, "2001:db8::7 has no pass"},
		{"DELETE", "/v1/clients/2001:db8::7", "", 404, "2001:db8::7 has no new connections"},
		{"DELETE", "/v1/offenders/2001:db8::7", "", 404, "2001:db8::7 is no offender"},
		{"DELETE", "/v1/offenders/2001:db8::%2F64", "", 404, "2001:db8::/64 is no offender"},
		{"POST", "/v1/offenders", `{"client":"198.18.7.0/33"}`, 400, "client: expected an address or a network"},
		{"DELETE", "/v1/offenders/::ffff:198.18.7.0%2F120", "", 400, "client: expected an address or a network"},
		{"DELETE", "/v1/offenders/0.0.0.0", "", 400, "client: expected the address of a client"},
		{"POST", "/v1/offenders", `{"client":"198.18.0.7","for_ms":999}`, 400, "for_ms: expected 0, or 1000 to"},
	} {
		a, text := r.ask(t, Admin, c.method, c.path, c.body)
		if a.StatusCode != c.status || !strings.Contains(text, c.says) {
			t.Errorf("%s %.80s %s: %s %s\nwant %d %s", c.method, c.path, c.body, a.Status, text, c.status, c.says)
		}
		path, _, _ := strings.Cut(c.path, "?")
		conform(t, v, c.method, path, c.body, a, text)
		if c.status == 400 && len(r.gateway.done) > 0 {
			t.Errorf("%s %s %s did %v", c.method, c.path, c.body, r.gateway.done)
		}
		r.gateway.done = nil
	}
}

// TestBodies: a body is accepted in one reading alone.
func TestBodies(t *testing.T) {
	r := newRig(t)
	const path = "/v1/servers/bk/a"
	for body, says := range map[string]string{
		`null`:                             "expected a JSON object in the body, found",
		`[]`:                               "expected a JSON object in the body, found",
		`"x"`:                              "expected a JSON object in the body, found",
		`{`:                                "malformed",
		`{"weight"`:                        "malformed",
		`{"weight":`:                       "malformed",
		`{"weight":1`:                      "malformed",
		`{"weight":1,}`:                    "malformed",
		`{1:1}`:                            "malformed",
		`{"weight":1]`:                     "malformed",
		`{"weight":1}x`:                    "found more after it",
		`{"weight":1,"weight":2}`:          "weight: expected one value, found more",
		`{"Weight":1}`:                     `there is no member \"Weight\" here: expected checks, state, up, weight`,
		`{"":1}`:                           `there is no member \"\"`,
		`{"weight":1.5}`:                   "weight: expected a whole number or null, found 1.5",
		`{"weight":1e400}`:                 "weight: expected a whole number or null, found 1e400",
		`{"weight":99999999999999999999}`:  "weight: expected a whole number or null",
		`{"weight":{"a":1}}`:               "weight: expected a whole number or null",
		`{"checks":"yes"}`:                 `checks: expected true or false, found \"yes\"`,
		`{"state":7}`:                      "state: expected a text, found 7",
		`{"state":"drain\u0000"}`:          "state: expected ready, drain or maint",
		strings.Repeat(`{"weight":`, 6000): "malformed",
		`{"x` + strings.Repeat("y", 999) + `":1}`: "xyyyy",
	} {
		a, text := r.ask(t, Admin, "PATCH", path, body)
		if a.StatusCode != 400 || !strings.Contains(text, says) || len(r.gateway.done) > 0 {
			t.Errorf("%.80s: %s %s, done %v\nwant %s", body, a.Status, text, r.gateway.done, says)
		}
		r.gateway.done = nil
	}
	if a, text := r.ask(t, Admin, "POST", "/v1/connections/kill", `{"frontend":"ft","phases":["held",7]}`); a.StatusCode != 400 || !strings.Contains(text, "phases: expected a list, each of it a text") {
		t.Errorf("%s %s", a.Status, text)
	}
	if a, text := r.ask(t, Admin, "PATCH", path, `{"weight":1,"state":null}`, "Content-Type", "application/json; charset=utf-8"); a.StatusCode != 200 {
		t.Errorf("%s %s", a.Status, text)
	}
	for _, media := range []string{"", "text/json", "application/json;", "application/jsonp", "application/json; charset"} {
		if a, text := r.ask(t, Admin, "PATCH", path, `{"weight":1}`, "Content-Type", media); a.StatusCode != 415 && media != "application/json;" {
			t.Errorf("%q: %s %s", media, a.Status, text)
		}
	}
}

// TestOddRequests: what net/http would answer in its own way has the one form of errors too.
func TestOddRequests(t *testing.T) {
	r := newRig(t)
	for line, status := range map[string]int{
		"GET //v1/status": 404, "GET //": 404, "GET /v1/../v1/status": 404, "GET /v1/./status": 404, "GET /v1//status": 404, "GET /v1/status/": 404,
		"GET *": 404, "CONNECT /v1/status": 405, "CONNECT a:1": 404, "GET http://other//v1/status": 404, "PATCH //v1/servers/bk/a": 404,
		"TRACE /v1/status": 405, "OPTIONS /v1/status": 405, "G\x7f /v1/status": 400, "GET /v1/status?\x01": 400, "FROB /v1/status": 405,
		"GET /v1/servers/..%2F..%2Fstatus/x": 404, "GET /v1/servers/%2e%2e/x": 404, "GET /v1": 404, "GET /": 404, "GET /%00": 404,
		"HEAD /v1/verdicts": 200, "GET /v1/connections?limit=%2B5": 400, "GET /v1/connections?limit=1;phase=held": 400,
	} {
		c := r.dial(t, Admin, line+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		q := &http.Request{Method: strings.Fields(line)[0]}
		a, err := http.ReadResponse(bufio.NewReader(c), q)
		if err != nil {
			t.Errorf("%q: %v", line, err)
			continue
		}
		malformed := status == 400 && a.Header.Get("Content-Type") == "text/plain; charset=utf-8" // it is no HTTP, and never came to us
		if a.StatusCode != status || status >= 400 && !malformed && a.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%q: %s %v", line, a.Status, a.Header)
		}
		if !malformed && (a.Header.Get("X-Content-Type-Options") != "nosniff" || !strings.HasPrefix(a.Header.Get("Content-Security-Policy"), "default-src 'none'; ")) {
			t.Errorf("%q: a browser may do more with the answer than read it: %v", line, a.Header)
		}
	}
}

// fuzzable are the methods that a request in these tests may have.
var fuzzable = []string{"GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "CONNECT", "OPTIONS"}

// FuzzRequest: no path, query, body or header makes the server fail, every answer is one of its own, and a client without the level
// does nothing.
func FuzzRequest(f *testing.F) {
	for i, c := range calls {
		f.Add(c.method, strings.TrimPrefix(c.path, "/"), c.body, "application/json", uint8(i))
	}
	f.Add("PATCH", "v1/servers/%2f/%00", `{"weight":1e400}`, "application/json", uint8(2))
	f.Add("GET", "v1/connections?client=%5b::1%5d:25&limit=9999999999999999999", "", "", uint8(1))
	f.Add("GET", "/v1//../v1/status", "", "", uint8(0))
	f.Add("PATCH", "v1/frontends/ft", `{"delay_ms":1,"delay_ms":2}`, "application/json;charset", uint8(2))
	f.Fuzz(func(t *testing.T, method, target, body, media string, level uint8) {
		if !slices.Contains(fuzzable, method) {
			return
		}
		g := &fake{}
		var log strings.Builder
		api := New(Options{Gateway: g, Log: slog.New(slog.NewTextHandler(&log, nil))})
		q, err := http.NewRequest(method, "http://hushgate/"+target, strings.NewReader(body))
		if err != nil {
			return
		}
		q.Header.Set("Content-Type", media)
		ctx, over := context.WithCancel(q.Context())
		over() // streams end at once
		l := Level(level) % levels
		w := api.answerTo(q.WithContext(ctx), l)
		problem := w.Header().Get("Content-Type") == "application/problem+json"
		if w.Code >= 500 && w.Code != 503 || w.Code >= 300 != problem || strings.Contains(log.String(), "panic") {
			t.Errorf("%s %q %q, level %v: %d %v %s\n%s", method, target, body, l, w.Code, w.Header(), w.Body, log.String())
		}
		if problem {
			var p Problem
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Status != w.Code || p.Detail == "" || p.Title == "" || w.Body.Len() > 8<<10 {
				t.Errorf("%s %q: %v, %s", method, target, err, w.Body)
			}
		}
		if l == None && w.Code != 401 && w.Code != 403 {
			t.Errorf("%s %q: nobody gets %d %s", method, target, w.Code, w.Body)
		}
		if acts := slices.ContainsFunc(g.done, func(s string) bool { return !strings.HasPrefix(s, "{") && !strings.HasPrefix(s, "watched") }); acts && l != Admin {
			t.Errorf("%s %q of the level %v did %v", method, target, l, g.done)
		}
	})
}

// FuzzOctets: whatever a client sends, it gets answers in HTTP or none, the server does not panic, and answers the next client.
func FuzzOctets(f *testing.F) {
	for _, c := range calls {
		f.Add([]byte(fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", c.method, c.path, len(c.body), c.body)))
	}
	f.Add([]byte("GET /v1/status HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n"))
	f.Add([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
	f.Add([]byte("GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"))
	f.Add([]byte("POST /v1/reload HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"))
	f.Add([]byte("GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("A: b\r\n", 3000) + "\r\n"))
	r := newRig(f)
	f.Fuzz(func(t *testing.T, octets []byte) {
		c, err := net.Dial("unix", r.path[Admin])
		if err != nil {
			t.Fatal(err)
		}
		ours := c.(*net.UnixConn)
		_ = ours.SetDeadline(time.Now().Add(20 * time.Second))
		go func() {
			_, _ = ours.Write(octets)
			_, _ = io.WriteString(ours, "\r\n\r\nGET /over HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			_ = ours.CloseWrite() // so that nothing more is waited for
		}()
		in := bufio.NewReader(ours)
		for {
			a, err := http.ReadResponse(in, nil)
			if err != nil {
				break
			}
			if a.StatusCode >= 300 && a.StatusCode < 400 || a.StatusCode == 500 {
				t.Errorf("%q: %s", octets, a.Status)
			}
			if strings.Contains(a.Header.Get("Content-Type"), "ndjson") || strings.Contains(a.Header.Get("Content-Type"), "event-stream") {
				break // without an end
			}
			if _, err := io.Copy(io.Discard, a.Body); err != nil {
				break
			}
		}
		_ = ours.Close()
		if strings.Contains(r.log.String(), "panic") {
			t.Fatalf("%q: %s", octets, r.log)
		}
	})
}
