package lab

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
)

// TestSourceIsTheServiceAddress: a machine with one interface and one address of a family, which is both what clients
// connect to and what the servers see, has four shards share the work: what the servers answer goes to the shard that has the
// connection, and not to that of a client which the server would be.
func TestSourceIsTheServiceAddress(t *testing.T) {
	ctx, l := shape(t, OneArm)
	cfg := "#yaml\nshards: 4\nfrontends:\n"
	for name, vip := range map[string]string{"four": ShapeVIP4, "six": ShapeVIP6} {
		cfg += fmt.Sprintf("  - {name: %s, bind: %q, inspect-delay: 200ms, default_backend: %s}\n", name, net.JoinHostPort(vip, "25"), name)
	}
	cfg += fmt.Sprintf(`backends:
  - {name: four, source: "%s", servers: [{name: s1, address: "192.0.2.11:25"}]}
  - {name: six, source: "[%s]", servers: [{name: s2, address: "[2001:db8:1::12]:25"}]}
`, ShapeVIP4, ShapeVIP6)
	mtas := map[string]*MTA{}
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
	gateway(ctx, t, l, []byte(cfg))
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
