package lab

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

// wayConfig serves both families with a short delay. more is additional top-level keys.
func wayConfig(more string) []byte {
	return fmt.Appendf(nil, `#yaml
%s
frontends:
  - {name: smtp, bind: ["%s:25", "[%s]:25"], inspect-delay: 700ms, default_backend: mx}
backends:
  - name: mx
    smtpchk: HELO gateway.example.net
    default-server: {check: true, inter: 10s}
    servers:
      - {name: smtp1, address: "%s:25"}
      - {name: smtp2, address: "%s:25"}
      - {name: smtp1-v6, address: "[%s]:25"}
      - {name: smtp2-v6, address: "[%s]:25"}
`, more, ShapeVIP4, ShapeVIP6, Server4a, Server4b, Server6a, Server6b)
}

// withoutVIPs is TwoArms without the service addresses.
func withoutVIPs(b *builder) {
	b.join(b.Client, "eth0", b.Gateway, "eth0")
	b.provider("eth0", vips()...)
	b.inside()
	b.forwards(b.Gateway)
	for _, s := range b.Servers {
		b.defaults(s, Inside4, Inside6)
	}
}

// checkText is what `hushgate check` prints for a configuration on the gateway.
func checkText(ctx context.Context, t *testing.T, l *Lab, cfg []byte) string {
	t.Helper()
	file := t.TempDir() + "/hushgate.yaml"
	if !strings.HasPrefix(string(cfg), "#yaml") {
		file = t.TempDir() + "/haproxy.cfg"
	}
	must(t, os.WriteFile(file, cfg, 0o600))
	out, err := l.Gateway.Run(ctx, binary, "check", "-f", file)
	if err != nil {
		t.Fatal(err)
	}
	return "\n" + out
}

// TestMacvlan: keepalived's use_vmac. The service addresses are on a macvlan above the outside interface, and the servers' default
// gateway is on one above the inside interface. Frames come in by the macvlans, and routes leave by the interfaces below. The
// macvlans disappear and return, as when another router was master for a while.
func TestMacvlan(t *testing.T) {
	ctx, l := shape(t, withoutVIPs)
	master := fmt.Sprintf(`
		sysctl -qw net.ipv4.conf.eth0.arp_ignore=1 net.ipv4.conf.eth1.arp_ignore=1
		ip link add link eth0 name vrrp.51 address 00:00:5e:00:01:33 type macvlan mode private
		ip link add link eth1 name vrrp.52 address 00:00:5e:00:01:34 type macvlan mode private
		ip link set vrrp.51 up; ip link set vrrp.52 up
		ip addr add %s/32 dev vrrp.51; ip addr add %s/128 dev vrrp.51 nodad
		ip addr add 10.0.0.254/32 dev vrrp.52; ip addr add 2001:db8:2::fe/128 dev vrrp.52 nodad`, ShapeVIP4, ShapeVIP6)
	sh(ctx, t, l.Gateway, master)
	for _, s := range l.Servers {
		sh(ctx, t, s, "ip route replace default via 10.0.0.254; ip -6 route replace default via 2001:db8:2::fe")
	}
	mtas := startMTAs(t, l, both...)
	if out := checkText(ctx, t, l, wayConfig("")); strings.Contains(out, "\nwarning:") ||
		!strings.Contains(out, "outside eth0: it is below vrrp.51") || !strings.Contains(out, "inside vrrp.52: it is a macvlan above eth1") {
		t.Errorf("check says\n%s", out)
	}
	g := gateway(ctx, t, l, wayConfig(""))
	sh(ctx, t, l.Gateway, "ip link del vrrp.51; ip link del vrrp.52")
	waitForLine(ctx, t, g, "interface is gone", "interface=vrrp.51")
	waitForLine(ctx, t, g, "interface is gone", "interface=vrrp.52")
	waitForLine(ctx, t, g, "msg=network", "the service address "+ShapeVIP4+" is on no interface")
	sh(ctx, t, l.Gateway, master+"\nip link add link eth0 name vrrp.53 address 00:00:5e:00:01:35 type macvlan mode private")
	waitForLine(ctx, t, g, "msg=network", "vrrp.53 now belongs to the outside (it is a macvlan above eth0)")
	waitForLine(ctx, t, g, "interface has returned", "interface=vrrp.51")
	waitForLine(ctx, t, g, "interface has returned", "interface=vrrp.52")
	talkAndMail(ctx, t, l, mtas, both...)
}

// counted waits until frames are counted as dropped for a reason.
func counted(t *testing.T, g *Gateway, reason string) {
	t.Helper()
	waitFor(t, "a frame to be counted as "+reason, func() bool {
		must(t, g.Signal(syscall.SIGUSR1))
		return g.Count("msg=counters", "dropped."+reason+"=") > 0
	})
}

// secondCard gives the gateway a second link to the client host, and the service addresses there.
func secondCard(b *builder) {
	withoutVIPs(b)
	b.join(b.Client, "eth2", b.Gateway, "eth2")
	b.addr(b.Client, "eth2", "198.18.7.1/24", "2001:db8:7::1/64")
	b.addr(b.Gateway, "eth2", "198.18.7.2/24", "2001:db8:7::2/64", ShapeVIP4+"/32", ShapeVIP6+"/128")
	for _, f := range []string{"all", "eth0", "eth2"} {
		b.note(b.Client.Sysctl("net/ipv4/conf/"+f+"/rp_filter", "0"))
	}
	b.note(b.Gateway.Sysctl("net/ipv4/conf/eth0/arp_ignore", "1"))
	b.route(b.Client, "198.18.7.2", ShapeVIP4+"/32")
	b.route(b.Client, "2001:db8:7::2", ShapeVIP6+"/128")
}

// TestSecondCard: clients come in by one card, and the default route leaves by another. Answers follow the route, and
// `hushgate check` warns of it. Policy rules for answers from the service addresses are followed, also those added later.
func TestSecondCard(t *testing.T) {
	ctx, l := shape(t, secondCard)
	mtas := startMTAs(t, l, both...)
	for _, vip := range []string{ShapeVIP4, ShapeVIP6} {
		want := "warning: clients of " + vip + " come in by eth2, and the default route leaves by eth0"
		if out := checkText(ctx, t, l, wayConfig("")); !strings.Contains(out, want) {
			t.Errorf("check does not say %q:\n%s", want, out)
		}
		want = "warning: the default route for answers from " + vip + " leaves by eth0, which is not an outside interface: clients " +
			"beyond the networks of eth2 get no answer. Name both (in YAML `outside: [eth2, eth0]`)"
		if out := checkText(ctx, t, l, wayConfig("outside: eth2")); !strings.Contains(out, want) {
			t.Errorf("check of a named outside does not say %q:\n%s", want, out)
		}
	}
	gateway(ctx, t, l, wayConfig(""))
	talkAndMail(ctx, t, l, mtas, both...)

	// The default routes lead nowhere from here on, and the answers have their own.
	sh(ctx, t, l.Gateway, fmt.Sprintf(`
		ip route add default via 198.18.7.1 table 100; ip rule add from %s lookup 100
		ip -6 route add default via 2001:db8:7::1 table 100; ip -6 rule add from %s lookup 100
		ip route del default; ip -6 route del default`, ShapeVIP4, ShapeVIP6))
	if out := checkText(ctx, t, l, wayConfig("")); strings.Contains(out, "\nwarning:") {
		t.Errorf("answers leave where clients come in, but check says\n%s", out)
	}
	for _, vip := range []string{ShapeVIP4, ShapeVIP6} {
		waitFor(t, "an answer by way of the rule for "+vip, func() bool {
			_, err := l.Deliver(ctx, clientOf(vip, 9), net.JoinHostPort(vip, "25"), strings.NewReader("Subject: x\r\n\r\nx\r\n"))
			return err == nil
		})
	}
}

// TestAnycast: the service addresses are on the loopback, and routed to the machine.
func TestAnycast(t *testing.T) {
	ctx, l := shape(t, withoutVIPs)
	sh(ctx, t, l.Gateway, fmt.Sprintf("ip addr add %s/32 dev lo; ip addr add %s/128 dev lo", ShapeVIP4, ShapeVIP6))
	sh(ctx, t, l.Client, fmt.Sprintf("ip route add %s/32 via %s; ip -6 route add %s/128 via %s", ShapeVIP4, ShapeGateway4, ShapeVIP6, ShapeGateway6))
	mtas := startMTAs(t, l, both...)
	if out := checkText(ctx, t, l, wayConfig("")); strings.Contains(out, "\nwarning:") || !strings.Contains(out, "outside eth0: the service address "+ShapeVIP4+" is on lo") {
		t.Errorf("check says\n%s", out)
	}
	file := t.TempDir() + "/hushgate.yaml"
	must(t, os.WriteFile(file, wayConfig("outside: lo"), 0o600))
	if out, err := l.Gateway.Run(ctx, binary, "check", "-f", file); err == nil || !strings.Contains(out, "interface lo receives no packets from other machines") {
		t.Errorf("check of `outside: lo`: %v\n%s", err, out)
	}
	gateway(ctx, t, l, wayConfig(""))
	talkAndMail(ctx, t, l, mtas, both...)
}

// TestUnroutedAnswer: an answer without a route is logged at once with the reason, and counted. When there is a route, mail
// arrives.
func TestUnroutedAnswer(t *testing.T) {
	ctx, l := shape(t, TwoArms)
	mtas := startMTAs(t, l, both...)
	sh(ctx, t, l.Gateway, "ip route del default; ip -6 route del default")
	g := gateway(ctx, t, l, wayConfig(""))
	for _, vip := range []string{ShapeVIP4, ShapeVIP6} {
		short, cancel := context.WithCancel(ctx)
		gaveUp := make(chan struct{})
		go func() {
			defer close(gaveUp)
			_, _ = l.Client.Dial(short, clientOf(vip, 9), net.JoinHostPort(vip, "25"))
		}()
		if is4(vip) { // the first of its kind
			waitForLine(ctx, t, g, "frame not sent", "to="+clientOf(vip, 9), "there is no route to it")
		}
		counted(t, g, "no-route")
		cancel()
		<-gaveUp
	}
	sh(ctx, t, l.Gateway, fmt.Sprintf("ip route add default via %s; ip -6 route add default via %s", ShapeRouter4, ShapeRouter6))
	talkAndMail(ctx, t, l, mtas, both...)
}
