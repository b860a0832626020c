package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// noise is n octets in which no part is like another.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

// TestBadLinks: 50 MB in each direction arrive intact over links that lose, duplicate and reorder segments on both sides of the
// gateway.
func TestBadLinks(t *testing.T) {
	const size = 50 << 20
	body := plainMail(size)
	sum := sha256.Sum256(body)
	bulk := noise(size)
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			ctx, l := site(t, Options{
				NoOffloads: true, // so that single segments are lost, not super-frames of 64 kB
				Outside:    impairment{0.002, 0.01, 0.01, 1}.join(t, "the link outside"),
				Inside:     impairment{0.002, 0.01, 0.01, 2}.join(t, "the link inside"),
			})
			got := make(chan Mail, 1)
			if _, err := NewMTA(l.Servers[0], net.JoinHostPort(f.a, "25"), got); err != nil {
				t.Fatal(err)
			}
			serve(t, l.Servers[1], net.JoinHostPort(f.b, "26"), func(c *net.TCPConn) { _, _ = c.Write(bulk) })
			gateway(ctx, t, l, fmt.Appendf(nil, `#yaml
frontends:
  - {name: mail, bind: "%s", inspect-delay: 200ms, default_backend: smtp1}
  - {name: bulk, bind: "%s", inspect-delay: 200ms, default_backend: smtp2}
backends:
  - {name: smtp1, servers: [{name: smtp1, address: "%s"}]}
  - {name: smtp2, servers: [{name: smtp2, address: "%s"}]}
`, net.JoinHostPort(f.vip, "25"), net.JoinHostPort(f.vip, "26"), net.JoinHostPort(f.a, "25"), net.JoinHostPort(f.b, "26")))
			var both errgroup.Group
			both.Go(func() error {
				return l.DeliverBulk(ctx, f.client, net.JoinHostPort(f.vip, "25"), body)
			})
			both.Go(func() error {
				c, err := l.Client.Dial(ctx, f.talker, net.JoinHostPort(f.vip, "26"))
				if err != nil {
					return err
				}
				defer func() { _ = c.Close() }()
				_ = c.SetDeadline(time.Now().Add(time.Minute))
				if came, err := io.ReadAll(c); err != nil || !bytes.Equal(came, bulk) {
					return fmt.Errorf("%d of %d octets came through: %w", len(came), len(bulk), err)
				}
				return nil
			})
			if err := both.Wait(); err != nil {
				t.Fatal(err)
			}
			if m := <-got; m.SHA256 != hex.EncodeToString(sum[:]) || m.Client != f.client {
				t.Errorf("arrived as %+v", m)
			}
		})
	}
}

// serve calls f for each connection to an address of a host, and closes the connection afterwards.
func serve(t *testing.T, h *Host, address string, f func(*net.TCPConn)) {
	t.Helper()
	l, err := h.Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				f(c.(*net.TCPConn))
				_ = c.Close()
			}()
		}
	}()
}

// pairs is a site with one plain server that makes spliced connections.
type pairs struct {
	ctx      context.Context
	lab      *Lab
	f        family
	gateway  *Gateway
	listener net.Listener
}

func newPairs(t *testing.T, f family, o Options, idle time.Duration) *pairs {
	t.Helper()
	ctx, l := site(t, o)
	listener, err := l.Servers[0].Listen(net.JoinHostPort(f.a, "25"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	g := gateway(ctx, t, l, fmt.Appendf(nil, `#yaml
frontends:
  - {name: ft_smtp, bind: "%s", inspect-delay: 100ms, default_backend: bk_smtp, timeout: {client: %dms}}
backends:
  - {name: bk_smtp, servers: [{name: smtp1, address: "%s"}]}
`, net.JoinHostPort(f.vip, "25"), idle.Milliseconds(), net.JoinHostPort(f.a, "25")))
	return &pairs{ctx, l, f, g, listener}
}

// dial returns both ends of a spliced connection after the banner. They are closed at the end of the test, and have a deadline.
func (p *pairs) dial(t *testing.T) (client, server *net.TCPConn) {
	t.Helper()
	client, server = spliced(p.ctx, t, p.lab, p.f, p.listener)
	for _, c := range []*net.TCPConn{client, server} {
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(time.Minute))
	}
	return client, server
}

// gone waits until the gateway has logged n connections in total.
func (p *pairs) gone(t *testing.T, n int) {
	t.Helper()
	waitFor(t, fmt.Sprintf("%d lines", n), func() bool { return p.gateway.Count(p.f.client, " ft_smtp bk_smtp/smtp1 ") == n })
}

// ends runs f twice: with the client first, and with the server first.
func (p *pairs) ends(t *testing.T, f func(t *testing.T, one, other *net.TCPConn)) {
	t.Helper()
	for _, name := range []string{"client", "server"} {
		t.Run(name, func(t *testing.T) {
			one, other := p.dial(t)
			if name == "server" {
				one, other = other, one
			}
			f(t, one, other)
		})
	}
}

// info is the kernel's state of a connection.
func info(t *testing.T, c *net.TCPConn) (i *unix.TCPInfo) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err == nil {
		err = errors.Join(raw.Control(func(fd uintptr) {
			i, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		}), err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// forFamilies runs a test on a site for each family.
func forFamilies(t *testing.T, o Options, idle time.Duration, f func(t *testing.T, p *pairs)) {
	t.Helper()
	for _, fam := range families {
		t.Run(fam.name, func(t *testing.T) { f(t, newPairs(t, fam, o, idle)) })
	}
}

// TestZeroWindow: a reader stops reading and closes its window. The writer sends probes, and goes on when the window opens.
func TestZeroWindow(t *testing.T) {
	beside(t)
	eachFamily(t, func(t *testing.T, f family) {
		p := newPairs(t, f, Options{}, time.Hour)
		data := noise(20 << 20)
		p.ends(t, func(t *testing.T, writer, reader *net.TCPConn) {
			wrote := make(chan error, 1)
			go func() {
				_, err := writer.Write(data)
				wrote <- errors.Join(err, writer.CloseWrite())
			}()
			waitFor(t, "four zero-window probes", func() bool { return info(t, writer).Backoff >= 4 })
			if came, err := io.ReadAll(reader); err != nil || !bytes.Equal(came, data) {
				t.Errorf("%d of %d octets came through: %v", len(came), len(data), err)
			}
			if err := <-wrote; err != nil {
				t.Error(err)
			}
		})
	})
}

// TestHalfClosed: an end that has closed its half still receives everything that the other end sends.
func TestHalfClosed(t *testing.T) {
	forFamilies(t, Options{}, time.Hour, func(t *testing.T, p *pairs) {
		data := noise(20 << 20)
		n := 0
		p.ends(t, func(t *testing.T, closer, other *net.TCPConn) {
			if err := closer.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if rest, err := io.ReadAll(other); err != nil || len(rest) > 0 {
				t.Fatalf("%q, %v", rest, err)
			}
			wrote := make(chan error, 1)
			go func() {
				_, err := other.Write(data)
				wrote <- errors.Join(err, other.Close())
			}()
			if came, err := io.ReadAll(closer); err != nil || !bytes.Equal(came, data) {
				t.Errorf("%d of %d octets came through: %v", len(came), len(data), err)
			}
			if err := errors.Join(<-wrote, closer.Close()); err != nil {
				t.Error(err)
			}
			n++
			p.gone(t, n)
		})
	})
}

// TestResets: an RST in the middle of a transfer reaches the other end, from client or server, from the reader or the writer.
func TestResets(t *testing.T) {
	forFamilies(t, Options{}, time.Hour, func(t *testing.T, p *pairs) {
		data := noise(20 << 20)
		n := 0
		reset := func(writes bool) func(t *testing.T, breaker, other *net.TCPConn) {
			return func(t *testing.T, breaker, other *net.TCPConn) {
				writer, reader := other, breaker
				if writes {
					writer, reader = breaker, other
				}
				wrote := make(chan error, 1)
				go func() {
					_, err := writer.Write(data)
					wrote <- err
				}()
				if _, err := io.CopyN(io.Discard, reader, 5<<20); err != nil {
					t.Fatal(err)
				}
				if err := errors.Join(breaker.SetLinger(0), breaker.Close()); err != nil {
					t.Fatal(err)
				}
				err := <-wrote
				if writes {
					_, err = io.Copy(io.Discard, other)
				}
				if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
					t.Errorf("the other end got %v", err)
				}
				n++
				p.gone(t, n)
			}
		}
		t.Run("writing", func(t *testing.T) { p.ends(t, reset(true)) })
		t.Run("reading", func(t *testing.T) { p.ends(t, reset(false)) })
	})
}

// TestKeepAlives: the other end answers keep-alive probes. They count as traffic: a probed connection outlives the idle timeout.
func TestKeepAlives(t *testing.T) {
	beside(t)
	eachFamily(t, func(t *testing.T, f family) {
		p := newPairs(t, f, Options{}, 2*time.Second)
		p.ends(t, func(t *testing.T, prober, other *net.TCPConn) {
			if err := prober.SetKeepAliveConfig(net.KeepAliveConfig{
				Enable: true, Idle: time.Second, Interval: time.Second, Count: 2,
			}); err != nil {
				t.Fatal(err)
			}
			before := info(t, prober).Segs_out
			waitFor(t, "five probes", func() bool { return info(t, prober).Segs_out >= before+5 })
			for _, c := range [2][2]*net.TCPConn{{prober, other}, {other, prober}} {
				if _, err := io.WriteString(c[0], "NOOP\r\n"); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(c[1], make([]byte, 6)); err != nil {
					t.Fatal(err)
				}
			}
		})
	})
}

// TestSmallMTUInside: the links inside have the smallest MTU that IPv6 allows. Transfers work without ICMP errors, because clients
// are promised the servers' MSS.
func TestSmallMTUInside(t *testing.T) {
	forFamilies(t, Options{InsideMTU: 1280}, time.Hour, func(t *testing.T, p *pairs) {
		data := noise(5 << 20)
		p.ends(t, func(t *testing.T, writer, reader *net.TCPConn) {
			go func() {
				_, _ = writer.Write(data)
				_ = writer.CloseWrite()
			}()
			if came, err := io.ReadAll(reader); err != nil || !bytes.Equal(came, data) {
				t.Errorf("%d of %d octets came through: %v", len(came), len(data), err)
			}
		})
	})
}

// TestNeighbours: neighbour entries that are flushed in the middle of a transfer do no harm. The kernel still answers ARP,
// neighbour solicitations and pings.
func TestNeighbours(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			p := newPairs(t, f, Options{}, time.Hour)
			data := noise(100 << 20)
			client, server := p.dial(t)
			var sent atomic.Int64
			go func() {
				for part := range slices.Chunk(data, 1<<16) {
					n, err := server.Write(part)
					sent.Add(int64(n))
					if err != nil {
						return
					}
				}
				_ = server.CloseWrite()
			}()
			came := make(chan error, 1)
			go func() {
				got, err := io.ReadAll(client)
				if !bytes.Equal(got, data) {
					err = fmt.Errorf("%d of %d octets came through: %w", len(got), len(data), err)
				}
				came <- err
			}()
			for i := 1; i <= 10; i++ {
				waitFor(t, "more of the transfer", func() bool { return sent.Load() >= int64(i*len(data)/12) })
				for _, h := range []*Host{p.lab.Client, p.lab.Gateway, p.lab.Servers[0]} {
					if _, err := h.Run(p.ctx, "ip", "neigh", "flush", "all"); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := <-came; err != nil {
				t.Error(err)
			}
			inside := Inside4
			if f.name == "ipv6" {
				inside = Inside6
			}
			for h, to := range map[*Host]string{p.lab.Client: f.vip, p.lab.Servers[0]: inside} {
				if err := ping(h, to); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// ping sends an echo request and waits for the reply.
func ping(h *Host, to string) error {
	return h.Do(func() error {
		family, proto, request, reply := unix.AF_INET, unix.IPPROTO_ICMP, byte(8), byte(0)
		ip := net.ParseIP(to)
		var sa unix.Sockaddr = &unix.SockaddrInet4{Addr: [4]byte(ip[12:])}
		if ip.To4() == nil {
			family, proto, request, reply = unix.AF_INET6, unix.IPPROTO_ICMPV6, 128, 129
			sa = &unix.SockaddrInet6{Addr: [16]byte(ip)}
		}
		if err := os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 0"), 0o644); err != nil {
			return err
		}
		fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, proto)
		if err != nil {
			return fmt.Errorf("ping %s: %w", to, err)
		}
		defer func() { _ = unix.Close(fd) }()
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}); err != nil {
			return err
		}
		if err := unix.Sendto(fd, []byte{request, 0, 0, 0, 0, 0, 0, 1, 'x'}, 0, sa); err != nil {
			return fmt.Errorf("ping %s: %w", to, err)
		}
		b := make([]byte, 100)
		if n, _, err := unix.Recvfrom(fd, b, 0); err != nil || n != 9 || b[0] != reply {
			return fmt.Errorf("ping %s: %x, %w", to, b[:max(n, 0)], err)
		}
		return nil
	})
}
