package runtimeapi

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hushgate/internal/admin"
	"hushgate/internal/crowd"
	"hushgate/internal/printable"
)

// TestAnswers: what has no counterpart in HAProxy.
func TestAnswers(t *testing.T) {
	f := newFake()
	since := time.Now().Add(-time.Hour)
	f.servers[0].Up, f.servers[0].Since = false, &since
	*f.servers[0].Check = admin.Check{
		Enabled: true, Rise: 2, Fall: 3, Health: 1, Code: "L7STS", Status: 554, Text: "554 \"no\", never\x1b[m", DurationMs: 5, Failures: 9, Downs: 1,
	}
	paths, _ := start(t, f, usual)
	for _, c := range []struct {
		text string
		want []string
	}{
		{"show info\n", []string{
			"Name: hushgate\nVersion: 1.2\n", "\nPid: 7\nUptime: 1d 1h01m01s\nUptime_sec: 90061\n", "\nMaxconn: 500\n", "\nCurrConns: 2\nCumConns: 7\n",
			"\nnode: node\n", "\nDroppedLogs: 3\n", "\nStart_time_sec: 1000\n",
		}},
		{"show info typed\n", []string{"6.Pid.1:SGP:u32:7\n"}},
		{"show info json\n", []string{
			`{"field":{"pos":6,"name":"Pid"},"processNum":1,"tags":{"origin":"Status","nature":"Gauge","scope":"Process"},"value":{"type":"u32","value":7}}`,
		}},
		{"show version\n", []string{"1.2\n\n"}},
		{"show stat\n", []string{
			"\nsmtp,FRONTEND,,,2,,500,7,50,40,3,", "\nmail,mx1,0,,0,,,0,0,0,,,,0,,,,DOWN 1/2,3,1,0,9,1,36", ",L7STS,554,5,", `,"554 ""no"", never?[m",`,
			",Layer7 wrong status,,2,3,1,",
		}},
		{"show servers state\n", []string{"\n3 mail 1 mx1 127.0.0.1 0 0 3 3 36"}},
		{"show stat typed\n", []string{"S.3.1.36.check_status.1:MOP:str:L7STS\n"}},
		{"set server mail/mx1 nonsense\n", []string{"usage: set server <backend>/<server> addr | agent | fqdn | health | state | weight\n\n"}},
		{"set server mail/mx1 health stopping\n", []string{string(noStopping)}},
		{"set server mail/mx1 addr 192.0.2.1 port 25\n", []string{string(noAddr)}},
		{"help set w\n", []string{"valid at this level:\n  set weight <bk>/<srv> <weight>[%]       : change a server's weight\n  help [<command>] "}},
		{"nonsense\n", []string{"Unknown command. Please enter one of the following commands only:\n  clear counters"}},
		{"set nonsense\n", []string{"Unknown command, but maybe one of the following ones is a better match:\n  set server ", "\n  help"}},
		{"set ssl cert x <<\nshow version\n\nshow cli level\n", []string{"Unknown command", ": disconnect\n\nadmin\n\n"}},
	} {
		got := ask(t, paths[Admin], c.text)
		for _, want := range c.want {
			if !strings.Contains(got, want) {
				t.Errorf("%q: no %q in\n%s", c.text, want, got)
			}
		}
	}
}

// TestHelpKnowsLevels: nobody is offered what is refused.
func TestHelpKnowsLevels(t *testing.T) {
	paths, _ := start(t, newFake(), usual)
	if got := ask(t, paths[User], "help\n"); strings.Contains(got, "disable") || !strings.Contains(got, "show stat") {
		t.Errorf("%s", got)
	}
}

// TestHangingClients: clients that owe a command give way to new ones, and those that are silent for long are disconnected.
func TestHangingClients(t *testing.T) {
	paths, _ := start(t, newFake(), Options{Timeout: time.Hour, MaxConn: 3})
	var hanging []net.Conn
	for range 50 {
		conn, err := net.Dial("unix", paths[User])
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if _, err := io.WriteString(conn, "show sta"); err != nil {
			t.Fatal(err)
		}
		hanging = append(hanging, conn)
	}
	if got := ask(t, paths[User], "show cli level\n"); got != "user\n\n" {
		t.Errorf("%q", got)
	}
	if _, err := hanging[0].Read(make([]byte, 1)); err == nil {
		t.Error("the first hanging client is still connected")
	}
	short, _ := start(t, newFake(), Options{Timeout: time.Millisecond, MaxConn: 3})
	if got := ask(t, short[User], ""); got != "" {
		t.Errorf("%q", got)
	}
}

// TestUnreadAnswers: clients that ask for much and read nothing give way to new ones.
func TestUnreadAnswers(t *testing.T) {
	s := New(Options{Gateway: newFake(), Log: slog.New(slog.DiscardHandler), MaxConn: 1})
	ours, theirs := net.Pipe()
	defer func() { _ = theirs.Close() }()
	c := &client{server: s, conn: ours}
	s.crowds[User].Admit(&c.place, ours)
	done := make(chan bool)
	go func() { done <- c.answer(t.Context(), []string{"show", "version"}) }()
	if _, err := theirs.Read(make([]byte, 1)); err != nil { // it is writing, and waits for us to read the rest
		t.Fatal(err)
	}
	var next crowd.Place
	if !s.crowds[User].Admit(&next, theirs) {
		t.Error("a new client is kept out")
	}
	_ = theirs.Close()
	if <-done {
		t.Error("the client that gave way is asked for more")
	}
}

// short is a listener on a machine that has no descriptors left for a while.
type short struct {
	net.Listener
	times int
}

func (s *short) Accept() (net.Conn, error) {
	if s.times--; s.times >= 0 {
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", unix.ENFILE)}
	}
	return s.Listener.Accept()
}

// TestShortage: the server goes on when the machine has had no descriptor for a new client.
func TestShortage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	s := New(Options{Gateway: newFake(), Log: slog.New(slog.DiscardHandler), Timeout: time.Minute, MaxConn: 1})
	go func() { ended <- s.Serve(ctx, &Listener{&short{l, 2}, User}) }()
	if got := ask(t, path, "show cli level\n"); got != "user\n\n" {
		t.Errorf("%q", got)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestPlain: what could be an order for a terminal, or turn text around, is not written.
func TestPlain(t *testing.T) {
	if got, want := printable.Text("a\u009b31mb\u202ec\x1b\u2028é"), "a?31mb?c??é"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestTooLong: a command without an end is not kept.
func TestTooLong(t *testing.T) {
	paths, _ := start(t, newFake(), usual)
	conn, err := net.Dial("unix", paths[User])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	for range 10 * maxCommand / 1024 {
		if _, err := io.WriteString(conn, strings.Repeat("x", 1024)); err != nil {
			return
		}
	}
	t.Error("it takes everything")
}

// TestEndOfServer: an answer that is being worked out when the server ends still arrives.
func TestEndOfServer(t *testing.T) {
	f := newFake()
	f.block, f.asked = make(chan struct{}), make(chan struct{})
	paths, stop := start(t, f, usual)
	conn, err := net.Dial("unix", paths[User])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, "prompt;show version\n"); err != nil {
		t.Fatal(err)
	}
	<-f.asked
	close(f.block)
	if err := stop(); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadAll(conn); err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("unix", paths[User]); err == nil {
		t.Error("a new client is accepted")
	}
}

// FuzzCommands: no input is a panic, and words have the form that commands rely on.
func FuzzCommands(f *testing.F) {
	for _, s := range []string{
		"show stat\n", "a\\;b;c\n", "  x\\ y \t z\r\n", "\\", ";;\n", "set server a/b weight 5%\n", strings.Repeat("a ", 100) + "\n", "show table clients data.conn_cur gt 0 data.conn_rate le -1\n",
		"set table offenders key ::ffff:192.0.2.1 data.gpt0 1 data.gpc0\n", "shutdown session 0x7f\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bufio.NewReader(strings.NewReader(string(data)))
		for {
			text, _, err := readCommand(r)
			if err != nil {
				return
			}
			words := split(text)
			if len(words) > maxWords || slices.Contains(words, "") || len(strings.Join(words, " ")) > len(text) {
				t.Fatalf("%q: %q", text, words)
			}
			find(words)
			if unknown(words, User) == "" {
				t.Fatal("no answer")
			}
			for i := range tables {
				for _, of := range []func([]string) ([]condition, error){tables[i].conditions, tables[i].changes} {
					list, _ := of(words)
					for _, c := range list {
						if c.column >= len(tables[i].columns) || len(list) > max(maxConditions, len(words)) {
							t.Fatalf("%q: %+v", words, list)
						}
					}
				}
			}
			for _, w := range words {
				if a, err := parseKey(w); err == nil && (!a.IsValid() || a.Is4In6() || asKey(a) == "") {
					t.Fatalf("%q: key %v", w, a)
				}
				pointer(w)
				if n, err := parseWeight(w, 100); err == nil && (n < 0 || n > maxWeight) {
					t.Fatalf("%q: weight %d", w, n)
				}
			}
		}
	})
}
