package admin

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestActions: what the gateway is told is what the request says.
func TestActions(t *testing.T) {
	r := newRig(t)
	for _, c := range []struct{ method, path, body, want string }{
		{"PATCH", "/v1/servers/bk/a", `{"state":"maint"}`, "server bk/a: maint, weight as it is, checks as they are"},
		{"PATCH", "/v1/servers/bk/a", `{"weight":0}`, "server bk/a: as it is, weight 0, checks as they are"},
		{"PATCH", "/v1/servers/bk/a", `{"weight":null,"checks":true}`, "server bk/a: as it is, weight configured, checks true"},
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
		{"PATCH", "/v1/servers/bk/a", `{}`, 400, "expected state, weight or checks"},
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

// FuzzRequest: no path, query or body makes the server fail, and every answer is one of its own.
func FuzzRequest(f *testing.F) {
	for _, c := range calls {
		f.Add(c.method, strings.TrimPrefix(c.path, "/"), c.body)
	}
	f.Add("PATCH", "v1/servers/%2f/%00", `{"weight":1e400}`)
	f.Add("GET", "v1/connections?client=%5b::1%5d:25&limit=9999999999999999999", "")
	f.Fuzz(func(t *testing.T, method, target, body string) {
		if strings.Contains(target, "upgrade") || !slices.Contains([]string{"GET", "POST", "PATCH", "DELETE"}, method) {
			return
		}
		api := New(Options{Gateway: &fake{}, Log: discard})
		q, err := http.NewRequest(method, "http://hushgate/"+target, strings.NewReader(body))
		if err != nil {
			return
		}
		q.Header.Set("Content-Type", "application/json")
		w := api.answerTo(q, Admin)
		if w.Code >= 500 || w.Code >= 400 && w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %q %q: %d %s", method, target, body, w.Code, w.Body)
		}
	})
}
