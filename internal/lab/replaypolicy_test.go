package lab

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"hushgate/internal/capture"
	"hushgate/internal/replay"
)

// TestPolicyReplayed: `hushgate replay --policy` gives the clients of a running gateway, captured on its outside, the verdicts,
// rules and passes that are in its log.
func TestPolicyReplayed(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		ctx, l := site(t, Options{})
		_, err := NewMTA(l.Servers[0], net.JoinHostPort(f.a, "25"), nil)
		must(t, err)
		file := filepath.Join(t.TempDir(), "outside.pcapng")
		stop := recorded(t, l.Gateway, "outside", file)
		vip := net.JoinHostPort(f.vip, "25")
		good, bad, dropped, slow, many, leaves := f.clientAddr(2), f.clientAddr(3), f.clientAddr(4), f.clientAddr(5), f.clientAddr(6), f.clientAddr(7)
		g := gateway(ctx, t, l, fmt.Appendf(nil, `#yaml
prefix-length: {ipv6: 128}
frontends:
  - name: ft
    bind: %q
    inspect-delay: 2s
    on-early-talk: tarpit
    log-format: json
    limits: {connections: 2}
    access:
      - accept: [%q]
      - {reject: %q, text: "554 5.7.1 no"}
      - silent-drop: %q
      - {delay: %q, for: 3s}
    default_backend: bk
backends:
  - {name: bk, servers: [{name: smtp1, address: %q}]}
`, vip, good, bad, dropped, slow, net.JoinHostPort(f.a, "25")))

		for _, n := range []string{f.talker, bad, dropped} {
			_, err := l.Bot(ctx, n, vip, 0, "EHLO bot\r\n", 100*time.Millisecond)
			if err != nil && !errors.Is(err, unix.ECONNRESET) {
				t.Error(err)
			}
		}
		for _, from := range []string{f.client, f.client, good, slow} {
			_, err := l.Deliver(ctx, from, vip, strings.NewReader("Subject: x\r\n\r\nx\r\n"))
			must(t, err)
		}
		must(t, l.HangUp(ctx, leaves, vip, 100*time.Millisecond, false))
		must(t, l.HangUp(ctx, leaves, vip, 100*time.Millisecond, true))
		var held []*net.TCPConn
		for i := range 3 {
			c, err := l.Client.Dial(ctx, many, vip)
			if i == 2 && errors.Is(err, unix.ECONNRESET) { // the RST may come before the client's connect returns
				break
			}
			must(t, err)
			held = append(held, c)
			waitFor(t, "a connection over the limit", func() bool { return i < 2 || g.Count(`"too many connections"`) == 1 })
		}
		for _, c := range held {
			_ = c.Close()
		}
		verdicts := map[string]int{"early-talker": 1, "refused": 3, "quiet": 4, "hang-up": 4}
		waitFor(t, "all lines", func() bool { return g.Count(`"verdict":`) == 12 })
		must(t, g.Stop())
		stop()

		want, got := map[string]lineOf{}, map[string]lineOf{}
		for _, line := range g.Lines() {
			if at := strings.Index(line, `{"time"`); at >= 0 && strings.Contains(line, `"verdict"`) {
				collect(t, want, line[at:])
			}
		}
		var out, notes bytes.Buffer
		must(t, replay.Run(context.Background(), replay.Request{
			Files: []string{file}, Format: replay.JSON, Policy: g.File, Delays: []time.Duration{0},
		}, &out, &notes))
		for s := bufio.NewScanner(&out); s.Scan(); {
			if !strings.HasPrefix(s.Text(), `{"summary"`) {
				collect(t, got, s.Text())
			}
		}
		logged := map[string]int{}
		for _, one := range want {
			logged[one.Verdict]++
		}
		if d := cmp.Diff(verdicts, logged); d != "" {
			t.Errorf("the log has other verdicts:\n%s\n%s", d, strings.Join(g.Lines(), "\n"))
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("the replay differs from the log:\n%s\n%s", d, notes.String())
		}
	})
}

// lineOf is what a line of JSON says of a connection.
type lineOf struct {
	Client     string
	ClientPort int `json:"client_port"`
	Service    string
	Frontend   string
	Verdict    string
	Cause      string
	Rule       string
	Pass       string
	Signature  string
	TalkBytes  int `json:"talk_bytes"`
	Talk       string
}

func collect(t *testing.T, into map[string]lineOf, line string) {
	t.Helper()
	var one lineOf
	must(t, json.Unmarshal([]byte(line), &one))
	into[net.JoinHostPort(one.Client, fmt.Sprint(one.ClientPort))] = one
}

// recorded writes the frames of an interface to a capture, until the returned function is called.
func recorded(t *testing.T, h *Host, ifname, file string) (stop func()) {
	t.Helper()
	var conn *packet.Conn
	must(t, h.Do(func() error {
		ifi, err := net.InterfaceByName(ifname)
		if err == nil {
			conn, err = packet.Listen(ifi, packet.Raw, unix.ETH_P_ALL, nil)
		}
		return err
	}))
	var b bytes.Buffer
	w, err := capture.NewWriter(&b, "test")
	must(t, err)
	_, err = w.Interface(ifname, capture.LinkEthernet)
	must(t, err)
	done := make(chan error, 1)
	go func() {
		frame := make([]byte, 1<<16)
		for {
			n, _, err := conn.ReadFrom(frame)
			switch {
			case errors.Is(err, os.ErrDeadlineExceeded):
				done <- nil
				return
			case err == nil:
				err = w.Packet(0, time.Now(), frame[:n], n, "")
			}
			if err != nil {
				done <- err
				return
			}
		}
	}()
	return func() {
		must(t, conn.SetReadDeadline(time.Now().Add(500*time.Millisecond))) // what is queued is read before
		must(t, <-done)
		must(t, conn.Close())
		must(t, os.WriteFile(file, b.Bytes(), 0o600))
	}
}
