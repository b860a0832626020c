package lab

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// apiLoad is what a process of its own does to a gateway's API: it polls, hangs and attacks. It has the least priority, so that what is
// measured is the gateway's work, and not this one's.
type apiLoad struct {
	Socket  string // of the level read-only
	Address string // over TCP, with TLS
	Token   string
}

// apiLoadVariable has an apiLoad as JSON in the process that is to be one.
const apiLoadVariable = "HUSHGATE_LAB_API_LOAD"

const (
	pollers   = 10
	pollEvery = 100 * time.Millisecond
	hanging   = 200
)

// pollPaths are what the pollers ask for, one after the other.
var pollPaths = []string{"/v1/status", "/v1/servers", "/v1/frontends", "/v1/counters", "/v1/connections?limit=1000"}

// loadAPI runs the load whenever a line comes in, until the next line. Then it says in a line how many polls were answered, and with
// which other results.
func loadAPI(spec string) int {
	var l apiLoad
	if err := json.Unmarshal([]byte(spec), &l); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		ctx, cancel := context.WithCancel(context.Background())
		var polled atomic.Int64
		var attacks atomic.Int64
		var mu sync.Mutex
		odd := map[string]int{}
		var all sync.WaitGroup
		for i := range pollers {
			all.Go(func() {
				l.poll(ctx, i, func(result string) {
					if result == "200 OK" {
						polled.Add(1)
						return
					}
					mu.Lock()
					defer mu.Unlock()
					odd[result]++
				})
			})
		}
		for i := range hanging {
			all.Go(func() { l.hang(ctx, i, &attacks) })
		}
		fmt.Println("on")
		more := lines.Scan()
		cancel()
		all.Wait()
		fmt.Println(polled.Load(), attacks.Load(), odd)
		if !more {
			return 0
		}
	}
	return 0
}

// unix dials the socket.
func (l *apiLoad) unix(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", l.Socket)
}

// poll asks ten times a second, as a dashboard does, each time over a new connection.
func (l *apiLoad) poll(ctx context.Context, n int, told func(string)) {
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return l.unix(ctx)
	}}}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for i := n; ; i++ {
		q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://hushgate"+pollPaths[i%len(pollPaths)], nil)
		if err != nil {
			return
		}
		a, err := c.Do(q)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			told(err.Error())
		} else {
			_, err = io.Copy(io.Discard, a.Body)
			_ = a.Body.Close()
			switch {
			case ctx.Err() != nil:
			case err != nil:
				told(err.Error())
			default:
				told(a.Status)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// hang is a client that hangs, or attacks, in one of ten ways.
func (l *apiLoad) hang(ctx context.Context, n int, attacks *atomic.Int64) {
	const head = " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
	many := func(path string) string { return strings.Repeat("GET "+path+head+l.Token+"\r\n\r\n", 100) }
	plain := func(say string) { l.holdOn(ctx, l.unix, say) }
	far := func(say string) { l.holdOn(ctx, l.tcp, say) }
	switch n % 10 {
	case 0:
		plain("")
	case 1:
		plain("GET /v1/status HTTP/1.1\r\nHost: x\r\nX-A: ")
	case 2:
		plain("POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
	case 3:
		plain(many("/v1/counters"))
	case 4:
		far("")
	case 5:
		far("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
	case 6:
		l.holdOn(ctx, l.secure, many("/v1/connections?limit=1000"))
	case 7: // handshakes without pause
		for ctx.Err() == nil {
			if c, err := l.secure(ctx); err == nil {
				_ = c.Close()
			}
			attacks.Add(1)
		}
	case 8: // wrong tokens without pause
		for ctx.Err() == nil {
			l.holdOn(ctx, l.secure, "GET /v1/status"+head+"wrong\r\nConnection: close\r\n\r\n")
			attacks.Add(1)
		}
	case 9: // the dearest answer without pause
		for ctx.Err() == nil {
			l.holdOn(ctx, l.unix, "GET /v1/counters HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			attacks.Add(1)
		}
	}
}

func (l *apiLoad) tcp(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", l.Address)
}

func (l *apiLoad) secure(ctx context.Context) (net.Conn, error) {
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return d.DialContext(ctx, "tcp", l.Address)
}

// holdOn connects, sends something, and waits until the other side closes or ctx is done. It reads only what comes after a request to
// close.
func (l *apiLoad) holdOn(ctx context.Context, dial func(context.Context) (net.Conn, error), say string) {
	c, err := dial(ctx)
	if err != nil {
		return
	}
	defer func() { _ = c.Close() }()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(c, say); err != nil {
		return
	}
	if strings.Contains(say, "Connection: close") {
		_, _ = io.Copy(io.Discard, c)
		return
	}
	<-ctx.Done()
}

// loader is the process of an apiLoad.
type loader struct {
	to   io.WriteCloser
	from *bufio.Scanner
}

func startLoad(t *testing.T, h *Host, l apiLoad) *loader {
	t.Helper()
	spec, err := json.Marshal(l)
	must(t, err)
	self, err := os.Executable()
	must(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), apiLoadVariable+"="+string(spec))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, h.Start(cmd))
	must(t, syscall.Setpriority(syscall.PRIO_PROCESS, cmd.Process.Pid, 19))
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	return &loader{in, bufio.NewScanner(out)}
}

// toggle begins or ends the load, and returns what the process says.
func (l *loader) toggle(t *testing.T) string {
	t.Helper()
	if _, err := io.WriteString(l.to, "\n"); err != nil {
		t.Fatal(err)
	}
	if !l.from.Scan() {
		t.Fatal("the process that loads the API has ended")
	}
	return l.from.Text()
}

// echoNoops answers each line with a 250.
func echoNoops(c net.Conn) {
	r := bufio.NewReader(c)
	for {
		if _, err := r.ReadString('\n'); err != nil {
			return
		}
		if _, err := io.WriteString(c, "250 2.0.0 Ok\r\n"); err != nil {
			return
		}
	}
}

// noops sends n commands one after the other, and returns how long the answers took, sorted.
func noops(t *testing.T, c net.Conn, r *bufio.Reader, n int) []time.Duration {
	t.Helper()
	took := make([]time.Duration, n)
	for i := range took {
		began := time.Now()
		_, err := io.WriteString(c, "NOOP\r\n")
		must(t, err)
		_, err = r.ReadString('\n')
		must(t, err)
		took[i] = time.Since(began)
		time.Sleep(time.Millisecond)
	}
	slices.Sort(took)
	return took
}

// window is what was measured in one period.
type window struct{ median, p99 time.Duration }

// TestAPILoad: 10 clients that poll the API ten times a second, and 200 that hang or attack, do not slow the commands of an SMTP
// dialogue. Windows with and without them take turns, and of each kind the best one counts: what keeps the machine busy for a while
// disturbs some windows, what the API costs would disturb each of its own.
func TestAPILoad(t *testing.T) {
	f := families[0]
	ctx, l := site(t, Options{})
	dir := t.TempDir()
	listener, err := l.Servers[0].Listen(net.JoinHostPort(f.a, "25"))
	must(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	load := apiLoad{Socket: filepath.Join(dir, "api.sock"), Address: "127.0.0.1:9164", Token: strings.Repeat("secret", 6)}
	files := writeAPIFiles(t, dir, load.Token)
	gateway(ctx, t, l, fmt.Appendf(nil, `#yaml
shards: 2
api: {socket: %s, admin-socket: none, listen: "%s", crt: %s, token-file: %s}
frontends:
  - {name: ft_smtp, bind: "%s", inspect-delay: 100ms, default_backend: bk_smtp}
backends:
  - {name: bk_smtp, servers: [{name: smtp1, address: "%s"}]}
`, load.Socket, load.Address, files.crt, files.tokens, net.JoinHostPort(f.vip, "25"), net.JoinHostPort(f.a, "25")))
	client, server := spliced(ctx, t, l, f, listener)
	go echoNoops(server)
	r := bufio.NewReader(client)
	process := startLoad(t, l.Gateway, load)
	const windows, commands = 8, 400
	var free, busy []window
	noops(t, client, r, 50)
	for range windows {
		took := noops(t, client, r, commands)
		free = append(free, window{took[commands/2], took[commands*99/100]})
		process.toggle(t)
		time.Sleep(200 * time.Millisecond) // not for the result: the more of them have connected, the heavier the load
		took = noops(t, client, r, commands)
		busy = append(busy, window{took[commands/2], took[commands*99/100]})
		if answers := process.toggle(t); strings.HasPrefix(answers, "0 ") {
			t.Errorf("no poll was answered: %s", answers)
		} else {
			t.Log("answered polls, attacks, other answers:", answers)
		}
	}
	by := func(list []window, of func(window) time.Duration) (least, middle time.Duration) {
		slices.SortFunc(list, func(a, b window) int { return int(of(a) - of(b)) })
		return of(list[0]), of(list[len(list)/2])
	}
	for _, m := range []struct {
		name string
		of   func(window) time.Duration
	}{{"median", func(w window) time.Duration { return w.median }}, {"99th percentile", func(w window) time.Duration { return w.p99 }}} {
		freeLeast, freeMiddle := by(free, m.of)
		busyLeast, busyMiddle := by(busy, m.of)
		t.Logf("%s of a command's round trip: without the API's clients %v (middle of the windows %v), with them %v (%v)", m.name, freeLeast, freeMiddle, busyLeast, busyMiddle)
		if busyLeast > 3*freeLeast+2*time.Millisecond {
			t.Errorf("the %s of the best window is %v with the API's clients, and %v without", m.name, busyLeast, freeLeast)
		}
	}
}
