package kernelset

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// TableName is the name of the table, of nftables' family netdev.
const TableName = "hushgate"

const (
	tableText = "table netdev " + TableName
	// priority is before the chains of others, which are usually at 0.
	priority = -300
	// perMessage is how many entries one message may have: an attribute has at most 65,535 octets.
	perMessage = 1000
)

var table = &nftables.Table{Name: TableName, Family: nftables.TableFamilyNetdev}

// family is what differs between IPv4 and IPv6.
type family struct {
	name         string // of the chain, and in the names of sets
	address      nftables.SetDatatype
	bits         int
	etherType    uint16
	source, dest uint32               // offsets in the IP header
	portRegister uint32               // behind the address
	service      nftables.SetDatatype // address and port
}

// firstRegister is NFT_REG32_00. Registers have 4 octets; what is in neighbouring ones can be looked up together.
const firstRegister = 8

var families = []*family{
	{
		"ipv4", nftables.TypeIPAddr, 32, unix.ETH_P_IP, 12, 16, firstRegister + 1,
		nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetService),
	},
	{
		"ipv6", nftables.TypeIP6Addr, 128, unix.ETH_P_IPV6, 8, 24, firstRegister + 4,
		nftables.MustConcatSetType(nftables.TypeIP6Addr, nftables.TypeInetService),
	},
}

func familyOf(a netip.Addr) *family {
	if a.Is4() {
		return families[0]
	}
	return families[1]
}

func (f *family) chain() *nftables.Chain { return &nftables.Chain{Name: f.name, Table: table} }

// length is one of the prefix lengths of a family. It has a set of its own.
type length struct {
	*family
	prefix int
}

func lengthOf(p netip.Prefix) length { return length{familyOf(p.Addr()), p.Bits()} }

func (l length) name() string { return fmt.Sprintf("%s-%d", l.family.name, l.prefix) }

func (l length) set() *nftables.Set {
	return &nftables.Set{Table: table, Name: l.name(), KeyType: l.address, HasTimeout: true, KeyByteOrder: binaryutil.BigEndian}
}

// parseLength returns which length a set is for. It is not ok if the set is none of ours.
func parseLength(s *nftables.Set) (l length, ok bool) {
	for _, f := range families {
		number, found := strings.CutPrefix(s.Name, f.name+"-")
		n, err := strconv.Atoi(number)
		if found && err == nil && n > 0 && n <= f.bits {
			l = length{f, n}
			return l, l.name() == s.Name && s.HasTimeout && !s.IsMap && !s.Interval && s.KeyType.Bytes == f.address.Bytes
		}
	}
	return length{}, false
}

// lengths returns which lengths entries have, the longest first.
func (e *entries) lengths() []length {
	all := map[length]bool{}
	for p := range e.byPrefix {
		all[lengthOf(p)] = true
	}
	return slices.SortedFunc(maps.Keys(all), func(a, b length) int {
		if a.family != b.family {
			return strings.Compare(a.family.name, b.family.name)
		}
		return b.prefix - a.prefix
	})
}

// elements are entries by the set that they belong to, as nftables writes them.
type elements map[length][]nftables.SetElement

func (e elements) add(p netip.Prefix, left time.Duration) {
	if left > 0 { // round up to the kernel's unit: 0 would mean for ever
		left = (left + time.Millisecond - 1).Truncate(time.Millisecond)
	}
	e[lengthOf(p)] = append(e[lengthOf(p)], nftables.SetElement{Key: p.Addr().AsSlice(), Timeout: left})
}

// each calls f for pieces of the elements of each set that fit into one message.
func (e elements) each(f func(s *nftables.Set, piece []nftables.SetElement) error) error {
	for l, list := range e {
		for piece := range slices.Chunk(list, perMessage) {
			if err := f(l.set(), piece); err != nil {
				return fmt.Errorf("prepare %d entries of the set %s: %w", len(piece), l.name(), err)
			}
		}
	}
	return nil
}

// layout prepares the whole table, without entries. What was there is removed in the same transaction.
func (k *kernel) layout(c Config, interfaces []string, lengths []length) error {
	k.AddTable(table) // otherwise there could be nothing to remove
	k.DelTable(table)
	k.AddTable(table)
	for _, l := range lengths {
		if err := k.AddSet(l.set(), nil); err != nil {
			return fmt.Errorf("prepare the set %s: %w", l.name(), err)
		}
	}
	for _, f := range families {
		if err := k.AddSet(f.services(), f.listen(c.Services)); err != nil {
			return fmt.Errorf("prepare the set %s: %w", f.services().Name, err)
		}
		k.AddChain(f.chain())
	}
	for _, l := range lengths {
		k.AddRule(&nftables.Rule{Table: table, Chain: l.chain(), Exprs: l.keptOut(), UserData: comment("kept out by hushgate")})
	}
	for i, name := range interfaces {
		chain := k.AddChain(&nftables.Chain{
			Name: ingress(i), Table: table, Type: nftables.ChainTypeFilter,
			Hooknum: nftables.ChainHookIngress, Priority: nftables.ChainPriorityRef(priority), Device: name,
		})
		k.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: others()})
		for _, f := range families {
			k.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: f.toServices()})
		}
	}
	return nil
}

// ingress names the base chain of an interface. Its own name could contain characters that nft does not read.
func ingress(i int) string { return fmt.Sprintf("ingress%d", i) }

func comment(text string) []byte { return userdata.AppendString(nil, userdata.TypeComment, text) }

// services is the set of addresses and ports of services.
func (f *family) services() *nftables.Set {
	return &nftables.Set{Table: table, Name: "services-" + f.name, KeyType: f.service, Concatenation: true, KeyByteOrder: binaryutil.BigEndian}
}

func (f *family) listen(services []netip.AddrPort) (list []nftables.SetElement) {
	for _, s := range services {
		if familyOf(s.Addr()) == f {
			port := append(binaryutil.BigEndian.PutUint16(s.Port()), 0, 0) // fills a register
			list = append(list, nftables.SetElement{Key: append(s.Addr().AsSlice(), port...)})
		}
	}
	return list
}

// The flags of TCP that tell a SYN, which begins a connection.
const (
	flagsAt  = 13 // in the TCP header
	flagSYN  = 0x02
	flagsAll = 0x16 // SYN, RST, ACK
)

// others lets segments through that are no SYNs. A first fragment that is too short for the flags does not match: it is looked at
// like a SYN, because it may be one.
func others() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: flagsAt, Len: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{flagsAll}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{flagSYN}},
		&expr.Verdict{Kind: expr.VerdictReturn},
	}
}

// toServices sends what is left to a service to the family's chain. A fragment without ports does not match; the packet stays
// incomplete without the first fragment, which has them.
func (f *family) toServices() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(f.etherType)},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
		&expr.Payload{DestRegister: firstRegister, Base: expr.PayloadBaseNetworkHeader, Offset: f.dest, Len: f.address.Bytes},
		&expr.Payload{DestRegister: f.portRegister, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Lookup{SourceRegister: firstRegister, SetName: f.services().Name},
		&expr.Verdict{Kind: expr.VerdictJump, Chain: f.name},
	}
}

// keptOut drops and counts what comes from the networks in the set.
func (l length) keptOut() []expr.Any {
	list := []expr.Any{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: l.source, Len: l.address.Bytes}}
	if l.prefix < l.bits {
		list = append(list, &expr.Bitwise{
			SourceRegister: 1, DestRegister: 1, Len: l.address.Bytes, Mask: net.CIDRMask(l.prefix, l.bits), Xor: make([]byte, l.bits/8),
		})
	}
	return append(list,
		&expr.Lookup{SourceRegister: 1, SetName: l.name()}, &expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop})
}
