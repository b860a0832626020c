package crowd

import "testing"

// guest notes that it was sent away.
type guest struct {
	Place
	away bool
}

func (g *guest) Close() error {
	g.away = true
	return nil
}

// TestCrowd: who owes a request for longest gives way, who is being served does not, and who has left counts no more.
func TestCrowd(t *testing.T) {
	k := New(2)
	var a, b, c, d, e guest
	admit := func(g *guest, want bool) {
		t.Helper()
		if k.Admit(&g.Place, g) != want {
			t.Fatalf("admitted: %v, want %v", !want, want)
		}
	}
	admit(&a, true)
	admit(&b, true)
	if !k.Begin(&a.Place) {
		t.Fatal("a has lost its place")
	}
	admit(&c, true)
	if a.away || !b.away || k.Begin(&b.Place) {
		t.Fatal("b, which owed a request, has not given way")
	}
	k.Begin(&c.Place)
	admit(&d, false)
	if k.Len() != 2 {
		t.Fatalf("%d clients", k.Len())
	}
	k.End(&a.Place)
	k.End(&c.Place)
	admit(&d, true)
	if !a.away || c.away {
		t.Fatal("a has owed a request for longest, and has not given way")
	}
	k.Leave(&a.Place) // again, as when its connection ends
	k.Leave(&d.Place)
	k.Leave(&c.Place)
	admit(&d, true)
	admit(&e, true)
	if d.away || e.away {
		t.Fatal("there was room for both")
	}
}
