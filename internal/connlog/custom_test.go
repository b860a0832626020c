package connlog

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"hushgate/dataplane"
	"hushgate/internal/mono"
	"hushgate/internal/wire"
)

func custom(t *testing.T, format string) *Format {
	t.Helper()
	f, err := NewFormat(format)
	if err != nil {
		t.Fatal(err)
	}
	f.host = "gate"
	return f
}

// tcplog is `option tcplog` as a format (HAProxy's configuration manual, section 8.2.2).
const tcplog = "%ci:%cp [%t] %ft %b/%s %Tw/%Tc/%Tt %B %ts %ac/%fc/%bc/%sc/%rc %sq/%bq"

func TestCustom(t *testing.T) {
	six := func(e *dataplane.Event) *dataplane.Event {
		return with(e, func(e *dataplane.Event) {
			e.Client, e.Source, e.SourcePort = wire.AddrFrom(netip.MustParseAddr("2001:db8::7")), wire.AddrFrom(netip.MustParseAddr("2001:db8::1")), 2000
		})
	}
	for _, c := range []struct {
		format string
		e      *dataplane.Event
		want   string
	}{
		{tcplog, talker, string(renderer().AppendTCP(nil, talker, Counts{3, 2, 1, 4}))},
		{tcplog, quiet, string(renderer().AppendTCP(nil, quiet, Counts{3, 2, 1, 4}))},
		{"%fi:%fp %si:%sp %bi:%bp", quiet, "192.0.2.25:25 10.0.0.11:25 198.18.0.7:40000"},
		{"%si:%sp %bi:%bp|%{+Q}si|%{+X}sp", talker, `-:- -:-|""|-`},
		{"%{+X}ci %{+X}bi %{+X}bp", six(quiet), "20010DB8000000000000000000000007 20010DB8000000000000000000000001 07D0"},
		{"%{+Q}o%b %s %ci %B %ts", talker, `"ft_smtp" "<NOSRV>" "198.18.0.7" 0 PR`},
		{"%Td %Th %U %H %T %Tl %Ts %ms", quiet, "999 0 5000 gate 23/Nov/2026:14:17:09 +0000 23/Nov/2026:14:17:09 +0000 1795443429 201"},
		{"  a   %o  b ", quiet, "a b "},
		{"%{+X}Ts %{+X}ms", quiet, "6B044AE5 C9"},
	} {
		r := renderer()
		r.Names.Addresses = []netip.AddrPort{netip.MustParseAddrPort("10.0.0.11:25")}
		if got := string(r.AppendCustom(nil, custom(t, c.format), c.e, Counts{3, 2, 1, 4})); got != c.want {
			t.Errorf("%s: %q, want %q", c.format, got, c.want)
		}
	}
}

// peerFormats are compared with HAProxy's output. The first part tells what the values are.
var peerFormats = []string{
	tcplog,
	"%{+Q}ci|%{+Q}b|%{+Q}s|%{+Q}f|%{+Q}ft|%{+Q}fi|%{+Q}si|%{+Q}bi",
	"%{+Q}cp|%{+Q}ts|%{+Q}B|%{+Q}U|%{+Q}ac|%{+Q}rc|%{+Q}fp|%{+Q}sp|%{+Q}bp",
	"%{+X}ci|%{+X}cp|%{+X}fi|%{+X}fp|%{+X}si|%{+X}sp|%{+X}bi|%{+X}bp",
	"%{+X}B|%{+X}U|%{+X}ac|%{+X}Tt|%{+X}t|%{+X}b|%{+X}T",
	"%{+Q}T|%{+Q}Tl|%{+Q}Ts|%{+Q}t|%{+Q}ms|%{+X}Ts|%{+X}ms",
	"%{+Q}o %b %s   %{-Q}b  %ci ",
	"  lead %o  and  %% trail  ",
	"%[src] %[src_port] %[dst] %[dst_port] %[fe_name] %[be_name]|%{+X}[src]|%{+Q}[src]",
	"%Th %sq/%bq %U %{+E}b%{+Q,-X}s",
}

// TestCustomAsHAProxy: a connection through HAProxy, and the same connection in our words, give the same line in each format.
func TestCustomAsHAProxy(t *testing.T) {
	haproxy, err := exec.LookPath("haproxy")
	if err != nil {
		if os.Getenv("HUSHGATE_LAB") == "1" {
			t.Fatal(err)
		}
		t.Skip("no haproxy")
	}
	syslog, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syslog.Close() }()
	server := listenTCP(t, "127.0.0.1:0")
	go func() {
		for {
			c, err := server.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("220 hello\r\n"))
			_ = c.Close()
		}
	}()
	front := listenTCP(t, "127.0.0.1:0")
	at := front.Addr().(*net.TCPAddr).AddrPort()
	socket, err := front.File()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.Close() }()
	for _, format := range peerFormats {
		t.Run(format, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "haproxy.cfg")
			cfg := fmt.Sprintf("global\n  log %s len 8192 format raw local0\nfrontend ft\n  mode tcp\n  bind fd@3\n  timeout client 9s\n  log global\n"+
				"  log-format \"%s#%s\"\n  default_backend bk\nbackend bk\n  mode tcp\n  timeout connect 9s\n  timeout server 9s\n  server srv %s\n",
				syslog.LocalAddr(), tcplog, format, server.Addr())
			if err := os.WriteFile(file, []byte(cfg), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(haproxy, "-db", "-q", "-f", file)
			cmd.ExtraFiles = []*os.File{socket}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _, _ = cmd.Process.Kill(), cmd.Wait() }()
			c, err := net.Dial("tcp", at.String())
			if err != nil {
				t.Fatal(err)
			}
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			for b := make([]byte, 100); err == nil; {
				_, err = c.Read(b)
			}
			from := c.LocalAddr().(*net.TCPAddr).AddrPort()
			_ = c.Close()
			line := strings.TrimSuffix(receive(t, syslog), "\n")
			known, theirs, _ := strings.Cut(line, "#")
			e, counts, clock := sameConnection(t, known, from)
			r := &Renderer{Clock: clock, Names: &Names{
				Services: []Service{{Address: at.String(), Frontend: "ft", Backend: "bk"}}, Servers: []Server{{Backend: "bk", Name: "srv"}},
				Addresses: []netip.AddrPort{server.Addr().(*net.TCPAddr).AddrPort()},
			}}
			// The port by which HAProxy reaches the server is not in tcplog.
			if m := regexp.MustCompile(`[^|]*$`).FindString(theirs); strings.Contains(format, "%{+X}bp") {
				n, _ := strconv.ParseUint(m, 16, 16)
				e.SourcePort = uint16(n)
			} else if n, err := strconv.Atoi(m); strings.Contains(format, "bp") && err == nil {
				e.SourcePort = uint16(n)
			}
			ours := string(r.AppendCustom(nil, custom(t, tcplog+"#"+format), e, counts))
			if ours = strings.TrimPrefix(ours, known+"#"); ours != theirs {
				t.Errorf("%q, HAProxy says %q (%s)", ours, theirs, known)
			}
		})
	}
}

// sameConnection is the event of the connection that a line of tcplog is about.
func sameConnection(t *testing.T, line string, from netip.AddrPort) (*dataplane.Event, Counts, mono.Clock) {
	t.Helper()
	var accepted, addr string
	var tw, tc, tt, octets, ac, fc, bc, sc int64
	_, err := fmt.Sscanf(strings.NewReplacer("[", "", "]", "", "/", " ").Replace(line), "%s %s", &addr, &accepted)
	m := regexp.MustCompile(`^(\S+) \[([^]]*)\] ft bk/srv (\d+)/(\d+)/(\d+) (\d+) \S\S (\d+)/(\d+)/(\d+)/(\d+)/0 0/0$`).FindStringSubmatch(line)
	if err != nil || m == nil || m[1] != from.String() {
		t.Fatalf("%v: HAProxy's line is %q, from %s", err, line, from)
	}
	for i, to := range []*int64{&tw, &tc, &tt, &octets, &ac, &fc, &bc, &sc} {
		*to, _ = strconv.ParseInt(m[i+3], 10, 64)
	}
	at, err := time.ParseInLocation(acceptTime, m[2], time.Local)
	if err != nil {
		t.Fatal(err)
	}
	e := &dataplane.Event{
		Client: wire.AddrFrom(from.Addr()), ClientPort: from.Port(), Verdict: dataplane.VerdictQuiet, Cause: dataplane.CauseFinished,
		Established: ms, Connect: ms * mono.Time(1+tw), Connected: ms * mono.Time(1+tw+tc), Closed: ms * mono.Time(1+tt),
		BytesToClient: uint64(octets), Source: wire.AddrFrom(from.Addr()), SourcePort: 1,
	}
	return e, Counts{int(ac), int(fc), int(bc), int(sc)}, mono.NewClockAt(at.Add(-time.Millisecond))
}
