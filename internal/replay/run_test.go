package replay

import (
	"bytes"
	"context"
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

// recorded lists the captures of the project.
func recorded(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("../../testpcaps/*.pcap")
	if err != nil || len(files) == 0 {
		t.Fatalf("no captures: %v", err)
	}
	return files
}

func request(files ...string) Request {
	return Request{
		Files: files, Format: Table, Delays: []time.Duration{5 * time.Second}, Options: Options{Ports: []uint16{25, 2525, 2526}},
		Application: "test",
	}
}

func run1(t *testing.T, q Request) string {
	t.Helper()
	var out, notes bytes.Buffer
	if err := Run(context.Background(), q, &out, &notes); err != nil || notes.Len() > 0 {
		t.Fatalf("%v, %s", err, notes.String())
	}
	return out.String()
}

// TestExtract checks that an extracted, anonymised connection gets the same verdict and the same answers as before, and does
// not show who the client was.
func TestExtract(t *testing.T) {
	dir := t.TempDir()
	for _, file := range recorded(t) {
		if strings.Contains(file, "scan") || strings.Contains(file, "loopback") || strings.Contains(file, "fragments-ipv6") {
			continue // several connections, or the gateway's answers differ for anonymised addresses or reassembled packets
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			plain, anon := filepath.Join(dir, "plain.pcapng"), filepath.Join(dir, "anon.pcapng")
			q := request(file)
			q.Extract, q.Write = "1", plain
			run1(t, q)
			q.Anonymise, q.Write = true, anon
			run1(t, q)
			want, got := run1(t, request(plain)), run1(t, request(anon))
			if judged(want) == "" || judged(want) != judged(got) {
				t.Errorf("plain:\n%s\nanonymised:\n%s", want, got)
			}
			telltales(t, anon)
			q = request(plain)
			q.Drive = true
			answers := run1(t, q)
			q.Files = []string{anon}
			if strings.Count(answers, "\n") != strings.Count(run1(t, q), "\n") {
				t.Error("the answers differ")
			}
		})
	}
}

// telltales searches an anonymised capture for addresses and text of the original.
func telltales(t *testing.T, file string) {
	t.Helper()
	in, err := capture.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	framer, dec := capture.NewFramer(), wire.NewDecoder()
	known := netip.MustParsePrefix("192.0.2.0/24")
	known6 := netip.MustParsePrefix("2001:db8::/32")
	var p capture.Packet
	for n := 0; ; n++ {
		if err := in.Next(&p); err != nil {
			if !errors.Is(err, io.EOF) || n == 0 {
				t.Errorf("packet %d: %v", n, err)
			}
			return
		}
		f, ok := framer.Frame(&p)
		if !ok || dec.Decode(f.Data) != wire.KindTCP || !dec.Segment.ChecksumOK() {
			t.Fatalf("packet %d is not a valid segment", n)
		}
		seg := &dec.Segment
		for _, a := range []netip.Addr{seg.Src.Netip(), seg.Dst.Netip()} {
			if known.Contains(a) || known6.Contains(a) {
				t.Errorf("packet %d has the address %v", n, a)
			}
		}
		if bytes.Contains(seg.Payload, []byte("MAIL FROM")) {
			t.Errorf("packet %d has %q", n, seg.Payload)
		}
	}
}

// judged returns the table's first row without addresses.
func judged(table string) string {
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) > 4 && f[0] == "1" {
			return strings.Join(f[3:], " ")
		}
	}
	return ""
}

// TestDriveWrites checks that the file that --drive writes can be read, and driven again.
func TestDriveWrites(t *testing.T) {
	out := filepath.Join(t.TempDir(), "x.pcapng")
	q := request("../../testpcaps/bot-at-once.pcap")
	q.Drive, q.Write = true, out
	run1(t, q)
	if got := run1(t, request(out)); !strings.Contains(got, "early-talker") {
		t.Error(got)
	}
	b, err := os.ReadFile(out)
	if err != nil || !bytes.Contains(b, []byte("received: held (ESTABLISHED) → LISTEN: early-talker, client-talked")) {
		t.Errorf("no comment has the reason: %v", err)
	}
}

func TestBadRequests(t *testing.T) {
	dir := t.TempDir()
	cut := filepath.Join(dir, "cut.pcap")
	whole, err := os.ReadFile("../../testpcaps/nc.pcap")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cut, whole[:len(whole)-3], 0o600); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Request){
		"no capture":                   func(q *Request) { q.Files = nil },
		"no such file":                 func(q *Request) { q.Files = []string{"/nonexistent"} },
		"is a directory":               func(q *Request) { q.Files = []string{dir} },
		"could not be read to its end": func(q *Request) { q.Files = []string{cut} },
		"no delay":                     func(q *Request) { q.Delays = nil },
		"expected at least 0":          func(q *Request) { q.Delays = []time.Duration{-1} },
		"--output xml":                 func(q *Request) { q.Format = "xml" },
		"exclude each other":           func(q *Request) { q.Extract, q.Drive = "1", true },
		"-w FILE":                      func(q *Request) { q.Extract = "1" },
		"-w needs":                     func(q *Request) { q.Write = filepath.Join(dir, "x") },
		"--anonymise needs":            func(q *Request) { q.Anonymise = true },
		"--reply needs":                func(q *Request) { q.Reply = true },
		"--signatures excludes":        func(q *Request) { q.Signatures, q.Drive = true, true },
		"no such connection":           func(q *Request) { q.Extract, q.Write = "77", filepath.Join(dir, "x") },
		"--extract first":              func(q *Request) { q.Extract, q.Write = "first", filepath.Join(dir, "x") },
		".svg or .png":                 func(q *Request) { q.Plot = filepath.Join(dir, "x.gif") },
	} {
		q := request("../../testpcaps/nc.pcap")
		change(&q)
		err := Run(context.Background(), q, io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	var out, notes bytes.Buffer
	if err := Run(context.Background(), request(cut), &out, &notes); !errors.Is(err, ErrPartial) ||
		!strings.Contains(out.String(), "1 connections") || !strings.Contains(notes.String(), "ends in the middle of a packet") {
		t.Errorf("%v: %s %s", err, out.String(), notes.String())
	}
}

func TestFormats(t *testing.T) {
	for format, want := range map[Format]string{
		JSON: `"verdicts":{"5s":"early-talker"},"first_line":"POST / HTTP/1.1"`,
		CSV:  "early-talker,POST / HTTP/1.1,",
	} {
		q := request("../../testpcaps/bot-http.pcap")
		q.Format = format
		if got := run1(t, q); !strings.Contains(got, want) {
			t.Errorf("%s: %s", format, got)
		}
	}
	for _, ext := range []string{".svg", ".png"} {
		q := request(recorded(t)...)
		q.Plot = filepath.Join(t.TempDir(), "curve"+ext)
		run1(t, q)
		if info, err := os.Stat(q.Plot); err != nil || info.Size() < 1000 {
			t.Errorf("%v, %v", info, err)
		}
	}
}
