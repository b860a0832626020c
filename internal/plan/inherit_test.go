package plan

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"hushgate/dataplane"
	"hushgate/internal/config"
	"hushgate/internal/netenv"
)

// described makes a configuration from one line: "front=198.18.0.1>back:a=10.0.0.11,b=10.0.0.12 ...".
func described(t *testing.T, text string) *Tables {
	t.Helper()
	var b strings.Builder
	var backends [][2]string // name, servers
	var services []netip.AddrPort
	b.WriteString("frontends:\n")
	for _, f := range strings.Fields(text) {
		name, rest, _ := strings.Cut(f, "=")
		addr, rest, _ := strings.Cut(rest, ">")
		back, servers, _ := strings.Cut(rest, ":")
		fmt.Fprintf(&b, "  - {name: %s, bind: \"%s:25\", inspect-delay: 5s, default_backend: %s}\n", name, addr, back)
		backends = append(backends, [2]string{back, servers})
		services = append(services, netip.MustParseAddrPort(addr+":25"))
	}
	b.WriteString("backends:\n")
	for _, back := range backends {
		fmt.Fprintf(&b, "  - name: %s\n    servers:\n", back[0])
		for s := range strings.SplitSeq(back[1], ",") {
			name, addr, _ := strings.Cut(s, "=")
			fmt.Fprintf(&b, "      - {name: %s, address: \"%s:25\", check: true}\n", name, addr)
		}
	}
	cfg, _, err := config.Parse("test.yaml", []byte(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	link := &netenv.Link{Name: "eth0", Index: 1, MTU: 1500, Up: true, Ethernet: true}
	out, err := Build(cfg, &netenv.Chosen{Outside: []*netenv.Link{link}, Inside: []*netenv.Link{link}, Services: services})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// at lists what is at each number, with retired entries in parentheses.
func (b *Tables) at() string {
	var parts []string
	for i, k := range b.serviceKeys() {
		s := "-"
		if k.IsValid() {
			v := b.Shard.Services[i]
			s = fmt.Sprintf("%v>%s>%s", k.Addr(), b.frontends[v.Frontend], b.backends[b.Shard.Frontends[v.Frontend].Backend])
			if v.Closed {
				s = "(" + s + ")"
			}
		}
		parts = append(parts, s)
	}
	parts = append(parts, "|")
	for i, k := range b.serverKeys() {
		s := "-"
		if k.addr.IsValid() {
			s = fmt.Sprintf("%s/%s=%v", k.backend, k.name, k.addr.Addr())
			if b.Retired(dataplane.ServerID(i)) {
				s = "(" + s + ")"
			}
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, " ")
}

func allUsed(b *Tables, used bool) (u Uses) {
	for range b.Shard.Services {
		u.Services = append(u.Services, used)
	}
	for range b.Shard.Servers {
		u.Servers = append(u.Servers, used)
	}
	return u
}

func TestInherit(t *testing.T) {
	for _, c := range []struct{ name, old, now, used, unused string }{
		{
			"the same", "f=198.18.0.1>b:x=10.0.0.1,y=10.0.0.2", "f=198.18.0.1>b:x=10.0.0.1,y=10.0.0.2",
			"198.18.0.1>f>b | b/x=10.0.0.1 b/y=10.0.0.2", "198.18.0.1>f>b | b/x=10.0.0.1 b/y=10.0.0.2",
		},
		{
			"another order", "f=198.18.0.1>b:x=10.0.0.1,y=10.0.0.2", "f=198.18.0.1>b:y=10.0.0.2,x=10.0.0.1",
			"198.18.0.1>f>b | b/x=10.0.0.1 b/y=10.0.0.2", "198.18.0.1>f>b | b/x=10.0.0.1 b/y=10.0.0.2",
		},
		{
			"a server for another", "f=198.18.0.1>b:x=10.0.0.1,y=10.0.0.2", "f=198.18.0.1>b:z=10.0.0.3,y=10.0.0.2",
			"198.18.0.1>f>b | (b/x=10.0.0.1) b/y=10.0.0.2 b/z=10.0.0.3", "198.18.0.1>f>b | - b/y=10.0.0.2 b/z=10.0.0.3",
		},
		{
			"a server at another address", "f=198.18.0.1>b:x=10.0.0.1", "f=198.18.0.1>b:x=10.0.0.2",
			"198.18.0.1>f>b | (b/x=10.0.0.1) b/x=10.0.0.2", "198.18.0.1>f>b | - b/x=10.0.0.2",
		},
		{
			"a service at another frontend", "f=198.18.0.1>b:x=10.0.0.1 g=198.18.0.2>c:x=10.0.0.3", "g=198.18.0.1>c:x=10.0.0.3",
			"198.18.0.1>g>c (198.18.0.2>g>c) | (b/x=10.0.0.1) c/x=10.0.0.3", "198.18.0.1>g>c - | - c/x=10.0.0.3",
		},
		{
			"everything", "f=198.18.0.1>b:x=10.0.0.1", "g=198.18.0.2>c:y=10.0.0.2",
			"(198.18.0.1>f>b) 198.18.0.2>g>c | (b/x=10.0.0.1) c/y=10.0.0.2", "- 198.18.0.2>g>c | - c/y=10.0.0.2",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			old, now := described(t, c.old), described(t, c.now)
			b := now.Inherit(old, allUsed(old, false)) // what was in the configuration until now may be used in the next
			if got := b.at(); got != c.used {
				t.Errorf("with connections: %s, want %s", got, c.used)
			}
			if got := now.Inherit(b, allUsed(b, true)).at(); got != c.used {
				t.Errorf("once more with connections: %s, want %s", got, c.used)
			}
			pruned := now.Inherit(b, allUsed(b, false))
			if got := pruned.at(); got != c.unused {
				t.Errorf("without connections: %s, want %s", got, c.unused)
			}
			if len(pruned.Services) != len(now.Services) || len(pruned.Servers) != len(now.Servers) {
				t.Errorf("filters are about %v and %v", pruned.Services, pruned.Servers)
			}
			for _, check := range b.Checks {
				if n := b.Names.Servers[check.ServerID]; n.Backend != check.Backend || n.Name != check.Server {
					t.Errorf("the check of %s/%s is that of %v", check.Backend, check.Server, n)
				}
			}
		})
	}
}

// TestInheritForLong: free numbers are reused, however often the configuration changes. Tables never shrink, and each entry
// is either in the configuration or retired.
func TestInheritForLong(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	random := func() *Tables {
		var words []string
		for i := range 1 + r.IntN(3) {
			words = append(words, fmt.Sprintf("f%d=198.18.0.%d>b%d:s%d=10.%d.0.%d", i, 10*i+r.IntN(4), i, r.IntN(3), i, r.IntN(250)))
		}
		return described(t, strings.Join(words, " "))
	}
	b := random()
	for range 500 {
		old := b
		used := allUsed(old, false)
		for i := range used.Servers {
			used.Servers[i] = r.IntN(2) == 0
		}
		for i := range used.Services {
			used.Services[i] = r.IntN(2) == 0
		}
		now := random()
		b = now.Inherit(old, used)
		if len(b.Shard.Services) < len(old.Shard.Services) || len(b.Shard.Servers) < len(old.Shard.Servers) {
			t.Fatalf("a table shrank: %s, was %s", b.at(), old.at())
		}
		for i, k := range b.serverKeys() {
			was := serverKey{}
			if i < len(old.Shard.Servers) {
				was = old.serverKeys()[i]
			}
			if was.addr.IsValid() && was != k && (!old.Retired(dataplane.ServerID(i)) || used.Servers[i]) {
				t.Fatalf("number %d of %v is that of %v now", i, was, k)
			}
		}
		if n := len(b.ServerNames()); n != len(now.Shard.Servers) {
			t.Fatalf("%d servers, want %d: %s", n, len(now.Shard.Servers), b.at())
		}
	}
	if n := len(b.Shard.Servers); n > 30 {
		t.Errorf("%d numbers of servers are in use", n)
	}
}

func TestUnchangeable(t *testing.T) {
	old := config.Global{Shards: 2, MaxConn: 10, Outside: []string{"eth0"}}
	now := old
	now.HardStopAfter, now.Fail, now.HalfOpen = 1, config.FailOpen, 7
	if err := Unchangeable(&old, &now); err != nil {
		t.Errorf("what can change is refused: %v", err)
	}
	now.Shards, now.Outside, now.Passes.Entries = 3, []string{"eth0", "eth2"}, 5
	const want = "these settings cannot change while hushgate runs: outside ([eth0], now [eth0 eth2]), shards (nbthread) (2, now 3), pass-entries (0, now 5); `hushgate upgrade` changes them"
	if err := Unchangeable(&old, &now); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestNames: what the shard is told of names are those of its own numbers, behind a reload that changes these too.
func TestNames(t *testing.T) {
	old := described(t, "in=198.18.0.1>back:a=10.0.0.11,b=10.0.0.12 gone=198.18.0.3>gone:c=10.0.0.13")
	next := described(t, "new=198.18.0.2>more:z=10.0.0.19 in=198.18.0.1>back:b=10.0.0.12,a=10.0.0.11").Inherit(old, Uses{
		Services: make([]bool, len(old.Shard.Services)), Servers: make([]bool, len(old.Shard.Servers)),
	})
	for _, b := range []*Tables{old, next} {
		names := &b.Shard.Names
		if len(names.Servers) != len(b.Shard.Servers) || len(names.Frontends) != len(b.Shard.Frontends) {
			t.Fatalf("%d and %d names", len(names.Frontends), len(names.Servers))
		}
		for i, s := range b.Names.Servers {
			if names.Servers[i] != (dataplane.ServerName{Backend: s.Backend, Server: s.Name}) {
				t.Errorf("server %d is called %v, want %v", i, names.Servers[i], s)
			}
		}
		for i, s := range b.Shard.Services {
			if names.Frontends[s.Frontend] != b.Names.Services[i].Frontend {
				t.Errorf("service %d is of %q, want %q", i, names.Frontends[s.Frontend], b.Names.Services[i].Frontend)
			}
		}
	}
}
