package connlog

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hushgate/internal/logqueue"
)

// These tests stop or remove a syslog. The test with an unreachable host is in internal/lab, which has networks.

func openRaw(t *testing.T, address string) *Sink {
	t.Helper()
	s, err := Target{Address: address, Format: "raw"}.Open()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func listenUnix(t *testing.T, path string) net.PacketConn {
	t.Helper()
	c, err := net.ListenPacket("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// await waits until a sink's counters satisfy a condition.
func await(t *testing.T, s *Sink, what string, is func(logqueue.Stats) bool) logqueue.Stats {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		now := s.Stats()
		if is(now) {
			return now
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %+v", what, now)
		}
	}
}

// TestSyslogGoes checks that lines sent without a syslog are counted, and that the next syslog gets their number.
func TestSyslogGoes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	first := listenUnix(t, path)
	s := openRaw(t, path)
	s.Line(Info, []byte("one"))
	if got := receive(t, first); got != "one" {
		t.Errorf("%q", got)
	}
	_ = first.Close()
	_ = os.Remove(path)
	for range 3 {
		s.Line(Info, []byte("to nobody"))
	}
	st := await(t, s, "loss", func(st logqueue.Stats) bool { return st.Lost == 3 })
	if st.Written != 1 || !errors.Is(st.Err, unix.ENOENT) {
		t.Errorf("%+v", st)
	}
	second := listenUnix(t, path)
	if got := receive(t, second); got != "3 log lines were lost: the log target was too slow or did not accept them" { // without another line
		t.Errorf("%q", got)
	}
	s.Line(Info, []byte("back"))
	if got := receive(t, second); got != "back" {
		t.Errorf("%q", got)
	}
	// One that is restarted and bound at once loses nothing.
	_ = second.Close()
	_ = os.Remove(path)
	third := listenUnix(t, path)
	s.Line(Info, []byte("third"))
	if got := receive(t, third); got != "third" {
		t.Errorf("%q", got)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if st := s.Stats(); st.Written != 3 || st.Lost != 3 {
		t.Errorf("%+v", st)
	}
}

// TestSyslogStops checks that a syslog that stops reading delays nobody, and gets everything in order when it reads again.
func TestSyslogStops(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l := listenUnix(t, path)
	s := openRaw(t, path)
	const n = 5000
	for i := range n {
		s.Line(Info, fmt.Append(nil, i))
	}
	await(t, s, "a full socket", func(st logqueue.Stats) bool { return st.Waiting > 0 && st.Written > 0 })
	for i := range n {
		if got := receive(t, l); got != fmt.Sprint(i) {
			t.Fatalf("got %q after line %d", got, i-1)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if st := s.Stats(); st.Written != n || st.Lost != 0 {
		t.Errorf("%+v", st)
	}
}

// TestSyslogStopsForGood checks that Close does not wait for a syslog that never reads again, and that another one in its
// place is found.
func TestSyslogStopsForGood(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	listenUnix(t, path)
	s := openRaw(t, path)
	for range 5000 {
		s.Line(Info, []byte("a line"))
	}
	begun := time.Now()
	if err := s.Close(); err == nil {
		t.Error("no error about the lost lines")
	}
	if took := time.Since(begun); took > closeAll {
		t.Errorf("it took %v", took)
	}
	if st := s.Stats(); st.Written+st.Lost != 5000 || st.Lost == 0 {
		t.Errorf("%+v", st)
	}

	s = openRaw(t, path)
	for range 5000 {
		s.Line(Info, []byte("a line"))
	}
	await(t, s, "a full socket", func(st logqueue.Stats) bool { return st.Waiting > 0 })
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	other := listenUnix(t, path)
	if got := receive(t, other); got != "a line" {
		t.Errorf("%q", got)
	}
	_ = other.Close()
	_ = s.Close() // whatever it says
}

// TestLongMessage checks that a line too long for a datagram is lost without any other.
func TestLongMessage(t *testing.T) {
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	s := openRaw(t, l.LocalAddr().String())
	s.Line(Info, []byte(strings.Repeat("x", 70_000)))
	await(t, s, "loss", func(st logqueue.Stats) bool { return st.Lost == 1 && errors.Is(st.Err, unix.EMSGSIZE) })
	s.Line(Info, []byte("short"))
	for _, want := range []string{"1 log lines were lost: the log target was too slow or did not accept them", "short"} {
		if got := receive(t, l); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestRefusedUDP checks that datagrams to a closed port are counted: the kernel reports each afterwards.
func TestRefusedUDP(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.ListenPacket("udp", address)
		if err != nil {
			t.Fatal(err)
		}
		at := l.LocalAddr().String()
		s := openRaw(t, at)
		s.Line(Info, []byte("one"))
		if got := receive(t, l); got != "one" {
			t.Errorf("%q", got)
		}
		_ = l.Close()
		for range 20 {
			s.Line(Info, []byte("to nobody"))
		}
		st := await(t, s, "loss", func(st logqueue.Stats) bool { return st.Lost >= 19 })
		if !errors.Is(st.Err, unix.ECONNREFUSED) || st.Written+st.Lost != 21 {
			t.Errorf("%+v", st)
		}
		if l, err = net.ListenPacket("udp", at); err != nil {
			t.Fatal(err)
		}
		s.Line(Info, []byte("back"))
		var reported uint64
		for back := false; !back || reported < st.Lost; { // also what a line to nobody reported
			var n uint64
			switch got := receive(t, l); {
			case got == "back":
				back = true
			case !strings.Contains(got, "lost"):
				t.Errorf("%q", got)
			default:
				_, _ = fmt.Sscanf(got, "%d log lines", &n)
				reported += n
			}
		}
		if st = s.Stats(); reported != st.Lost {
			t.Errorf("%d lines are reported as lost, %d are", reported, st.Lost)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		_ = l.Close()
	}
}

// TestLostHeads: the network's report about a datagram that did not arrive says which one it was.
func TestLostHeads(t *testing.T) {
	for _, network := range []string{"udp4", "udp6"} {
		host := map[string]string{"udp4": "127.0.0.1:0", "udp6": "[::1]:0"}[network]
		l, err := net.ListenPacket(network, host)
		if err != nil {
			t.Fatal(err)
		}
		d, err := dialDatagrams(network, l.LocalAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Close()
		long := strings.Repeat("x", 2000)
		for _, line := range []string{"7 log lines were lost\n", long + "\n"} {
			_, _ = d.Write([]byte(line))
		}
		var heads []string
		for end := time.Now().Add(10 * time.Second); len(heads) < 1 && time.Now().Before(end); {
			for _, head := range d.lost() {
				heads = append(heads, string(head))
			}
		}
		// The first one may have been found by the second Write.
		if last := heads[max(0, len(heads)-1):]; len(last) != 1 || last[0] != long[:quoted] {
			t.Errorf("%s: %q", network, heads)
		}
		_ = d.Close()
	}
}

// stuckUDP is a socket whose queue stays full, as with an unreachable host. Before that, Write fails with another error,
// refuses times.
type stuckUDP struct {
	net.Conn
	refuses int
}

func (c *stuckUDP) Write([]byte) (int, error) {
	if c.refuses--; c.refuses >= 0 {
		return 0, unix.ECONNREFUSED
	}
	return 0, os.ErrDeadlineExceeded
}

func (*stuckUDP) SetWriteDeadline(time.Time) error { return nil }
func (*stuckUDP) Close() error                     { return nil }

// TestStuckUDP checks a socket that takes nothing while no other can be opened, as when a link is down: only the lines are
// lost.
func TestStuckUDP(t *testing.T) {
	for refuses := range 2 {
		d := &datagrams{network: "udp", address: "127.0.0.1:no-such-port", conn: &stuckUDP{refuses: refuses}}
		d.ctx, d.cancel = t.Context(), func() {}
		for range 2 {
			if n, err := d.Write([]byte("a line\n")); n != 0 || err == nil {
				t.Errorf("%d octets went nowhere, %v", n, err)
			}
			if err := d.look(); err != nil {
				t.Error(err)
			}
		}
	}
}
