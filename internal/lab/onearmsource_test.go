package lab

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// oneAddress is a gateway with four shards on a machine with one interface and one address of each family. Clients connect to
// this address, and servers see connections from it.
func oneAddress(t *testing.T) (ctx context.Context, l *Lab, mtas map[string]*MTA, g *Gateway) {
	t.Helper()
	ctx, l = shape(t, OneArm)
	sh(ctx, t, l.Gateway, "ip route add 192.0.2.11/32 dev eth0 src "+ShapeVIP4) // the machine has several addresses
	cfg := "#yaml\nshards: 4\nfrontends:\n"
	for name, vip := range map[string]string{"four": ShapeVIP4, "six": ShapeVIP6} {
		cfg += fmt.Sprintf("  - {name: %s, bind: %q, inspect-delay: 200ms, default_backend: %s}\n", name, net.JoinHostPort(vip, "25"), name)
	}
	cfg += fmt.Sprintf(`backends:
  - {name: four, source: gateway, servers: [{name: s1, address: "192.0.2.11:25"}]}
  - {name: six, source: "[%s]", servers: [{name: s2, address: "[2001:db8:1::12]:25"}]}
`, ShapeVIP6)
	mtas = map[string]*MTA{}
	for vip, server := range map[string]struct {
		host *Host
		addr string
	}{ShapeVIP4: {l.Servers[0], "192.0.2.11"}, ShapeVIP6: {l.Servers[1], "2001:db8:1::12"}} {
		withoutDefault(t, server.host)
		m, err := NewMTA(server.host, net.JoinHostPort(server.addr, "25"), nil)
		if err != nil {
			t.Fatal(err)
		}
		mtas[vip] = m
	}
	return ctx, l, mtas, gateway(ctx, t, l, []byte(cfg))
}

// TestSourceIsTheServiceAddress: with four shards on such a machine, answers of the servers go to the shard that has the
// connection, and not to the shard of a client with the server's address.
func TestSourceIsTheServiceAddress(t *testing.T) {
	ctx, l, mtas, g := oneAddress(t)
	for _, server := range []string{"four/s1", "six/s2"} { // answers to checks may arrive at any shard
		if _, err := g.WaitLine(ctx, "server's TCP options learnt", server); err != nil {
			t.Error(err)
		}
	}
	var group errgroup.Group
	const each = 4
	for vip := range mtas {
		for n := 1; n <= Clients; n++ { // the shard is chosen by the address
			group.Go(func() error {
				for range each {
					if _, err := l.Deliver(ctx, clientOf(vip, n), net.JoinHostPort(vip, "25"), bytes.NewReader(plainMail(100_000))); err != nil {
						return fmt.Errorf("from %s: %w", clientOf(vip, n), err)
					}
				}
				return nil
			})
		}
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	for vip, m := range mtas {
		mails := m.Mails()
		if len(mails) != each*Clients {
			t.Errorf("%d mails arrived, want %d", len(mails), each*Clients)
		}
		for _, mail := range mails {
			if !strings.EqualFold(mail.Client, vip) {
				t.Errorf("a mail arrived from %s, want %s", mail.Client, vip)
			}
		}
	}
}

// TestTakeOverWithSource: servers see the gateway's address, and mail goes on through three takeovers. The number of shards
// cannot change with such a source: a new process with another number is refused.
func TestTakeOverWithSource(t *testing.T) {
	ctx, l, mtas, g := oneAddress(t)
	var group errgroup.Group
	stop := make(chan struct{})
	var sent, opened atomic.Int64
	for vip := range mtas {
		for n := 1; n <= Clients; n++ {
			group.Go(func() error {
				var lines atomic.Int64
				if _, _, err := trickle(ctx, l, clientOf(vip, n), net.JoinHostPort(vip, "25"), n, stop, &lines, func() {}); err != nil {
					return fmt.Errorf("slowly from %s: %w", clientOf(vip, n), err)
				}
				sent.Add(1)
				return nil
			})
			group.Go(func() error {
				for {
					select {
					case <-stop:
						return nil
					default:
					}
					if _, err := l.Deliver(ctx, clientOf(vip, n), net.JoinHostPort(vip, "25"), bytes.NewReader(plainMail(100_000))); err != nil {
						return fmt.Errorf("from %s: %w", clientOf(vip, n), err)
					}
					sent.Add(1)
					opened.Add(1)
				}
			})
		}
	}
	for i := range int64(3) {
		waitFor(t, "mails", func() bool { return opened.Load() >= (i+1)*10 })
		g = takeOver(ctx, t, l, g)
	}
	text, err := os.ReadFile(g.File)
	must(t, err)
	must(t, os.WriteFile(g.File+".3.yaml", bytes.Replace(text, []byte("shards: 4"), []byte("shards: 3"), 1), 0o600))
	if out, err := l.hushgate(ctx, "run", "-f", g.File+".3.yaml", "--takeover"); err == nil || !strings.Contains(out, "the number of shards cannot change") {
		t.Errorf("with three shards: %v, %s", err, out)
	}
	before := opened.Load()
	waitFor(t, "mails", func() bool { return opened.Load() >= before+5 })
	close(stop)
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	arrived := 0
	for _, m := range mtas {
		arrived += len(m.Mails())
	}
	if int64(arrived) != sent.Load() {
		t.Errorf("%d mails were sent, %d arrived", sent.Load(), arrived)
	}
	t.Logf("%d mails", arrived)
}

// TestReloadOfSource: after a reload that changes the server-side address, mail in flight keeps the old address. New mail and
// the health checks come from the new one.
func TestReloadOfSource(t *testing.T) {
	beside(t)
	eachFamily(t, func(t *testing.T, f family) {
		ctx, l := site(t, Options{})
		withoutDefault(t, l.Servers[0])
		one, other, bits := "10.0.0.1", "10.0.0.9", "/24"
		if f.vip == VIP6 {
			one, other, bits = "2001:db8:2::1", "2001:db8:2::9", "/64"
		}
		must(t, l.Gateway.Addr("inside", other+bits))
		m := mtas(t, l, f)[0]
		cfg := func(source string) []byte {
			return fmt.Appendf(nil, `#yaml
frontends:
  - {name: ft, bind: %q, inspect-delay: 200ms, default_backend: bk}
backends:
  - {name: bk, source: %q, default-server: {check: true, inter: 100ms}, servers: [{name: smtp1, address: %q}]}
`, net.JoinHostPort(f.vip, "25"), strings.TrimSuffix(net.JoinHostPort(source, ""), ":"), net.JoinHostPort(f.a, "25"))
		}
		vip := net.JoinHostPort(f.vip, "25")
		g := gateway(ctx, t, l, cfg(one))
		slow := beginMail(ctx, t, l, f.client, vip)
		waitFor(t, "checks from the first source", func() bool { n, _ := m.Connections(one); return n > 2 })
		if n, _ := m.Connections(other); n != 0 {
			t.Errorf("%d connections from %s", n, other)
		}

		must(t, os.WriteFile(g.File, cfg(other), 0o600))
		if out, err := l.hushgate(ctx, "reload"); err != nil {
			t.Fatal(err, out)
		}
		if _, err := l.Deliver(ctx, f.client, vip, strings.NewReader("hello")); err != nil {
			t.Error(err)
		}
		waitFor(t, "checks from the second source", func() bool { n, _ := m.Connections(other); return n > 3 })
		before, _ := m.Connections(one)
		waitFor(t, "more of them", func() bool { n, _ := m.Connections(other); return n > 6 })
		if now, _ := m.Connections(one); now > before+1 { // a check may have been on its way
			t.Errorf("there are checks from %s yet: %d, %d", one, before, now)
		}
		must(t, os.WriteFile(g.File, cfg(f.talker), 0o600)) // not an address of the gateway
		const warning = "is not an address of this machine"
		if out, err := l.hushgate(ctx, "reload"); err != nil || !strings.Contains(out, warning) {
			t.Errorf("a reload with an address that the machine does not have: %v, %s", err, out)
		}
		waitForLine(ctx, t, g, warning)
		if out, err := l.hushgate(ctx, "check", "-f", g.File); err != nil || !strings.Contains(out, warning) {
			t.Errorf("check with an address that the machine does not have: %v, %s", err, out)
		}
		slow.end()
		if n := g.Count(warning); n != 1 {
			t.Errorf("the log has the warning %d times", n)
		}
		mails := m.Mails()
		if len(mails) != 2 || mails[0].Client != other || mails[1].Client != one {
			t.Errorf("mails %+v, want one from %s and then that from %s", mails, other, one)
		}
	})
}

// TestSourcePortsInUse: with one server-side port, one client at a time reaches the server. The next client gets 421, and the
// log says why. When the first has finished, its port is free at once, although the server's kernel is in TIME-WAIT.
func TestSourcePortsInUse(t *testing.T) {
	beside(t)
	ctx, l := site(t, Options{})
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			m, source := mtas(t, l, f)[0], Inside4
			if f.vip == VIP6 {
				source = Inside6
			}
			g := gateway(ctx, t, l, fmt.Appendf(nil, `#yaml
shards: 1
frontends:
  - {name: ft, bind: %q, log-format: json, inspect-delay: 200ms, default_backend: bk}
backends:
  - {name: bk, source: %q, servers: [{name: smtp1, address: %q}]}
`, net.JoinHostPort(f.vip, "25"), net.JoinHostPort(source, "2000"), net.JoinHostPort(f.a, "25")))
			vip := net.JoinHostPort(f.vip, "25")
			slow := beginMail(ctx, t, l, f.client, vip)
			second, err := l.Client.Dial(ctx, f.client, vip)
			must(t, err)
			defer func() { _ = second.Close() }()
			_ = second.SetReadDeadline(time.Now().Add(10 * time.Second))
			if said, err := bufio.NewReader(second).ReadString('\n'); err != nil || !strings.HasPrefix(said, "421 ") {
				t.Errorf("the second client got %q, %v", said, err)
			}
			slow.end()
			for _, line := range [][]string{
				{`"cause":"ports-in-use"`, `"termination":"RC"`, `"verdict":"no-server"`},
				{`"cause":"finished"`, `"server":"smtp1"`, fmt.Sprintf(`"source":%q,"source_port":2000`, source)},
			} {
				if _, err := g.WaitLine(ctx, line...); err != nil {
					t.Error(err)
				}
			}
			const more = 5
			for n := range more {
				waitFor(t, "the end of the one before", func() bool { return g.Count(`"cause":"finished"`) == n+1 })
				if _, err := l.Deliver(ctx, f.client, vip, strings.NewReader("hello")); err != nil {
					t.Error(err)
				}
			}
			if got := len(m.Mails()); got != 1+more {
				t.Errorf("%d mails arrived, want %d", got, 1+more)
			}
			must(t, g.Stop())
		})
	}
}
