package lab

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hushgate/internal/replay"
)

// TestCapture: the packets of those who were rejected, and of nobody else, are in the file, up to the RST; replay reads it
// and comes to the same verdicts.
func TestCapture(t *testing.T) {
	for _, f := range families {
		for _, action := range []string{"reset", "reply", "observe"} {
			t.Run(f.name+"/"+action, func(t *testing.T) {
				ctx, l := site(t, Options{})
				got := make(chan Mail, 10)
				if _, err := NewMTA(l.Servers[0], net.JoinHostPort(f.a, "25"), got); err != nil {
					t.Fatal(err)
				}
				file := filepath.Join(t.TempDir(), "rejected.pcapng")
				g := gateway(ctx, t, l, fmt.Appendf(nil, `#yaml
capture: {file: %s}
frontends:
  - {name: ft, bind: "%s", inspect-delay: 500ms, on-early-talk: %s, default_backend: bk}
backends:
  - {name: bk, servers: [{name: smtp1, address: "%s"}]}
`, file, net.JoinHostPort(f.vip, "25"), action, net.JoinHostPort(f.a, "25")))
				vip := net.JoinHostPort(f.vip, "25")
				for i, wait := range []time.Duration{0, 100 * time.Millisecond, 200 * time.Millisecond} {
					if _, err := l.Bot(ctx, f.talker, vip, wait, fmt.Sprintf("EHLO bot%d\r\n", i), 100*time.Millisecond); err != nil {
						t.Fatal(err)
					}
				}
				if err := l.HangUp(ctx, f.talker, vip, 100*time.Millisecond, false); err != nil {
					t.Fatal(err)
				}
				if _, err := l.Deliver(ctx, f.client, vip, strings.NewReader("x\r\n")); err != nil {
					t.Fatal(err)
				}
				<-got
				if err := g.Stop(); err != nil {
					t.Fatal(err)
				}
				table := replayed(t, file)
				if !strings.Contains(table, "3 connections: 3 judged") || strings.Count(table, "  early-talker  ") != 3 || strings.Contains(table, f.client) {
					t.Errorf("replay says:\n%s", table)
				}
				b, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				for i := range 3 {
					if !bytes.Contains(b, fmt.Appendf(nil, `early-talker after 0.%d`, i)) || !bytes.Contains(b, fmt.Appendf(nil, "EHLO bot%d\r\n", i)) {
						t.Errorf("bot %d is not explained", i)
					}
				}
			})
		}
	}
}

// replayed is what `hushgate replay` says of a file.
func replayed(t *testing.T, file string) string {
	t.Helper()
	var out, notes bytes.Buffer
	err := replay.Run(context.Background(), replay.Request{
		Files: []string{file}, Format: replay.Table, Delays: []time.Duration{500 * time.Millisecond}, Options: replay.Options{Ports: []uint16{25}},
	}, &out, &notes)
	if err != nil {
		t.Fatalf("%v %s", err, notes.String())
	}
	return out.String()
}
