package recall

import (
	"bytes"
	"encoding/gob"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"sync"
	"testing"

	"hushgate/dataplane"
	"hushgate/internal/connlog"
)

// names are those of a configuration with one service more than ended uses, and a rule that tells it apart.
func names(n int) *connlog.Names {
	return &connlog.Names{
		Rules: []string{fmt.Sprint(n)}, Services: []connlog.Service{{}, {Address: "[2001:db8::25]:25", Frontend: "ft"}}, Servers: make([]connlog.Server, 3),
		Addresses: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.11:25")},
	}
}

// TestInherit: another process has the same answers as the first one, with what has ended since as the latest, also if it remembers
// fewer.
func TestInherit(t *testing.T) {
	const size = 2*chunk + 77
	for _, keeps := range []int{size, chunk + 5, 3 * size} {
		r := rand.New(rand.NewPCG(3, 4))
		first, both := New(size), New(keeps)
		clients := []string{"198.18.0.7", "198.18.0.8", "2001:db8::7", "2001:db8:0:1::7"}
		take := func(n int, of *connlog.Names, memories ...*Memory) {
			e := ended(t, clients[r.IntN(len(clients))], n)
			for _, m := range memories {
				if m.names != of {
					m.Set(int(m.size), of)
				}
				m.Take(0, []dataplane.Event{e})
			}
		}
		var of *connlog.Names
		const start = 3 * size
		for n := range start + size {
			if n%700 == 0 {
				of = names(n)
			}
			if n < start { // what has ended before the first memory's oldest is known to nobody
				take(n, of, first)
			} else {
				take(n, of, first, both)
			}
		}
		var saved bytes.Buffer
		if err := first.Save(&saved); err != nil {
			t.Fatal(err)
		}
		second := New(keeps)
		second.Set(keeps, of)
		for n := range 50 { // while it is read
			take(10_000+n, of, second, both)
		}
		if n, err := second.Inherit(&saved); err != nil || n != size {
			t.Fatalf("%d taken over, %v", n, err)
		}
		for n := range 50 {
			take(20_000+n, of, second, both)
		}
		for _, net := range []string{"198.18.0.7/32", "198.18.0.0/15", "2001:db8::7/128", "2001:db8::/32", "::/0"} {
			p := netip.MustParsePrefix(net)
			got, want := second.Find(p, 3*size), both.Find(p, 3*size)
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("%d kept, %s: %d found, %v, %d since %v; want %d, %v, %d since %v", keeps, net, len(got.Latest), got.Verdicts, got.Kept, got.Since,
					len(want.Latest), want.Verdicts, want.Kept, want.Since)
			}
		}
	}
}

// TestInheritHostile: what another process sends that cannot be shown is left out, and what was sent before the stream broke stays.
func TestInheritHostile(t *testing.T) {
	good := ended(t, "198.18.0.7", 1)
	other, service, server := good, good, good
	other.Kind, service.Service, server.Server = dataplane.EventOpened, 2, 3
	var b bytes.Buffer
	enc := gob.NewEncoder(&b)
	for _, p := range []part{{nil, []dataplane.Event{good}, nil}, {names(1), []dataplane.Event{other, good, service, server}, make([][]byte, 1)}, {nil, []dataplane.Event{good}, make([][]byte, 7)}} {
		if err := enc.Encode(p); err != nil {
			t.Fatal(err)
		}
	}
	whole := b.Bytes()
	broken := 0
	for n := range len(whole) {
		m := New(10)
		taken, err := m.Inherit(bytes.NewReader(whole[:n]))
		if taken > 1 || m.Find(whole4, 9).Kept != uint64(taken) {
			t.Fatalf("of %d octets %d taken over, %v", n, taken, err)
		}
		if err != nil {
			broken++
		}
	}
	if broken < len(whole)-10 { // the others end between two messages
		t.Errorf("%d of %d cuts are errors", broken, len(whole))
	}
	m := New(10)
	if n, err := m.Inherit(bytes.NewReader(whole)); n != 2 || err != nil || m.Find(whole4, 9).Kept != 2 {
		t.Errorf("%d taken over, %v", n, err)
	}
	if n, err := New(0).Inherit(bytes.NewReader(whole)); n != 0 || err != nil {
		t.Errorf("without a memory: %d taken over, %v", n, err)
	}
	if _, err := m.Inherit(bytes.NewReader([]byte("nonsense"))); err == nil || m.Find(whole4, 9).Kept != 2 {
		t.Errorf("%v", err)
	}
}

var whole4 = netip.MustParsePrefix("0.0.0.0/0")

// TestInheritTogether: shards add, people ask and the size changes while another process's connections come.
func TestInheritTogether(t *testing.T) {
	first := New(3000)
	first.Set(3000, names(1))
	for n := range 3000 {
		first.Take(0, []dataplane.Event{ended(t, "198.18.0.7", n)})
	}
	m, of := New(2000), names(2)
	m.Set(2000, of)
	e := ended(t, "198.18.0.8", 1)
	var all sync.WaitGroup
	all.Go(func() {
		for range 5 {
			in, out := io.Pipe()
			go func() { out.CloseWithError(first.Save(out)) }()
			if _, err := m.Inherit(in); err != nil {
				t.Error(err)
			}
		}
	})
	all.Go(func() {
		for n := range 5000 {
			m.Take(n, []dataplane.Event{e})
		}
	})
	all.Go(func() {
		for range 300 {
			m.Find(whole4, 50)
			first.Find(whole4, 50)
		}
	})
	all.Go(func() {
		for n := range 20 {
			m.Set(1500+n%2*500, of)
		}
	})
	all.Wait()
	if got := m.Find(whole4, 3000); len(got.Latest) != int(got.Kept) {
		t.Errorf("%d of %d found", len(got.Latest), got.Kept)
	}
}

// BenchmarkHandOver is the memory of a whole process, for each connection.
func BenchmarkHandOver(b *testing.B) {
	first := New(100_000)
	first.Set(100_000, names(1))
	for n := range 100_000 {
		first.Take(0, []dataplane.Event{ended(b, "198.18.0.7", n)})
	}
	for b.Loop() {
		in, out := io.Pipe()
		go func() { out.CloseWithError(first.Save(out)) }()
		if n, err := New(100_000).Inherit(in); n != 100_000 || err != nil {
			b.Fatal(n, err)
		}
	}
}
