package lab

import (
	"bufio"
	"context"
	"io"
	"net"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// peerClosed waits for the FIN of the other end of a connection.
func peerClosed(t *testing.T, c *net.TCPConn) {
	t.Helper()
	waitFor(t, "the other end's FIN", func() (closed bool) {
		raw, err := c.SyscallConn()
		must(t, err)
		must(t, raw.Control(func(fd uintptr) {
			info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
			closed = err == nil && info.State == unix.BPF_TCP_CLOSE_WAIT
		}))
		return closed
	})
}

// quitter is one way in which a client and a server end their connection.
type quitter struct {
	name   string
	server func(t *testing.T, c *net.TCPConn, r *bufio.Reader) // after the banner
	client func(t *testing.T, c *net.TCPConn, r *bufio.Reader)
	want   []string
}

var quitters = []quitter{
	{
		name: "the client leaves the last reply unread",
		server: func(_ *testing.T, c *net.TCPConn, r *bufio.Reader) {
			_, _ = r.ReadString('\n')
			_, _ = io.WriteString(c, "221 bye\r\nand more")
			_ = c.CloseWrite()
			_, _ = r.ReadString('\n') // the RST
		},
		client: func(t *testing.T, c *net.TCPConn, r *bufio.Reader) {
			_, _ = io.WriteString(c, "QUIT\r\n")
			peerClosed(t, c) // nothing of it was read
		},
		want: []string{`"termination":"CD"`, `"closed_by":"server"`},
	},
	{
		name: "the client closes after QUIT, and the server has not read everything",
		server: func(t *testing.T, c *net.TCPConn, _ *bufio.Reader) {
			peerClosed(t, c)
		},
		client: func(t *testing.T, c *net.TCPConn, r *bufio.Reader) {
			_, _ = io.WriteString(c, "QUIT\r\nand more")
			_ = c.CloseWrite()
			_, _ = r.ReadString('\n') // the RST
		},
		want: []string{`"termination":"SD"`, `"closed_by":"client"`},
	},
	{
		name:   "the client resets in the middle of the session",
		server: func(_ *testing.T, _ *net.TCPConn, r *bufio.Reader) { _, _ = r.ReadString('\n') },
		client: func(_ *testing.T, c *net.TCPConn, _ *bufio.Reader) { _ = c.SetLinger(0) },
		want:   []string{`"termination":"CD"`, `"closed_by":"neither"`},
	},
	{
		name: "both close",
		server: func(_ *testing.T, c *net.TCPConn, r *bufio.Reader) {
			_, _ = r.ReadString('\n')
		},
		client: func(t *testing.T, c *net.TCPConn, r *bufio.Reader) {
			_, _ = io.WriteString(c, "QUIT\r\n")
			peerClosed(t, c)
		},
		want: []string{`"termination":"--"`, `"closed_by":"both"`},
	},
}

// TestClosedBy: the log tells a reset after the end of the session from a reset that cut the session off. Real TCP stacks send
// both.
func TestClosedBy(t *testing.T) {
	beside(t)
	ctx, l := site(t, Options{})
	var cfg strings.Builder
	cfg.WriteString("#yaml\nfrontends:\n")
	for _, f := range families {
		cfg.WriteString("  - {name: ft_" + f.name + `, bind: "` + net.JoinHostPort(f.vip, "25") + `", inspect-delay: 100ms, log-format: json, default_backend: bk_` + f.name + "}\n")
	}
	cfg.WriteString("backends:\n")
	var plays [2]chan quitter
	for i, f := range families {
		cfg.WriteString("  - {name: bk_" + f.name + `, servers: [{name: smtp1, address: "` + net.JoinHostPort(f.a, "25") + `"}]}` + "\n")
		play := make(chan quitter, 1)
		plays[i] = play
		serve(t, l.Servers[0], net.JoinHostPort(f.a, "25"), func(c *net.TCPConn) {
			defer func() { _ = c.Close() }()
			if from, _, _ := net.SplitHostPort(c.RemoteAddr().String()); from != f.client {
				return // a check
			}
			q := <-play
			_, _ = io.WriteString(c, "220 x\r\n")
			q.server(t, c, bufio.NewReader(c))
		})
	}
	g := gateway(ctx, t, l, []byte(cfg.String()))
	for _, q := range quitters {
		for i, f := range families {
			t.Run(q.name+"/"+f.name, func(t *testing.T) {
				before := g.Count(append(q.want, `"client":"`+f.client+`"`)...)
				plays[i] <- q
				play(ctx, t, l, f, q)
				waitFor(t, "its line", func() bool {
					return g.Count(append(q.want, `"client":"`+f.client+`"`)...) == before+1
				})
			})
		}
	}
}

// play does what the client does.
func play(ctx context.Context, t *testing.T, l *Lab, f family, q quitter) {
	t.Helper()
	c, err := l.Client.Dial(ctx, f.client, net.JoinHostPort(f.vip, "25"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	r := bufio.NewReaderSize(c, 16)
	if banner, err := r.ReadString('\n'); banner != "220 x\r\n" {
		t.Fatalf("%q, %v", banner, err)
	}
	q.client(t, c, r)
}
