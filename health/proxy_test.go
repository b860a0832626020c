package health

import (
	"bufio"
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"

	"hushgate/internal/proxyproto"
)

// TestProxyHeader: a check of a server that wants a PROXY header sends one which says that the connection is the gateway's
// own, before anything is read.
func TestProxyHeader(t *testing.T) {
	for v, want := range map[proxyproto.Version]string{proxyproto.V1: "PROXY TCP4 127.0.0.1 127.0.0.1 ", proxyproto.V2: "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		heard := make(chan string, 1)
		go func() {
			defer close(heard)
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer func() { _ = conn.Close() }()
			b := make([]byte, len(want))
			if _, err := bufio.NewReader(conn).Read(b); err == nil {
				heard <- string(b)
			}
		}()
		c := smtp("HELO")
		c.Addr, c.SMTP, c.Proxy = netip.MustParseAddrPort(l.Addr().String()), false, v
		if r := Check(context.Background(), c, &net.Dialer{}, Beyond{}); r.Code != L4OK {
			t.Errorf("version %d: %+v", v, r)
		}
		if got := <-heard; !strings.HasPrefix(got, want) {
			t.Errorf("version %d: heard %q, want %q", v, got, want)
		}
		_ = l.Close()
	}
}
