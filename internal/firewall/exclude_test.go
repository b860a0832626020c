package firewall

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"hushgate/internal/lab"
)

// eachSide is a configuration in which clients and servers are reached by the same interfaces, as with one arm.
func eachSide(c Config) Config {
	c.Outside, c.Inside = []string{"outside", "inside"}, []string{"outside", "inside"}
	return c
}

// TestErrorsKeptOut calls errorsKeptOut with the rules, and with the guard.
func TestErrorsKeptOut(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		client, gw, server := site(t)
		c := twoArm()
		for i, f := range families {
			c.Sources = append(c.Sources, Source{c.Servers[i], netip.MustParsePrefix(f.inside).Addr(), 1024, 2000})
		}
		f := newFirewall(t, c)
		in(t, gw, f.Install)
		if f.Blind() != nil {
			t.Skip("this kernel has no match u32")
		}
		errorsKeptOut(t, client, gw, server)
		in(t, gw, func(ctx context.Context) error { return f.Replace(ctx, NewPlan(eachSide(c))) })
		errorsKeptOut(t, client, gw, server)
	})
}

// errorsKeptOut: an ICMP error that quotes a segment between a client and a server, or between the service and a client, is
// not forwarded. Other errors are forwarded, and errors about the gateway's own connections reach it.
func errorsKeptOut(t *testing.T, client, gw, server *lab.Host) {
	for _, fam := range families {
		t.Run("errors/"+fam.name, func(t *testing.T) {
			v6 := fam.serverAt.Addr().Is6()
			own := netip.MustParsePrefix(fam.inside).Addr()
			tcp := func(src, dst netip.AddrPort) lab.Quote { return lab.Quote{Src: src, Dst: dst, Proto: lab.ProtoTCP} }
			at := func(a netip.AddrPort, port uint16) netip.AddrPort { return netip.AddrPortFrom(a.Addr(), port) }
			udp := tcp(at(fam.clientAt, 40002), fam.serverAt)
			udp.Proto = lab.ProtoUDP
			for _, c := range []struct {
				from, to *lab.Host
				dst      netip.Addr
				quote    lab.Quote
				passes   bool
			}{
				{server, client, fam.clientAt.Addr(), tcp(at(fam.clientAt, 40000), fam.serverAt), false},
				{server, client, fam.clientAt.Addr(), tcp(at(fam.clientAt, 40001), at(fam.serverAt, 80)), true},
				{server, client, fam.clientAt.Addr(), udp, true},
				{server, client, fam.clientAt.Addr(), tcp(at(fam.clientAt, 40003), at(fam.clientAt, fam.serverAt.Port())), true}, // another server
				{server, gw, own, tcp(netip.AddrPortFrom(own, 40004), fam.serverAt), true},                                       // a health check
				{server, gw, own, tcp(netip.AddrPortFrom(own, 1500), fam.serverAt), false},                                       // from a server-side address
				{client, server, fam.serverAt.Addr(), tcp(fam.service, at(fam.clientAt, 40005)), false},                          // to a service beyond this machine
				{client, server, fam.serverAt.Addr(), tcp(at(fam.service, 80), at(fam.clientAt, 40006)), true},
				{client, server, fam.serverAt.Addr(), tcp(at(fam.serverAt, 40007), fam.clientAt), true}, // its own outgoing mail
			} {
				for _, kind := range kinds(v6) {
					l, err := c.to.ListenICMP(v6)
					if err != nil {
						t.Fatal(err)
					}
					last := tcp(at(fam.clientAt, 9), at(fam.clientAt, 9)) // sent after all others
					for _, e := range []error{c.from.SendICMPError(c.dst, kind, c.quote), c.from.SendICMPError(c.dst, kind, last)} {
						if e != nil {
							t.Fatal(e)
						}
					}
					quotes, err := l.Until(9)
					if err != nil {
						t.Error(err)
					}
					if got := slices.Contains(quotes, c.quote); got != c.passes || len(quotes) > 1 {
						t.Errorf("kind %d from %s about %v: passes: %v (%v)", kind, c.from.Name, c.quote, got, quotes)
					}
					_ = l.Close()
				}
			}
		})
	}
}

// kinds returns the types of ICMP errors of a family.
func kinds(v6 bool) []byte {
	if v6 {
		return []byte{1, 2, 3, 4}
	}
	return []byte{3, 11, 12}
}

// TestBlind: if iptables has no match u32, all other rules are installed, verified and repaired.
func TestBlind(t *testing.T) {
	h := stranger(t)
	before := saved(t, h)
	wrap(t, `case "${0##*/} $*" in *" -A "*u32*) echo "Extension u32 revision 0 not supported, missing kernel module?" >&2; exit 1;; esac
REAL "$@"`)
	f := newFirewall(t, everything())
	in(t, h, f.Install)
	if err := f.Blind(); err == nil || !strings.Contains(err.Error(), "missing kernel module") {
		t.Errorf("the reason: %v", err)
	}
	expectVerified(t, h, f, true)
	s := saved(t, h)
	if strings.Contains(s, "u32") || strings.Count(s, "hushgate: ") != len(f.plan)-4 {
		t.Errorf("installed:\n%s", s)
	}
	do(t, h, "ip6tables", "-t", "raw", "-F", "HUSHGATE-PRE-0")
	in(t, h, func(ctx context.Context) error {
		if repaired, err := f.Repair(ctx); err != nil || !repaired {
			t.Errorf("repaired: %v, %v", repaired, err)
		}
		return nil
	})
	expectVerified(t, h, f, true)
	in(t, h, f.Remove)
	if after := saved(t, h); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// TestTry: what a machine lacks is found out without any change: what only rules about ICMP errors need, and what all need.
func TestTry(t *testing.T) {
	for _, c := range []struct {
		name, lacks, text   string
		status              int
		lacking, impossible bool
	}{
		{"nothing", "none", "", 0, false, false},
		{"the kernel's u32", "u32", "Warning: Extension u32 revision 0 not supported, missing kernel module?", 1, true, false},
		{"iptables' u32", "u32", "Couldn't load match `u32': No such file or directory", 2, true, false},
		{"the kernel's TCPMSS", "TCPMSS", "Warning: Extension TCPMSS revision 0 not supported, missing kernel module?", 1, false, true},
		{"iptables' comment", "comment", "Couldn't load match `comment': No such file or directory", 2, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := stranger(t)
			before := saved(t, h)
			wrap(t, fmt.Sprintf(`case "$*" in *" -C "*%s*) echo "%s" >&2; exit %d;; esac
REAL "$@"`, c.lacks, strings.ReplaceAll(c.text, "`", "\\`"), c.status))
			f := newFirewall(t, everything())
			in(t, h, func(ctx context.Context) error {
				lacking, err := f.Try(ctx)
				if (lacking != nil) != c.lacking || (err != nil) != c.impossible {
					t.Errorf("lacking: %v, impossible: %v", lacking, err)
				}
				if text := fmt.Sprint(lacking, err); !strings.Contains(text, c.text) {
					t.Errorf("%q is not in %q", c.text, text)
				}
				return nil
			})
			if after := saved(t, h); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
		})
	}
}
