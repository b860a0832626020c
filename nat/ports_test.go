package nat

import (
	"testing"

	"pgregory.net/rapid"
)

// TestPorts checks that after any sequence of calls Take returns the next free port in turn, and fails only if none is free.
func TestPorts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 200).Draw(t, "n")
		p := NewPorts(n, rapid.IntRange(0, 1<<16).Draw(t, "next"))
		busy := make([]bool, n)
		for range rapid.IntRange(0, 3*n).Draw(t, "steps") {
			switch i := rapid.IntRange(0, n-1).Draw(t, "port"); rapid.IntRange(0, 5).Draw(t, "what") {
			case 0:
				p.Release(i)
				busy[i] = false
			case 2:
				if want := p.Next(); p.Skip() != want || p.Next() != (want+1)%n {
					t.Fatalf("port %d was not skipped: it is the turn of %d", want, p.Next())
				}
			case 1:
				if p.Mark(i) == busy[i] {
					t.Fatalf("port %d was in use: %v", i, busy[i])
				}
				busy[i] = true
			default:
				take(t, &p, busy)
			}
		}
		for range n {
			take(t, &p, busy)
		}
		if i, ok := p.Take(); ok {
			t.Fatalf("of %d ports, all in use, port %d was taken", n, i)
		}
	})
}

// take compares Take with a search through the ports one by one.
func take(t *rapid.T, p *Ports, busy []bool) {
	want, free := 0, false
	for k := range busy {
		if want = (p.Next() + k) % len(busy); !busy[want] {
			free = true
			break
		}
	}
	got, ok := p.Take()
	if ok != free || ok && got != want {
		t.Fatalf("got port %d, %v, want %d, %v", got, ok, want, free)
	}
	if ok {
		busy[got] = true
		if next := (got + 1) % len(busy); p.Next() != next {
			t.Fatalf("after port %d it is the turn of %d", got, p.Next())
		}
	}
}

// BenchmarkPorts takes the only free one of 31,744 ports.
func BenchmarkPorts(b *testing.B) {
	p := NewPorts(31744, 0)
	for range p.Len() {
		p.Take()
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i += 7919 {
		p.Release(i % p.Len())
		if _, ok := p.Take(); !ok {
			b.Fatal("none is free")
		}
	}
}
