package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"hushgate/internal/admin"
)

// explains waits until `hushgate explain` says of a client, or of a network, all that is wanted: patterns that each match in a line.
func explains(ctx context.Context, t *testing.T, l *Lab, client string, want ...string) (page string) {
	t.Helper()
	missing := ""
	defer func() {
		if t.Failed() || testing.Verbose() {
			t.Logf("hushgate explain %s: waiting for %q\n%s", client, missing, page)
		}
	}()
	waitFor(t, "the explanation of "+client, func() bool { // a client may see its end before the gateway does
		var err error
		if page, err = l.hushgate(ctx, "explain", client, "--last", "9"); err != nil {
			t.Fatal(err, page)
		}
		missing = ""
		for _, w := range want {
			if !regexp.MustCompile("(?m)" + w).MatchString(page) {
				missing = w
				return false
			}
		}
		return true
	})
	return page
}

// explained checks what `hushgate explain` says of a client that has talked early some times, has said what bots say, and has then hung
// up; and of one that has delivered.
func explained(ctx context.Context, t *testing.T, l *Lab, f family, file string, talks int, observed bool) {
	t.Helper()
	var v admin.Explanation
	waitFor(t, "the end of every connection", func() bool { // a client may see its end before the gateway does
		out, err := l.hushgate(ctx, "explain", f.talker, "--json")
		if err != nil {
			t.Fatal(err, out)
		}
		v = admin.Explanation{}
		must(t, json.Unmarshal([]byte(out), &v))
		return len(v.Connections) == talks+1
	})
	shared := f.name == "ipv6" // the pass of the client that delivers is its /64's
	if v.Verdicts["early-talker"] != uint64(talks) || v.Verdicts["hang-up"] != 1 || len(v.Next) != 1 || v.Next[0].Refusal != "none" ||
		(v.Next[0].DelayMs == 0) != shared || (v.Next[0].Pass == "old") != shared || (len(v.Passes) == 1) != shared {
		t.Errorf("the talker: %+v", v)
	}
	if p := v.Connections[0]; p.Connection.Verdict != "hang-up" || p.Capture != "" {
		t.Errorf("the latest connection of the talker: %+v", p)
	}
	for i := range talks {
		p := v.Connections[talks-i] // the latest is the first
		c := p.Connection
		if c.Client != f.talker || c.Talk != fmt.Sprintf(`EHLO bot%d\r\n`, i) || c.FirstByteMs == nil || c.Observed != observed || p.Capture != file ||
			len(p.Lines) != 1 || !strings.HasPrefix(p.Lines[0], fmt.Sprintf("%s:%d [", f.talker, c.ClientPort)) {
			t.Errorf("talk %d: %+v", i, p)
		}
	}
	page := explains(ctx, t, l, f.talker, fmt.Sprintf(`: %d early-talker, 1 hang-up$`, talks), `^  rejected connections of before are in the captures: hushgate explain --capture '`+file+`' `, ` hang-up from `+f.talker+` port \d+ to .*, frontend ft$`,
		`^    cause      client-(closed|reset)$`, `^    waited     [01]\.\d+ s$`, `^    spoke      after \d\.\d+ s, 11 octets: EHLO bot2\\r\\n`,
		`^    treatment  a delay of 4s, early talk gets (reset|reply|observe)$`, `^    packets    tcpdump -nvr '`+file+`' host `+f.talker+` and port \d+$`)
	_, command, _ := strings.Cut(page, "packets    ")
	command, _, _ = strings.Cut(command, "\n")
	if out, err := l.Gateway.Run(ctx, "sh", "-c", command+" 2>/dev/null"); err != nil || !strings.Contains(out, "Flags [S]") || strings.Contains(out, f.client+".") {
		t.Errorf("%s: %v\n%s", command, err, out)
	}
	out, err := l.hushgate(ctx, "explain", f.client)
	if err != nil || !strings.Contains(out, "1 quiet") || !strings.Contains(out, "server smtp1") || strings.Contains(out, "pass: none") || !strings.Contains(out, "good for another 2") || strings.Contains(out, "early-talker") {
		t.Errorf("the client that has delivered: %v\n%s", err, out)
	}
	if testing.Verbose() {
		both, _ := l.hushgate(ctx, "explain", f.talker, "--last", "2")
		t.Logf("%s\n%s", both, out)
	}
}
