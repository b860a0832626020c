package replay

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hushgate/internal/capture"
	"hushgate/internal/wire"
)

// converted writes the packets of a capture into a new one, with another link type, and with or without times.
func converted(t *testing.T, from string, link capture.LinkType, header func(ip []byte) []byte, timed bool) string {
	t.Helper()
	in, err := capture.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	var b bytes.Buffer
	w, err := capture.NewWriter(&b, "test")
	if err == nil {
		_, err = w.Interface("x", link)
	}
	var p capture.Packet
	for err == nil {
		if err = in.Next(&p); err == nil {
			at := p.Time
			if !timed {
				at = time.Time{}
			}
			ip := p.Data[14:]
			err = w.Packet(0, at, append(header(ip), ip...), 0, "")
		}
	}
	if !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "converted.pcapng")
	if err := os.WriteFile(out, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return out
}

// tNet contains no address of the captures.
var tNet = netip.MustParsePrefix("203.0.113.0/24")

func nothing([]byte) []byte { return nil }

// TestPointToPoint checks that captures of PPP and PPPoE give the same results as those of Ethernet.
func TestPointToPoint(t *testing.T) {
	for _, from := range []string{"bot-at-once", "bot-ipv6"} {
		from = "../../testpcaps/" + from + ".pcap"
		protocol := func(ip []byte) []byte {
			if ip[0]>>4 == 6 {
				return []byte{0x00, 0x57}
			}
			return []byte{0x00, 0x21}
		}
		want := run1(t, request(from))
		for link, header := range map[capture.LinkType]func(ip []byte) []byte{
			capture.LinkPPP:       protocol,
			capture.LinkPPPSerial: func(ip []byte) []byte { return append([]byte{0xff, 3}, protocol(ip)...) },
			capture.LinkPPPoE:     func(ip []byte) []byte { return append([]byte{0x11, 0, 0, 1, 0, byte(len(ip))}, protocol(ip)...) },
			capture.LinkEthernet: func(ip []byte) []byte {
				return append(append(make([]byte, 12), 0x88, 0x64, 0x11, 0, 0, 1, 0, byte(len(ip))), protocol(ip)...)
			},
		} {
			if got := run1(t, request(converted(t, from, link, header, true))); got != want {
				t.Errorf("%s as %v:\n%s\nwant\n%s", from, link, got, want)
			}
		}
	}
}

// TestWithoutTimes checks that a capture of simple packet blocks shows who came first, and is reported as without times in
// every format.
func TestWithoutTimes(t *testing.T) {
	talker := converted(t, "../../testpcaps/bot-half-a-second.pcap", capture.LinkRaw, nothing, false)
	waits := converted(t, "../../testpcaps/nc.pcap", capture.LinkRaw, nothing, false)
	leaves := converted(t, "../../testpcaps/hang-up.pcap", capture.LinkRaw, nothing, false)
	q := request(talker, waits, leaves)
	got := run1(t, q)
	for _, want := range []string{
		"early-talker, unknown when", "quiet, unknown how long", "hang-up, unknown when", "3 connections: 3 judged",
		"3 of them have no times: 1 talked before the banner, 1 hung up before it, 1 waited; the rows below do not include them",
		"segments without a time (pcapng's simple packet blocks)", "without times it is unknown what a delay would have done",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "0.000 s") || strings.Contains(got, "early talkers") {
		t.Errorf("times and delays of a capture that has none:\n%s", got)
	}
	q.Files = append(q.Files, "../../testpcaps/bot-at-once.pcap")
	if got := run1(t, q); !strings.Contains(got, "4 connections: 4 judged") || !strings.Contains(got, "3 of them have no times") ||
		!strings.Contains(got, "      5s              1         1         1          0         0          0\n") {
		t.Errorf("together with one that has times:\n%s", got)
	}
	q = request(talker)
	q.Format = JSON
	if got := run1(t, q); !strings.Contains(got, `"begin":null,"outcome":"talked","silent_ms":null,"first_byte_ms":null,"banner_ms":null,"verdicts":{"5s":"no-time"}`) ||
		!strings.Contains(got, `"without_times":1`) {
		t.Error(got)
	}
	q.Format = CSV
	var out, notes bytes.Buffer
	if err := Run(context.Background(), q, &out, &notes); err != nil || !strings.Contains(out.String(), ",2525,,talked,,,,no-time,HELO x,") ||
		!strings.Contains(notes.String(), "segments without a time") {
		t.Errorf("%v, %s%s", err, out.String(), notes.String())
	}
	for want, change := range map[string]func(*Request){
		"no delay can run out":               func(q *Request) { q.Drive = true },
		"draw the curve: the capture has no": func(q *Request) { q.Plot = filepath.Join(t.TempDir(), "x.svg") },
	} {
		q := request(talker)
		change(&q)
		if err := Run(context.Background(), q, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	q = request(talker)
	q.Extract, q.Write = "1", filepath.Join(t.TempDir(), "one.pcapng")
	if err := Run(context.Background(), q, io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	if again := run1(t, request(q.Write)); !strings.Contains(again, "early-talker, unknown when") {
		t.Error(again)
	}
}

// motley writes a capture of packets that are left out, each for another reason, and of one connection.
func motley(t *testing.T) string {
	t.Helper()
	var b bytes.Buffer
	w, err := capture.NewWriter(&b, "test")
	if err != nil {
		t.Fatal(err)
	}
	iface := map[capture.LinkType]int{}
	for _, l := range []capture.LinkType{capture.LinkRaw, capture.LinkEthernet, 189} {
		if iface[l], err = w.Interface("x", l); err != nil {
			t.Fatal(err)
		}
	}
	put := func(link capture.LinkType, data []byte) {
		t.Helper()
		if err := w.Packet(iface[link], tStart, data, 0, ""); err != nil {
			t.Fatal(err)
		}
	}
	segment := func(port uint16, flags wire.Flags, seq, ack wire.Seq) []byte {
		return wire.NewBuilder().Append(nil, &wire.Header{
			Src: wire.AddrFrom4([]byte{198, 18, 0, 1}), SrcPort: port, Dst: wire.AddrFrom4([]byte{198, 18, 0, 7}), DstPort: 4000, Flags: flags,
			Seq: seq, Ack: ack, Wnd: 1000,
		}, nil)[wire.PacketAt:]
	}
	put(capture.LinkRaw, segment(25, wire.SYN|wire.ACK, 1, 1))
	put(capture.LinkRaw, segment(2525, wire.SYN|wire.ACK, 1, 1))
	put(capture.LinkRaw, segment(2525, wire.ACK, 2, 1))
	put(capture.LinkRaw, segment(443, wire.ACK, 2, 1))
	udp := segment(25, 0, 0, 0)
	udp[9] = 17
	put(capture.LinkRaw, wireSeal(udp))
	udp[9] = 47
	put(capture.LinkRaw, wireSeal(udp))
	piece := segment(25, wire.ACK, 2, 1)
	piece[6] = 0x20
	put(capture.LinkRaw, wireSeal(piece))
	piece[7] = 1
	put(capture.LinkRaw, wireSeal(piece)) // overlaps the fragment before it: both are ignored
	piece[5], piece[7] = 9, 0
	put(capture.LinkRaw, wireSeal(piece))
	put(capture.LinkEthernet, append(make([]byte, 12), 8, 6, 1, 2))
	put(189, []byte("usb"))
	file := filepath.Join(t.TempDir(), "motley.pcapng")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func wireSeal(packet []byte) []byte {
	wire.SealIPv4(packet)
	return packet
}

// TestLeftOut checks that everything left out is reported with its reason, in every format; if the format has no place for
// it, on standard error.
func TestLeftOut(t *testing.T) {
	wants := []string{
		"3 segments left out because their ports are not in --port 25; connections were accepted on 2525",
		"2 packets left out that are not TCP: UDP 1, GRE 1",
		"2 packets left out that are not IP: ARP 1, USB (link type 189): not supported 1",
		"1 fragments ignored because the rest of their packet is missing or too late",
		"2 fragments ignored because they overlap, contradict each other or are impossible",
	}
	file := motley(t)
	for _, c := range []struct {
		name   string
		change func(*Request)
		noted  bool // on standard error
	}{
		{"table", func(*Request) {}, false},
		{"json", func(q *Request) { q.Format = JSON }, false},
		{"csv", func(q *Request) { q.Format = CSV }, true},
		{"drive", func(q *Request) { q.Drive = true }, true},
		{"extract", func(q *Request) { q.Extract, q.Write = "1", filepath.Join(t.TempDir(), "x.pcapng") }, true},
	} {
		q := request(file)
		q.Ports = []uint16{25}
		c.change(&q)
		var out, notes bytes.Buffer
		if err := Run(context.Background(), q, &out, &notes); err != nil {
			t.Fatal(err)
		}
		text := out.String()
		if c.noted {
			text = notes.String()
		} else if notes.Len() > 0 {
			t.Errorf("%s: %s", c.name, notes.String())
		}
		if c.name == "json" {
			text = remarksOf(t, out.Bytes())
		}
		for _, want := range wants {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %q in\n%s", c.name, want, text)
			}
		}
	}
	q := request(file)
	q.From = tStart.Add(time.Hour)
	if got := run1(t, q); !strings.Contains(got, "11 packets left out by --from and --to") {
		t.Error(got)
	}
	q = request("../../testpcaps/nc.pcap")
	q.Networks = append(q.Networks, tNet)
	if got := run1(t, q); !strings.Contains(got, "segments left out by --net") || !strings.Contains(got, "0 connections") {
		t.Error(got)
	}
}

// remarksOf returns the remarks of the summary, the last object of the JSON output.
func remarksOf(t *testing.T, out []byte) string {
	t.Helper()
	var last struct {
		Summary *struct {
			Connections int      `json:"connections"`
			Remarks     []remark `json:"remarks"`
		} `json:"summary"`
	}
	lines := 0
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); lines++ {
		if last.Summary != nil {
			t.Error("the summary is not the last object")
		}
		if err := json.Unmarshal(s.Bytes(), &last); err != nil {
			t.Fatal(err)
		}
	}
	if last.Summary == nil || last.Summary.Connections != lines-1 {
		t.Fatalf("no summary of %d connections: %s", lines-1, out)
	}
	var b strings.Builder
	for _, r := range last.Summary.Remarks {
		b.WriteString(r.String() + "\n")
	}
	return b.String()
}
