package explain

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"hushgate/internal/admin"
)

// offenderLog has every form of an offender's line, out of order, of an IPv4 address that became one twice, of an IPv6 network, and of
// others. The first two lines say the same, one in the log of connections and one in that of the process.
const offenderLog = `{"time":"2026-11-27T10:00:00.201Z","event":"offender","client":"198.18.0.7","client_port":4000,"frontend":"ft","offender":"198.18.0.7/32","for_ms":3600000}
2026-11-27T10:00:00Z gate hushgate[1]: level=INFO msg=offender client=198.18.0.7/32 frontend=ft for=1h0m0s
2026-11-27T12:00:00Z gate hushgate[1]: level=INFO msg=offender client=198.18.0.7 frontend=gt for=24h0m0s
2026-11-27T12:00:00Z gate hushgate[1]: level=INFO msg=offender client=198.18.0.8 frontend=ft for=24h0m0s
{"time":"2026-11-27T11:00:00Z","event":"offender","client":"2001:db8::7","client_port":4000,"frontend":"ft","offender":"2001:db8::/64","for_ms":60000}
{"time":"2026-11-27T11:00:00Z","event":"offender","client":"2001:db8:0:1::7","client_port":4000,"frontend":"ft","offender":"2001:db8:0:1::/64","for_ms":60000}
{"time":"2026-11-27T11:00:00Z","client":"198.18.0.7","client_port":1,"verdict":"refused","rule":"offender"}
`

// TestOffenders: what a log says of when a client became an offender, and until when, is shown, the latest first, once for the two lines
// about it; an address has the offender that is its network, and a network those in it.
func TestOffenders(t *testing.T) {
	local := time.Local
	time.Local = time.UTC
	defer func() { time.Local = local }()
	log := write(t, "mail.log", offenderLog)
	const (
		first  = "  early talk: 198.18.0.7/32 became an offender 2026-11-27 10:00:00.201, until 2026-11-27 11:00:00.201, frontend ft\n"
		second = "  early talk: 198.18.0.7/32 became an offender 2026-11-27 12:00:00.000, until 2026-11-28 12:00:00.000, frontend gt\n"
		other  = "  early talk: 198.18.0.8/32 became an offender 2026-11-27 12:00:00.000, until 2026-11-28 12:00:00.000, frontend ft\n"
		six    = "  early talk: 2001:db8::/64 became an offender 2026-11-27 11:00:00.000, until 2026-11-27 11:01:00.000, frontend ft\n"
		more   = "  and earlier: --last shows more\n"
	)
	for _, c := range []struct {
		who  string
		most int
		want string
	}{
		{"198.18.0.7", 20, second + first},
		{"198.18.0.7", 2, second + first},
		{"198.18.0.7", 1, second + more},
		{"198.18.0.9", 20, ""},
		{"198.18.0.0/24", 20, other + second + first},
		{"2001:db8::7", 20, six},
		{"2001:db8::/64", 1, six},
	} {
		v, err := Logs([]string{log}, prefix(c.who), c.most, now)
		if err != nil {
			t.Fatal(err)
		}
		if got := offenderPart(t, &v); got != c.want {
			t.Errorf("%s, %d:\n%s\nwant\n%s", c.who, c.most, got, c.want)
		}
		for i, b := range v.BecameOffender {
			if both := b.ForMs == time.Hour.Milliseconds(); len(b.Lines) != map[bool]int{true: 2, false: 1}[both] {
				t.Errorf("%s: entry %d has the lines %q", c.who, i, b.Lines)
			}
		}
	}
}

// offenderPart returns the lines of the page about offenders.
func offenderPart(t *testing.T, v *admin.Explanation) (part string) {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, v, FromLogs); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		if strings.Contains(line, " became an offender ") || strings.Contains(line, "and earlier") {
			part += line
		}
	}
	return part
}

// TestManyOffenderLines: however many lines a log has, and in whatever order, the latest are kept, no more than wanted.
func TestManyOffenderLines(t *testing.T) {
	const n = 100
	at := time.Date(2026, 11, 27, 0, 0, 0, 0, time.UTC)
	var timed, timeless, same strings.Builder
	for i := range n {
		hour := i * 37 % n // each once, in no order
		fmt.Fprintf(&timed, "%s gate hushgate[1]: level=INFO msg=offender client=198.18.0.7 frontend=ft for=1m0s\n", at.Add(time.Duration(hour)*time.Minute).Format(time.RFC3339))
		fmt.Fprintf(&timeless, "level=INFO msg=offender client=198.18.0.7 frontend=ft for=%ds\n", 1+i)
		fmt.Fprintf(&same, "%s gate hushgate[1]: level=INFO msg=offender client=198.18.0.7 frontend=ft for=1m0s\n", at.Format(time.RFC3339))
	}
	v, err := Logs([]string{write(t, "mail.log", timed.String())}, prefix("198.18.0.7"), 7, now)
	if err != nil || len(v.BecameOffender) != 7 || !v.Partial {
		t.Fatalf("%+v, %v", v, err)
	}
	for i, b := range v.BecameOffender {
		if !b.Time.Equal(at.Add(time.Duration(n-1-i) * time.Minute)) {
			t.Errorf("entry %d is of %v", i, b.Time)
		}
	}
	v, err = Logs([]string{write(t, "mail.log", timeless.String())}, prefix("198.18.0.7"), 7, now)
	if err != nil || len(v.BecameOffender) != 7 || v.BecameOffender[0].ForMs != n*1000 || !strings.Contains(offenderPart(t, &v), "at an unknown time, for 1m40s, frontend ft\n") {
		t.Errorf("%+v, %v", v, err)
	}
	v, err = Logs([]string{write(t, "mail.log", same.String())}, prefix("198.18.0.7"), 7, now)
	if err != nil || len(v.BecameOffender) != 1 || len(v.BecameOffender[0].Lines) > 2 || v.Partial {
		t.Errorf("%+v, %v", v, err)
	}
}
