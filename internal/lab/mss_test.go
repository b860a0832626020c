package lab

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// TestSmallerMSS: while a client is in the delay, its server lowers its MSS below what the client was promised. The client's
// kernel is told and sends segments that fit; super-frames are cut into smaller segments. The mail arrives.
func TestSmallerMSS(t *testing.T) {
	beside(t)
	for i, f := range families {
		for _, offloads := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/offloads=%v", f.name, offloads), func(t *testing.T) {
				beside(t)
				ctx, l := site(t, Options{NoOffloads: !offloads})
				got := make(chan Mail, 1)
				if _, err := NewMTA(l.Servers[0], net.JoinHostPort(f.a, "25"), got); err != nil {
					t.Fatal(err)
				}
				g := gateway(ctx, t, l, life(f, "", "3s", f.a))
				body := plainMail(200 << 10)
				sent := make(chan error, 1)
				go func() {
					_, err := l.Deliver(ctx, f.client, net.JoinHostPort(f.vip, "25"), bytes.NewReader(body))
					sent <- err
				}()
				g.counters(t, "the client to be in the delay", "flows.held", func(sum int) bool { return sum == 1 })
				family := []string{"-4", "-6"}[i]
				sh(ctx, t, l.Servers[0], fmt.Sprintf("ip %s route change $(ip %s route show default) advmss 1300", family, family))
				select {
				case err := <-sent:
					must(t, err)
				case <-time.After(time.Minute):
					t.Fatal("the mail is not sent")
				}
				sum := sha256.Sum256(body)
				if m := <-got; m.SHA256 != hex.EncodeToString(sum[:]) {
					t.Errorf("arrived as %+v", m)
				}
				if offloads {
					g.counters(t, "super-frames that were cut smaller", "cut_smaller", func(sum int) bool { return sum > 0 })
					return
				}
				g.counters(t, "no segment that goes on although it is too big", "oversize", func(sum int) bool { return sum == 0 })
				if g.Count("msg=counters", "dropped.too-big=") == 0 {
					t.Error("no segment was too big")
				}
				mtu := fmt.Sprintf("mtu %d", 1300+[]int{40, 60}[i])
				if out, err := l.Client.Run(ctx, "ip", family, "route", "get", f.vip); err != nil || !strings.Contains(out, mtu) {
					t.Errorf("the client's path to the service: %q, %v, want %s", out, err, mtu)
				}
			})
		}
	}
}

// TestGrantsFromTheWire: a server with a tiny window offers the MSS of its link, and clients are promised this MSS, although
// our kernel would send the server segments of half the window. So it is with checks of its port, with checks of another port,
// and without checks.
func TestGrantsFromTheWire(t *testing.T) {
	beside(t)
	for i, f := range families {
		t.Run(f.name, func(t *testing.T) {
			beside(t)
			ctx, l := site(t, Options{})
			inside := []string{Inside4, "[" + Inside6 + "]"}
			must(t, l.Servers[0].Sysctl("net/ipv4/tcp_rmem", "4096 2304 2304"))
			for _, port := range []string{"25", "26"} {
				if _, err := NewMTA(l.Servers[0], net.JoinHostPort(f.a, port), nil); err != nil {
					t.Fatal(err)
				}
			}
			for _, check := range []string{"check", "check port 26", "", "source " + inside[i] + " check"} {
				t.Run(check, func(t *testing.T) {
					g := gateway(ctx, t, l, fmt.Appendf(nil, `
global
    nbthread 2
frontend ft_smtp
    bind %s
    tcp-request inspect-delay 100ms
    tcp-request content reject if { req.len gt 0 }
    default_backend bk_smtp
backend bk_smtp
    server smtp1 %s:25 %s
`, net.JoinHostPort(f.vip, "25"), f.a, check))
					mss := []int{1460, 1440}[i]
					line, err := g.WaitLine(ctx, "TCP options learnt", "bk_smtp/smtp1", fmt.Sprintf("MSS:%d ", mss), "Timestamps:true")
					must(t, err)
					t.Log(line)
					waitFor(t, "clients to be told of it", func() bool {
						c, err := l.Client.Dial(ctx, f.client, net.JoinHostPort(f.vip, "25"))
						must(t, err)
						defer func() { _ = c.Close() }()
						info := info(t, c)
						const timestamps = 1
						return info.Options&timestamps != 0 && int(info.Snd_mss) == mss-12
					})
					must(t, g.Stop())
				})
			}
		})
	}
}

// TestTimestampsLost: a client was promised timestamps, and all servers stop granting them while it is in the delay. It gets
// 421, and the log says why. When it comes again it is not promised timestamps, and its mail arrives.
func TestTimestampsLost(t *testing.T) {
	beside(t)
	eachFamily(t, func(t *testing.T, f family) {
		ctx, l := site(t, Options{})
		mtas(t, l, f)
		g := gateway(ctx, t, l, life(f, "", "3s", f.a, f.b))
		for _, s := range []string{"bk_smtp/smtp1", "bk_smtp/smtp2"} {
			if _, err := g.WaitLine(ctx, "TCP options learnt", s, "Timestamps:true"); err != nil {
				t.Fatal(err)
			}
		}
		vip := net.JoinHostPort(f.vip, "25")
		var c *net.TCPConn
		const timestamps = 1
		waitFor(t, "a client to be promised timestamps", func() bool {
			var err error
			c, err = l.Client.Dial(ctx, f.client, vip)
			must(t, err)
			if info(t, c).Options&timestamps != 0 {
				return true
			}
			_ = c.Close()
			return false
		})
		defer func() { _ = c.Close() }()
		for _, s := range l.Servers {
			must(t, s.Sysctl("net/ipv4/tcp_timestamps", "0"))
		}
		_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
		if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.HasPrefix(line, "421 ") {
			t.Errorf("the client in the delay hears %q, %v", line, err)
		}
		line, err := g.WaitLine(ctx, "clients are told 421", "backend=bk_smtp", `servers="[bk_smtp/smtp1 bk_smtp/smtp2]"`, f.client)
		if err != nil {
			t.Error(err)
		}
		t.Log(line)
		if _, err := l.Deliver(ctx, f.client, vip, strings.NewReader("Subject: again\r\n\r\nx\r\n")); err != nil {
			t.Errorf("when it comes again: %v", err)
		}
	})
}
