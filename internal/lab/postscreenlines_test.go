package lab

import (
	"bufio"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestPostscreenLines: with log-format postscreen, real clients cause the lines that postscreen would write, in its order and at
// the time of the event. Each line is a message of its own.
func TestPostscreenLines(t *testing.T) {
	beside(t)
	ctx, l := site(t, Options{})
	path := filepath.Join(t.TempDir(), "log")
	log, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	must(t, err)
	defer func() { _ = log.Close() }()
	var frontends, backends strings.Builder
	for _, f := range families {
		mtas(t, l, f)
		fmt.Fprintf(&frontends, "  - {name: ft_%s, bind: \"%s\", inspect-delay: 2s, log-format: postscreen, default_backend: bk_%s, "+
			"access: [accept: \"%s\"]}\n", f.name, net.JoinHostPort(f.vip, "25"), f.name, accepted(f))
		fmt.Fprintf(&frontends, "  - {name: veto_%s, bind: \"%s\", inspect-delay: 1s, log-format: postscreen, default_backend: bk_%s, veto: true}\n",
			f.name, net.JoinHostPort(f.vip, "2525"), f.name)
		fmt.Fprintf(&backends, "  - {name: bk_%s, servers: [{name: smtp1, address: \"%s\"}]}\n", f.name, net.JoinHostPort(f.a, "25"))
	}
	gateway(ctx, t, l, fmt.Appendf(nil, "#yaml\nlog: [{to: %q, format: raw, facility: mail}]\nfrontends:\n%sbackends:\n%s",
		path, &frontends, &backends))
	next := func() string {
		t.Helper()
		b := make([]byte, 4096)
		_ = log.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, err := log.Read(b)
		must(t, err)
		return string(b[:n])
	}
	for _, f := range families {
		vip := net.JoinHostPort(f.vip, "25")
		expect := func(from string, lines ...string) {
			t.Helper()
			who := regexp.QuoteMeta("["+from+"]") + `:\d+`
			for _, want := range lines {
				want = strings.ReplaceAll(want, "WHO", who)
				if strings.HasPrefix(want, "DISCONNECT") {
					if got := next(); !regexp.MustCompile(`^SIGNATURE \d+_2-4-8-1-3_\d+_\d+ for ` + who + "$").MatchString(got) {
						t.Errorf("%s: %q, want the signature", f.name, got)
					}
				}
				if got := next(); !regexp.MustCompile("^" + want + "$").MatchString(got) {
					t.Errorf("%s: %q, want %q", f.name, got, want)
				}
			}
		}
		connect := "CONNECT from WHO to " + regexp.QuoteMeta("["+f.vip+"]:25")

		_, err := l.Bot(ctx, f.talker, vip, 0, "EHLO x\r\n", 5*time.Second)
		must(t, err)
		expect(f.talker, connect, `PREGREET 8 after \d(\.\d\d?)? from WHO: EHLO x\\r\\n`, "DISCONNECT WHO")

		must(t, l.HangUp(ctx, f.talker, vip, 50*time.Millisecond, true))
		expect(f.talker, connect, `HANGUP after \d(\.\d\d?)? from WHO in tests before SMTP handshake`, "DISCONNECT WHO")

		// What an accepted client says before the banner reaches the server.
		c, err := l.Client.Dial(ctx, accepted(f), vip)
		must(t, err)
		_, err = c.Write([]byte("EHLO monitor\r\n"))
		must(t, err)
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		replies := bufio.NewScanner(c)
		for _, want := range []string{"220", "250"} {
			if !replies.Scan() || !strings.HasPrefix(replies.Text(), want) {
				t.Errorf("%s: %q, %v, want %s", f.name, replies.Text(), replies.Err(), want)
			}
		}
		_ = c.Close()
		expect(accepted(f), connect, "ALLOWLISTED WHO", "DISCONNECT WHO")

		for range 2 { // waiting at the backup gives no pass
			greeted(ctx, t, l, f.talker, net.JoinHostPort(f.vip, "2525"))
			expect(f.talker, connect+"25", "ALLOWLIST VETO WHO", "DISCONNECT WHO")
		}

		slow := beginMail(ctx, t, l, f.client, vip)
		expect(f.client, connect, "PASS NEW WHO") // while the mail goes on
		slow.end()
		expect(f.client, "DISCONNECT WHO")
	}
}

// accepted is the client that an access rule accepts.
func accepted(f family) string {
	if f.vip == VIP6 {
		return ClientAddr6(5)
	}
	return ClientAddr4(5)
}
