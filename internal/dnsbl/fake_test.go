package dnsbl

import (
	"bytes"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// fake is a DNS server on loopback, over UDP and TCP at the same port.
type fake struct {
	addr netip.AddrPort

	mu    sync.Mutex
	asked []string // names, in lower case, with "/tcp" where it was TCP
}

// serve starts a server that answers as handler does; nil from the handler is no answer.
func serve(t testing.TB, handler func(q *dns.Msg, network string) *dns.Msg) *fake {
	t.Helper()
	packets, stream := listen(t)
	f := &fake{addr: packets.LocalAddr().(*net.UDPAddr).AddrPort()}
	handle := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		network := w.RemoteAddr().Network()
		name := q.Question[0].Name
		if network == "tcp" {
			name += "/tcp"
		}
		f.mu.Lock()
		f.asked = append(f.asked, name)
		f.mu.Unlock()
		if m := handler(q, network); m != nil {
			_ = w.WriteMsg(m)
		}
	})
	for _, s := range []*dns.Server{{PacketConn: packets, Handler: handle}, {Listener: stream, Handler: handle}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go func() { _ = s.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { _ = s.Shutdown() })
	}
	return f
}

// listen opens a port of loopback over UDP and TCP: one that nobody has over TCP.
func listen(t testing.TB) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 100 {
		packets, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		stream, err := net.Listen("tcp", packets.LocalAddr().String())
		if err == nil {
			return packets, stream
		}
		_ = packets.Close()
	}
	t.Fatal("no port is free over both UDP and TCP")
	return nil, nil
}

// queries returns how often a name was asked for that contains part.
func (f *fake) queries(part string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range f.asked {
		if strings.Contains(name, part) {
			n++
		}
	}
	return n
}

// zonefile answers from records: lines of a zone file by their owner's name. Other names do not exist.
func zonefile(t testing.TB, text string) func(q *dns.Msg, network string) *dns.Msg {
	records := map[string][]dns.RR{}
	parser := dns.NewZoneParser(strings.NewReader(text), ".", "")
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		records[rr.Header().Name] = append(records[rr.Header().Name], rr)
	}
	if err := parser.Err(); err != nil {
		t.Fatal(err)
	}
	return func(q *dns.Msg, _ string) *dns.Msg {
		m := new(dns.Msg).SetReply(q)
		if m.Answer = records[q.Question[0].Name]; m.Answer == nil {
			m.Rcode = dns.RcodeNameError
		}
		return m
	}
}

// record is a line of a zone file.
func record(t testing.TB, line string) dns.RR {
	t.Helper()
	rr, err := dns.NewRR(line)
	if err != nil {
		t.Fatal(err)
	}
	return rr
}

// clock is the time of a client that keeps what it was told.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) later(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// lines is what a client logged.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// client is a Client that ends with the test, its clock and its log.
type client struct {
	*Client
	t     testing.TB
	clock *clock
	log   *lines
}

func start(t testing.TB, sites string, change func(*Config), servers ...*fake) *client {
	t.Helper()
	parsed, err := ParseSites(sites)
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, clock: &clock{now: time.Unix(1_800_000_000, 0)}, log: &lines{}}
	config := Config{Sites: parsed, Log: slog.New(slog.NewTextHandler(c.log, nil)), Now: c.clock.Now}
	for _, s := range servers {
		config.Resolvers = append(config.Resolvers, s.addr)
	}
	if change != nil {
		change(&config)
	}
	if c.Client, err = New(config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// ask asks and waits.
func (c *client) ask(addr string) Answer {
	c.t.Helper()
	told := make(chan Answer, 1)
	if a, ok := c.Ask(netip.MustParseAddr(addr), func(a Answer) { told <- a }); ok {
		return a
	}
	return <-told
}

// settled waits until no query is outstanding.
func (c *client) settled() {
	for c.Stats().Outstanding > 0 {
		time.Sleep(time.Millisecond)
	}
}

// serveRaw starts a server over UDP that sends what it likes.
func serveRaw(t testing.TB, handler func(q *dns.Msg, send func([]byte))) *fake {
	t.Helper()
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = packets.Close() })
	go func() {
		b := make([]byte, 4096)
		for {
			n, from, err := packets.ReadFrom(b)
			if err != nil {
				return
			}
			if q := new(dns.Msg); q.Unpack(b[:n]) == nil {
				handler(q, func(p []byte) { _, _ = packets.WriteTo(p, from) })
			}
		}
	}()
	return &fake{addr: packets.LocalAddr().(*net.UDPAddr).AddrPort()}
}

func packed(t testing.TB, m *dns.Msg) []byte {
	t.Helper()
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}
