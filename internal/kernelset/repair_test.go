package kernelset

import (
	"errors"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"github.com/mdlayher/netlink/nltest"
	"golang.org/x/sys/unix"

	"hushgate/internal/lab"
	"hushgate/internal/needroot"
)

// inTable is the table as nft shows it, without counts, handles and the time that is left.
func inTable(t testing.TB, gw *lab.Host) string {
	t.Helper()
	out, err := gw.Run(t.Context(), "nft", "-s", "list", "table", "netdev", "hushgate")
	if err != nil {
		return ""
	}
	var b strings.Builder
	for line := range strings.Lines(out) {
		for i, part := range strings.Split(line, "expires ") {
			if i > 0 {
				_, part, _ = strings.Cut(part, "s")
				part, _, _ = strings.Cut(part, "ms")
			}
			b.WriteString(part)
		}
	}
	return b.String()
}

// whole fails unless the rules and the sets that a Set needs are there.
func whole(t testing.TB, s *Set, client *lab.Host) {
	t.Helper()
	for i, w := range ways {
		keptOut(t, s, i, client, w.client, w.service)
		refused(t, client, w.other, w.service)
	}
}

func repaired(t testing.TB, s *Set, want bool) {
	t.Helper()
	if did, err := s.Repair(); err != nil || did != want {
		t.Fatalf("repaired: %v, %v, want %v", did, err, want)
	}
}

// TestRepair: whatever others do to the table, a Repair brings the rules and the entries back, and does nothing if nothing was
// done.
func TestRepair(t *testing.T) {
	client, gw := site(t)
	s := opened(t, gw, Config{})
	for _, w := range ways {
		a := pfx(w.client).Addr()
		must(t, s.Add(netip.PrefixFrom(a, a.BitLen()), time.Hour))
	}
	repaired(t, s, false)
	list := len(s.List())
	for _, what := range []string{
		"delete table netdev hushgate",
		"flush ruleset",
		"flush table netdev hushgate",
		"flush chain netdev hushgate ipv4",
		"flush chain netdev hushgate ipv6",
		"flush chain netdev hushgate ingress0",
		"delete chain netdev hushgate ingress0",
		"insert rule netdev hushgate ipv4 accept",
		"add table netdev hushgate { flags dormant; }",
		"flush set netdev hushgate ipv4-32",
		"delete element netdev hushgate ipv6-128 { 2001:db8::10 }",
		"delete table netdev hushgate; add table netdev hushgate; add set netdev hushgate ipv4-32 { type inet_service; }",
	} {
		nft(t, gw, what)
		before := dropped(t, s)
		repaired(t, s, true)
		if t.Failed() {
			t.Fatalf("after nft %s", what)
		}
		whole(t, s, client)
		if l := s.List(); len(l) != list {
			t.Errorf("after nft %s: %v", what, l)
		}
		if after := dropped(t, s); after[0] <= before[0] || after[1] <= before[1] {
			t.Errorf("after nft %s: dropped %v, before %v", what, after, before)
		}
		repaired(t, s, false)
		if t.Failed() {
			t.Fatalf("after nft %s", what)
		}
	}
	nft(t, gw, "add table inet another")
	repaired(t, s, false)
}

// TestByHand: entries that an administrator adds with nft count, are listed and can be removed like others.
func TestByHand(t *testing.T) {
	client, gw := site(t)
	s := opened(t, gw, Config{})
	must(t, s.AddAll([]Entry{{pfx("203.0.113.1/32"), time.Hour}, {pfx("2001:db8:9::/64"), time.Hour}}))
	nft(t, gw, "add element netdev hushgate ipv4-32 { 198.18.0.10 timeout 2h }")
	nft(t, gw, "add element netdev hushgate ipv4-32 { 198.18.0.12 }")
	nft(t, gw, "add element netdev hushgate ipv6-64 { 2001:db8:7::1 timeout 2h }") // host bits: it matches nothing
	keptOut(t, s, 0, client, ways[0].client, ways[0].service)
	repaired(t, s, false)
	nft(t, gw, "delete table netdev hushgate")
	repaired(t, s, true)
	l := s.List()
	if len(l) != 4 || l[0].Prefix != pfx("198.18.0.10/32") || l[0].Left < 119*time.Minute || l[1] != (Entry{pfx("198.18.0.12/32"), 0}) {
		t.Errorf("listed: %v", l)
	}
	keptOut(t, s, 0, client, ways[0].client, ways[0].service)
	for _, p := range []string{"198.18.0.10/32", "198.18.0.12/32"} {
		if found, err := s.Remove(pfx(p)); err != nil || !found {
			t.Errorf("removed %s: %v, %v", p, found, err)
		}
	}
	refused(t, client, ways[0].client, ways[0].service)
	nft(t, gw, "delete table netdev hushgate") // an Add writes the table again, without waiting for a Repair
	must(t, s.Add(pfx("198.18.0.10/32"), time.Hour))
	keptOut(t, s, 0, client, ways[0].client, ways[0].service)
	if found, err := s.Remove(pfx("198.18.0.99/32")); err != nil || found {
		t.Errorf("removed what is not there: %v, %v", found, err)
	}
}

// TestInterfaces: a Repair follows interfaces that go and come back. A configuration with one that does not exist changes nothing.
func TestInterfaces(t *testing.T) {
	client, gw := site(t)
	must(t, lab.Connect(client, "eth1", gw, "second", 1500))
	two := Config{Interfaces: []string{"outside", "second", "outside"}, Services: services()}
	s := opened(t, gw, two)
	for _, w := range ways {
		a := pfx(w.client).Addr()
		must(t, s.Add(netip.PrefixFrom(a, a.BitLen()), time.Hour))
	}
	before := inTable(t, gw)
	for _, c := range []Config{{Interfaces: []string{"outside", "third"}, Services: services()}, {Interfaces: []string{"outside"}}} {
		if err := s.Update(c); err == nil {
			t.Errorf("%v: no error", c)
		}
	}
	if after := inTable(t, gw); after != before || before == "" {
		t.Errorf("changed from\n%s\nto\n%s", before, after)
	}
	if _, err := gw.Run(t.Context(), "ip", "link", "delete", "second"); err != nil {
		t.Fatal(err)
	}
	repaired(t, s, true)
	repaired(t, s, false)
	whole(t, s, client)
	must(t, lab.Connect(client, "eth1", gw, "second", 1500))
	repaired(t, s, true)
	repaired(t, s, false)
	whole(t, s, client)
	if out := inTable(t, gw); !strings.Contains(out, `"second"`) {
		t.Errorf("the interface that came back is missing:\n%s", out)
	}
	must(t, s.Update(Config{Interfaces: []string{"second"}, Services: services()}))
	for _, w := range ways {
		refused(t, client, w.client, w.service)
	}
	must(t, s.Update(Config{Interfaces: []string{"outside"}, Services: []netip.AddrPort{services()[0]}}))
	keptOut(t, s, 0, client, ways[0].client, ways[0].service)
	refused(t, client, ways[1].client, ways[1].service)
}

// TestTakeOver: entries survive the end of a process without Close, and pass to the next one, with the time that is left. Close
// removes the table.
func TestTakeOver(t *testing.T) {
	client, gw := site(t)
	first := opened(t, gw, Config{})
	for _, w := range ways {
		a := pfx(w.client).Addr()
		must(t, first.AddAll([]Entry{{netip.PrefixFrom(a, a.BitLen()), time.Hour}, {pfx("203.0.113.0/24"), 30 * time.Minute}}))
	}
	second := opened(t, gw, Config{}) // while the first one still works, as in a takeover
	must(t, first.Leave())
	whole(t, second, client)
	must(t, second.Add(pfx("192.0.2.0/24"), time.Hour))
	must(t, second.Leave()) // the table stays, as after kill -9
	third := opened(t, gw, Config{Max: 3})
	whole(t, third, client)
	l := third.List()
	if len(l) != 3 || l[0].Prefix != pfx("192.0.2.0/24") || l[0].Left < 59*time.Minute || l[0].Left > time.Hour {
		t.Errorf("taken over: %v", l) // the one that ends first has given way
	}
	must(t, third.Close())
	for _, w := range ways {
		refused(t, client, w.client, w.service)
	}
	if out := nft(t, gw, "list", "ruleset"); out != "" {
		t.Errorf("left:\n%s", out)
	}
	_, err1 := third.Remove(pfx("192.0.2.0/24"))
	_, err2 := third.Repair()
	_, err3 := third.Stats()
	for _, err := range []error{err1, err2, err3, third.Add(pfx("192.0.2.0/24"), time.Hour), third.Flush(), third.Update(Config{
		Interfaces: []string{"outside"}, Services: services(),
	})} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	}
}

// TestCheck: what New would say, without a trace.
func TestCheck(t *testing.T) {
	_, gw := site(t)
	for name, want := range map[string]string{"outside": "", "missing": "keep clients out at the interface missing: it does not exist"} {
		err := gw.Do(func() error { return Check(Config{Interfaces: []string{name}, Services: services()}) })
		if (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := Check(Config{}); err == nil {
		t.Error("nothing is no configuration")
	}
	if out := nft(t, gw, "list", "ruleset"); out != "" {
		t.Errorf("left:\n%s", out)
	}
}

// TestClear: the table that a process left is removed without one.
func TestClear(t *testing.T) {
	client, gw := site(t)
	clear := func() (removed bool) {
		t.Helper()
		must(t, gw.Do(func() (err error) {
			removed, err = Clear()
			return err
		}))
		return removed
	}
	if clear() {
		t.Error("removed a table that was not there")
	}
	s := opened(t, gw, Config{})
	must(t, s.Add(netip.PrefixFrom(pfx(ways[0].client).Addr(), 32), time.Hour))
	must(t, s.Leave())
	if !clear() {
		t.Error("the table was not found")
	}
	refused(t, client, ways[0].client, ways[0].service)
	if out := nft(t, gw, "list", "ruleset"); out != "" {
		t.Errorf("left:\n%s", out)
	}
}

// TestManyPieces: without permission to send as much as we like at once, entries are written in pieces.
func TestManyPieces(t *testing.T) {
	client, gw := site(t)
	s := opened(t, gw, Config{})
	s.kernel.atOnce = 7
	list := []Entry{{pfx("198.18.0.10/32"), time.Hour}, {pfx("2001:db8::10/128"), time.Hour}}
	for i := range 100 {
		list = append(list, Entry{netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}), 32), time.Hour})
	}
	for range 2 { // into new sets, and again
		must(t, s.AddAll(list))
		whole(t, s, client)
		repaired(t, s, false)
	}
	nft(t, gw, "flush set netdev hushgate ipv4-32")
	repaired(t, s, true)
	if n := strings.Count(nft(t, gw, "list", "set", "netdev", "hushgate", "ipv4-32"), "expires"); n != 101 {
		t.Errorf("%d entries in the kernel, want 101", n)
	}
}

// TestFull: those that end first give way to later ones, in the kernel too.
func TestFull(t *testing.T) {
	_, gw := site(t)
	s := opened(t, gw, Config{Interfaces: []string{"outside"}, Services: services(), Max: 2})
	must(t, s.Add(pfx("192.0.2.1/32"), time.Hour))
	must(t, s.Add(pfx("192.0.2.2/32"), 3*time.Hour))
	must(t, s.Add(pfx("192.0.2.3/32"), 2*time.Hour))
	out := nft(t, gw, "list", "set", "netdev", "hushgate", "ipv4-32")
	if strings.Contains(out, "192.0.2.1 ") || !strings.Contains(out, "192.0.2.2 ") || !strings.Contains(out, "192.0.2.3 ") {
		t.Errorf("in the kernel:\n%s", out)
	}
	if st, err := s.Stats(); err != nil || st.Entries != 2 || st.Evicted != 1 {
		t.Errorf("%+v, %v", st, err)
	}
	repaired(t, s, false)
}

// owned replaces our table by one that only this connection may change (NFT_TABLE_F_OWNER). It vanishes with the connection.
func owned(t *testing.T, gw *lab.Host) *netlink.Conn {
	t.Helper()
	nft(t, gw, "delete table netdev hushgate")
	var c *netlink.Conn
	must(t, gw.Do(func() (err error) {
		c, err = netlink.Dial(unix.NETLINK_NETFILTER, nil)
		return err
	}))
	attributes, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.NFTA_TABLE_NAME, Data: []byte("hushgate\x00")},
		{Type: unix.NFTA_TABLE_FLAGS, Data: []byte{0, 0, 0, 2}},
	})
	must(t, err)
	message := func(kind int, flags netlink.HeaderFlags, family, resource byte, data []byte) netlink.Message {
		return netlink.Message{
			Header: netlink.Header{Type: netlink.HeaderType(kind), Flags: netlink.Request | flags},
			Data:   append([]byte{family, unix.NFNETLINK_V0, 0, resource}, data...),
		}
	}
	_, err = c.SendMessages([]netlink.Message{
		message(unix.NFNL_MSG_BATCH_BEGIN, 0, 0, unix.NFNL_SUBSYS_NFTABLES, nil),
		message(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWTABLE, netlink.Create|netlink.Acknowledge, unix.NFPROTO_NETDEV, 0, attributes),
		message(unix.NFNL_MSG_BATCH_END, 0, 0, unix.NFNL_SUBSYS_NFTABLES, nil),
	})
	must(t, err)
	_, err = c.Receive()
	must(t, err)
	return c
}

// TestRefusedByTheKernel: what the kernel refuses changes nothing, is said, and can be done later.
func TestRefusedByTheKernel(t *testing.T) {
	client, gw := site(t)
	s := opened(t, gw, Config{Interfaces: []string{"outside"}, Services: services(), Max: 3})
	must(t, s.AddAll([]Entry{{pfx("198.18.0.10/32"), time.Hour}, {pfx("2001:db8::10/128"), time.Hour}, {pfx("203.0.113.0/24"), time.Minute}}))
	owner := owned(t, gw)
	_, removed := s.Remove(pfx("203.0.113.0/24"))
	_, repaired := s.Repair()
	for want, err := range map[string]error{
		"keep 192.0.2.1/32 out: install the table netdev hushgate: ": s.Add(pfx("192.0.2.1/32"), time.Hour),
		"keep 2 networks out: ":      s.AddAll([]Entry{{pfx("192.0.2.1/32"), time.Hour}, {pfx("203.0.113.0/24"), time.Hour}}),
		"let 203.0.113.0/24 in: ":    removed,
		"let all clients in: ":       s.Flush(),
		"repair: ":                   repaired,
		"install the table netdev h": s.Update(Config{Interfaces: []string{"outside"}, Services: services()[:1], Max: 1}),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), want) || !errors.Is(err, unix.EPERM) {
			t.Errorf("%v, want: %s...", err, want)
		}
	}
	l := s.List()
	if len(l) != 3 || l[1].Prefix != pfx("203.0.113.0/24") || l[1].Left > time.Minute {
		t.Errorf("changed: %v", l)
	}
	must(t, owner.Close())
	until(t, "the table of the other vanishes", func() bool { return nft(t, gw, "list", "tables") == "" })
	if did, err := s.Repair(); err != nil || !did {
		t.Errorf("repaired: %v, %v", did, err)
	}
	whole(t, s, client)
	if st, err := s.Stats(); err != nil || st.Evicted != 0 || st.Entries != 3 {
		t.Errorf("%+v, %v", st, err)
	}
}

// TestNotPossible: what a start says without nftables, without permission or without the interface, and that it leaves nothing.
func TestNotPossible(t *testing.T) {
	c := Config{Interfaces: []string{"outside"}, Services: services()}
	for _, errno := range []unix.Errno{unix.EINVAL, unix.EOPNOTSUPP, unix.EAFNOSUPPORT} {
		_, err := open(c, time.Now, nftables.WithTestDial(func(sent []netlink.Message) ([]netlink.Message, error) {
			return nltest.Error(int(errno), sent)
		}))
		if !errors.Is(err, errNone) || !strings.HasPrefix(err.Error(), "look for the table netdev hushgate: this kernel has no nftables") {
			t.Errorf("%v: %v", errno, err)
		}
	}
	lo := Config{Interfaces: []string{"lo"}, Services: services()}
	_, err := open(lo, time.Now, nftables.WithTestDial(func(sent []netlink.Message) ([]netlink.Message, error) {
		if len(sent) == 1 && sent[0].Header.Type == unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETTABLE {
			return nltest.Error(int(unix.ENOENT), sent)
		}
		if len(sent) == 1 { // the chains to count in
			return nil, io.EOF
		}
		return nil, unix.EOPNOTSUPP // the transaction
	}))
	if !errors.Is(err, errNone) || !strings.Contains(err.Error(), "install the table netdev hushgate") {
		t.Errorf("nftables without the family netdev: %v", err)
	}
	gw := machine(t, "gateway")
	err = gw.Do(func() error {
		_, err := New(c)
		return err
	})
	if err == nil || err.Error() != "keep clients out at the interface outside: it does not exist" {
		t.Errorf("without the interface: %v", err)
	}
	if out := nft(t, gw, "list", "ruleset"); out != "" {
		t.Errorf("left:\n%s", out)
	}
}

// TestForeign: a table that was not made by hushgate is not read as one; the error tells what to do.
func TestForeign(t *testing.T) {
	client, gw := site(t)
	nft(t, gw, "add table netdev hushgate; add set netdev hushgate ipv4-32 { type inet_service; }; add element netdev hushgate ipv4-32 { 25 }; "+
		"add chain netdev hushgate c; add set netdev hushgate ipv6-64 { type ipv6_addr; }; add rule netdev hushgate c ip6 saddr @ipv6-64 drop")
	s := opened(t, gw, Config{})
	if l := s.List(); len(l) != 0 {
		t.Errorf("taken over: %v", l)
	}
	must(t, s.AddAll([]Entry{{pfx("198.18.0.10/32"), time.Hour}, {pfx("2001:db8::10/128"), time.Hour}}))
	whole(t, s, client)
}

// TestUnprivileged runs itself as another user.
func TestUnprivileged(t *testing.T) {
	const inside = "HUSHGATE_KERNELSET"
	if os.Getenv(inside) != "" {
		_, err := New(Config{Interfaces: []string{"lo"}, Services: services()})
		if !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "nftables needs CAP_NET_ADMIN") {
			t.Errorf("without privileges: %v", err)
		}
		return
	}
	needroot.Skip(t, "another user")
	self, err := os.Open("/proc/self/exe") // the other user may not enter its directory
	must(t, err)
	defer func() { _ = self.Close() }()
	cmd := exec.CommandContext(t.Context(), "/proc/self/fd/3", "-test.run", "^TestUnprivileged$", "-test.v")
	cmd.ExtraFiles = []*os.File{self}
	cmd.Env, cmd.Dir = []string{inside + "=1"}, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Errorf("%v: %s", err, out)
	}
}
