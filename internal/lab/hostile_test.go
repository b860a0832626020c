package lab

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"hushgate/internal/wire"
)

// hostile is one client that opens as many connections as it can: an IPv4 address with its ports, or the owner of an IPv6 network
// with all its addresses.
type hostile struct {
	*strangers
	opened int
}

// hostileRound is how many connections it opens with different addresses and ports; then it begins anew with those of IPv4.
const hostileRound = 50_000

func (h *hostile) tuple(round, n int) (host wire.Addr, port uint16) {
	if h.vip.Is4() {
		host, _ = h.stranger(1)
		return host, uint16(1024 + n)
	}
	host, _ = h.stranger(n % 1000)
	return host, uint16(1024 + round*hostileRound/1000 + n/1000)
}

// round opens the connections of a round. Each is asked for again until it was answered: with a SYN-ACK, or with an ACK if it is
// still open from an earlier round.
func (h *hostile) round(round int) error {
	const window = 512 // SYNs without an answer
	number := map[[2]any]int{}
	answered := make([]bool, hostileRound)
	sent, open, progress := 0, 0, time.Now()
	for open < hostileRound {
		for ; sent < hostileRound && sent-open < window; sent++ {
			host, port := h.tuple(round, sent)
			number[[2]any{host, port}] = sent
			if err := h.syn(round, sent); err != nil {
				return err
			}
		}
		before := open
		if err := h.flush(); err != nil {
			return err
		}
		err := h.answers(100*time.Millisecond, func(a *wire.Segment) error {
			n, mine := number[[2]any{a.Dst, a.DstPort}]
			switch {
			case !mine || a.Flags.Has(wire.RST): // an answer to somebody else; the end of a connection that was opened
				return nil
			case !answered[n]:
				answered[n] = true
				open++
			}
			if a.Flags.Has(wire.SYN) {
				return h.ack(a)
			}
			return nil
		})
		if err != nil {
			return err
		}
		if open > before {
			progress = time.Now()
		}
		if time.Since(progress) < time.Second { // a SYN-ACK that was lost comes again by then
			continue
		}
		progress = time.Now()
		for n := range sent { // frames were lost
			if !answered[n] {
				if err := h.syn(round, n); err != nil {
					return err
				}
			}
		}
	}
	h.opened += open
	return nil
}

func (h *hostile) syn(round, n int) error {
	host, port := h.tuple(round, n)
	return h.send(wire.Header{Src: host, SrcPort: port, Flags: wire.SYN, Seq: firstNumber(round*hostileRound + n), MSS: 1460, SACKPermitted: true})
}

// crowd gives the client host addresses, each of which is a client of its own, and returns them.
func crowd(t *testing.T, l *Lab, f family, clients int) (addresses []string) {
	t.Helper()
	network, via, format, bits := "198.18.64.0/24", ClientAddr4(9), "198.18.64.%d", 32
	if f.vip == VIP6 {
		network, via, format, bits = "2001:db8:7::/48", ClientAddr6(9), "2001:db8:7:%d::1", 128
	}
	var commands strings.Builder
	for n := 1; n <= clients; n++ {
		a := fmt.Sprintf(format, n)
		addresses = append(addresses, a)
		fmt.Fprintf(&commands, "address add %s/%d dev eth0 nodad\n", a, bits)
	}
	file := filepath.Join(t.TempDir(), "addresses")
	must(t, os.WriteFile(file, []byte(commands.String()), 0o600))
	_, err := l.Client.Run(t.Context(), "ip", "-batch", file)
	must(t, err)
	_, err = l.Gateway.Run(t.Context(), "ip", "route", "add", network, "via", via)
	must(t, err)
	return addresses
}

// TestHostileClient: one client opens 200,000 connections as fast as they are answered, with the limits that there are by default.
// It never has more than its limit, and meanwhile 200 others get their mail through: with a table of the default size, and with
// one that it could fill many times.
func TestHostileClient(t *testing.T) {
	const rounds, others = 4, 200
	ctx, l := site(t, Options{})
	for i, f := range families {
		t.Run(f.name, func(t *testing.T) {
			m := mtas(t, l, f)[0]
			h := &hostile{strangers: newStrangers(t, l, f, everything(t))}
			clients := crowd(t, l, f, others)
			vip := net.JoinHostPort(f.vip, "25")
			g := gateway(ctx, t, l, fmt.Appendf(nil, `#yaml
shards: 2
maxconn: %d
hard-stop-after: 0s
frontends:
  - {name: ft, bind: %q, log-format: none, inspect-delay: 1s, default_backend: bk}
backends:
  - {name: bk, servers: [{name: smtp1, address: %q}]}
`, [...]int{1_000_000, 10_000}[i], vip, net.JoinHostPort(f.a, "25")))
			began := time.Now()
			must(t, h.round(0))
			var served atomic.Bool
			mails := make(chan error, 1)
			go func() {
				defer served.Store(true)
				var group errgroup.Group
				group.SetLimit(50)
				for _, from := range clients {
					group.Go(func() error {
						_, err := l.Deliver(ctx, from, vip, strings.NewReader("x\r\n"))
						return err
					})
				}
				mails <- group.Wait()
			}()
			n := 1
			for ; n < rounds || !served.Load() && n < 10*rounds; n++ {
				must(t, h.round(n))
			}
			must(t, <-mails)
			t.Logf("%d connections and %d mails in %v", h.opened, others, time.Since(began).Round(time.Millisecond))
			if got := len(m.Mails()); got != others {
				t.Errorf("%d of %d mails arrived", got, others)
			}
			const most = 50 // with both shards: all addresses of a client belong to one
			g.counters(t, "nearly all to be refused", "verdicts.refused", func(sum int) bool { return sum >= h.opened-n*most })
			g.counters(t, "the connections that are left", "flows.spliced", func(sum int) bool { return sum <= most })
			must(t, g.Stop())
		})
	}
}
