package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// doctorFinding is a finding of `hushgate doctor --json`.
type doctorFinding struct{ Area, Subject, Grade, Found, Means, Mend string }

// doctor runs `hushgate doctor` on the gateway, with a configuration or, if it is "", with that of the running gateway. The exit status must be that of the worst finding.
func doctor(ctx context.Context, t *testing.T, l *Lab, file string) []doctorFinding {
	t.Helper()
	result := t.TempDir() + "/result"
	if file != "" {
		file = " -f " + file
	}
	status := sh(ctx, t, l.Gateway, binary+" doctor --json"+file+" >"+result+" || echo status=$?")
	text, err := os.ReadFile(result)
	must(t, err)
	var r struct {
		Worst    string
		Findings []doctorFinding
	}
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	for _, f := range r.Findings {
		if f.Grade == "fault" || f.Grade == "warning" {
			if f.Means == "" || f.Mend == "" {
				t.Errorf("a finding does not say what it means and what mends it: %+v", f)
			}
		}
	}
	if failed := strings.Contains(status, "\nstatus=1"); failed != (r.Worst == "fault") {
		t.Errorf("the worst finding is %s, and the exit status %q", r.Worst, status)
	}
	return r.Findings
}

// bad lists the findings that are faults or warnings. What namespaces share with the machine below them is left out.
func bad(list []doctorFinding) (words []string) {
	for _, f := range list {
		if (f.Grade == "fault" || f.Grade == "warning") && f.Area != "capacity" && f.Area != "time" {
			words = append(words, fmt.Sprintf("%s: %s: %s: %s", f.Grade, f.Area, f.Subject, f.Found))
		}
	}
	return words
}

// TestDoctor: `hushgate doctor` finds nothing wrong with a path that works, and finds each fault that is made on purpose, and
// no other.
func TestDoctor(t *testing.T) {
	ctx, l := shape(t, TwoArms)
	mtas := startMTAs(t, l, both...)
	_, file := example(t, "two-arms.cfg")
	if list := doctor(ctx, t, l, file); len(bad(list)) != 1 || !strings.Contains(bad(list)[0], "no hushgate runs") {
		t.Errorf("without a gateway: %q", bad(list))
	}
	g := startExample(ctx, t, l, "two-arms.cfg")
	list := doctor(ctx, t, l, "")
	if len(bad(list)) > 0 {
		t.Errorf("all is well, but: %q", bad(list))
	}
	back, nothingLost := 0, false
	for _, f := range list {
		if f.Area == "return path" && f.Grade == "ok" && strings.Contains(f.Found, "come back by eth1") {
			back++
		}
		nothingLost = nothingLost || f.Grade == "ok" && strings.Contains(f.Found, "packet sockets have lost nothing")
	}
	if back != 4 || !nothingLost {
		t.Errorf("answers of %d servers come back, want 4; receive queues examined: %v: %+v", back, nothingLost, list)
	}
	for _, m := range mtas {
		if m != nil && len(m.Mails()) > 0 {
			t.Errorf("a server got mail from the doctor")
		}
	}
	out := sh(ctx, t, l.Gateway, "setpriv --reuid nobody --clear-groups "+binary+" doctor -f "+file)
	if !strings.Contains(out, "unknown  return path  open a packet socket") || !strings.Contains(out, "mend   run doctor as root") {
		t.Errorf("without privileges it says\n%s", out)
	}
	for i, faults := range doctorFaults(t, l, g, mtas) {
		var want []string
		for _, f := range faults {
			f.make(ctx, t)
			want = append(want, f.want...)
		}
		list := doctor(ctx, t, l, file)
		found := bad(list)
		for _, f := range faults {
			f.mend(ctx, t)
		}
		all := strings.Join(found, "\n")
		if len(found) != len(want) {
			t.Errorf("round %d: %d findings, want %d:\n%s", i, len(found), len(want), all)
		}
		for _, w := range want {
			if !strings.Contains(all, w) {
				t.Errorf("round %d: no finding %q in\n%s", i, w, all)
			}
		}
		for _, f := range faults {
			if f.note != "" && !slices.ContainsFunc(list, func(k doctorFinding) bool { return strings.HasPrefix(k.Subject+" "+k.Found, f.note) }) {
				t.Errorf("round %d: no note %q in %+v", i, f.note, list)
			}
		}
		// A neighbour that did not answer stays a failure in the kernel's tables for a moment.
		waitFor(t, "the doctor to find nothing once all is mended", func() bool { return len(bad(doctor(ctx, t, l, file))) == 0 })
	}
}

// doctorFault is a fault that a test makes, and what the doctor then finds.
type doctorFault struct {
	make, mend func(context.Context, *testing.T)
	want       []string
	note       string // what it finds that is neither a fault nor a warning
}

// on returns a function that runs a script on a host.
func on(h *Host, script string) func(context.Context, *testing.T) {
	return func(ctx context.Context, t *testing.T) {
		t.Helper()
		sh(ctx, t, h, script)
	}
}

// doctorFaults are the faults of TestDoctor, in rounds of faults that do not touch one another. While the rules are damaged
// the gateway stands still, or it would mend them.
func doctorFaults(t *testing.T, l *Lab, g *Gateway, mtas map[string]*MTA) [][]doctorFault {
	t.Helper()
	signal := func(s syscall.Signal) func(context.Context, *testing.T) {
		return func(_ context.Context, t *testing.T) { t.Helper(); must(t, g.Signal(s)) }
	}
	rules := t.TempDir() + "/rules"
	gw, servers := l.Gateway, l.Servers
	const bypass = "PREROUTING -s 198.18.99.0/24 -j ACCEPT"
	return [][]doctorFault{{
		{signal(syscall.SIGSTOP), signal(syscall.SIGCONT), nil, ""},
		{
			on(gw, "iptables -t raw -I "+bypass), on(gw, "iptables -t raw -D "+bypass),
			[]string{"fault: rules: : a rule before hushgate's may keep packets from it: iptables -t raw -A " + bypass},
			"",
		},
		{
			on(servers[0], "ip route del default"), on(servers[0], "ip route add default via "+Inside4),
			[]string{"fault: return path: mx/smtp1 " + Server4a + ":25: its answer to 198.18.77.25 did not come back through this machine"},
			"",
		},
		{
			on(gw, "sysctl -qw net.ipv4.ip_forward=0"), on(gw, "sysctl -qw net.ipv4.ip_forward=1"),
			[]string{"warning: kernel: net.ipv4.ip_forward: is 0, should be 1"},
			"",
		},
		{ // another machine has the service address
			on(l.Client, "ip addr add "+ShapeVIP4+"/32 dev eth0"), on(l.Client, "ip addr del "+ShapeVIP4+"/32 dev eth0"),
			[]string{"fault: addresses: " + ShapeVIP4 + " on eth0: "},
			"",
		},
	}, {
		{signal(syscall.SIGSTOP), signal(syscall.SIGCONT), nil, ""},
		{
			on(gw, "ip6tables-save >"+rules+"; for c in $(sed -n 's/^:\\(HUSHGATE-PRE-[01]\\).*/\\1/p' "+rules+"); do ip6tables -t raw -F $c; done"), on(gw, "ip6tables-restore <"+rules),
			[]string{"rules are not in force, the first: ip6tables -t raw -A HUSHGATE-PRE-0"},
			"",
		},
		{
			on(servers[1], "ip -6 route del default"), on(servers[1], "ip -6 route add default via "+Inside6),
			[]string{"fault: return path: mx/smtp2-v6 [" + Server6b + "]:25: its answer to 2001:db8:77::25 did not"},
			"",
		},
		{
			on(l.Client, "ip addr add "+ShapeVIP6+"/128 dev eth0 nodad"), on(l.Client, "ip addr del "+ShapeVIP6+"/128 dev eth0"),
			[]string{"fault: addresses: " + ShapeVIP6 + " on eth0: "},
			"",
		},
		{
			func(_ context.Context, t *testing.T) {
				t.Helper()
				must(t, gw.Do(func() error { return netlink.ConntrackCreate(netlink.ConntrackTable, unix.AF_INET, tracked()) }))
			}, func(_ context.Context, t *testing.T) {
				t.Helper()
				must(t, gw.Do(func() error { return netlink.ConntrackTableFlush(netlink.ConntrackTable) }))
			}, []string{"warning: conntrack: : it has 1 entries about the services"}, "",
		},
	}, {
		{ // a server is silent
			on(servers[0], "ip link set eth0 arp off"), on(servers[0], "ip link set eth0 arp on"),
			[]string{
				"fault: next hops: to mx/smtp1 " + Server4a + ": the next hop on eth1 does not answer",
				"fault: next hops: to mx/smtp1-v6 " + Server6a + ": the next hop on eth1 does not answer",
				"fault: servers: mx/smtp1 " + Server4a + ":25: fails its check",
				"fault: servers: mx/smtp1-v6 [" + Server6a + "]:25: fails its check",
			},
			"",
		},
		{on(gw, "ip neigh flush dev eth1"), on(gw, ":"), nil, ""},
		{ // a program has ended
			func(_ context.Context, t *testing.T) { t.Helper(); must(t, mtas[Server4b].Stop()) },
			func(_ context.Context, t *testing.T) { t.Helper(); must(t, mtas[Server4b].Start()) },
			[]string{
				"fault: servers: mx/smtp2 " + Server4b + ":25: fails its check: Layer4 connection problem",
				"warning: return path: mx/smtp2 " + Server4b + ":25: its refusal comes back by eth1",
			},
			"",
		},
	}, {
		{ // other rules decide on what is forwarded
			on(gw, "iptables -P FORWARD DROP"), on(gw, "iptables -P FORWARD ACCEPT"),
			[]string{"warning: rules: : the policy of iptables's FORWARD chain is DROP"},
			"",
		},
		{
			on(gw, "nft add table inet other; nft add chain inet other others '{ type filter hook forward priority 0; policy drop; }'"), on(gw, "nft delete table inet other"),
			[]string{"warning: rules: : the nftables table inet other decides on forwarding too (chain others, policy drop)"},
			"",
		},
		{
			on(gw, "ip rule add priority 100 sport 999 lookup 100"), on(gw, "ip rule del priority 100"),
			[]string{"warning: kernel: : the policy rule of priority 100 (ip rule) is not followed"},
			"",
		},
		{on(gw, "ip link set eth1 mtu 1400"), on(gw, "ip link set eth1 mtu 1500"), nil, "MTU differs: eth0 1500, eth1 1400"},
	}}
}

// tracked is an entry of connection tracking about a client of the service.
func tracked() *netlink.ConntrackFlow {
	client, service := net.ParseIP("192.0.2.9").To4(), net.ParseIP(ShapeVIP4).To4()
	tuple := func(src, dst net.IP, from, to uint16) netlink.IPTuple {
		return netlink.IPTuple{Protocol: unix.IPPROTO_TCP, SrcIP: src, DstIP: dst, SrcPort: from, DstPort: to}
	}
	return &netlink.ConntrackFlow{
		FamilyType: unix.AF_INET, Forward: tuple(client, service, 4711, 25), Reverse: tuple(service, client, 25, 4711), TimeOut: 100,
		ProtoInfo: &netlink.ProtoInfoTCP{State: 3},
	}
}
