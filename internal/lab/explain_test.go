package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"hushgate/internal/admin"
)

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
	out, err := l.hushgate(ctx, "explain", f.client)
	if err != nil || !strings.Contains(out, "1 quiet") || !strings.Contains(out, "server smtp1") || strings.Contains(out, "pass: none") || !strings.Contains(out, "good for another 2") || strings.Contains(out, "early-talker") {
		t.Errorf("the client that has delivered: %v\n%s", err, out)
	}
	if testing.Verbose() {
		both, _ := l.hushgate(ctx, "explain", f.talker, "--last", "2")
		t.Logf("%s\n%s", both, out)
	}
}
