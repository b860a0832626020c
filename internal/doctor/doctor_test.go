package doctor

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"hushgate/health"
	"hushgate/internal/firewall"
	"hushgate/internal/netenv"
	"hushgate/internal/plan"
)

// expect checks the grade of a finding, and words in it.
func expect(t *testing.T, name string, f Finding, g Grade, words string) {
	t.Helper()
	if f.Grade != g || !strings.Contains(f.Subject+" "+f.Found, words) {
		t.Errorf("%s: %+v; want %v, %q", name, f, g, words)
	}
	if g >= Warning && (f.Means == "" || f.Mend == "") {
		t.Errorf("%s: not what it means and what mends it: %+v", name, f)
	}
}

func TestJudgements(t *testing.T) {
	expect(t, "LRO", offloads("eth0", map[string]bool{"rx-lro": true}, nil), Fault, "large receive offload is on")
	expect(t, "GRO", offloads("eth0", map[string]bool{"rx-lro": false, "rx-gro": true}, nil), Good, "off")
	expect(t, "no ethtool", offloads("eth0", nil, errors.New("operation not supported")), Unknown, "not supported")
	expect(t, "memory", memory(200<<20, 128<<20, 1<<30), Good, "full tables need 200 MiB, full receive queues 128 MiB; 1024 MiB are available")
	expect(t, "too little memory", memory(800<<20, 300<<20, 1<<30), Warning, "1024 MiB")
	expect(t, "no /proc", memory(1, 1, 0), Unknown, "meminfo")
	expect(t, "next hop", judgeHop(netenv.Hop{Dst: [6]byte{2, 1}}, netenv.Resolved, "eth0"), Good, "02:01:00:00:00:00 on eth0")
	if f := judgeHop(netenv.Hop{}, netenv.NoRoute, ""); f.Grade != Fault || f.Found != "no route" {
		t.Errorf("no route: %+v", f)
	}
	a := netip.MustParseAddr("192.0.2.25")
	other := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	expect(t, "two have it", judgeAddress(a, "eth0", true, other, nil), Fault, "02:00:00:00:00:09 answers for it too")
	expect(t, "stands by", judgeAddress(a, "eth0", false, other, nil), Note, "another machine has it")
	expect(t, "nobody has it", judgeAddress(a, "eth0", false, nil, nil), Fault, "nobody")
	expect(t, "alone", judgeAddress(a, "eth0", true, nil, nil), Good, "no other")
}

func TestRulesInForce(t *testing.T) {
	all := firewall.State{Wanted: 3}
	for name, c := range map[string]struct {
		state   firewall.State
		running bool
		grade   Grade
		words   string
	}{
		"in force":       {all, true, Good, "all 3 rules are in force"},
		"none, at rest":  {firewall.State{Wanted: 2, Missing: []string{"a"}, Blind: []string{"b"}}, false, Note, "none of hushgate's rules"},
		"some, at rest":  {firewall.State{Wanted: 3, Missing: []string{"a"}}, false, Note, "2 of 3"},
		"missing":        {firewall.State{Wanted: 3, Missing: []string{"-A x"}}, true, Fault, "the first: -A x"},
		"bypassed":       {firewall.State{Wanted: 3, Before: []string{"iptables -t raw -A PREROUTING -j ACCEPT"}}, true, Fault, "PREROUTING -j ACCEPT"},
		"without u32":    {firewall.State{Wanted: 3, Blind: []string{"b"}}, true, Note, "1 rules that look into ICMP errors"},
		"none, bypassed": {firewall.State{Wanted: 1, Missing: []string{"a"}, Before: []string{"b"}}, true, Fault, "1 of 1"},
	} {
		list := rulesInForce(&c.state, c.running)
		if !slices.ContainsFunc(list, func(f Finding) bool { return f.Grade == c.grade && strings.Contains(f.Found, c.words) }) {
			t.Errorf("%s: %+v", name, list)
		}
	}
}

func TestClock(t *testing.T) {
	const file = "sys/devices/system/clocksource/clocksource0/current_clocksource"
	for source, want := range map[string]Grade{"tsc\n": Good, "kvm-clock\n": Good, "hpet\n": Warning, "acpi_pm\n": Warning} {
		s := &Site{Files: fstest.MapFS{file: {Data: []byte(source)}}}
		expect(t, source, clock(t.Context(), s)[0], want, strings.TrimSpace(source))
	}
	expect(t, "unreadable", clock(t.Context(), &Site{Files: fstest.MapFS{}})[0], Unknown, "cannot be read")
}

func TestNumbersOfProc(t *testing.T) {
	if n := softnet("00000001 0000000a 00000000\n00000001 00000010\nx\n"); n != 26 {
		t.Errorf("softnet_stat: %d", n)
	}
	if n := available("MemTotal: 9 kB\nMemAvailable:    2 kB\n"); n != 2048 {
		t.Errorf("meminfo: %d", n)
	}
	if n := available("MemAvailable:\n"); n != 0 {
		t.Errorf("meminfo without a number: %d", n)
	}
}

func TestJudgeServer(t *testing.T) {
	c := &plan.Check{Config: health.Config{Backend: "mx", Server: "smtp1", Addr: netip.MustParseAddrPort("10.0.0.11:25"), SMTP: true, Inter: time.Second}}
	for name, k := range map[string]struct {
		r     health.Result
		grade Grade
		words string
	}{
		"well":           {health.Result{Code: health.L7OK, Greets: true, Greeting: time.Millisecond, Keywords: true, StartTLS: true}, Good, "it greets within 1ms and offers STARTTLS"},
		"down":           {health.Result{Code: health.L4CON, Info: "Connection refused"}, Fault, "Connection refused"},
		"postscreen":     {health.Result{Code: health.L7OK, Greets: true, FirstLine: 6 * time.Second, Greeting: 6 * time.Second}, Warning, "makes clients wait too"},
		"with a teaser":  {health.Result{Code: health.L7OK, Greets: true, Greeting: 6 * time.Second}, Warning, "makes clients wait too"},
		"PIPECONNECT":    {health.Result{Code: health.L7OK, Greets: true, Keywords: true, StartTLS: true, Pipeconnect: true}, Warning, "PIPECONNECT"},
		"no STARTTLS":    {health.Result{Code: health.L7OK, Greets: true, Keywords: true}, Note, "does not offer STARTTLS"},
		"connected only": {health.Result{Code: health.L4OK}, Good, "it accepts connections"},
	} {
		c.Clients.SeePipeconnect = true
		if list := judgeServer(c, &k.r); !slices.ContainsFunc(list, func(f Finding) bool { return f.Grade == k.grade && strings.Contains(f.Found, k.words) }) {
			t.Errorf("%s: %+v", name, list)
		}
	}
}

func TestJudgePath(t *testing.T) {
	s := &Site{Plan: &plan.Plan{Chosen: &netenv.Chosen{Inside: []*netenv.Link{{Name: "eth1", Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")}}}}}}
	server, from := netip.MustParseAddrPort("10.0.0.11:25"), DefaultFrom[0]
	full := grants{1460, 7, true, true}
	expect(t, "back", s.judgePath("x", from, server, &answer{link: "eth1", ours: true, grants: full})[0], Good, "come back by eth1")
	expect(t, "grants", s.judgePath("x", from, server, &answer{link: "eth1", ours: true, grants: full})[1], Good, "MSS 1460, window scale 7, SACK, timestamps")
	expect(t, "few grants", s.judgePath("x", from, server, &answer{link: "eth1", ours: true, grants: grants{0, -1, false, false}})[1], Note, "no MSS, no window scale, no SACK, no timestamps")
	expect(t, "by the outside", s.judgePath("x", from, server, &answer{link: "eth0", ours: true})[0], Fault, "by eth0")
	expect(t, "to another router", s.judgePath("x", from, server, &answer{link: "eth1", to: [6]byte{2}})[0], Fault, "on the way to 02:00:00:00:00:00")
	expect(t, "refused", s.judgePath("x", from, server, &answer{link: "eth1", ours: true, refused: true})[0], Warning, "refusal")
	lost := s.judgePath("x", from, server, nil)[0]
	expect(t, "lost", lost, Fault, "did not come back")
	if !strings.Contains(lost.Mend, "ip route replace default via 10.0.0.1;") {
		t.Errorf("it is mended by %q", lost.Mend)
	}
}

func TestGrades(t *testing.T) {
	r := &Report{Findings: []Finding{{Area: "rules", Grade: Fault, Found: "x"}, {Area: "time", Found: "y"}}}
	b, err := json.Marshal(r)
	if err != nil || string(b) != `{"worst":"fault","findings":[{"area":"rules","grade":"fault","found":"x"},{"area":"time","grade":"ok","found":"y"}]}` {
		t.Errorf("%s, %v", b, err)
	}
	var back struct{ Findings []Finding }
	if err := json.Unmarshal(b, &back); err != nil || !slices.Equal(back.Findings, r.Findings) {
		t.Errorf("%+v, %v", back, err)
	}
	if b, err = json.Marshal(&Report{}); err != nil || string(b) != `{"worst":"ok","findings":[]}` {
		t.Errorf("without findings: %s, %v", b, err)
	}
	var g Grade
	if err := g.UnmarshalText([]byte("awful")); err == nil || !strings.Contains(err.Error(), `"awful"`) {
		t.Errorf("an unknown grade: %v", err)
	}
}

var (
	testHop      = netenv.Hop{Src: [6]byte{2, 0, 0, 0, 0, 1}, Dst: [6]byte{2, 0, 0, 0, 0, 2}}
	testQuestion = question{netip.MustParseAddrPort("10.0.0.11:25"), netip.MustParseAddrPort("198.18.77.25:40000"), 0xffffffff}
	question6    = question{netip.MustParseAddrPort("[2001:db8:2::11]:25"), netip.MustParseAddrPort("[2001:db8:77::25]:40000"), 7}
)

// turned makes of a question's SYN the frame of an answer.
func turned(t *testing.T, q question, flags byte) []byte {
	t.Helper()
	b, err := segment(netenv.Hop{Src: testHop.Dst, Dst: testHop.Src}, question{q.client, q.server, 99}, true)
	if err != nil {
		t.Fatal(err)
	}
	at := 14 + 20
	if q.server.Addr().Is6() {
		at = 14 + 40
	}
	b = slices.Clone(b)
	binary.BigEndian.PutUint32(b[at+8:], q.iss+1)
	b[at+13] = flags
	return b
}

// TestAnswers: the answer to a question is recognised, and its options are read; other segments are no answer.
func TestAnswers(t *testing.T) {
	for _, q := range []question{testQuestion, question6} {
		got, a, from, ok := readAnswer(turned(t, q, 0x12))
		if !ok || got != q || a.refused || from != testHop.Dst || a.to != testHop.Src || a.grants != (grants{1460, 7, true, true}) {
			t.Errorf("SYN-ACK: %v, %+v, %v, %v", got, a, from, ok)
		}
		if got, a, _, ok := readAnswer(turned(t, q, 0x14)); !ok || got != q || !a.refused {
			t.Errorf("RST: %v, %+v, %v", got, a, ok)
		}
		for _, flags := range []byte{0x02, 0x10, 0x04, 0x11, 0} {
			if _, a, _, ok := readAnswer(turned(t, q, flags)); ok {
				t.Errorf("flags %#x: %+v", flags, a)
			}
		}
	}
}

// TestFilter: the packet sockets hear what is sent to the foreign addresses, and nothing else.
func TestFilter(t *testing.T) {
	raw, err := toForeign(DefaultFrom)
	if err != nil {
		t.Fatal(err)
	}
	program, ok := bpf.Disassemble(raw)
	vm, err := bpf.NewVM(program)
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	for _, q := range []question{testQuestion, question6} {
		heard := turned(t, q, 0x12)
		if n, err := vm.Run(heard); err != nil || n == 0 {
			t.Errorf("%v: %d, %v", q, n, err)
		}
		away := slices.Clone(heard)
		away[14+19]++ // the last octet of an IPv4 destination; of an IPv6 packet one of the source
		if q.server.Addr().Is6() {
			away[14+39]++
		}
		if n, err := vm.Run(away); err != nil || n != 0 {
			t.Errorf("to another address: %d, %v", n, err)
		}
	}
	if n, err := vm.Run(make([]byte, 60)); err != nil || n != 0 {
		t.Errorf("no IP: %d, %v", n, err)
	}
}

// TestClaims: an answer to our question is recognised, and the question itself claims nothing.
func TestClaims(t *testing.T) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 7}
	a4, a6 := netip.MustParseAddr("192.0.2.25"), netip.MustParseAddr("2001:db8:1::25")
	for _, a := range []netip.Addr{a4, a6} {
		b, to, err := whoHas(mac, a)
		if err != nil || len(to) != 6 || claims(b, a) != nil {
			t.Errorf("%v: a question to %v, %v: %v", a, to, err, claims(b, a))
		}
	}
	arp, _, _ := whoHas(mac, a4)
	reply := slices.Clone(arp)
	reply[21] = 2 // the operation: a reply
	copy(reply[28:], a4.AsSlice())
	if who := claims(reply, a4); who.String() != mac.String() {
		t.Errorf("ARP: %v", who)
	}
	if who := claims(reply, netip.MustParseAddr("192.0.2.26")); who != nil {
		t.Errorf("ARP about another address: %v", who)
	}
	na, _, _ := whoHas(mac, a6)
	na = slices.Clone(na)
	na[14+40] = 136 // neighbour advertisement
	if who := claims(na, a6); who.String() != mac.String() {
		t.Errorf("neighbour advertisement: %v", who)
	}
}

// TestReadQueue: a message of the kernel about a packet socket is read, and one that is cut is not.
func TestReadQueue(t *testing.T) {
	b := make([]byte, 16+4+4*9)
	binary.NativeEndian.PutUint32(b[4:], 4711)
	binary.NativeEndian.PutUint16(b[16:], 4+4*9)
	binary.NativeEndian.PutUint16(b[18:], packetDiagMemInfo)
	binary.NativeEndian.PutUint32(b[20+4*memInfoDrops:], 3)
	if q, ok := readQueue(b); !ok || q != (queue{4711, 3}) {
		t.Errorf("%+v, %v", q, ok)
	}
	if _, ok := readQueue(b[:20]); ok {
		t.Error("a cut message is understood")
	}
	if unix.AF_PACKET != (packetRequest{}).Serialize()[0] {
		t.Error("the request is about another family")
	}
}

// FuzzFrames: no frame, and no message of the kernel, makes the doctor panic.
func FuzzFrames(f *testing.F) {
	for _, q := range []question{testQuestion, question6} {
		b, err := segment(testHop, q, true)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	b, _, _ := whoHas(testHop.Src[:], netip.MustParseAddr("2001:db8::1"))
	f.Add(b)
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _, _, _ = readAnswer(b)
		_ = claims(b, netip.MustParseAddr("192.0.2.1"))
		_, _ = readQueue(b)
	})
}
