package connlog

import (
	"encoding/json"
	"math"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"hushgate/dataplane"
	"hushgate/internal/mono"
	"hushgate/internal/policy"
	"hushgate/internal/wire"
)

func renderer() *Renderer {
	return &Renderer{
		Clock: mono.NewClockAt(time.Date(2026, 11, 23, 14, 17, 9, 0, time.UTC)),
		Names: &Names{
			Services: []Service{{Address: "192.0.2.25:25", Frontend: "ft_smtp", Backend: "bk_smtp"}},
			Servers:  []Server{{Backend: "bk_smtp", Name: "smtp1"}},
		},
	}
}

const ms = mono.Time(time.Millisecond)

func event(change func(*dataplane.Event)) *dataplane.Event {
	e := &dataplane.Event{
		Client: wire.AddrFrom(netip.MustParseAddr("198.18.0.7")), ClientPort: 40000, Server: dataplane.NoServer,
		SYN: 100 * ms, Established: 201 * ms, Closed: 201 * ms,
	}
	change(e)
	return e
}

var talker = event(func(e *dataplane.Event) {
	e.Verdict, e.Cause, e.Phase = dataplane.VerdictEarlyTalker, dataplane.CauseClientTalked, dataplane.PhaseHeld
	e.FirstByte, e.Closed = 1701*ms, 1701*ms
	e.TalkLen = uint32(copy(e.TalkHead[:], "EHLO \"x\\\"\r\n\x00\xff"))
})

var quiet = event(func(e *dataplane.Event) {
	e.Verdict, e.Cause, e.Phase, e.Server = dataplane.VerdictQuiet, dataplane.CauseFinished, dataplane.PhaseSpliced, 0
	e.Connect, e.Connected, e.Banner, e.FirstByte, e.Closed = 30201*ms, 30202*ms, 30205*ms, 30300*ms, 31201*ms
	e.BytesToClient, e.BytesToServer, e.Retries, e.ClosedBy = 274, 5000, 1, dataplane.EndsBoth
})

func with(e *dataplane.Event, change func(*dataplane.Event)) *dataplane.Event {
	c := *e
	change(&c)
	return &c
}

// TestTCP compares with lines that HAProxy 2.6 wrote for the same clients, as far as the values are the same.
func TestTCP(t *testing.T) {
	const head = "198.18.0.7:40000 [23/Nov/2026:14:17:09.201] ft_smtp "
	for _, c := range []struct {
		name string
		e    *dataplane.Event
		want string
	}{
		{"early talker", talker, "ft_smtp/<NOSRV> -1/-1/1500 0 PR 3/2/1/0/0 0/0"},
		{"quiet", quiet, "bk_smtp/smtp1 30000/1/31000 274 -- 3/2/1/0/1 0/0"},
		{"hang-up", event(func(e *dataplane.Event) {
			e.Verdict, e.Cause, e.Phase, e.Closed = dataplane.VerdictHangup, dataplane.CauseClientRST, dataplane.PhaseHeld, 502*ms
		}), "bk_smtp/<NOSRV> -1/-1/301 0 CR 3/2/1/0/0 0/0"},
		{"no server", event(func(e *dataplane.Event) {
			e.Verdict, e.Cause, e.Phase = dataplane.VerdictNoServer, dataplane.CauseNoServer, dataplane.PhaseWaiting
			e.Closed, e.BytesToClient = 30201*ms, 50
		}), "bk_smtp/<NOSRV> -1/-1/30000 50 SC 3/2/1/0/0 0/0"},
		{"refused by all", with(quiet, func(e *dataplane.Event) {
			e.Verdict, e.Cause, e.Phase, e.Connected = dataplane.VerdictNoServer, dataplane.CauseServerRST, dataplane.PhaseConnecting, 0
		}), "bk_smtp/smtp1 30000/-1/31000 274 SC 3/2/1/0/1 0/0"},
		{"client resets", with(quiet, func(e *dataplane.Event) { e.Cause = dataplane.CauseClientRST }), "bk_smtp/smtp1 30000/1/31000 274 CD 3/2/1/0/1 0/0"},
		{"server resets", with(quiet, func(e *dataplane.Event) { e.Cause = dataplane.CauseServerRST }), "bk_smtp/smtp1 30000/1/31000 274 SD 3/2/1/0/1 0/0"},
		{"idle", with(quiet, func(e *dataplane.Event) { e.Cause = dataplane.CauseIdle }), "bk_smtp/smtp1 30000/1/31000 274 sD 3/2/1/0/1 0/0"},
		{"silent server", with(quiet, func(e *dataplane.Event) {
			e.Verdict, e.Cause, e.Connected = dataplane.VerdictNoServer, dataplane.CauseServerTimeout, 0
		}), "bk_smtp/smtp1 30000/-1/31000 274 sC 3/2/1/0/1 0/0"},
		{"talks to a slow server", with(talker, func(e *dataplane.Event) {
			e.Server, e.Phase, e.Connect, e.Connected = 0, dataplane.PhaseBannerPending, 1501*ms, 1502*ms
		}), "bk_smtp/smtp1 1300/1/1500 0 PR 3/2/1/0/0 0/0"},
	} {
		if got := string(renderer().AppendTCP(nil, c.e, Counts{3, 2, 1, 0})); got != head+c.want {
			t.Errorf("%s: %s", c.name, got)
		}
	}
}

func TestJSON(t *testing.T) {
	for _, e := range []*dataplane.Event{talker, quiet} {
		var o map[string]any
		line := renderer().AppendJSON(nil, e, Counts{})
		if err := json.Unmarshal(line, &o); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if strings.Contains(string(line), "\n") {
			t.Error("more than one line")
		}
		if e == quiet && (o["closed_by"] != "both") || e == talker && o["closed_by"] != nil {
			t.Errorf("%s", line)
		}
		if e == quiet && (o["first_byte_ms"] != 30099.0 || o["held_ms"] != 30000.0 || o["server"] != "smtp1" || o["verdict"] != "quiet") {
			t.Errorf("%s", line)
		}
		if e == talker && (o["talk"] != `EHLO "x\\"\r\n\000\377` || o["talk_bytes"] != 13.0 || o["connect_ms"] != nil || o["first_byte_ms"] != 1500.0) {
			t.Errorf("%s", line)
		}
	}
}

// TestOffender: the line about an offender has its network and the time, and tells that it is none of a connection.
func TestOffender(t *testing.T) {
	e := event(func(e *dataplane.Event) {
		e.Kind = dataplane.EventOffender
		e.Offender = policy.Network{Addr: wire.AddrFrom(netip.MustParseAddr("2001:db8:1:2::")), Bits: 64}
		e.Closed, e.Until = mono.Time(time.Second), mono.Time(25*time.Hour+time.Second)
	})
	var o map[string]any
	line := renderer().AppendOffender(nil, e)
	if err := json.Unmarshal(line, &o); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	if o["event"] != "offender" || o["offender"] != "2001:db8:1:2::/64" || o["for_ms"] != 25*3600e3 || o["client"] != "198.18.0.7" || o["frontend"] == "" || o["time"] == nil {
		t.Errorf("%s", line)
	}
	if fields := string(renderer().AppendOffenderFields(nil, e)); !strings.Contains(fields, "HUSHGATE_EVENT=offender\n") || !strings.Contains(fields, "HUSHGATE_OFFENDER=2001:db8:1:2::/64\n") {
		t.Errorf("%q", fields)
	}
}

func TestPostscreen(t *testing.T) {
	want := `PREGREET 13 after 1.5 from [198.18.0.7]:40000: EHLO "x\\"\r\n\000\377` + "\nDISCONNECT [198.18.0.7]:40000\n"
	if got := string(renderer().AppendPregreet(nil, talker, false)); got != want {
		t.Errorf("%s", got)
	}
	if got := string(renderer().AppendPregreet(nil, quiet, false)); got != "DISCONNECT [198.18.0.7]:40000\n" {
		t.Errorf("%s", got)
	}
	mute := with(quiet, func(e *dataplane.Event) { e.Banner = 0 }) // it waited, and the server closed without a banner
	if got := string(renderer().AppendPregreet(nil, mute, false)); got != "PASS NEW [198.18.0.7]:40000\nDISCONNECT [198.18.0.7]:40000\n" {
		t.Errorf("%s", got)
	}
	if got := string(renderer().AppendPass(nil, quiet)); got != "PASS NEW [198.18.0.7]:40000" {
		t.Errorf("%s", got)
	}
	signed := with(quiet, func(e *dataplane.Event) {
		var err error
		if e.Signature, err = policy.ParseSignature("64240_2-4-8-1-3_1460_7"); err != nil {
			t.Fatal(err)
		}
	})
	if got := string(renderer().AppendPregreet(nil, signed, false)); got != "SIGNATURE 64240_2-4-8-1-3_1460_7 for [198.18.0.7]:40000\nDISCONNECT [198.18.0.7]:40000\n" {
		t.Errorf("%s", got)
	}
	for want, change := range map[string]func(*dataplane.Event){
		"ALLOWLISTED":    func(e *dataplane.Event) { e.Accepted = true },
		"ALLOWLIST VETO": func(e *dataplane.Event) { e.Pass = policy.PassVetoed },
	} {
		e := with(mute, change)
		if got := string(renderer().AppendListed(nil, e)); got != want+" [198.18.0.7]:40000" {
			t.Errorf("%s", got)
		}
		if got := string(renderer().AppendPregreet(nil, e, false)); got != "DISCONNECT [198.18.0.7]:40000\n" {
			t.Errorf("%s: %s", want, got)
		}
		if got := string(renderer().AppendJSON(nil, e, Counts{})); strings.Contains(got, `"accepted":true`) != e.Accepted {
			t.Errorf("%s: %s", want, got)
		}
	}
	if got := renderer().AppendListed(nil, quiet); len(got) > 0 {
		t.Errorf("%s", got)
	}
	for address, want := range map[string]string{"192.0.2.25:25": "[192.0.2.25]:25", "[2001:db8::25]:25": "[2001:db8::25]:25"} {
		r := renderer()
		r.Names.Services[0].Address = address
		if got := string(r.AppendConnect(nil, quiet)); got != "CONNECT from [198.18.0.7]:40000 to "+want {
			t.Errorf("%s", got)
		}
	}
}

// TestPflogsumm: rejected clients have the one line more that pflogsumm counts. The lab's tests run pflogsumm.
func TestPflogsumm(t *testing.T) {
	want := `PREGREET 13 after 1.5 from [198.18.0.7]:40000: EHLO "x\\"\r\n\000\377` + "\n" +
		"NOQUEUE: reject: CONNECT from [198.18.0.7]:40000: 554 5.5.1 Protocol error; proto=SMTP\nDISCONNECT [198.18.0.7]:40000\n"
	if got := string(renderer().AppendPregreet(nil, talker, true)); got != want {
		t.Errorf("%s", got)
	}
	refused := func(rule policy.RuleID) string {
		return string(renderer().AppendPregreet(nil, with(talker, func(e *dataplane.Event) {
			e.Verdict, e.Cause, e.Rule = dataplane.VerdictRefused, dataplane.CauseRefused, rule
		}), true))
	}
	want = "DENYLISTED [198.18.0.7]:40000\nNOQUEUE: reject: CONNECT from [198.18.0.7]:40000: 554 5.7.1 Client host rejected: Access denied; " +
		"proto=SMTP\nDISCONNECT [198.18.0.7]:40000\n"
	if got := refused(policy.RuleNone); got != want {
		t.Errorf("%s", got)
	}
	if got := refused(policy.RuleRate); strings.Count(got, "NOQUEUE") != 1 {
		t.Errorf("%s", got)
	}
	for _, e := range []*dataplane.Event{quiet, with(talker, func(e *dataplane.Event) { e.Observed = true })} {
		if got := string(renderer().AppendPregreet(nil, e, true)); strings.Contains(got, "NOQUEUE") {
			t.Errorf("%s", got)
		}
	}
}

// TestListed: what DNS lists said of a client is in the lines. Lists of one name are named once.
func TestListed(t *testing.T) {
	r := renderer()
	r.Names.Sites = []policy.Site{{Name: "zen.example"}, {Name: "wl.example"}, {Name: "zen.example"}}
	e := with(talker, func(e *dataplane.Event) {
		e.Verdict, e.Cause, e.Listing.Rank = dataplane.VerdictRefused, dataplane.CauseListed, 5
		e.Listing.Sites.Add(0)
		e.Listing.Sites.Add(2)
	})
	if got, want := string(r.AppendRank(nil, e)), "DNSBL rank 5 for [198.18.0.7]:40000"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := string(r.AppendPregreet(nil, e, false)); got != "DISCONNECT [198.18.0.7]:40000\n" {
		t.Errorf("%s", got)
	}
	if got, want := string(r.AppendJSON(nil, e, Counts{})), `"cause":"listed","dnsbl_rank":5,"dnsbl":["zen.example"],`; !strings.Contains(got, want) {
		t.Errorf("%s, want %s", got, want)
	}
	if got := string(r.AppendTCP(nil, e, Counts{})); !strings.Contains(got, " ft_smtp/<NOSRV> ") || !strings.Contains(got, " PR ") {
		t.Errorf("%s", got)
	}
	if got := string(r.AppendJSON(nil, talker, Counts{})); strings.Contains(got, "dnsbl") {
		t.Errorf("%s", got)
	}
}

// TestPostscreenTimes compares with the output of Postfix 3.7's format_tv for these times, called in its library.
func TestPostscreenTimes(t *testing.T) {
	for _, c := range []struct {
		micros int64
		want   string
	}{
		{0, "0"},
		{96, "0"},
		{400, "0"},
		{4999, "0"},
		{5000, "0.01"},
		{12300, "0.01"},
		{56700, "0.06"},
		{94999, "0.09"},
		{95000, "0.1"},
		{99999, "0.1"},
		{100000, "0.1"},
		{994999, "0.99"},
		{995000, "1"},
		{999999, "1"},
		{1000000, "1"},
		{1049999, "1"},
		{1050000, "1.1"},
		{1500000, "1.5"},
		{1701000, "1.7"},
		{9949999, "9.9"},
		{9950000, "10"},
		{9999999, "10"},
		{10000000, "10"},
		{10499999, "10"},
		{10500000, "11"},
		{29999000, "30"},
		{30000000, "30"},
		{99500000, "100"},
		{100000000, "100"},
		{3600400000, "3600"},
	} {
		for _, rest := range []time.Duration{0, 999} { // nanoseconds, which Postfix cuts off
			if got := string(appendSeconds(nil, time.Duration(c.micros)*time.Microsecond+rest)); got != c.want {
				t.Errorf("%d us and %d ns: %s, want %s", c.micros, rest, got, c.want)
			}
		}
	}
	hangUp := event(func(e *dataplane.Event) {
		e.Verdict, e.Cause, e.Phase, e.Closed = dataplane.VerdictHangup, dataplane.CauseClientRST, dataplane.PhaseHeld, 201*ms+mono.Time(100*time.Second)
	})
	want := "HANGUP after 100 from [198.18.0.7]:40000 in tests before SMTP handshake\nDISCONNECT [198.18.0.7]:40000\n"
	if got := string(renderer().AppendPregreet(nil, hangUp, false)); got != want {
		t.Errorf("%s", got)
	}
}

// FuzzPostscreenTimes checks that the result for any time has at most two decimals, no trailing zero, and is rounded to the
// nearest step.
func FuzzPostscreenTimes(f *testing.F) {
	f.Add(int64(96_000))
	form := regexp.MustCompile(`^(0|[1-9][0-9]*)(\.[0-9]?[1-9])?$`)
	f.Fuzz(func(t *testing.T, d int64) {
		d = min(max(d, 0), int64(1e6*time.Hour))
		text := string(appendSeconds(nil, time.Duration(d)))
		v, err := strconv.ParseFloat(text, 64)
		off := math.Abs(v - time.Duration(d).Seconds())
		if !form.MatchString(text) || err != nil || off > 0.5001 || d < int64(10*time.Second) && off > 0.0501 || d < int64(time.Second) && off > 0.00501 {
			t.Errorf("%v: %s", time.Duration(d), text)
		}
	})
}

// TestEveryCauseHasAState checks that a new cause does not appear as "--".
func TestEveryCauseHasAState(t *testing.T) {
	for c := dataplane.CauseClientTalked; c.String() != "unknown"; c++ {
		e := with(quiet, func(e *dataplane.Event) { e.Cause = c })
		fine := c == dataplane.CauseFinished || c == dataplane.CauseReused
		if s := termination(e); len(s) != 2 || (s == "--") != fine {
			t.Errorf("%v: %s", c, s)
		}
	}
}

func FuzzEscape(f *testing.F) {
	f.Add([]byte("EHLO x\r\n\x00\\\""))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, c := range AppendEscaped(nil, text) {
			if c < ' ' || c > '~' {
				t.Fatalf("%q came out of %q", c, text)
			}
		}
		e := with(talker, func(e *dataplane.Event) { e.TalkLen = uint32(copy(e.TalkHead[:], text)) })
		if line := renderer().AppendJSON(nil, e, Counts{}); !json.Valid(line) {
			t.Fatalf("not JSON: %s", line)
		}
	})
}

func BenchmarkTCP(b *testing.B) {
	r := renderer()
	var line []byte
	b.ReportAllocs()
	for b.Loop() {
		line = r.AppendTCP(line[:0], quiet, Counts{})
	}
}

func TestTCPDoesNotAllocate(t *testing.T) {
	r := renderer()
	line := make([]byte, 0, 512)
	if n := testing.AllocsPerRun(1000, func() { line = r.AppendTCP(line[:0], quiet, Counts{}) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func receive(t *testing.T, conn net.PacketConn) string {
	t.Helper()
	b := make([]byte, 1000)
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	n, _, err := conn.ReadFrom(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

func TestSyslog(t *testing.T) {
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = udp.Close() }()
	path := filepath.Join(t.TempDir(), "log")
	unix, err := net.ListenPacket("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		address, format string
		conn            net.PacketConn
		head, tail      string
	}{
		{udp.LocalAddr().String(), "rfc5424", udp, "<22>1 2", " - - hello"}, // mail is 2, info is 6
		{path, "local", unix, "<22>", "]: hello"},
		{path, "rfc3164", unix, "<22>", "]: hello"},
		{path, "raw", unix, "hello", "hello"},
		{path, "priority", unix, "<22>hello", "hello"}, // these as HAProxy 2.6 wrote them
		{path, "short", unix, "<6>hello", "hello"},
		{path, "timed", unix, "<6>2", "00 hello"},
		{path, "iso", unix, "2", "00 hello"},
		{path, "traditional", unix, "", " gate[" + strconv.Itoa(os.Getpid()) + "]: hello"},
	} {
		s, err := Target{Address: c.address, Format: c.format, Facility: "mail", Level: "info", Tag: "gate"}.Open()
		if err != nil {
			t.Fatal(err)
		}
		s.Line(7, []byte("debug is not wanted"))
		s.Line(Info, []byte("hello"))
		if got := receive(t, c.conn); !strings.HasPrefix(got, c.head) || !strings.HasSuffix(got, c.tail) {
			t.Errorf("%s: %q", c.format, got)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestLength: as with HAProxy 2.6, `len` counts the header, and not the newline. Control characters do not get into a message.
func TestLength(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l := listenUnix(t, path)
	s, err := Target{Address: path, Format: "priority", Facility: "mail", Length: 80}.Open()
	if err != nil {
		t.Fatal(err)
	}
	s.Line(Info, []byte("a\r\n\x00\x1b[31m"+strings.Repeat("x", 100)))
	if got := receive(t, l); got != "<22>a????[31m"+strings.Repeat("x", 80-13) {
		t.Errorf("%q", got)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestBadTargets(t *testing.T) {
	for _, c := range []Target{
		{Address: "stdout", Format: "local", Facility: "nobody"},
		{Address: "stdout", Format: "odd", Facility: "mail"},
		{Address: "/nonexistent/log", Format: "raw"},
	} {
		if _, err := c.Open(); err == nil || !strings.Contains(err.Error(), "log to "+c.Address) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
