package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestObserve: with `on-early-talk: observe` nobody is rejected. 100 kB of early talk arrive octet by octet, over good links and
// bad ones, and the log says that the client would have been rejected.
func TestObserve(t *testing.T) {
	beside(t)
	burst := noise(100 << 10)
	for _, f := range families {
		for _, bad := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/bad links=%v", f.name, bad), func(t *testing.T) {
				beside(t)
				o := Options{}
				if bad {
					o = Options{
						NoOffloads: true, Outside: impairment{0.01, 0.02, 0.02, 3}.join(t, "the link outside"),
						Inside: impairment{0.01, 0.02, 0.02, 4}.join(t, "the link inside"),
					}
				}
				ctx, l := site(t, o)
				got := make(chan []byte, 1)
				serve(t, l.Servers[0], net.JoinHostPort(f.a, "25"), func(c *net.TCPConn) {
					_, _ = io.WriteString(c, "220 x\r\n")
					b, _ := io.ReadAll(c)
					_, _ = fmt.Fprintf(c, "250 %d\r\n", len(b))
					got <- b
				})
				g := gateway(ctx, t, l, fmt.Appendf(nil, `#yaml
frontends:
  - {name: ft, bind: "%s", inspect-delay: 2s, on-early-talk: observe, log-format: json, default_backend: bk}
backends:
  - {name: bk, servers: [{name: smtp1, address: "%s"}]}
`, net.JoinHostPort(f.vip, "25"), net.JoinHostPort(f.a, "25")))
				for _, wait := range []time.Duration{0, 300 * time.Millisecond} {
					said := burstAfter(ctx, t, l, f, wait, burst)
					if want := fmt.Sprintf("220 x\r\n250 %d\r\n", len(burst)); said != want {
						t.Errorf("the client heard %q, want %q", said, want)
					}
					if b := <-got; !bytes.Equal(b, burst) {
						t.Errorf("%d octets of %d arrived, or others", len(b), len(burst))
					}
				}
				waitFor(t, "what would have been", func() bool {
					return g.Count("early talk observed", "client="+f.client) == 2 && g.Count(`"verdict":"early-talker","observed":true`) == 2
				})
				if told, ended := talks(t, g.Lines()); len(told) != 2 || !slices.Equal(told, ended) {
					t.Errorf("observed %v, and at the end %v", told, ended)
				}
			})
		}
	}
}

// observation is what a log line says about early talk.
type observation struct {
	after  int64 // ms
	octets int
}

// talks returns the observations in the lines logged at the early talk, and in the lines of the connections when they ended.
func talks(t *testing.T, lines []string) (told, ended []observation) {
	t.Helper()
	words := regexp.MustCompile(`early talk observed.* after=(\S+) octets=(\d+) `)
	for _, line := range lines {
		if m := words.FindStringSubmatch(line); m != nil {
			after, err := time.ParseDuration(m[1])
			octets, err2 := strconv.Atoi(m[2])
			must(t, errors.Join(err, err2))
			told = append(told, observation{after.Milliseconds(), octets})
		}
		if !strings.HasPrefix(line, "{") {
			continue
		}
		var o struct {
			FirstByte int64  `json:"first_byte_ms"`
			Octets    int    `json:"talk_bytes"`
			Talk      string `json:"talk"`
		}
		must(t, json.Unmarshal([]byte(line), &o))
		if o.Talk != "" {
			ended = append(ended, observation{o.FirstByte, o.Octets})
		}
	}
	return told, ended
}

// burstAfter connects, waits, sends a text, closes its half and returns everything that it received.
func burstAfter(ctx context.Context, t *testing.T, l *Lab, f family, wait time.Duration, text []byte) string {
	t.Helper()
	c, err := l.Client.Dial(ctx, f.client, net.JoinHostPort(f.vip, "25"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	var said []byte
	if end, some := listen(c, wait, &said); end != EndSilence || some {
		t.Fatalf("%v, %q in the hold", end, said)
	}
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := c.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err != nil {
		t.Error(err)
	}
	return string(b)
}
