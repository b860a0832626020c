package connlog

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hushgate/internal/logqueue"
	"hushgate/internal/testcert"
	"hushgate/internal/unusedport"
)

func listenTCP(t *testing.T, address string) *net.TCPListener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.(*net.TCPListener)
}

func accept(t *testing.T, l net.Listener) net.Conn {
	t.Helper()
	if tcp, is := l.(*net.TCPListener); is {
		_ = tcp.SetDeadline(time.Now().Add(10 * time.Second))
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	return c
}

// counted reads one message of octet counting.
func counted(r *bufio.Reader) (string, error) {
	head, err := r.ReadString(' ')
	if err != nil {
		return "", err
	}
	n, err := strconv.Atoi(strings.TrimSuffix(head, " "))
	if err != nil {
		return "", err
	}
	b := make([]byte, n)
	_, err = io.ReadFull(r, b)
	return string(b), err
}

func openTarget(t *testing.T, target Target) *Sink {
	t.Helper()
	target.Format = "raw"
	s, err := target.Open()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestOverTCP checks both framings, by IPv4 and IPv6.
func TestOverTCP(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		for proto, want := range map[string]string{frameOctetCount: "5 hello3 two", frameLegacy: "hello\ntwo\n"} {
			l := listenTCP(t, address)
			s := openTarget(t, Target{Address: "tcp@" + l.Addr().String(), Proto: proto})
			s.Line(Info, []byte("hello"))
			s.Line(Info, []byte("two"))
			c := accept(t, l)
			got := make([]byte, len(want))
			if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
				t.Errorf("%s: %q, %v", proto, got, err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if rest, err := io.ReadAll(c); err != nil || len(rest) > 0 {
				t.Errorf("%s: %q, %v after all", proto, rest, err)
			}
		}
	}
}

// TestTCPReceiverComes checks that lines wait for a receiver that is not there, that the reason can be seen, and that it then
// gets all.
func TestTCPReceiverComes(t *testing.T) {
	l := listenTCP(t, "127.0.0.1:0")
	at := l.Addr().String()
	_ = l.Close()
	s := openTarget(t, Target{Address: "tcp@" + at, Proto: frameOctetCount})
	const n = 3000
	for i := range n {
		s.Line(Info, fmt.Append(nil, i))
	}
	st := await(t, s, "an error", func(st logqueue.Stats) bool { return st.Err != nil })
	if st.Lost != 0 || st.Waiting != n || !errors.Is(st.Err, unix.ECONNREFUSED) {
		t.Errorf("%+v", st)
	}
	r := bufio.NewReader(accept(t, listenTCP(t, at)))
	for i := range n {
		if got, err := counted(r); err != nil || got != strconv.Itoa(i) {
			t.Fatalf("%q, %v after line %d", got, err, i-1)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if st := s.Stats(); st.Written != n || st.Lost != 0 || st.Err != nil {
		t.Errorf("%+v", st)
	}
}

// TestTCPReceiverRestarts checks that lines sent into a connection that has ended come again by the next one, without another
// line after them.
func TestTCPReceiverRestarts(t *testing.T) {
	l := listenTCP(t, "127.0.0.1:0")
	at := l.Addr().String()
	s := openTarget(t, Target{Address: "tcp@" + at, Proto: frameOctetCount})
	s.Line(Info, []byte("one"))
	c := accept(t, l)
	if got, err := counted(bufio.NewReader(c)); err != nil || got != "one" {
		t.Fatalf("%q, %v", got, err)
	}
	_ = l.Close()
	_ = c.(*net.TCPConn).SetLinger(0)
	const n = 500
	for i := range n {
		if i == n/2 {
			_ = c.Close() // RST: nothing that was not read has arrived
		}
		s.Line(Info, fmt.Append(nil, i))
	}
	r := bufio.NewReader(accept(t, listenTCP(t, at)))
	for next := 0; next < n; { // "one", and what the first connection had taken, may come once more
		got, err := counted(r)
		if err != nil {
			t.Fatal(err)
		}
		if i, err := strconv.Atoi(got); err == nil && i == next {
			next++
		} else if err == nil && next > 0 || err != nil && got != "one" {
			t.Fatalf("%q instead of line %d", got, next)
		} else if err == nil {
			next = i + 1 // the first lines were read by the kernel of the first receiver
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestTCPReceiverStops checks that a receiver that does not read delays nobody, and that Close gives it up.
func TestTCPReceiverStops(t *testing.T) {
	l := listenTCP(t, "127.0.0.1:0")
	s := openTarget(t, Target{Address: "tcp@" + l.Addr().String(), Proto: frameOctetCount})
	line := []byte(strings.Repeat("x", 1000))
	const n = 20_000
	for range n {
		s.Line(Info, line)
	}
	accept(t, l)
	await(t, s, "a full connection", func(st logqueue.Stats) bool { return st.Waiting > 0 && st.Written > 0 })
	begun := time.Now()
	if err := s.Close(); err == nil {
		t.Error("no error about the lost lines")
	}
	if took := time.Since(begun); took > closeAll {
		t.Errorf("it took %v", took)
	}
	if st := s.Stats(); st.Written+st.Lost != n || st.Lost == 0 {
		t.Errorf("%+v", st)
	}
}

// issued writes a certificate into a file, and returns its path.
func issued(t *testing.T, dir, name string, c *testcert.Certificate) string {
	t.Helper()
	file := filepath.Join(dir, name+".pem")
	if err := os.WriteFile(file, c.Pair(t), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestNotTaken: lines that Write could not send to anybody before the end are lost once, and not once more by look.
func TestNotTaken(t *testing.T) {
	s, err := dialStream(Target{Proto: frameOctetCount}, "tcp", net.JoinHostPort("127.0.0.1", unusedport.Pick(t)))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() {
		n, err := s.Write([]byte("one\ntwo\n"))
		if n != 0 {
			err = fmt.Errorf("%d octets were taken, %w", n, err)
		}
		ended <- err
	}()
	for end := time.Now().Add(20 * time.Second); s.trouble() == nil; time.Sleep(time.Millisecond) { // it tries to connect
		if time.Now().After(end) {
			t.Fatal("nobody listens, but there is no trouble")
		}
	}
	_ = s.Close()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := s.look(); err != nil {
		t.Errorf("lost again: %v", err)
	}
}

// TestTLS checks which syslogs are trusted (RFC 5425 section 5), and that no line is lost to one that is not, or that refuses us.
func TestTLS(t *testing.T) {
	a, other, dir := testcert.Authority(t, "an authority"), testcert.Authority(t, "another"), t.TempDir()
	ours, theirs := issued(t, dir, "authority", a), issued(t, dir, "another", other)
	server := a.Sign(t, &x509.Certificate{
		DNSNames: []string{"logs.example.net"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	clientFile := issued(t, dir, "client", a.Sign(t, &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}))
	pair := *server.TLS()
	for _, c := range []struct {
		name    string
		tls     TLS
		asks    bool // the syslog wants a certificate
		refused bool
		trouble string // with this the lines wait
	}{
		{"signed by our authority", TLS{CAFile: ours}, false, false, ""},
		{"another name", TLS{CAFile: ours, Name: "logs.example.net"}, false, false, ""},
		{"another authority", TLS{CAFile: theirs}, false, true, "unknown authority"},
		{"not its name", TLS{CAFile: ours, Name: "mail.example.net"}, false, true, "not mail.example.net"},
		{"not verified", TLS{None: true}, false, false, ""},
		{"asks for our certificate", TLS{CAFile: ours, Crt: clientFile}, true, false, ""},
		{"asks for a certificate that we do not have", TLS{CAFile: ours}, true, true, ""}, // the RST may arrive before TLS's alert
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := &tls.Config{Certificates: []tls.Certificate{pair}}
			if c.asks {
				cfg.ClientAuth, cfg.ClientCAs = tls.RequireAndVerifyClientCert, a.Pool()
			}
			l := listenTCP(t, "127.0.0.1:0")
			s := openTarget(t, Target{Address: "tls@" + l.Addr().String(), Proto: frameOctetCount, TLS: c.tls})
			for i := range 100 {
				s.Line(Info, fmt.Append(nil, i))
			}
			conn := tls.Server(accept(t, l), cfg)
			r := bufio.NewReader(conn)
			if c.refused {
				if got, err := counted(r); err == nil {
					t.Fatalf("%q was sent", got)
				}
				_ = conn.Close()
				s.Line(Info, []byte("100"))
				await(t, s, c.trouble, func(st logqueue.Stats) bool { return st.Err != nil && strings.Contains(st.Err.Error(), c.trouble) })
				if c.asks { // now it does not ask any more
					_ = l.SetDeadline(time.Now().Add(10 * time.Second))
					r = bufio.NewReader(tls.Server(accept(t, l), &tls.Config{Certificates: []tls.Certificate{pair}}))
				}
			}
			if !c.refused || c.asks {
				for i := range 100 {
					if got, err := counted(r); err != nil || got != strconv.Itoa(i) {
						t.Fatalf("%q, %v after line %d", got, err, i-1)
					}
				}
			}
			_ = s.Close() // an untrusted syslog got nothing
			if st := s.Stats(); c.refused && !c.asks && st.Lost != 101 {
				t.Errorf("%+v", st)
			}
		})
	}
}

// TestBadTLS checks that what the configuration gets wrong is an error at once.
func TestBadTLS(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("nothing\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, c := range map[string]TLS{
		"ca-file: open /nonexistent": {CAFile: "/nonexistent"},
		"has no certificate":         {CAFile: empty},
		"crt: " + empty:              {Crt: empty},
	} {
		if _, err := (Target{Address: "tls@127.0.0.1:6514", Format: "raw", TLS: c}).Open(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, err := (Target{Address: "tcp@no-such-host.invalid:514", Format: "raw"}).Open(); err == nil {
		t.Error("a host that has no address is no error")
	}
}
