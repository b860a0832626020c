package dnsbl

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// list is the data of rbldnsd: its options, the answer, and who is listed.
const list4 = `$SOA 3000 ns.black.test. mail.black.test. 0 600 300 86400 600
$TTL 900
:127.0.0.4:listed, see http://black.test/?$
192.0.2.0/28
198.51.100.7 :2:spam
127.0.0.2
`

const list6 = `$SOA 3000 ns.black.test. mail.black.test. 0 600 300 86400 600
:127.0.0.10:listed
2001:db8:bad::/48
::ffff:127.0.0.2/128
`

const unboundConf = `server:
	interface: 127.0.0.1@%d
	do-daemonize: no
	username: ""
	chroot: ""
	directory: "%s"
	pidfile: ""
	use-syslog: no
	do-not-query-localhost: no
	module-config: "iterator"
	local-zone: "test." nodefault
stub-zone:
	name: "black.test"
	stub-addr: 127.0.0.1@%d
remote-control:
	control-enable: no
`

// TestRealServers asks Debian's rbldnsd, directly and through unbound, which goes away in the middle.
func TestRealServers(t *testing.T) {
	rbldnsd, unbound := program(t, "rbldnsd"), program(t, "unbound")
	dir, err := os.MkdirTemp("", "hushgate-dnsbl") // rbldnsd changes its user: t.TempDir is closed to it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	lists, resolver := freePort(t), freePort(t)
	for name, text := range map[string]string{
		"list4": list4, "list6": list6, "unbound.conf": fmt.Sprintf(unboundConf, resolver.Port(), dir, lists.Port()),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run(t, lists, rbldnsd, "-n", "-w", dir, "-b", fmt.Sprintf("127.0.0.1/%d", lists.Port()), "black.test:ip4trie:list4", "black.test:ip6trie:list6")
	endResolver := run(t, resolver, unbound, "-c", filepath.Join(dir, "unbound.conf"))

	c := start(t, "black.test=127.0.0.[2..9]*2 black.test=127.0.0.10*3", func(c *Config) {
		c.Threshold, c.Resolvers = 2, []netip.AddrPort{resolver, lists}
	})
	check := func(addr, want string) {
		t.Helper()
		if got := c.ask(addr); fmt.Sprintf("%s %d %d", got.Verdict, got.Rank, got.Silent) != want {
			t.Errorf("%s: %+v, want %s", addr, got, want)
		}
	}
	check("192.0.2.9", "listed 2 0")
	check("192.0.2.16", "neutral 0 0")
	check("198.51.100.7", "listed 2 0")
	check("2001:db8:bad:1::1", "listed 3 0")
	check("2001:db8::1", "neutral 0 0")
	c.settled()
	before := c.Stats()
	if before.Lists[0].Listed != 3 || before.Lists[0].Silent != 0 || before.Resolvers[0].Answered != before.Lists[0].Queries {
		t.Errorf("%+v", before)
	}
	c.clock.later(10 * time.Minute) // the negative answers are over (the SOA record's minimum), the others have 5 minutes left
	check("192.0.2.9", "listed 2 0")
	endResolver()
	check("192.0.2.16", "neutral 0 0")
	check("192.0.2.1", "listed 2 0")
	after := c.Stats()
	if after.Resolvers[1].Answered == 0 || after.Lists[0].Silent != 0 {
		t.Errorf("rbldnsd was not asked after unbound's end: %+v", after)
	}
}

// program finds a server of Debian.
func program(t *testing.T, name string) string {
	t.Helper()
	for _, path := range []string{name, "/usr/sbin/" + name} {
		if found, err := exec.LookPath(path); err == nil {
			return found
		}
	}
	if os.Getenv("HUSHGATE_LAB") == "1" {
		t.Fatalf("there is no %s", name)
	}
	t.Skipf("there is no %s", name)
	return ""
}

// freePort returns a port of loopback that was free just now, over UDP and TCP.
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	packets, stream := listen(t)
	_, _ = packets.Close(), stream.Close()
	return packets.LocalAddr().(*net.UDPAddr).AddrPort()
}

// run starts a server and waits until it answers. The function that it returns ends it.
func run(t *testing.T, at netip.AddrPort, name string, args ...string) (end func()) {
	t.Helper()
	command := exec.Command(name, args...)
	var said bytes.Buffer
	command.Stdout, command.Stderr = &said, &said
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	go func() { _ = command.Wait(); close(over) }()
	end = func() { _ = command.Process.Kill(); <-over }
	t.Cleanup(end)
	q := new(dns.Msg).SetQuestion("2.0.0.127.black.test.", dns.TypeA)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if m, _, err := (&dns.Client{Timeout: time.Second}).Exchange(q, at.String()); err == nil && len(m.Answer) > 0 {
			return end
		}
		select {
		case <-over:
			t.Fatalf("%s ended: %s", name, said.String())
		default:
		}
		if time.Now().After(deadline) {
			end()
			t.Fatalf("%s does not answer: %s", name, said.String())
		}
	}
}
