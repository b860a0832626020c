package admin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"hushgate/internal/crowd"
)

// TestLevels: a read-only socket answers every GET and refuses everything else, before anything is done.
func TestLevels(t *testing.T) {
	v, r := described(t), newRig(t)
	for _, c := range calls {
		a, text := r.ask(t, ReadOnly, c.method, c.path, c.body)
		switch {
		case c.method == "GET" && a.StatusCode != c.status:
			t.Errorf("%s %s: %s %s", c.method, c.path, a.Status, text)
		case c.method != "GET" && (a.StatusCode != 403 || !strings.Contains(text, "this client has the level read-only: "+c.method)):
			t.Errorf("%s %s: %s %s", c.method, c.path, a.Status, text)
		}
		conform(t, v, c.method, c.path, c.body, a, text)
	}
	reads := func(what string) bool { return strings.HasPrefix(what, "{") }
	if r.gateway.done = slices.DeleteFunc(r.gateway.done, reads); len(r.gateway.done) > 0 {
		t.Errorf("read-only clients did %v", r.gateway.done)
	}
	if log := r.log.String(); log != "" {
		t.Errorf("read-only clients fill the log:\n%s", log)
	}
	r.ask(t, Admin, "POST", "/v1/reload", "")
	if !slices.Equal(r.gateway.done, []string{"reload"}) || !strings.Contains(r.log.String(), "asked=\"POST /v1/reload\"") ||
		!strings.Contains(r.log.String(), "uid ") {
		t.Errorf("done: %v, log:\n%s", r.gateway.done, r.log)
	}
}

// TestErrorsHaveOneForm: whatever is wrong, the answer is a problem that says so.
func TestErrorsHaveOneForm(t *testing.T) {
	v, r := described(t), newRig(t)
	for _, c := range []struct {
		method, path, body string
		headers            []string
		status             int
		says               string
	}{
		{"GET", "/v1/nothing", "", nil, 404, "/v1/nothing"},
		{"GET", "/", "", nil, 404, "GET /v1/openapi.yaml describes"},
		{"DELETE", "/v1/status", "", nil, 405, "expected GET, HEAD, found DELETE"},
		{"GET", "/v1/status?a=%zz", "", nil, 400, "malformed"},
		{"POST", "/v1/reload", strings.Repeat("x", maxBody+1), nil, 413, "more than 65536 octets"},
		{"POST", "/v1/reload", "a=b", []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "application/json"},
		{"POST", "/v1/reload", "", []string{"Sec-Fetch-Site", "cross-site"}, 403, "cross-origin"},
		{"POST", "/v1/reload", "", []string{"Origin", "http://example.org"}, 403, "cross-origin"},
	} {
		a, text := r.ask(t, Admin, c.method, c.path, c.body, c.headers...)
		if a.StatusCode != c.status || !strings.Contains(text, c.says) || a.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s: %s %s\nwant %d %s", c.method, c.path, a.Status, text, c.status, c.says)
		}
		if c.status != 404 && c.status != 405 {
			conform(t, v, c.method, c.path, c.body, a, text)
		}
	}
	if len(r.gateway.done) > 0 {
		t.Errorf("wrong requests did %v", r.gateway.done)
	}
}

// TestPanic: a fault of ours is an answer and a log line, and the next request is served.
func TestPanic(t *testing.T) {
	r := newRig(t)
	r.gateway.panic = "a fault"
	a, text := r.ask(t, ReadOnly, "GET", "/v1/status", "")
	if a.StatusCode != 500 || strings.Contains(text, "a fault of ours") || !strings.Contains(r.log.String(), "panic=\"a fault\"") {
		t.Errorf("%s %s, log:\n%s", a.Status, text, r.log)
	}
	r.gateway.panic = ""
	if a, text := r.ask(t, ReadOnly, "GET", "/v1/status", ""); a.StatusCode != 200 {
		t.Errorf("%s %s", a.Status, text)
	}
}

// dial opens a connection and sends some octets.
func (r *rig) dial(t testing.TB, l Level, say string) net.Conn {
	t.Helper()
	c, err := net.Dial("unix", r.path[l])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := c.Write([]byte(say)); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestStuckClients: clients that hang in every way do not keep others out, however many there are, and the number of
// connections stays within its bound.
func TestStuckClients(t *testing.T) {
	r := newRig(t)
	for i := range 2 * maxConns {
		r.dial(t, ReadOnly, []string{"", "GET /v1/status HT", "GET /v1/status HTTP/1.1\r\nHost: x\r\nX-A: ", "POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"}[i%4])
	}
	for range 20 {
		if a, text := r.ask(t, ReadOnly, "GET", "/v1/status", ""); a.StatusCode != 200 {
			t.Fatalf("%s %s", a.Status, text)
		}
	}
	if n := r.crowds[ReadOnly].Len(); n > maxConns {
		t.Errorf("%d connections", n)
	}
}

// rival is a client that comes while another one reads or writes.
type rival struct {
	http.ResponseWriter
	s    *API
	came conn
	in   bool // it got a place
}

func (v *rival) come() { v.in = v.in || v.s.crowds[ReadOnly].Admit(&v.came.place, &v.came) }

func (v *rival) Read([]byte) (int, error) {
	v.come()
	return 0, io.ErrUnexpectedEOF
}

func (v *rival) Write(p []byte) (int, error) {
	v.come()
	return v.ResponseWriter.Write(p)
}

// TestSlowClientsGiveWay: a client that is still to send a body, or to read an answer, gives its place to a new one.
func TestSlowClientsGiveWay(t *testing.T) {
	for _, c := range []struct {
		path string
		body bool
	}{{"/v1/status", true}, {"/v1/status", false}, {"/v1/nothing", false}, {"/v1/status?wrong=1", false}} {
		s := New(Options{Gateway: &fake{}, Log: discard})
		s.crowds[ReadOnly] = crowd.New(1)
		ours, theirs := net.Pipe()
		v := &rival{s: s, ResponseWriter: httptest.NewRecorder()}
		var body io.Reader
		if c.body {
			body = v
		}
		slow := &conn{Conn: ours, peer: Peer{ReadOnly, "slow"}}
		s.crowds[ReadOnly].Admit(&slow.place, slow)
		q := httptest.NewRequestWithContext(context.WithValue(t.Context(), connKey{}, slow), "GET", c.path, body)
		s.serve(v, q)
		if !v.in {
			t.Errorf("%+v: a new client was kept out", c)
		}
		_ = theirs.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := theirs.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("%+v: the slow client has its connection still: %v", c, err)
		}
	}
}

// TestUnreadAnswers: clients that ask and do not read their answers neither block others nor the end of the process.
func TestUnreadAnswers(t *testing.T) {
	r := newRig(t)
	for range 64 {
		r.dial(t, ReadOnly, strings.Repeat("GET /v1/openapi.yaml HTTP/1.1\r\nHost: x\r\n\r\n", 100))
	}
	if a, text := r.ask(t, Admin, "GET", "/v1/status", ""); a.StatusCode != 200 {
		t.Errorf("%s %s", a.Status, text)
	}
}

// TestFewAtOnce: no more than maxRequests requests of a level reach the gateway at a time, and those of read-only clients do not
// delay those of admins.
func TestFewAtOnce(t *testing.T) {
	r := newRig(t)
	release := make(chan struct{})
	r.gateway.wait = release
	for range maxRequests + 3 {
		r.dial(t, ReadOnly, "GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n")
	}
	for end := time.Now().Add(10 * time.Second); len(r.slots[ReadOnly]) < maxRequests; {
		if time.Now().After(end) {
			t.Fatalf("%d requests are carried out", len(r.slots[ReadOnly]))
		}
	}
	done := make(chan int)
	go func() {
		a, _ := r.ask(t, Admin, "GET", "/v1/openapi.yaml", "")
		done <- a.StatusCode
	}()
	if got := <-done; got != 200 {
		t.Errorf("an admin got %d", got)
	}
	close(release)
}

// TestTooManyRequests: read-only clients that ask without pause are told to wait, and admins are served.
func TestTooManyRequests(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	r := newRig(t, func(a *API) { a.readers = &pace{perSecond: 5, burst: 10, now: func() time.Time { return now }} })
	got := map[int]int{}
	for range 12 {
		a, _ := r.ask(t, ReadOnly, "GET", "/v1/status", "")
		got[a.StatusCode]++
		if a.StatusCode == http.StatusTooManyRequests && a.Header.Get("Retry-After") != "1" {
			t.Errorf("headers %v", a.Header)
		}
	}
	if got[200] != 10 || got[429] != 2 {
		t.Errorf("answers: %v", got)
	}
	if a, _ := r.ask(t, Admin, "GET", "/v1/status", ""); a.StatusCode != 200 {
		t.Errorf("an admin got %s", a.Status)
	}
	now = now.Add(time.Second)
	if a, _ := r.ask(t, ReadOnly, "GET", "/v1/status", ""); a.StatusCode != 200 {
		t.Errorf("a second later: %s", a.Status)
	}
}

// TestArrivals: connections that come too fast are accepted later, in their turn, and none is lost; those of admins are accepted at
// once. A client that is told to wait has to connect again.
func TestArrivals(t *testing.T) {
	now := make(chan time.Time, 1)
	now <- time.Unix(1_800_000_000, 0)
	tell := func() time.Time {
		at := <-now
		now <- at
		return at
	}
	r := newRig(t, func(a *API) {
		a.arrivals[ReadOnly] = &pace{perSecond: 1000, burst: 3, now: tell}
		a.readers = &pace{perSecond: 1, burst: 4, now: tell}
	})
	const clients = 6
	answers := make(chan string, clients)
	for range clients {
		go func() {
			c := r.dial(t, ReadOnly, "GET /v1/openapi.yaml HTTP/1.1\r\nHost: x\r\n\r\n")
			a, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				answers <- err.Error()
				return
			}
			answers <- fmt.Sprintf("%d, close %v", a.StatusCode, a.Close)
		}()
	}
	got := map[string]int{}
	for range 3 {
		got[<-answers]++
	}
	if a, _ := r.ask(t, Admin, "GET", "/v1/status", ""); a.StatusCode != 200 || len(answers) > 0 {
		t.Errorf("an admin got %s, and %d more clients an answer", a.Status, len(answers))
	}
	<-now
	now <- time.Unix(1_800_000_000, 3e6+1)
	for range 3 {
		got[<-answers]++
	}
	if got["200, close false"] != 4 || got["429, close true"] != 2 {
		t.Errorf("answers: %v", got)
	}
}

// TestJoin: a connection that was accepted elsewhere is served, with its own level.
func TestJoin(t *testing.T) {
	r := newRig(t)
	ours, theirs := net.Pipe()
	r.Join(theirs, Peer{Admin, "somebody"})
	_ = ours.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := fmt.Fprint(ours, "POST /v1/reload HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	a, err := http.ReadResponse(bufio.NewReader(ours), nil)
	if err != nil || a.StatusCode != 200 || !strings.Contains(r.log.String(), "by=somebody") {
		t.Errorf("%v, %v, log:\n%s", a, err, r.log)
	}
}

// TestClient: the client returns answers, problems as they were meant, and says when there is no API.
func TestClient(t *testing.T) {
	r := newRig(t)
	c := Unix(r.path[ReadOnly])
	var s Status
	if err := c.Ask(t.Context(), "GET", "/v1/status", nil, nil, &s); err != nil || s.Version != "1.2.3" || !s.Started.Equal(moment) {
		t.Errorf("%+v, %v", s, err)
	}
	for _, want := range []Level{ReadOnly, Admin} {
		if l, known, err := Unix(r.path[want]).Level(t.Context()); l != want || !known || err != nil {
			t.Errorf("a client of the level %v: %v, %v, %v", want, l, known, err)
		}
	}
	var p *Problem
	if err := c.Ask(t.Context(), "POST", "/v1/reload", nil, nil, nil); !errors.As(err, &p) || p.Status != 403 {
		t.Errorf("%v", err)
	}
	l, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		if c, err := l.Accept(); err == nil {
			_, _ = bufio.NewReader(c).ReadString('\n')
			_, _ = c.Write([]byte("{\"error\":\"expected a command\"}\n"))
			_ = c.Close()
		}
	}()
	if err := Unix(l.Addr().String()).Ask(t.Context(), "GET", "/v1/status", nil, nil, nil); !errors.Is(err, ErrNoAPI) {
		t.Errorf("%v", err)
	}
}

// TestClientHearsARefusal: a gateway that closes the connection before it has read the request is heard all the same.
func TestClientHearsARefusal(t *testing.T) {
	l, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	for refusal, want := range map[string]error{
		"{\"error\":\"permission denied\"}\n": ErrNoAPI,
		"":                                    io.EOF,
		"HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/problem+json\r\nContent-Length: 97\r\n\r\n{\"type\":\"urn:hushgate:problem:busy\",\"title\":\"Too Many Requests\",\"status\":429,\"detail\":\"too many\"}": nil,
	} {
		c := NewClient(func(ctx context.Context) (net.Conn, error) {
			var d net.Dialer
			ours, err := d.DialContext(ctx, "unix", l.Addr().String())
			if err != nil {
				return nil, err
			}
			theirs, err := l.Accept()
			if err != nil {
				return nil, err
			}
			if _, err := theirs.Write([]byte(refusal)); err != nil {
				return nil, err
			}
			return ours, theirs.Close()
		})
		for range 100 { // what net/http does depends on which of its goroutines is first
			err := c.Ask(t.Context(), "GET", "/v1/status", nil, nil, nil)
			var p *Problem
			if want == nil && (!errors.As(err, &p) || p.Status != 429) || want != nil && !errors.Is(err, want) {
				t.Fatalf("%q: %v, want %v", refusal, err, want)
			}
		}
	}
}
