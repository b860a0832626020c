package lab

import (
	"context"
	be "encoding/binary"
	"errors"
	"flag"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"hushgate/dataplane/port"
	"hushgate/internal/wire"
)

// record is where to write the captures of testpcaps; see its README.
var record = flag.String("record", "", "record the captures of testpcaps anew into this directory")

// The hosts of a recording: clients and a server on one link, no gateway.
const (
	recordClient4, recordServer4 = "192.0.2.10", "192.0.2.25"
	recordClient6, recordServer6 = "2001:db8::10", "2001:db8::25"
)

// studio is a client and a server. One of the server's interfaces is captured.
type studio struct {
	t              *testing.T
	ctx            context.Context
	client, server *Host
	family         int // of raw segments: 4 or 6
}

// TestRecord records the captures if -record is given. Each capture has one kind of client, at a server that greets at once on
// port 25, after a second on port 2525 and after three seconds on port 2526.
func TestRecord(t *testing.T) {
	if *record == "" {
		t.Log("nothing to record: -record was not given")
		return
	}
	for _, r := range []struct {
		name string
		take func(s *studio)
	}{
		{"loopback", (*studio).loopback},
		{"smtp-source", func(s *studio) {
			s.run("smtp-source", "-M", "client.example.org", "-m", "3", "-s", "2", "-l", "2000", "inet:["+recordServer4+"]:25")
		}},
		{"smtp-source-ipv6", func(s *studio) {
			s.run("smtp-source", "-M", "client.example.org", "-6", "-m", "2", "-l", "500", "inet:["+recordServer6+"]:25")
		}},
		{"swaks", func(s *studio) {
			s.run("swaks", "--server", recordServer4, "--to", "rcpt@example.com", "--from", "sender@example.org", "--helo", "swaks.example.org")
		}},
		{"curl", func(s *studio) {
			s.run("sh", "-c", "printf 'Subject: x\r\n\r\nx\r\n' | curl -sS --url smtp://"+recordServer4+"/client.example.org"+
				" --mail-from sender@example.org --mail-rcpt rcpt@example.com -T -")
		}},
		{"nc", func(s *studio) {
			s.run("sh", "-c", "(sleep 2; printf 'QUIT\r\n'; sleep 0.2) | socat - TCP4:"+recordServer4+":2525")
		}},
		{"bot-at-once", func(s *studio) { s.bot(recordServer4+":2525", 0, "EHLO bot.example.net\r\n") }},
		{"bot-half-a-second", func(s *studio) { s.bot(recordServer4+":2525", 500*time.Millisecond, "HELO x\r\nMAIL FROM:<a@b>\r\n") }},
		{"bot-ipv6", func(s *studio) { s.bot("["+recordServer6+"]:2525", 200*time.Millisecond, "EHLO bot.example.net\r\n") }},
		{"bot-http", func(s *studio) {
			s.bot(recordServer4+":2525", 10*time.Millisecond, "POST / HTTP/1.1\r\nHost: x\r\n\r\n")
		}},
		{"bot-octet-by-octet", func(s *studio) { s.dribble(recordServer4+":2525", "EHLO bot\r\n") }},
		{"bot-binary", func(s *studio) { s.bot(recordServer4+":2525", 0, "\x16\x03\x01\x00\xff\x00") }},
		{"hang-up", func(s *studio) { s.hangUp(false) }},
		{"hang-up-reset", func(s *studio) { s.hangUp(true) }},
		{"half-close", (*studio).halfClose},
		{"keep-alives", (*studio).keepAlives},
		{"loss", func(s *studio) {
			s.run("iptables", "-A", "INPUT", "-p", "tcp", "-m", "statistic", "--mode", "nth", "--every", "4", "--packet", "1", "-j", "DROP")
			s.run("smtp-source", "-M", "client.example.org", "-m", "2", "-l", "20000", "inet:["+recordServer4+"]:25")
		}},
		{"scan", (*studio).scan},
		{"syn-data", (*studio).synData},
		{"fragments", func(s *studio) { s.fragments(160) }},
		{"fragments-short", func(s *studio) { s.fragments(296) }}, // of 300 octets
		{"fragments-ipv6", func(s *studio) {
			s.family = 6
			s.fragments(160)
		}},
	} {
		t.Run(r.name, func(t *testing.T) {
			iface := "eth0"
			if r.name == "loopback" {
				iface = "lo"
			}
			take(t, filepath.Join(*record, r.name+".pcap"), iface, r.take)
		})
	}
}

// take records one capture.
func take(t *testing.T, file, iface string, f func(*studio)) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s := &studio{t: t, ctx: ctx, family: 4}
	for _, h := range []struct {
		host **Host
		name string
	}{{&s.client, "client"}, {&s.server, "server"}} {
		host, err := NewHost(h.name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = host.Close() })
		*h.host = host
	}
	s.must(Connect(s.client, "eth0", s.server, "eth0", 1500))
	s.must(errors.Join(
		s.client.Addr("eth0", recordClient4+"/24"), s.client.Addr("eth0", recordClient6+"/64"),
		s.server.Addr("eth0", recordServer4+"/24"), s.server.Addr("eth0", recordServer6+"/64"),
		s.client.WaitUp("eth0"), s.server.WaitUp("eth0")))
	for _, h := range []*Host{s.client, s.server} { // so that segments are captured as they would be on a wire
		if _, err := h.Run(ctx, "ethtool", "-K", "eth0", "tso", "off", "gso", "off", "gro", "off", "tx", "off"); err != nil {
			t.Fatal(err)
		}
	}
	mta, err := NewMTA(s.server, ":25", nil)
	s.must(err)
	t.Cleanup(func() { _ = mta.Stop() })
	for address, delay := range map[string]time.Duration{":2525": time.Second, ":2526": 3 * time.Second} {
		serve(t, s.server, address, func(c *net.TCPConn) {
			_ = c.SetReadDeadline(time.Now().Add(delay))
			_, _ = io.Copy(io.Discard, c)
			_, _ = io.WriteString(c, "220 slow.example.com ESMTP\r\n")
			_ = c.SetReadDeadline(time.Now().Add(time.Second))
			_, _ = io.Copy(io.Discard, c)
		})
	}
	dump := exec.Command("tcpdump", "--immediate-mode", "-U", "-n", "-Z", "root", "-i", iface, "-w", file,
		"tcp port 25 or tcp port 2525 or tcp port 2526 or ip[6:2] & 0x3fff != 0 or ip6[6] = 44")
	stderr, err := dump.StderrPipe()
	s.must(err)
	s.must(s.server.Start(dump))
	line := make([]byte, 200)
	if _, err := stderr.Read(line); err != nil { // a line that says that it listens
		t.Fatal(err)
	}
	f(s)
	time.Sleep(300 * time.Millisecond) // tcpdump does not say when it has written what it saw
	s.must(dump.Process.Signal(syscall.SIGINT))
	s.must(dump.Wait())
}

func (s *studio) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *studio) run(name string, args ...string) {
	s.t.Helper()
	if out, err := s.client.Run(s.ctx, name, args...); err != nil {
		s.t.Fatalf("%v: %s", err, out)
	}
}

func (s *studio) dial(to string) *net.TCPConn {
	s.t.Helper()
	return s.dialFrom(s.client, to)
}

func (s *studio) dialFrom(h *Host, to string) *net.TCPConn {
	s.t.Helper()
	c, err := h.Dial(s.ctx, "", to)
	s.must(err)
	s.must(c.SetDeadline(time.Now().Add(10 * time.Second)))
	return c
}

// loopback has clients on the server itself: in each family one that talks early and one that waits.
func (s *studio) loopback() {
	for _, to := range []string{"127.0.0.1:2525", "[::1]:2525"} {
		s.botOn(s.server, to, 100*time.Millisecond, "EHLO localhost\r\n")
		c := s.dialFrom(s.server, to)
		_, err := c.Read(make([]byte, 100))
		s.must(err)
		s.must(c.Close())
	}
}

// bot talks after a while and leaves when it has received something.
func (s *studio) bot(to string, wait time.Duration, text string) { s.botOn(s.client, to, wait, text) }

func (s *studio) botOn(h *Host, to string, wait time.Duration, text string) {
	c := s.dialFrom(h, to)
	time.Sleep(wait) // the recorded client waits for this long
	_, err := io.WriteString(c, text)
	s.must(err)
	_, _ = c.Read(make([]byte, 100))
	s.must(c.Close())
}

func (s *studio) dribble(to, text string) {
	c := s.dial(to)
	for _, b := range []byte(text) {
		_, err := c.Write([]byte{b})
		s.must(err)
		time.Sleep(20 * time.Millisecond)
	}
	s.must(c.Close())
}

func (s *studio) hangUp(reset bool) {
	c := s.dial(recordServer4 + ":2525")
	time.Sleep(300 * time.Millisecond)
	if reset {
		s.must(c.SetLinger(0))
	}
	s.must(c.Close())
}

func (s *studio) halfClose() {
	c := s.dial(recordServer4 + ":2525")
	s.must(c.CloseWrite())
	_, err := io.ReadAll(c)
	s.must(err)
	s.must(c.Close())
}

// keepAlives waits for a slow server, while its kernel sends keep-alive probes.
func (s *studio) keepAlives() {
	c := s.dial(recordServer4 + ":2526")
	s.must(c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 5}))
	_, err := c.Read(make([]byte, 100))
	s.must(err)
	_, err = io.WriteString(c, "QUIT\r\n")
	s.must(err)
	_, err = io.ReadAll(c)
	s.must(err)
	s.must(c.Close())
}

// rawClient sends and receives frames on the client, whose kernel ignores them.
type rawClient struct {
	port     *port.AFPacket
	poller   *port.Poller
	mac, own [6]byte
}

func (s *studio) raw() *rawClient {
	s.t.Helper()
	r := &rawClient{}
	s.must(s.server.Do(func() error { return linkAddress("eth0", &r.mac) }))
	s.must(s.client.Do(func() error { return linkAddress("eth0", &r.own) }))
	for _, tables := range []string{"iptables", "ip6tables"} {
		s.run(tables, "-A", "OUTPUT", "-p", "tcp", "--tcp-flags", "RST", "RST", "-j", "DROP")
	}
	s.must(errors.Join(ping(s.client, recordServer4), ping(s.client, recordServer6))) // so that neighbours are known
	s.must(s.client.Do(func() (err error) {
		r.port, err = port.Open(port.Config{Interface: "eth0", Filter: everything(s.t)})
		return err
	}))
	s.t.Cleanup(func() { _ = r.port.Close() })
	var err error
	r.poller, err = port.NewPoller(r.port)
	s.must(err)
	s.t.Cleanup(func() { _ = r.poller.Close() })
	return r
}

func (s *studio) send(r *rawClient, frames ...[]byte) {
	s.t.Helper()
	for _, f := range frames {
		wire.SetEthernet(f, r.mac, r.own)
	}
	s.must(r.port.Write(frames))
}

// hear waits for a segment from the server with the given flags.
func (s *studio) hear(r *rawClient, flags wire.Flags) *wire.Segment {
	s.t.Helper()
	decode := wire.NewDecoder()
	var frames [port.Batch][]byte
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); {
		n, err := r.port.Read(frames[:])
		s.must(err)
		for _, f := range frames[:n] {
			if decode.Decode(f) == wire.KindTCP && decode.Segment.Flags.Has(flags) {
				return &decode.Segment
			}
		}
		s.must(r.poller.Wait(time.Second))
	}
	s.t.Fatal("the server does not answer")
	return nil
}

func (s *studio) rawSegment(port uint16, flags wire.Flags, seq, ack wire.Seq, text string) []byte {
	from, to := recordClient4, recordServer4
	if s.family == 6 {
		from, to = recordClient6, recordServer6
	}
	return wire.NewBuilder().Append(nil, &wire.Header{
		Src: wire.AddrFrom(netip.MustParseAddr(from)), SrcPort: port, Dst: wire.AddrFrom(netip.MustParseAddr(to)),
		DstPort: 2525, Flags: flags, Seq: seq, Ack: ack, Wnd: 64240, MSS: 1460 * uint16(flags&wire.SYN/wire.SYN),
	}, []byte(text))
}

// scan probes the port in three ways.
func (s *studio) scan() {
	r := s.raw()
	s.send(r, s.rawSegment(40001, wire.SYN, 1000, 0, ""))
	a := s.hear(r, wire.SYN)
	s.send(r, s.rawSegment(40001, wire.RST, a.Ack, 0, ""), s.rawSegment(40002, wire.FIN, 2000, 0, ""), s.rawSegment(40003, wire.ACK, 3000, 3000, ""))
	s.hear(r, wire.RST)
}

// synData sends payload in its SYN, which no server accepts without TCP Fast Open, and again after the handshake.
func (s *studio) synData() {
	const text = "EHLO fast.example.net\r\n"
	r := s.raw()
	s.send(r, s.rawSegment(40010, wire.SYN, 1000, 0, text))
	next := s.hear(r, wire.SYN).Seq + 1
	s.send(r, s.rawSegment(40010, wire.ACK, 1001, next, ""), s.rawSegment(40010, wire.ACK|wire.PSH, 1001, next, text))
	s.hear(r, wire.PSH)
}

// fragments sends early talk in IP fragments of so many octets, the last one first.
func (s *studio) fragments(size int) {
	r := s.raw()
	s.send(r, s.rawSegment(40020, wire.SYN, 1000, 0, ""))
	next := s.hear(r, wire.SYN).Seq + 1
	frames := inFragments(s.rawSegment(40020, wire.ACK|wire.PSH, 1001, next, strings.Repeat("EHLO fragments.example.net\r\n", 10)), size)
	slices.Reverse(frames)
	s.send(r, append([][]byte{s.rawSegment(40020, wire.ACK, 1001, next, "")}, frames...)...)
	s.hear(r, wire.PSH)
}

// inFragments cuts an IP packet into fragments with so many octets of payload.
func inFragments(frame []byte, size int) (frames [][]byte) {
	header := 20
	if frame[wire.PacketAt]>>4 == 6 {
		header = 40
	}
	body := frame[wire.PacketAt+header:]
	for at := 0; at < len(body); at += size {
		end := min(at+size, len(body))
		head := append([]byte{}, frame[wire.PacketAt:wire.PacketAt+header]...)
		packet := fragment4(head, body[at:end], at, end < len(body))
		if header == 40 {
			packet = fragment6(head, body[at:end], at, end < len(body))
		}
		frames = append(frames, wire.AppendPacket(nil, packet, false))
	}
	return frames
}

func fragment4(head, data []byte, at int, more bool) []byte {
	packet := append(head, data...)
	word := uint16(at / 8)
	if more {
		word |= 0x2000
	}
	be.BigEndian.PutUint16(packet[2:], uint16(len(packet)))
	be.BigEndian.PutUint16(packet[4:], 77)
	be.BigEndian.PutUint16(packet[6:], word)
	be.BigEndian.PutUint16(packet[10:], 0) // AppendPacket fills it in
	return packet
}

func fragment6(head, data []byte, at int, more bool) []byte {
	word := uint16(at)
	if more {
		word |= 1
	}
	extension := be.BigEndian.AppendUint32(be.BigEndian.AppendUint16([]byte{head[6], 0}, word), 77)
	packet := append(append(head, extension...), data...)
	packet[6] = 44
	be.BigEndian.PutUint16(packet[4:], uint16(len(packet)-40))
	return packet
}
