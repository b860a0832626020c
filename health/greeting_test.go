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
	"testing"
	"testing/synctest"
	"time"
)

// postscreen is a server that greets an unknown client after a while. A client that has waited goes to a mail server that
// greets at once, as long as postscreen remembers it.
type postscreen struct {
	wait, ttl time.Duration // 0: it remembers no client

	mu     sync.Mutex
	passed time.Time
	lost   int // connections that ended without QUIT
}

func (p *postscreen) DialContext(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	go p.serve(server)
	return client, nil
}

func (p *postscreen) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	in := bufio.NewReader(c)
	p.mu.Lock()
	known := !p.passed.IsZero() && time.Since(p.passed) < p.ttl
	p.mu.Unlock()
	lost := func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.lost++
	}
	if !known {
		_ = c.SetReadDeadline(time.Now().Add(p.wait))
		if _, err := in.ReadByte(); !isTimeout(err) {
			lost() // HANGUP
			return
		}
		_ = c.SetReadDeadline(time.Time{})
		p.mu.Lock()
		p.passed = time.Now()
		p.mu.Unlock()
	}
	for reply := "220 mx ESMTP"; ; reply = "250 ok" {
		if _, err := fmt.Fprintf(c, "%s\r\n", reply); err != nil {
			lost()
			return
		}
		line, err := in.ReadString('\n')
		if err != nil {
			lost()
			return
		}
		if strings.HasPrefix(line, "QUIT") {
			_, _ = fmt.Fprint(c, "221 bye\r\n")
			return
		}
	}
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// watched runs the checks of a server for a while.
func watched(t *testing.T, c *Config, p *postscreen, d time.Duration, report func(time.Duration, Report)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	start := time.Now()
	go Probe(ctx, c, 0, p, func(r Report) { report(time.Since(start), r) })
	time.Sleep(d)
	cancel()
	synctest.Wait()
}

// TestBehindPostscreen: a server that greets unknown clients after 6 s stays up with checks that wait 2 s, also when it has
// forgotten the gateway. A warning says what to do, once.
func TestBehindPostscreen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := smtp("HELO")
		c.Timeout, c.Inter, c.FastInter, c.DownInter = 2*time.Second, 2*time.Second, 2*time.Second, 2*time.Second
		p := &postscreen{wait: 6 * time.Second, ttl: time.Hour}
		checks, slow := 0, 0
		watched(t, c, p, 5*time.Hour, func(at time.Duration, r Report) {
			checks++
			if !r.Up || r.Changed {
				t.Errorf("after %v: %+v", at, r)
			}
			for _, w := range Warnings(c, &r.Result, Clients{}) {
				if w.Concern == SlowGreeting {
					slow++
				}
			}
		})
		if checks < 1000 || slow != 5 {
			t.Errorf("%d checks, %d of which saw a slow greeting; want one at the start and one an hour", checks, slow)
		}
	})
}

// TestHangingServer: a server that accepts connections and never greets goes down at its first check, and one that starts to
// hang at its third. Waiting for its greeting costs the time of one patient check.
func TestHangingServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := smtp("HELO")
		var reports []string
		watched(t, c, &postscreen{wait: time.Hour}, time.Minute, func(at time.Duration, r Report) {
			reports = append(reports, fmt.Sprint(at, r.Up, r.Result.Silent))
		})
		if len(reports) < 5 || reports[0] != fmt.Sprint(greetPatience, false, true) || !strings.HasPrefix(reports[1], "18s") { // downinter, timeout
			t.Errorf("%q", reports)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		c := smtp("HELO")
		p := &postscreen{ttl: time.Hour}
		hangs, fell := time.Duration(0), time.Duration(0)
		watched(t, c, p, time.Hour, func(at time.Duration, r Report) {
			switch {
			case hangs == 0 && at > 30*time.Minute:
				hangs = at
				p.mu.Lock()
				p.wait, p.passed = time.Hour, time.Time{}
				p.mu.Unlock()
			case r.Changed && fell == 0:
				fell = at
			}
		})
		// inter, a check; fastinter, a patient one; fastinter, a check.
		if want := (3 + 3 + 1 + 10 + 1 + 3) * time.Second; fell-hangs != want {
			t.Errorf("it fell %v after it began to hang, want %v", fell-hangs, want)
		}
	})
}

// TestNoGreeting: the line of a check without a greeting says what the cause may be.
func TestNoGreeting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := smtp("HELO")
		r := Check(t.Context(), c, &postscreen{wait: time.Minute}, Beyond{})
		const want = `Server bk/s1 is DOWN, reason: Layer7 timeout, info: "no greeting within 3s: does postscreen or a greet delay hold it back? ` +
			`Let this machine pass there, or raise timeout check", check duration: 3000ms.`
		if got := Line(c, &r, false, Left{}); !strings.HasPrefix(got, want) {
			t.Error(got)
		}
	})
}

// TestSlowGreeting: after a late greeting a whole timeout remains for the rest of the dialogue. The warning names the
// address from which the server should accept checks at once.
func TestSlowGreeting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := smtp("EHLO")
		r := Check(t.Context(), c, &postscreen{wait: 9 * time.Second}, Beyond{Patient: true})
		r.Local = netip.MustParseAddr("10.0.0.1")
		w := Warnings(c, &r, Clients{})
		if r.Code != L7OK || len(w) != 1 || w[0].Concern != SlowGreeting || !strings.Contains(w[0].Text, "greets after 9s, and its checks wait for 3s") ||
			!strings.Contains(w[0].Text, "permit 10.0.0.1 in postscreen_access_list") {
			t.Errorf("%+v, %v", r, w)
		}
		c.Timeout = 20 * time.Second
		if r := Check(t.Context(), c, &postscreen{wait: 9 * time.Second}, Beyond{Patient: true}); !r.OK() || len(Warnings(c, &r, Clients{})) != 0 {
			t.Errorf("with a long timeout: %+v", r)
		}
		if r := Check(t.Context(), c, &script{lines: []string{"220 hi", ""}}, Beyond{Patient: true}); r.Code != L7TOUT || r.Silent || r.Duration != c.Timeout {
			t.Errorf("silent after the greeting: %+v", r)
		}
	})
}

// TestPlainCheckOfMailServer: the first check that connects says that the server greets although the check only connects,
// and ends with QUIT. Later checks say nothing. None depends on what the server sends.
func TestPlainCheckOfMailServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := smtp("HELO")
		c.SMTP = false
		p := &postscreen{}
		checks, greeted := 0, 0
		watched(t, c, p, time.Hour, func(at time.Duration, r Report) {
			checks++
			if r.Result.Code != L4OK || r.Result.Duration != 0 || at > time.Duration(checks-1)*c.Inter {
				t.Errorf("check %d after %v: %+v", checks, at, r)
			}
			if w := Warnings(c, &r.Result, Clients{}); len(w) > 0 {
				greeted++
				p.mu.Lock()
				defer p.mu.Unlock()
				if w[0].Concern != PlainCheck || checks != 1 || p.lost != 0 {
					t.Errorf("check %d: %v, %d connections lost", checks, w, p.lost)
				}
			}
		})
		if greeted != 1 || checks < 1000 {
			t.Errorf("%d checks, %d of which say that the server greets", checks, greeted)
		}
	})
	for name, lines := range map[string][]string{"silent": {""}, "no mail server": {"SSH-2.0-x"}, "closes": {"FIN"}, "busy": {"421 later", "FIN"}} {
		synctest.Test(t, func(t *testing.T) {
			c := smtp("HELO")
			c.SMTP = false
			start := time.Now()
			r := Check(t.Context(), c, &script{lines: lines}, Beyond{Look: true})
			if r.Code != L4OK || r.Greets || len(Warnings(c, &r, Clients{})) != 0 || time.Since(start) > peekLimit {
				t.Errorf("%s: %+v after %v", name, r, time.Since(start))
			}
		})
	}
}

// teaser is postscreen with a postscreen_greet_banner: the first line of its greeting comes at once, the last one 6 s later.
type teaser struct{}

func (teaser) DialContext(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	go func() {
		defer func() { _ = server.Close() }()
		_, _ = fmt.Fprint(server, "220-mx\r\n")
		time.Sleep(6 * time.Second)
		in := bufio.NewReader(server)
		for _, reply := range []string{"220 mx ESMTP", "250-mx\r\n250-PIPELINING\r\n250 STARTTLS", "221 bye"} {
			_, _ = fmt.Fprintf(server, "%s\r\n", reply)
			if _, err := in.ReadString('\n'); err != nil {
				return
			}
		}
	}()
	return client, nil
}

// TestTeaser: a check tells when the first line of a greeting came and when the last, and which keywords the server has.
func TestTeaser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := Check(t.Context(), smtp("EHLO"), teaser{}, Beyond{Look: true, Patient: true})
		if r.Code != L7OK || r.FirstLine != 0 || r.Greeting != 6*time.Second || !r.Keywords || !r.StartTLS || r.Pipeconnect {
			t.Errorf("%+v", r)
		}
	})
}
