package health

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// script is a server that sends its lines: the first at once, the others after each line that it receives.
type script struct {
	mu    sync.Mutex
	lines []string // "" sends nothing and waits; "FIN" closes
	heard []string
}

func (s *script) DialContext(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	go s.serve(server)
	return client, nil
}

func (s *script) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	in := bufio.NewReader(c)
	for i, line := range s.lines {
		if i > 0 {
			heard, err := in.ReadString('\n')
			if err != nil {
				return
			}
			s.mu.Lock()
			s.heard = append(s.heard, strings.TrimSpace(heard))
			s.mu.Unlock()
		}
		switch line {
		case "FIN":
			return
		case "":
			_, _ = in.ReadString('\n') // until the other side closes
			return
		}
		if _, err := fmt.Fprint(c, strings.ReplaceAll(line, "|", "\r\n")+"\r\n"); err != nil {
			return
		}
	}
}

func smtp(verb string) *Config {
	return &Config{
		Backend: "bk", Server: "s1", Addr: netip.MustParseAddrPort("192.0.2.1:25"), SMTP: true, Verb: verb, Domain: "d.example",
		Inter: 3 * time.Second, FastInter: time.Second, DownInter: 5 * time.Second, Timeout: 3 * time.Second, Rise: 2, Fall: 3,
	}
}

func TestDialogue(t *testing.T) {
	for _, c := range []struct {
		name   string
		verb   string
		look   bool
		lines  []string
		code   Code
		status int
		heard  string
		pipe   bool
	}{
		{"well", "HELO", false, []string{"220 hi", "250 ok", "221 bye"}, L7OK, 250, "HELO d.example,QUIT", false},
		{"greeting of several lines", "HELO", false, []string{"220-hi|220-there|220 you", "250 ok", "221 bye"}, L7OK, 250, "HELO d.example,QUIT", false},
		{"EHLO", "EHLO", false, []string{"220 hi", "250-me|250-SIZE 1|250 HELP", "221 bye"}, L7OK, 250, "EHLO d.example,QUIT", false},
		{"PIPECONNECT", "EHLO", false, []string{"220 hi", "250-me|250-PIPECONNECT|250 HELP", "221 bye"}, L7OK, 250, "EHLO d.example,QUIT", true},
		{"a name is no keyword", "EHLO", false, []string{"220 hi", "250-PIPECONNECT|250 HELP", "221 bye"}, L7OK, 250, "EHLO d.example,QUIT", false},
		{"looking after HELO", "HELO", true, []string{"220 hi", "250 me", "250-me|250 X_PIPE_CONNECT", "221 bye"}, L7OK, 250, "HELO d.example,EHLO d.example,QUIT", true},
		{"looking at plain SMTP", "HELO", true, []string{"220 hi", "250 me", "502 what", "221 bye"}, L7OK, 250, "HELO d.example,EHLO d.example,QUIT", false},
		{"codes alone", "HELO", false, []string{"220", "250", "221"}, L7OK, 250, "HELO d.example,QUIT", false},
		{"codes alone in several lines", "EHLO", false, []string{"220-|220", "250-|250-PIPECONNECT|250", "221"}, L7OK, 250, "EHLO d.example,QUIT", true},
		{"a code alone that refuses", "HELO", false, []string{"554", "221"}, L7STS, 554, "QUIT", false},
		{"lines of different codes", "HELO", false, []string{"220-hi|250 you"}, L7RSP, 0, "", false},
		{"a code of two digits", "HELO", false, []string{"22"}, L7RSP, 0, "", false},
		{"a code of four digits", "HELO", false, []string{"2200 hi"}, L7RSP, 0, "", false},
		{"a code that is no number", "HELO", false, []string{"+20 hi"}, L7RSP, 0, "", false},
		{"refusing greeting", "HELO", false, []string{"554 no", "221 bye"}, L7STS, 554, "QUIT", false},
		{"busy greeting", "HELO", false, []string{"421 later", "FIN"}, L7STS, 421, "QUIT", false},
		{"refused HELO", "HELO", false, []string{"220 hi", "550 no", "221 bye"}, L7STS, 550, "HELO d.example,QUIT", false},
		{"refused QUIT", "HELO", false, []string{"220 hi", "250 ok", "500 what", "FIN"}, L7STS, 500, "HELO d.example,QUIT,QUIT", false},
		{"no SMTP", "HELO", false, []string{"SSH-2.0-x"}, L7RSP, 0, "", false},
		{"closes", "HELO", false, []string{"FIN"}, L7RSP, 0, "", false},
		{"closes after the greeting", "HELO", false, []string{"220 hi", "FIN"}, L7RSP, 0, "HELO d.example", false},
		{"never greets", "HELO", false, []string{""}, L7TOUT, 0, "", false},
		{"never answers", "HELO", false, []string{"220 hi", ""}, L7TOUT, 0, "HELO d.example", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{lines: c.lines}
				r := Check(t.Context(), smtp(c.verb), s, Beyond{Look: c.look})
				synctest.Wait()
				s.mu.Lock()
				defer s.mu.Unlock()
				if seen := strings.Contains(strings.Join(c.lines, ","), "250-"); r.Code == L7OK && r.Keywords != seen {
					t.Errorf("keywords: %v, want %v", r.Keywords, seen)
				}
				if r.Code != c.code || r.Status != c.status || r.Pipeconnect != c.pipe || strings.Join(s.heard, ",") != c.heard {
					t.Errorf("%+v; the server heard %q", r, s.heard)
				}
			})
		})
	}
}

// failing is a dialer that fails.
type failing struct{ err error }

func (f failing) DialContext(context.Context, string, string) (net.Conn, error) { return nil, f.err }

func TestConnect(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	if r := Check(t.Context(), smtp("HELO"), failing{refused}, Beyond{}); r.Code != L4CON || r.Info != "Connection refused" {
		t.Errorf("refused: %+v", r)
	}
	if r := Check(t.Context(), smtp("HELO"), failing{context.DeadlineExceeded}, Beyond{}); r.Code != L4TOUT {
		t.Errorf("silent: %+v", r)
	}
	if r := Check(t.Context(), smtp("HELO"), failing{errors.New("odd")}, Beyond{}); r.Code != L4CON || r.Info != "odd" {
		t.Errorf("odd: %+v", r)
	}
	c := smtp("HELO")
	c.SMTP = false
	if r := Check(t.Context(), c, &script{lines: []string{""}}, Beyond{}); r.Code != L4OK {
		t.Errorf("connection alone: %+v", r)
	}
}

// TestStatus tests HAProxy's counter with rise 2 and fall 3.
func TestStatus(t *testing.T) {
	c := smtp("HELO")
	for _, k := range []struct {
		checks string // . good, x bad
		up     bool
		wait   time.Duration
	}{
		{"", true, c.FastInter},
		{"x", false, c.DownInter}, // a server goes down at its first check
		{".", true, c.FastInter},
		{"..", true, c.Inter},
		{"..x", true, c.FastInter},
		{"..xx", true, c.FastInter},
		{"..xx.", true, c.FastInter},
		{"..xxx", false, c.DownInter},
		{"..xxx.", false, c.FastInter},
		{"..xxx.x", false, c.DownInter},
		{"..xxx..", true, c.Inter},
	} {
		s := NewStatus(c.Rise, c.Fall)
		was := s.Up()
		for _, x := range k.checks {
			changed := s.Note(x == '.')
			if changed != (s.Up() != was) {
				t.Errorf("%s: changed %v", k.checks, changed)
			}
			was = s.Up()
		}
		if s.Up() != k.up || s.Wait(c) != k.wait {
			t.Errorf("%q: up %v, wait %v; want %v, %v", k.checks, s.Up(), s.Wait(c), k.up, k.wait)
		}
	}
}

func TestProbeTiming(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		start := time.Now()
		var at []time.Duration
		var ups []bool
		go Probe(ctx, smtp("HELO"), 500*time.Millisecond, failing{syscall.ECONNREFUSED}, func(r Report) {
			at, ups = append(at, time.Since(start)), append(ups, r.Up)
		})
		time.Sleep(11 * time.Second)
		cancel()
		synctest.Wait()
		want := []time.Duration{0, 5500 * time.Millisecond, 10500 * time.Millisecond}
		if fmt.Sprint(at) != fmt.Sprint(want) || ups[0] {
			t.Errorf("checked at %v, up %v; want %v", at, ups, want)
		}
	})
}

func TestObserveNeverChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c := smtp("HELO")
		c.Observe = true
		n := 0
		go Probe(ctx, c, 0, failing{syscall.ECONNREFUSED}, func(r Report) {
			n++
			if !r.Up || r.Changed {
				t.Errorf("%+v", r)
			}
		})
		time.Sleep(11 * time.Minute)
		cancel()
		synctest.Wait()
		if n != 3 {
			t.Errorf("%d looks in 11 minutes", n)
		}
	})
}

func TestLine(t *testing.T) {
	c := smtp("HELO")
	down := Line(c, &Result{Code: L4CON, Info: "Connection refused"}, false, Left{Active: 1})
	if want := `Server bk/s1 is DOWN, reason: Layer4 connection problem, info: "Connection refused", check duration: 0ms. 1 active and 0 backup servers left.`; down != want {
		t.Errorf("%s", down)
	}
	up := Line(c, &Result{Code: L7OK, Status: 250, Info: "ok", Duration: 2 * time.Millisecond}, true, Left{Active: 2, Backup: 1})
	if want := `Server bk/s1 is UP, reason: Layer7 check passed, code: 250, info: "ok", check duration: 2ms. 2 active and 1 backup servers online.`; up != want {
		t.Errorf("%s", up)
	}
}

func TestWarnings(t *testing.T) {
	c := smtp("HELO")
	c.Timeout = 20 * time.Second
	for _, k := range []struct {
		r     Result
		delay time.Duration
		hides bool
		n     int
	}{
		{Result{Code: L7OK}, 20 * time.Second, false, 0},
		{Result{Code: L7OK, Greeting: 11 * time.Second}, 20 * time.Second, false, 1},
		{Result{Code: L7OK, Pipeconnect: true, Greeting: 11 * time.Second}, 20 * time.Second, false, 2},
		{Result{Code: L7OK, Pipeconnect: true}, 20 * time.Second, true, 0},
		{Result{Code: L7TOUT, Greeting: 11 * time.Second}, 20 * time.Second, false, 0},
		{Result{Code: L7OK, Greeting: time.Millisecond}, 30 * time.Second, false, 0}, // the configuration's own check reports it
	} {
		if w := Warnings(c, &k.r, Clients{Delay: k.delay, SeePipeconnect: !k.hides}); len(w) != k.n {
			t.Errorf("%+v: %+v", k, w)
		}
	}
}
