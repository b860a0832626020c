package lab

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"hushgate/internal/wire"
)

// everything is a filter that accepts every frame.
func everything(t *testing.T) []bpf.RawInstruction {
	t.Helper()
	all, err := bpf.Assemble([]bpf.Instruction{bpf.RetConstant{Val: 1 << 18}})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// counters waits until ok accepts the sum of a counter over all shards.
func (g *Gateway) counters(t *testing.T, what, name string, ok func(sum int) bool) {
	t.Helper()
	waitFor(t, what, func() bool {
		before := g.Count("msg=counters", name+"=")
		if err := g.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		const shards = 2
		waitFor(t, "the counters", func() bool { return g.Count("msg=counters", name+"=") >= before+shards })
		sum := 0
		for _, line := range g.Lines() {
			if _, value, found := strings.Cut(line, " "+name+"="); found && strings.Contains(line, "msg=counters") {
				if before--; before < 0 {
					var n int
					_, _ = fmt.Sscan(value, &n)
					sum += n
				}
			}
		}
		return ok(sum)
	})
}

// processorTime is the processor time that a process has used (clock_getcpuclockid).
func processorTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|2), &ts); err != nil {
		t.Fatal(err)
	}
	return time.Duration(ts.Nano())
}

// residentMemory is a process's own memory in octets: without what it has mapped of its program, which is there once for all connections.
func residentMemory(t *testing.T, pid int) (octets int) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for s := bufio.NewScanner(bytes.NewReader(status)); s.Scan(); {
		if _, err := fmt.Sscanf(s.Text(), "RssAnon: %d kB", &octets); err == nil {
			return octets << 10
		}
	}
	t.Fatalf("no RssAnon in %s", status)
	return 0
}

// TestIdle: 100,000 held connections cost no processor time, and another process takes all of them over.
func TestIdle(t *testing.T) {
	const held, window = 100_000, 4_096 // window is how many handshakes are in flight
	ctx, l := site(t, Options{})
	s := newStrangers(t, l, families[0], everything(t))
	g := gateway(ctx, t, l, fmt.Appendf(nil, `#yaml
frontends:
  - {name: ft, bind: "%s", inspect-delay: 10m, default_backend: bk}
backends:
  - {name: bk, servers: [{name: smtp1, address: "%s"}]}
`, net.JoinHostPort(VIP4, "25"), net.JoinHostPort(Server4a, "25")))
	pid := g.cmd.Process.Pid
	before := residentMemory(t, pid)
	start := time.Now()
	type end struct {
		host wire.Addr
		port uint16
	}
	opened := make(map[end]bool, held) // a SYN-ACK can come twice
	sent := 0
	for len(opened) < held && time.Since(start) < time.Minute {
		for ; sent < held && sent-len(opened) < window; sent++ {
			if err := s.syn(sent); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(s.flush(), s.answers(time.Second, func(a *wire.Segment) error {
			if !a.Flags.Has(wire.SYN) {
				return nil
			}
			opened[end{a.Dst, a.DstPort}] = true
			return s.ack(a)
		})); err != nil {
			t.Fatal(err)
		}
	}
	g.counters(t, "100,000 held connections", "flows.held", func(sum int) bool { return sum == held })
	memory := residentMemory(t, pid) - before
	if memory/held > 170 { // 128 each, and what a process with so many connections needs anyway
		t.Errorf("%d octets each (RssAnon)", memory/held)
	}
	const look = 5 * time.Second
	used := processorTime(t, pid)
	<-time.After(look) // the processor time of an idle gateway is measured
	used = processorTime(t, pid) - used
	t.Logf("%d connections opened in %v, held in %d octets each (RssAnon); processor time in %v of silence: %v",
		held, time.Since(start)-look, memory/held, look, used)
	if used > look/200 {
		t.Errorf("%v of processor time in %v", used, look)
	}

	g = takeOver(ctx, t, l, g)
	line, err := g.WaitLine(ctx, "taken over", fmt.Sprintf("connections=%d", held))
	if err != nil {
		t.Fatal(err)
	}
	g.counters(t, "100,000 held connections in the other process", "flows.held", func(sum int) bool { return sum == held })
	t.Log(line)
	then := 0
	waitFor(t, "the memory of the conversation to be given back", func() bool {
		then = residentMemory(t, g.PID()) - before
		return then < memory+memory/10 // of the process before, which never had the conversation
	})
	t.Logf("then %d octets each (RssAnon)", then/held)
}

// TestLimitsUnderLoad: the limit of half-open connections and the receive buffer are as configured; SYNs beyond the limit
// are answered all the same, and real clients get through.
func TestLimitsUnderLoad(t *testing.T) {
	const syns, limit, buffer = 5_000, 100, 1 << 20
	ctx, l := site(t, Options{})
	s := newStrangers(t, l, families[0], everything(t))
	g := gateway(ctx, t, l, fmt.Appendf(nil, `#yaml
half-open: %d
receive-buffer: %d
frontends:
  - {name: ft, bind: "%s", inspect-delay: 200ms, default_backend: bk}
backends:
  - {name: bk, servers: [{name: smtp1, address: "%s"}]}
`, limit, buffer, net.JoinHostPort(VIP4, "25"), net.JoinHostPort(Server4a, "25")))
	if _, err := NewMTA(l.Servers[0], net.JoinHostPort(Server4a, "25"), nil); err != nil {
		t.Fatal(err)
	}
	sockets, err := l.Gateway.Run(ctx, "ss", "-0", "-m", "-a")
	if err != nil {
		t.Fatal(err)
	}
	const each = 2 * 2 * 2 // interfaces, shards and protocols; the kernel doubles what it is asked for
	if n := strings.Count(sockets, fmt.Sprintf(",rb%d,", 2*buffer)); n != each {
		t.Errorf("%d of %d packet sockets have the configured buffer:\n%s", n, each, sockets)
	}
	answered := map[wire.Addr]bool{}
	for sent := 0; sent < syns; {
		for range 250 {
			if err := s.syn(sent); err != nil {
				t.Fatal(err)
			}
			sent++
		}
		err := s.flush()
		for deadline := time.Now().Add(10 * time.Second); err == nil && len(answered) < sent && time.Now().Before(deadline); {
			err = s.answers(time.Second, func(a *wire.Segment) error {
				if a.Flags.Has(wire.SYN) {
					answered[a.Dst] = true
				}
				return nil
			})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(answered) != syns {
		t.Errorf("%d of %d SYNs were answered", len(answered), syns)
	}
	g.counters(t, "both shards to be full", "flows.half-open", func(sum int) bool { return sum == 2*limit })
	g.counters(t, "the others to be answered without a record", "stateless", func(sum int) bool { return sum >= syns-2*limit })
	if _, err := l.Deliver(ctx, ClientAddr4(1), net.JoinHostPort(VIP4, "25"), strings.NewReader("x\r\n")); err != nil {
		t.Error(err)
	}
}
