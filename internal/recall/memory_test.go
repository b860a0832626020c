package recall

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"hushgate/dataplane"
	"hushgate/internal/connlog"
	"hushgate/internal/mono"
	"hushgate/internal/policy"
	"hushgate/internal/wire"
)

const start = mono.Time(time.Hour)

func signature(t testing.TB, window int) policy.Signature {
	t.Helper()
	s, err := policy.ParseSignature(fmt.Sprintf("%d_2-4-8-1-3_1460_7", window))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ended returns the end of a connection with something of everything.
func ended(t testing.TB, client string, n int) dataplane.Event {
	t.Helper()
	e := dataplane.Event{
		Kind: dataplane.EventClosed, Verdict: dataplane.VerdictEarlyTalker, Cause: dataplane.CauseClientTalked, Phase: dataplane.PhaseHeld,
		Rule: 3, Delay: 20500 * time.Millisecond, Talk: policy.TalkTarpit, Refusal: policy.RefuseReply, Pass: policy.PassNew, Signature: signature(t, n%60000+1), Accepted: n%2 == 0, Listing: policy.Listing{Rank: -3},
		Client: wire.AddrFrom(netip.MustParseAddr(client)), ClientPort: uint16(n), Service: 1, Server: 2,
		Source: wire.AddrFrom(netip.MustParseAddr("10.0.0.1")), SourcePort: 5,
		Established: start.Add(time.Duration(n) * time.Microsecond), BytesToClient: 1 << 40, BytesToServer: 7, Retries: 3, ClosedBy: dataplane.EndsBoth,
		Active: 1, FrontendActive: 2, BackendActive: 3, ServerActive: 4, Observed: n%3 == 0, TalkLen: 20,
	}
	e.FirstByte = e.Established.Add(1500 * time.Millisecond)
	e.Connect, e.Connected, e.Banner = e.Established.Add(2*time.Second), e.Established.Add(2003*time.Millisecond), e.Established.Add(4*time.Second)
	e.Closed = e.Established.Add(26*time.Hour + 123*time.Microsecond)
	e.Listing.Sites.Add(127)
	copy(e.TalkHead[:], "EHLO bot\r\n")
	return e
}

func whole(client string) netip.Prefix {
	a := netip.MustParseAddr(client)
	return netip.PrefixFrom(a, a.BitLen())
}

// TestEventComesBack: what a log line says of a connection is there as it was.
func TestEventComesBack(t *testing.T) {
	for _, client := range []string{"198.18.0.7", "2001:db8::7"} {
		m, names := New(10), &connlog.Names{Rules: []string{"one"}}
		m.Set(10, names)
		want := ended(t, client, 6)
		m.Take(0, []dataplane.Event{{Kind: dataplane.EventOpened, Client: want.Client}, want})
		got := m.Find(whole(client), 10)
		if len(got.Latest) != 1 || !reflect.DeepEqual(got.Latest[0], Ended{want, names}) {
			t.Errorf("%+v\nwant %+v", got.Latest, want)
		}
		if got.Kept != 1 || got.Since != want.Closed || got.Verdicts[dataplane.VerdictEarlyTalker] != 1 {
			t.Errorf("%+v", got)
		}
	}
}

// TestAgainstList compares the ring, over many turns, with a list that is searched from its end.
func TestAgainstList(t *testing.T) {
	const size = 3*chunk + 7
	m, r := New(size), rand.New(rand.NewPCG(1, 2))
	var list []dataplane.Event
	var configurations []*connlog.Names
	clients := []string{"198.18.0.7", "198.18.0.8", "198.18.1.7", "2001:db8::7", "2001:db8::8", "2001:db8:0:1::7", "2001:db8:1::7"}
	nets := []string{"198.18.0.7/32", "198.18.0.0/24", "198.18.0.0/15", "0.0.0.0/0", "2001:db8::7/128", "2001:db8::/64", "2001:db8::/48", "::/0", "203.0.113.1/32"}
	names := &connlog.Names{}
	m.Set(size, names)
	for n := range 5 * size {
		if n%900 == 0 {
			names = &connlog.Names{Rules: []string{fmt.Sprint(n)}}
			m.Set(size, names)
		}
		e := ended(t, clients[r.IntN(len(clients))], n)
		e.Verdict = dataplane.Verdict(r.IntN(6))
		m.Take(n%4, []dataplane.Event{e})
		list, configurations = append(list, e), append(configurations, names)
		if n%1777 != 0 && n != 5*size-1 {
			continue
		}
		for _, net := range nets {
			p := netip.MustParsePrefix(net)
			want := Answer{Verdicts: map[dataplane.Verdict]uint64{}, Kept: uint64(min(len(list), size)), Since: list[max(0, len(list)-size)].Closed}
			for i := len(list) - 1; i >= max(0, len(list)-size); i-- {
				if p.Contains(list[i].Client.Netip()) {
					want.Verdicts[list[i].Verdict]++
					if len(want.Latest) < 30 {
						want.Latest = append(want.Latest, Ended{list[i], configurations[i]})
					}
				}
			}
			if got := m.Find(p, 30); !reflect.DeepEqual(got, want) {
				t.Fatalf("after %d, %s: %d found, %v, %d kept since %v; want %d, %v, %d since %v", n, net, len(got.Latest), got.Verdicts, got.Kept, got.Since,
					len(want.Latest), want.Verdicts, want.Kept, want.Since)
			}
		}
	}
	if len(m.epochs) > 10 {
		t.Errorf("%d epochs", len(m.epochs))
	}
}

// TestSize: a memory of another size begins anew, and one of size 0 keeps nothing.
func TestSize(t *testing.T) {
	m, names := New(5), &connlog.Names{}
	e := ended(t, "198.18.0.7", 1)
	for _, c := range []struct{ size, kept int }{{5, 3}, {5, 5}, {2, 2}, {0, 0}, {4, 3}} {
		m.Set(c.size, names)
		m.Take(0, []dataplane.Event{e, e, e})
		if got := m.Find(whole("198.18.0.7"), 10); got.Kept != uint64(c.kept) || len(got.Latest) != c.kept {
			t.Errorf("size %d: %d kept, %d found, want %d", c.size, got.Kept, len(got.Latest), c.kept)
		}
	}
}

// TestManySignatures: each connection keeps its signature, however many there are.
func TestManySignatures(t *testing.T) {
	m := New(3 * signatures)
	for n := range 4 * signatures {
		m.Take(0, []dataplane.Event{ended(t, "198.18.0.7", n)})
	}
	got := m.Find(whole("198.18.0.7"), 3*signatures)
	for i := range got.Latest {
		if e := &got.Latest[i].Event; e.Signature != signature(t, 4*signatures-i) {
			t.Fatalf("the signature of connection %d is %v", i, e.Signature)
		}
	}
	if len(got.Latest) != 3*signatures || len(m.epochs) > 5 {
		t.Errorf("%d found, %d epochs", len(got.Latest), len(m.epochs))
	}
}

// TestTogether: shards add while others ask, and the memory changes.
func TestTogether(t *testing.T) {
	m := New(100)
	e := ended(t, "198.18.0.7", 1)
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			for range 2000 {
				m.Take(0, []dataplane.Event{e})
			}
		})
		all.Go(func() {
			for range 300 {
				if got := m.Find(netip.MustParsePrefix("198.18.0.0/15"), 50); len(got.Latest) > 50 {
					t.Errorf("%d found", len(got.Latest))
				}
			}
		})
	}
	all.Go(func() {
		for i := range 100 {
			m.Set(50+i%2*50, &connlog.Names{})
		}
	})
	all.Wait()
}

// TestFootprint: what docs/configuration.md says of the memory for a connection.
func TestFootprint(t *testing.T) {
	if n := unsafe.Sizeof(record{}); n > 256 {
		t.Errorf("a record has %d octets", n)
	}
	m := New(100_000)
	if n := len(m.buckets) * 8; n > 100_000*12 {
		t.Errorf("the index has %d octets", n)
	}
	e := ended(t, "198.18.0.7", 1)
	events := []dataplane.Event{e}
	for range 2 * chunk {
		m.Take(0, events)
	}
	if m.chunks[2] != nil {
		t.Error("memory is taken before there are connections")
	}
	small := New(chunk)
	for range chunk {
		small.Take(0, events)
	}
	if n := testing.AllocsPerRun(1000, func() { small.Take(0, events) }); n != 0 {
		t.Errorf("%v allocations for a connection in a full memory", n)
	}
}

func BenchmarkTake(b *testing.B) {
	m := New(100_000)
	events := make([]dataplane.Event, 64)
	for i := range events {
		events[i] = ended(b, fmt.Sprintf("198.18.%d.%d", i, i), i)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		m.Take(0, events[i%64:i%64+1])
	}
}

func BenchmarkFindNetwork(b *testing.B) {
	m := New(100_000)
	e := []dataplane.Event{ended(b, "198.18.0.7", 1)}
	for range 100_000 {
		m.Take(0, e)
	}
	for b.Loop() {
		m.Find(netip.MustParsePrefix("198.18.1.0/24"), 20)
	}
}

// FuzzFind: whatever is kept, and whoever is asked about, the answer has only connections of that network, the latest first.
func FuzzFind(f *testing.F) {
	f.Add([]byte("\x01\x02\x03\x04"), uint8(3), uint8(24), []byte{198, 18, 0, 0})
	f.Add([]byte(strings.Repeat("\x00\x81", 300)), uint8(0), uint8(64), []byte("0123456789abcdef"))
	f.Fuzz(func(t *testing.T, clients []byte, size, bits uint8, address []byte) {
		a, ok := netip.AddrFromSlice(address)
		if !ok {
			return
		}
		of := netip.PrefixFrom(a.Unmap(), int(bits)%(a.Unmap().BitLen()+1))
		m := New(int(size))
		for i, c := range clients {
			e := dataplane.Event{Kind: dataplane.EventClosed, Client: wire.AddrFrom(a), Established: start, Closed: start.Add(time.Duration(i))}
			e.Client[15-c%16] ^= c
			m.Take(0, []dataplane.Event{e})
		}
		got, n := m.Find(of, 5), uint64(0)
		for i := range got.Latest {
			e := &got.Latest[i].Event
			if !of.Contains(e.Client.Netip()) || i > 0 && got.Latest[i-1].Event.Closed <= e.Closed {
				t.Fatalf("%v of %v in place %d", e.Client, of, i)
			}
		}
		for i := max(0, len(clients)-int(size)); i < len(clients); i++ {
			client := wire.AddrFrom(a)
			client[15-clients[i]%16] ^= clients[i]
			if of.Contains(client.Netip()) {
				n++
			}
		}
		if got.Verdicts[0] != n || len(got.Latest) != int(min(n, 5)) {
			t.Fatalf("%d found of %d", got.Verdicts[0], n)
		}
	})
}

// TestStages: what shards have put aside is found at once, in the order in which it ended, whichever shard had it.
func TestStages(t *testing.T) {
	m := New(10 * stageRoom)
	var want []uint16
	for n := range 5 * stageRoom {
		m.Take(n*n%7+maxShards*(n%2), []dataplane.Event{ended(t, "198.18.0.7", n)})
		want = append([]uint16{uint16(n)}, want...)
		if n%50 != 0 {
			continue
		}
		var got []uint16
		for _, e := range m.Find(whole("198.18.0.7"), 10*stageRoom).Latest {
			got = append(got, e.Event.ClientPort)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%v, want %v", got, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	m.Run(ctx)
}
