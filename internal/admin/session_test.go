package admin

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// seat is a browser with a page: it keeps cookies, and names its server by a host.
type seat struct {
	t       *testing.T
	far     *far
	client  *http.Client
	host    string
	cookies map[string]string
}

// paged serves the page; hours later is what the clock says.
func paged(t *testing.T, mode PageMode, tls bool) (f *far, later *atomic.Int64) {
	t.Helper()
	later = &atomic.Int64{}
	f = newFar(t, "127.0.0.1", func(a *API) {
		a.page = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, "the page for ", Caller(r.Context()).Level)
		})
		a.now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	})
	r := f.remote
	r.Page = mode
	if !tls {
		r.Crt, r.CAFile, r.AdminNames = "", "", nil
	}
	f.set(t, r)
	return f, later
}

func (f *far) seat(t *testing.T) *seat {
	return &seat{t: t, far: f, client: f.over(nil), host: f.remote.Address, cookies: map[string]string{}}
}

// send sends a request as the page does, unless headers say otherwise: an empty one is left out.
func (s *seat) send(method, path, body string, headers ...string) *http.Response {
	s.t.Helper()
	scheme := "https"
	if s.far.remote.Crt == "" {
		scheme = "http"
	}
	r, err := http.NewRequestWithContext(s.t.Context(), method, scheme+"://"+s.far.remote.Address+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Host = s.host
	r.Header.Set("X-Hushgate-Page", "1")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if r.Header.Del(headers[i]); headers[i+1] != "" {
			r.Header.Set(headers[i], headers[i+1])
		}
	}
	for name, value := range s.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	a, err := s.client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, c := range a.Cookies() {
		if s.cookies[c.Name] = c.Value; c.MaxAge < 0 {
			delete(s.cookies, c.Name)
		}
	}
	return a
}

// expect sends a request, and checks the answer.
func (s *seat) expect(status int, says, method, path, body string, headers ...string) {
	s.t.Helper()
	a := s.send(method, path, body, headers...)
	defer func() { _ = a.Body.Close() }()
	text, err := io.ReadAll(a.Body)
	if err != nil || a.StatusCode != status || !strings.Contains(string(text), says) {
		s.t.Errorf("%s %s %v: %s %s %v\nwant %d %s", method, path, headers, a.Status, text, err, status, says)
	}
}

const drain, drainPath = `{"state":"drain"}`, "/v1/servers/bk/a"

func bearer(token string) []string { return []string{"Authorization", "Bearer " + token} }

// TestSession: a token begins a session, whose cookie no script and no foreign page can use. The session has the token's level
// and no more.
func TestSession(t *testing.T) {
	for _, tls := range []bool{true, false} {
		t.Run(fmt.Sprintf("tls=%v", tls), func(t *testing.T) {
			f, _ := paged(t, PageOn, tls)
			s := f.seat(t)
			s.expect(200, "the page for none", "GET", "/", "")
			s.expect(200, `{"level":"none","session":false,"tokens":true}`, "GET", "/session", "")
			s.expect(401, "unauthorized", "GET", "/v1/status", "")
			s.expect(401, "not known", "POST", "/session", "", bearer(strings.Repeat("x", 40))...)
			s.expect(401, "expected a token", "POST", "/session", "")
			s.expect(405, "expected GET, POST or DELETE", "PUT", "/session", "")
			a := s.send("POST", "/session", "", bearer(readToken)...)
			_ = a.Body.Close()
			c := a.Cookies()
			if len(c) != 1 || !c[0].HttpOnly || c[0].SameSite != http.SameSiteStrictMode || c[0].Secure != tls || c[0].Path != "/" || c[0].Domain != "" ||
				strings.HasPrefix(c[0].Name, "__Host-") != tls || len(c[0].Value) < 40 {
				t.Fatalf("%+v", a.Header)
			}
			s.expect(200, `{"level":"read-only","session":true,"tokens":true}`, "GET", "/session", "")
			s.expect(200, "uptime_ms", "GET", "/v1/status", "")
			s.expect(403, "needs the level admin", "PATCH", drainPath, drain)
			s.expect(200, `"level":"admin"`, "POST", "/session", "", bearer(adminToken)...)
			s.expect(200, `"state":"ready"`, "PATCH", drainPath, drain)
			if log := f.log.String(); !strings.Contains(log, "session of alice") {
				t.Errorf("the log does not say who acted:\n%s", log)
			}
			s.expect(403, "needs the header X-Hushgate-Page", "PATCH", drainPath, drain, "X-Hushgate-Page", "")
			s.expect(403, "cross-origin", "PATCH", drainPath, drain, "Sec-Fetch-Site", "cross-site")
			s.expect(403, "cross-origin", "PATCH", drainPath, drain, "Sec-Fetch-Site", "", "Origin", "https://evil.example")
			other := f.seat(t)
			other.cookies = map[string]string{c[0].Name: c[0].Value} // the first session has ended with the second sign-in
			other.expect(401, "unauthorized", "GET", "/v1/status", "")
			s.expect(200, `{"level":"none","session":false`, "DELETE", "/session", "")
			if len(s.cookies) > 0 {
				t.Errorf("the cookie stays: %v", s.cookies)
			}
			s.expect(401, "unauthorized", "GET", "/v1/status", "")
		})
	}
}

// TestRebinding: a name that somebody else has pointed to our address is not ours.
func TestRebinding(t *testing.T) {
	f, _ := paged(t, PageOpen, false)
	_, port, _ := strings.Cut(f.remote.Address, ":")
	for host, status := range map[string]int{
		"127.0.0.1:" + port: 200, "localhost:" + port: 200, "LOCALHOST": 200, "[::1]:8080": 200, "[::1]": 200, "127.0.0.1": 200,
		"evil.example": 421, "evil.example:" + port: 421, "localhost.evil.example": 421, "127.0.0.1.evil.example": 421,
	} {
		for _, path := range []string{"/", "/session", "/v1/status"} {
			r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+f.remote.Address+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Host = host
			a, err := f.over(nil).Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = a.Body.Close()
			if a.StatusCode != status {
				t.Errorf("%s of %q: %s, want %d", path, host, a.Status, status)
			}
		}
	}
	s := f.seat(t)
	s.host = "evil.example"
	s.expect(200, "uptime_ms", "GET", "/v1/status", "", bearer(readToken)...) // a token is proof enough, and no page has it
}

// TestForeignPages: a page of another site gets nothing of a browser's visitor, not even requests whose answer it could not read, and
// takes nothing of what others may ask for. A link leads to the page.
func TestForeignPages(t *testing.T) {
	f, _ := paged(t, PageOpen, false)
	still := &pace{perSecond: 1, burst: 20, now: func() time.Time { return time.Unix(1_800_000_000, 0) }}
	f.readers = still
	s := f.seat(t)
	for _, site := range []string{"cross-site", "same-site"} {
		for _, path := range []string{"/v1/status", "/v1/verdicts", "/session", "/"} {
			s.expect(403, "cross-origin", "GET", path, "", "Sec-Fetch-Site", site, "Sec-Fetch-Mode", "no-cors")
			s.expect(403, "cross-origin", "GET", path, "", "Sec-Fetch-Site", site, "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe")
		}
	}
	if !still.at.IsZero() {
		t.Error("foreign pages take the turns of read-only clients")
	}
	s.expect(200, "the page for", "GET", "/", "", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document")
	s.expect(200, "uptime_ms", "GET", "/v1/status", "", "Sec-Fetch-Site", "none")
}

// TestVisitors: where the page is open, who has not signed in may look and do nothing. Where it is off there is none, and
// cookies count for nothing.
func TestVisitors(t *testing.T) {
	f, _ := paged(t, PageOpen, false)
	s := f.seat(t)
	s.expect(200, "the page for read-only", "GET", "/", "")
	s.expect(200, `{"level":"read-only","session":false,"tokens":true}`, "GET", "/session", "")
	s.expect(200, "uptime_ms", "GET", "/v1/status", "")
	s.expect(403, "needs the level admin", "PATCH", drainPath, drain)
	s.expect(403, "needs the level admin", "POST", "/v1/reload", "")
	if len(f.gateway.done) > 0 {
		t.Errorf("a visitor did %v", f.gateway.done)
	}
	s.expect(200, "", "POST", "/session", "", bearer(adminToken)...)
	s.expect(200, "", "PATCH", drainPath, drain)
	r := f.remote
	r.Page = PageOff
	f.set(t, r)
	s.expect(401, "unauthorized", "GET", "/v1/status", "")
	s.expect(401, "unauthorized", "GET", "/", "")
	s.expect(404, "there is nothing", "GET", "/", "", bearer(readToken)...)
}

// TestSessionsEnd: a session ends when it is old, when it was not used for long, when its token is taken away, and when there
// are too many; streams end with it.
func TestSessionsEnd(t *testing.T) {
	f, later := paged(t, PageOn, false)
	later.Store(0)
	wait := func(d time.Duration) { later.Add(int64(d)) }
	s := f.seat(t)
	in := func() { s.expect(200, `"session":true`, "POST", "/session", "", bearer(adminToken)...) }
	in()
	for range int(sessionLife/sessionIdle)*2 - 1 { // it is used, again and again
		wait(sessionIdle/2 + time.Second)
		if later.Load() < int64(sessionLife) {
			s.expect(200, "", "GET", "/v1/status", "")
		}
	}
	wait(sessionIdle / 2)
	s.expect(401, "", "GET", "/v1/status", "")
	in()
	wait(sessionIdle + time.Second)
	s.expect(401, "", "GET", "/v1/status", "")

	in()
	watch := s.send("GET", "/v1/verdicts", "")
	defer func() { _ = watch.Body.Close() }()
	lines := bufio.NewScanner(watch.Body)
	if !lines.Scan() {
		t.Fatal("no stream")
	}
	s.client = f.over(nil) // the stream has the connection
	s.expect(200, "", "DELETE", "/session", "")
	for lines.Scan() { //nolint:revive // until its end, for which the test would wait for ever
	}

	in()
	if err := os.WriteFile(f.remote.AdminTokens, []byte("bob "+strings.Repeat("b", 40)), 0o600); err != nil {
		t.Fatal(err)
	}
	f.set(t, f.remote)
	s.expect(401, "", "GET", "/v1/status", "")

	bob := f.seat(t)
	bob.expect(200, "", "POST", "/session", "", bearer(strings.Repeat("b", 40))...)
	var first *seat
	for i := range sessionMost + 1 {
		one := f.seat(t)
		one.expect(200, "", "POST", "/session", "", bearer(readToken)...)
		if i == 0 {
			first = one
		}
		wait(time.Millisecond)
	}
	first.expect(401, "", "GET", "/v1/status", "")
	bob.expect(200, "", "GET", "/v1/status", "") // those of the other level took no place of his
	if n := len(f.sessions.all); n != sessionMost+1 {
		t.Errorf("%d sessions", n)
	}
}
