package firewall

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// twoArm has one service and one server of each family. Some are named twice.
func twoArm() Config {
	return Config{
		Outside: []string{"outside"}, Inside: []string{"inside"},
		Services: []netip.AddrPort{ap("198.18.0.1:25"), ap("[2001:db8:1::1]:25"), ap("[::ffff:198.18.0.1]:25")},
		Servers:  []netip.AddrPort{ap("10.0.0.11:25"), ap("[2001:db8:2::11]:2525"), ap("10.0.0.11:25")},
	}
}

// everything is twoArm with all options.
func everything() Config {
	c := twoArm()
	c.Forward, c.Masquerade, c.ClampMSS = true, true, true
	return c
}

func TestPlan(t *testing.T) {
	const raw4 = `iptables -w -t raw -N HUSHGATE-PRE-0
iptables -w -t raw -A HUSHGATE-PRE-0 ! -i lo -d 198.18.0.1/32 -p tcp --dport 25 -m comment --comment 'hushgate: client to service: hushgate answers' -j DROP
iptables -w -t raw -A HUSHGATE-PRE-0 ! -i lo -p icmp -m u32 --u32 '4&0x1FFF=0&&0>>22&0x3C@0>>24=3:5,11:12&&0>>22&0x3C@12&0x1FFF=0&&0>>22&0x3C@16>>16&0xFF=6&&0>>22&0x3C@20=0xc6120001&&0>>22&0x3C@8>>22&0x3C@8>>16=25' -m comment --comment 'hushgate: ICMP error about service to client: hushgate translates' -j DROP
iptables -w -t raw -A HUSHGATE-PRE-0 -i inside -s 10.0.0.11/32 -p tcp --sport 25 -m addrtype ! --dst-type LOCAL -m comment --comment 'hushgate: server to client: hushgate translates' -j DROP
iptables -w -t raw -A HUSHGATE-PRE-0 -i inside -p icmp -m u32 --u32 '4&0x1FFF=0&&0>>22&0x3C@0>>24=3:5,11:12&&0>>22&0x3C@12&0x1FFF=0&&0>>22&0x3C@16>>16&0xFF=6&&0>>22&0x3C@24=0x0a00000b&&0>>22&0x3C@8>>22&0x3C@8&0xFFFF=25' -m addrtype ! --dst-type LOCAL -m comment --comment 'hushgate: ICMP error about client to server: hushgate translates' -j DROP
iptables -w -t raw -I PREROUTING 1 -m comment --comment hushgate -j HUSHGATE-PRE-0
`
	const raw6 = `ip6tables -w -t raw -N HUSHGATE-PRE-0
ip6tables -w -t raw -A HUSHGATE-PRE-0 ! -i lo -d 2001:db8:1::1/128 -p tcp --dport 25 -m comment --comment 'hushgate: client to service: hushgate answers' -j DROP
ip6tables -w -t raw -A HUSHGATE-PRE-0 ! -i lo -p ipv6-icmp -m u32 --u32 '4>>8&0xFF=58&&40>>24=1:4&&52>>8&0xFF=6&&88>>16=25' -m u32 --u32 '56=0x20010db8&&60=0x00010000&&64=0x00000000&&68=0x00000001' -m comment --comment 'hushgate: ICMP error about service to client: hushgate translates' -j DROP
ip6tables -w -t raw -A HUSHGATE-PRE-0 -i inside -s 2001:db8:2::11/128 -p tcp --sport 2525 -m addrtype ! --dst-type LOCAL -m comment --comment 'hushgate: server to client: hushgate translates' -j DROP
ip6tables -w -t raw -A HUSHGATE-PRE-0 -i inside -p ipv6-icmp -m u32 --u32 '4>>8&0xFF=58&&40>>24=1:4&&52>>8&0xFF=6&&88&0xFFFF=2525' -m u32 --u32 '72=0x20010db8&&76=0x00020000&&80=0x00000000&&84=0x00000011' -m addrtype ! --dst-type LOCAL -m comment --comment 'hushgate: ICMP error about client to server: hushgate translates' -j DROP
ip6tables -w -t raw -I PREROUTING 1 -m comment --comment hushgate -j HUSHGATE-PRE-0
`
	const other4 = `iptables -w -t filter -N HUSHGATE-FWD-0
iptables -w -t filter -A HUSHGATE-FWD-0 -s 10.0.0.11/32 -m comment --comment 'hushgate: other traffic of a server' -j ACCEPT
iptables -w -t filter -A HUSHGATE-FWD-0 -d 10.0.0.11/32 -m conntrack --ctstate ESTABLISHED,RELATED -m comment --comment 'hushgate: answers to it' -j ACCEPT
iptables -w -t filter -I FORWARD 1 -m comment --comment hushgate -j HUSHGATE-FWD-0
iptables -w -t mangle -N HUSHGATE-FWD-0
iptables -w -t mangle -A HUSHGATE-FWD-0 -s 10.0.0.11/32 -p tcp --tcp-flags SYN,RST SYN -m comment --comment 'hushgate: no larger segments than the way takes' -j TCPMSS --clamp-mss-to-pmtu
iptables -w -t mangle -A HUSHGATE-FWD-0 -d 10.0.0.11/32 -p tcp --tcp-flags SYN,RST SYN -m comment --comment 'hushgate: no larger segments than the way takes' -j TCPMSS --clamp-mss-to-pmtu
iptables -w -t mangle -I FORWARD 1 -m comment --comment hushgate -j HUSHGATE-FWD-0
iptables -w -t nat -N HUSHGATE-POST-0
iptables -w -t nat -A HUSHGATE-POST-0 -s 10.0.0.11/32 -o outside -m comment --comment 'hushgate: outgoing connections of a server' -j MASQUERADE
iptables -w -t nat -I POSTROUTING 1 -m comment --comment hushgate -j HUSHGATE-POST-0
`
	only4 := everything()
	only4.Services, only4.Servers = only4.Services[:1], only4.Servers[:1]
	snat := only4
	snat.SNAT = []netip.Addr{ap("198.18.0.1:0").Addr(), ap("[2001:db8::1]:0").Addr()}
	oneArm := only4
	oneArm.Outside, oneArm.Inside, oneArm.Forward, oneArm.Masquerade, oneArm.ClampMSS = []string{"eth0"}, []string{"eth0"}, false, false, false

	for name, c := range map[string]struct {
		config Config
		want   string
	}{
		"nothing":   {Config{}, ""},
		"two arms":  {twoArm(), raw4 + raw6},
		"SNAT":      {snat, raw4 + strings.ReplaceAll(other4, "MASQUERADE", "SNAT --to-source 198.18.0.1")},
		"IPv4 only": {only4, raw4 + other4},
		"one arm":   {oneArm, strings.NewReplacer("-i outside", "-i eth0", "-i inside", "-i eth0").Replace(raw4)},
	} {
		if got := NewPlan(c.config).String(); got != c.want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, c.want)
		}
	}
}

// TestPlanEverywhere: there are rules for each address on each interface.
func TestPlanEverywhere(t *testing.T) {
	c := twoArm()
	c.Outside, c.Inside = []string{"o1", "o2"}, []string{"i1", "i2"}
	c.Services = append(c.Services, ap("198.18.0.2:26"))
	p := NewPlan(c)
	for _, want := range []string{
		"! -i lo -d 198.18.0.1/32 -p tcp --dport 25",
		"! -i lo -d 198.18.0.2/32 -p tcp --dport 26",
		"-i i1 -s 10.0.0.11/32 -p tcp --sport 25", "-i i2 -s 10.0.0.11/32 -p tcp --sport 25",
	} {
		n := len(slices.DeleteFunc(slices.Clone(p), func(r Rule) bool { return !strings.HasPrefix(strings.Join(r.Spec, " "), want) }))
		if n != 1 {
			t.Errorf("%d rules %q in\n%s", n, want, p)
		}
	}
}

func TestQuote(t *testing.T) {
	for word, want := range map[string]string{
		"!": "!", "10.0.0.1/32": "10.0.0.1/32", "two words": "'two words'", "a server's": `'a server'\''s'`, "$x": "'$x'",
	} {
		if got := quote(word); got != want {
			t.Errorf("%s: %s, want %s", word, got, want)
		}
	}
}

func TestMayPass(t *testing.T) {
	for rule, want := range map[string]bool{
		"-A PREROUTING -i lo -j ACCEPT":                          true,
		"-A PREROUTING -j RETURN":                                true,
		"-A PREROUTING -j cali-PREROUTING":                       true,
		"-A PREROUTING -g OTHER":                                 true,
		"-A PREROUTING -s 192.0.2.1/32":                          false,
		"-A PREROUTING -d 172.17.0.2/32 ! -i docker0 -j DROP":    false,
		"-A PREROUTING -p udp -m udp --dport 53 -j CT --notrack": false,
	} {
		if got := mayPass(rule); got != want {
			t.Errorf("%s: %v", rule, got)
		}
	}
}
