package firewall

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Guard drops the same packets as the rules in raw PREROUTING, in a table of nftables that belongs to this process
// (NFT_TABLE_F_OWNER, Linux 5.12). No other process can change it, `nft flush ruleset` skips it, and neither variant of
// iptables knows it. So packets are dropped also between a flush of the rules and their repair. Its chain comes before
// iptables' raw table. It disappears when the process ends; the rules remain.
type Guard struct {
	mu    sync.Mutex
	conn  *nftables.Conn
	raw   *netlink.Conn // what conn sends by
	table *nftables.Table
	chain *nftables.Chain
}

// tableOwned is NFT_TABLE_F_OWNER.
const tableOwned = 2

// guardPriority comes before iptables' raw PREROUTING, which is at -300, and after the reassembly of fragments, at -400.
const guardPriority = -301

// tableNames is how many names are tried: a process in another PID namespace may have the same number.
const tableNames = 10

// NewGuard makes the table, without rules. It fails if the kernel is older than 5.12 or has no nftables.
func NewGuard() (g *Guard, err error) {
	g = &Guard{}
	g.conn, err = nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		g.raw = c
		return nil
	}))
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	if g.table, err = ownTable(g.raw); err != nil {
		return nil, errors.Join(fmt.Errorf("make a table of nftables that belongs to this process: %w", err), g.conn.CloseLasting())
	}
	hook, priority := nftables.ChainHookPrerouting, nftables.ChainPriorityRef(guardPriority)
	g.chain = g.conn.AddChain(&nftables.Chain{
		Name: "prerouting", Table: g.table, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: priority,
	})
	if err := g.conn.Flush(); err != nil {
		return nil, errors.Join(fmt.Errorf("make a chain of nftables: %w", err), g.conn.CloseLasting())
	}
	return g, nil
}

// ownTable makes a table that belongs to a socket. The library does not support this.
func ownTable(c *netlink.Conn) (*nftables.Table, error) {
	var err error
	for n := range tableNames {
		t := &nftables.Table{Name: fmt.Sprintf("hushgate-%d", os.Getpid()), Family: nftables.TableFamilyINet}
		if n > 0 {
			t.Name += fmt.Sprintf("-%d", n)
		}
		if err = sendTable(c, t); !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.EPERM) {
			return t, err
		}
	}
	return nil, err
}

func sendTable(c *netlink.Conn, t *nftables.Table) error {
	attributes, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.NFTA_TABLE_NAME, Data: []byte(t.Name + "\x00")},
		{Type: unix.NFTA_TABLE_FLAGS, Data: binaryutil.BigEndian.PutUint32(tableOwned)},
	})
	if err != nil {
		return err
	}
	message := func(kind int, flags netlink.HeaderFlags, family nftables.TableFamily, resource uint16, data []byte) netlink.Message {
		header := binary.BigEndian.AppendUint16([]byte{byte(family), unix.NFNETLINK_V0}, resource)
		return netlink.Message{
			Header: netlink.Header{Type: netlink.HeaderType(kind), Flags: netlink.Request | flags}, Data: append(header, data...),
		}
	}
	_, err = c.SendMessages([]netlink.Message{
		message(unix.NFNL_MSG_BATCH_BEGIN, 0, nftables.TableFamilyUnspecified, unix.NFNL_SUBSYS_NFTABLES, nil),
		message(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWTABLE, netlink.Create|netlink.Excl|netlink.Acknowledge, t.Family, 0, attributes),
		message(unix.NFNL_MSG_BATCH_END, 0, nftables.TableFamilyUnspecified, unix.NFNL_SUBSYS_NFTABLES, nil),
	})
	if err != nil {
		return err
	}
	_, err = c.Receive() // the acknowledgement
	return err
}

// Name returns the name of the table: inet hushgate-4711.
func (g *Guard) Name() string { return "inet " + g.table.Name }

// Set replaces the rules with those of a configuration, in one step.
func (g *Guard) Set(c Config) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.conn.FlushChain(g.chain)
	for _, x := range exclusions(c) {
		for _, match := range x.expressions() {
			g.conn.AddRule(&nftables.Rule{
				Table: g.table, Chain: g.chain, Exprs: append(match, &expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop}),
				UserData: userdata.AppendString(nil, userdata.TypeComment, "hushgate: "+x.comment),
			})
		}
	}
	if err := g.conn.Flush(); err != nil {
		g.drain()
		return fmt.Errorf("set the rules of the table %s: %w", g.Name(), err)
	}
	return nil
}

// drain reads what the kernel has answered to a change that it refused. The library does not read all of it, and would take the
// rest for the answer to the next change. The kernel answers while the change is sent, so nothing can come later.
func (g *Guard) drain() {
	raw, err := g.raw.SyscallConn()
	if err != nil {
		return // closed
	}
	buffer := make([]byte, 1<<16)
	_ = raw.Control(func(fd uintptr) {
		for {
			_, _, err := unix.Recvfrom(int(fd), buffer, unix.MSG_DONTWAIT)
			if err != nil && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.ENOBUFS) {
				return
			}
		}
	})
}

// Close removes the table. A nil Guard has none.
func (g *Guard) Close() error {
	if g == nil {
		return nil
	}
	return g.conn.CloseLasting()
}

// matcher builds the tests of one rule from nftables expressions, which load a value into a register and compare it.
type matcher []expr.Any

func (m *matcher) is(load expr.Any, value []byte) {
	*m = append(*m, load, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: value})
}

func (m *matcher) between(load expr.Any, first, last []byte) {
	if bytes.Equal(first, last) {
		m.is(load, first)
		return
	}
	*m = append(*m, load, &expr.Range{Op: expr.CmpOpEq, Register: 1, FromData: first, ToData: last})
}

func at(base expr.PayloadBase, offset, size int) *expr.Payload {
	return &expr.Payload{DestRegister: 1, Base: base, Offset: uint32(offset), Len: uint32(size)}
}

// expressions returns an exclusion as one nftables rule or more.
func (x *exclusion) expressions() (rules [][]expr.Any) {
	var m matcher
	family, name := byte(unix.NFPROTO_IPV4), make([]byte, unix.IFNAMSIZ)
	if x.v6() {
		family = unix.NFPROTO_IPV6
	}
	m.is(&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, []byte{family})
	which := expr.CmpOpEq
	if copy(name, x.in) == 0 {
		copy(name, "lo")
		which = expr.CmpOpNeq
	}
	m = append(m, &expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, &expr.Cmp{Op: which, Register: 1, Data: name})
	if !x.quoted {
		m.is(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, []byte{protoTCP})
		source, destination := 12, 16 // in an IPv4 header
		if x.v6() {
			source, destination = 8, 24
		}
		m.address(expr.PayloadBaseNetworkHeader, source, x.src.addr)
		m.address(expr.PayloadBaseNetworkHeader, destination, x.dst.addr)
		m.ports(0, x)
		m.elsewhere(x)
		return [][]expr.Any{m}
	}
	kinds := [][2]byte{{firstQuoting4, lastQuoting4}, {firstError4, lastError4}}
	if x.v6() {
		kinds = [][2]byte{{firstError6, lastError6}}
	}
	for _, k := range kinds {
		rule := append(matcher(nil), m...)
		rule.quote(x, k[0], k[1])
		rules = append(rules, rule)
	}
	return rules
}

// quote tests an ICMP error of some types and its quote. In IPv4 it recognises only quotes without IP options, like the
// packets that hushgate sends. nftables cannot calculate where TCP begins after options.
func (m *matcher) quote(x *exclusion, firstKind, lastKind byte) {
	const icmp = expr.PayloadBaseTransportHeader
	proto, source, destination, tcp := quoteProto4, quoteSrc4, quoteDst4, quoteAt+20
	kind := byte(protoICMP)
	if x.v6() {
		proto, source, destination, tcp = quoteProto6, quoteSrc6, quoteDst6, quoteAt+ipv6Header
		kind = protoICMPv6
	}
	m.is(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, []byte{kind})
	m.between(at(icmp, 0, 1), []byte{firstKind}, []byte{lastKind})
	m.is(at(icmp, proto, 1), []byte{protoTCP})
	if !x.v6() {
		m.is(at(icmp, quoteAt, 1), []byte{0x45})
		*m = append(*m, at(icmp, quoteOffset4, 2),
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 2, Mask: []byte{0x1f, 0xff}, Xor: []byte{0, 0}},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{0, 0}})
	}
	m.address(icmp, source, x.src.addr)
	m.address(icmp, destination, x.dst.addr)
	m.ports(tcp, x)
	m.elsewhere(x)
}

// elsewhere tests that a packet is not addressed to this machine, if that matters. It comes last because it needs a route
// lookup.
func (m *matcher) elsewhere(x *exclusion) {
	if x.notLocal {
		*m = append(*m, &expr.Fib{Register: 1, FlagDADDR: true, ResultADDRTYPE: true},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)})
	}
}

func (m *matcher) address(base expr.PayloadBase, offset int, a netip.Addr) {
	if a.IsValid() {
		m.is(at(base, offset, a.BitLen()/8), a.AsSlice())
	}
}

// ports tests the ports of the TCP header at an offset from the network header.
func (m *matcher) ports(offset int, x *exclusion) {
	for _, e := range []end{x.src, x.dst} {
		if e.addr.IsValid() {
			m.between(at(expr.PayloadBaseTransportHeader, offset, 2), binaryutil.BigEndian.PutUint16(e.first), binaryutil.BigEndian.PutUint16(e.last))
		}
		offset += 2
	}
}
