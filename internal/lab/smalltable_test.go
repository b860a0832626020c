package lab

import (
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"hushgate/internal/wire"
)

// TestSmallTable: within the minute for which finished connections are remembered, more mails come than the table has entries.
// All of them arrive, also while strangers occupy all half-open entries. A client that came in by a SYN cookie, was rejected and
// sends the same again is counted as rejected once.
func TestSmallTable(t *testing.T) {
	beside(t)
	ctx, l := site(t, Options{})
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			m := mtas(t, l, f)[0]
			strangers := newStrangers(t, l, f, everything(t))
			g := gateway(ctx, t, l, fmt.Appendf(nil, `#yaml
shards: 1
maxconn: 16
frontends:
  - {name: ft, bind: %q, inspect-delay: 200ms, default_backend: bk}
backends:
  - {name: bk, servers: [{name: smtp1, address: %q}]}
`, net.JoinHostPort(f.vip, "25"), net.JoinHostPort(f.a, "25")))
			const mails, at = 24, 3
			for n := range mails / at {
				if n == mails/at/2 {
					strangers.begin(t, 4)
				}
				deliverMany(ctx, t, l, f, at)
			}
			if got := len(m.Mails()); got != mails {
				t.Errorf("%d of %d mails arrived", got, mails)
			}
			const again = 4
			if rsts := strangers.talk(t, 100, 1+again); rsts != 1+again {
				t.Errorf("%d RSTs to a client that talks %d times", rsts, 1+again)
			}
			must(t, g.Signal(syscall.SIGUSR1))
			line, err := g.WaitLine(ctx, "msg=counters")
			must(t, err)
			for _, want := range []string{"verdicts.early-talker=1 ", "cookies_replayed=4 ", "stateless="} {
				if !strings.Contains(line, want) {
					t.Errorf("no %s in %s", want, line)
				}
			}
			for _, bad := range []string{"finished_given_up=0 ", "dropped.table-full", "recalled=0 "} {
				if strings.Contains(line, bad) {
					t.Errorf("%s in %s", bad, line)
				}
			}
			must(t, g.Stop())
		})
	}
}

// begin has n strangers send a SYN, and waits for the answers.
func (s *strangers) begin(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		must(t, s.syn(i))
	}
	must(t, s.flush())
	for answered := map[wire.Addr]bool{}; len(answered) < n; { // a SYN-ACK can come twice
		must(t, s.answers(time.Second, func(a *wire.Segment) error { answered[a.Dst] = true; return nil }))
	}
}

// talk lets stranger n open a connection and send the same early talk several times. It returns how many RSTs came.
func (s *strangers) talk(t *testing.T, n, times int) (rsts int) {
	t.Helper()
	must(t, s.syn(n))
	must(t, s.flush())
	own, _ := s.stranger(n)
	end := time.Now().Add(5 * time.Second)
	for rsts < times && time.Now().Before(end) {
		must(t, s.answers(time.Second, func(a *wire.Segment) error {
			switch {
			case a.Dst != own: // a retransmitted SYN-ACK to a silent stranger
				return nil
			case a.Flags.Has(wire.RST):
				if rsts++; rsts == times {
					return nil
				}
			}
			return s.say(s.first(n, a), "EHLO bot\r\n")
		}))
	}
	return rsts
}

// first is the header of what stranger n says first, in answer to a SYN-ACK or, with the same numbers, to an RST.
func (s *strangers) first(n int, a *wire.Segment) wire.Header {
	h := wire.Header{Src: a.Dst, SrcPort: a.DstPort, Flags: wire.ACK | wire.PSH, Seq: firstNumber(n) + 1, Ack: a.Seq}
	if a.Flags.Has(wire.SYN) {
		h.Ack++
	}
	return h
}
