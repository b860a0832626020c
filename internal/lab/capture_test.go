package lab

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"hushgate/internal/replay"
)

// TestCapture: the capture file has the packets of rejected clients up to the RST, and no other packets. hushgate replay reads
// the file and reaches the same verdicts.
func TestCapture(t *testing.T) {
	beside(t)
	for _, f := range families {
		for _, action := range []string{"reset", "reply", "observe"} {
			t.Run(f.name+"/"+action, func(t *testing.T) {
				beside(t)
				ctx, l := site(t, Options{})
				got := make(chan Mail, 10)
				if _, err := NewMTA(l.Servers[0], net.JoinHostPort(f.a, "25"), got); err != nil {
					t.Fatal(err)
				}
				file := filepath.Join(t.TempDir(), "rejected.pcapng")
				g := gateway(ctx, t, l, fmt.Appendf(nil, `#yaml
capture: {file: %s}
frontends:
  - {name: ft, bind: "%s", inspect-delay: 4s, on-early-talk: %s, default_backend: bk}
backends:
  - {name: bk, servers: [{name: smtp1, address: "%s"}]}
`, file, net.JoinHostPort(f.vip, "25"), action, net.JoinHostPort(f.a, "25")))
				vip := net.JoinHostPort(f.vip, "25")
				waits := []time.Duration{0, 100 * time.Millisecond, 200 * time.Millisecond}
				var most []time.Duration
				for i, wait := range waits {
					began := time.Now()
					if _, err := l.Bot(ctx, f.talker, vip, wait, fmt.Sprintf("EHLO bot%d\r\n", i), 100*time.Millisecond); err != nil {
						t.Fatal(err)
					}
					most = append(most, time.Since(began))
				}
				if err := l.HangUp(ctx, f.talker, vip, 100*time.Millisecond, false); err != nil {
					t.Fatal(err)
				}
				if _, err := l.Deliver(ctx, f.client, vip, strings.NewReader("x\r\n")); err != nil {
					t.Fatal(err)
				}
				<-got
				explained(ctx, t, l, f, file, len(waits), action == "observe")
				if err := g.Stop(); err != nil {
					t.Fatal(err)
				}
				out, err := l.hushgate(ctx, "explain", "--capture", file, f.talker)
				if err != nil || !strings.Contains(out, "3 connections in the captures since ") || strings.Count(out, " 0.") < 3 || !strings.Contains(out, ": EHLO bot1\n") ||
					!strings.Contains(out, "    packets    tcpdump -nvr '"+file+"' host "+f.talker+" and port ") {
					t.Errorf("from the captures: %v\n%s", err, out)
				}
				table := replayed(t, file)
				if !strings.Contains(table, "3 connections: 3 judged") || strings.Count(table, "  early-talker  ") != 3 || strings.Contains(table, f.client) {
					t.Errorf("replay says:\n%s", table)
				}
				b, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				reasons := regexp.MustCompile(`early-talker after (\d+\.\d+)`).FindAllSubmatch(b, -1)
				if len(reasons) != len(waits) {
					t.Fatalf("%d bots are explained", len(reasons))
				}
				for i, m := range reasons {
					after, err := time.ParseDuration(string(m[1]) + "s")
					must(t, err)
					const rounding = 50 * time.Millisecond
					if after < waits[i]-rounding || after > most[i]+rounding || !bytes.Contains(b, fmt.Appendf(nil, "EHLO bot%d\r\n", i)) {
						t.Errorf("bot %d talked after %v to %v, and is said to have talked after %v", i, waits[i], most[i], after)
					}
				}
			})
		}
	}
}

// replayed is what `hushgate replay` prints for a file.
func replayed(t *testing.T, file string) string {
	t.Helper()
	var out, notes bytes.Buffer
	err := replay.Run(context.Background(), replay.Request{
		Files: []string{file}, Format: replay.Table, Delays: []time.Duration{4 * time.Second}, Options: replay.Options{Ports: []uint16{25}},
	}, &out, &notes)
	if err != nil {
		t.Fatalf("%v %s", err, notes.String())
	}
	return out.String()
}
