package report

import (
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"

	"hushgate/internal/logread"
)

// hostileLog has what no client can put into a log of hushgate, but others can: markup, escape sequences of terminals, line ends and
// signs that turn the text around, in each name that the report shows.
const hostileLog = `{"time":"2026-11-27T10:00:00Z","client":"198.18.0.7","client_port":1,"verdict":"refused","rule":"<script>alert(1)</script>\u001b]0;x\u0007","signature":"\"><img src=x onerror=alert(1)>\u202e","dnsbl_rank":3,"dnsbl":["</td><svg onload=alert(1)>\r\nBcc: x@example.net"]}
2026-11-27T10:00:00Z Server <b>bk</b>/` + "\x1b[31m\xff\u2028" + `</title><script>x</script> is DOWN, reason: x
2026-11-27T10:00:00Z backend <i>` + "\x1b[2J" + ` has no server available!
2026-11-27T10:00:00Z level=WARN msg="DNS list not counted" list=<u>` + "\x1b" + `c cause="<script>\\x1b[0m"
`

// TestHostile: no line of a log puts markup into the page, control characters on a terminal, or a header into a mail.
func TestHostile(t *testing.T) {
	r := New(from, to)
	in := logread.Reader{Now: to, Zone: time.UTC}
	if err := in.Read(strings.NewReader(hostileLog), r.Add); err != nil || in.Unknown != 0 {
		t.Fatalf("%d lines unknown, %v", in.Unknown, err)
	}
	if len(r.rules)*len(r.signatures)*len(r.lists)*len(r.servers)*len(r.backends)*len(r.failures) != 1 {
		t.Fatalf("not all lines were counted: %+v", r)
	}
	var text, page, message bytes.Buffer
	if err := r.Text(&text, 10); err != nil {
		t.Fatal(err)
	}
	if err := r.HTML(&page, 10); err != nil {
		t.Fatal(err)
	}
	if err := r.Mail(&message, 10, "gate@example.net", "postmaster@example.net, Ops <ops@example.net>", "gate\nBcc: x@example.net"); err != nil {
		t.Fatal(err)
	}
	for what, b := range map[string]*bytes.Buffer{"text": &text, "page": &page} {
		for _, c := range b.String() {
			if c != '\n' && (!unicode.IsPrint(c) || c == unicode.ReplacementChar) {
				t.Errorf("the %s has %q", what, c)
			}
		}
	}
	if m := regexp.MustCompile(`<(?:script|img|b>|i>|u>|svg o)|</title><s`).FindString(page.String()); m != "" {
		t.Errorf("%s in the page:\n%s", m, &page)
	}
	if !strings.Contains(text.String(), "<script>alert(1)</script>?]0;x?") {
		t.Errorf("the name is not shown:\n%s", &text)
	}
	readMail(t, &message, text.String(), page.String())
}

// readMail takes a message apart as a mail program does.
func readMail(t *testing.T, message io.Reader, text, page string) {
	t.Helper()
	m, err := mail.ReadMessage(message)
	if err != nil {
		t.Fatal(err)
	}
	to, err := m.Header.AddressList("To")
	if err != nil || len(to) != 2 || m.Header.Get("Bcc") != "" || m.Header.Get("Subject") != "hushgate on gate?Bcc: x@example.net: 1 rejected, 0 passed, 0 gave up, 0 found no server" {
		t.Errorf("%v, %v", m.Header, err)
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/mixed" {
		t.Fatalf("%s, %v", kind, err)
	}
	parts := multipart.NewReader(m.Body, params["boundary"])
	for _, want := range []string{text, page} {
		p, err := parts.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(p)
		if err != nil || string(got) != want {
			t.Errorf("%v:\n%s\nwant\n%s", err, got, want)
		}
	}
	if _, err := parts.NextPart(); err != io.EOF {
		t.Error(err)
	}
}

func TestMailAddresses(t *testing.T) {
	var b strings.Builder
	if err := New(from, to).Mail(&b, 10, "", "postmaster, ops@example.net", "gate"); err != nil || !strings.Contains(b.String(), "\nTo: postmaster,\n <ops@example.net>\nSubject: ") || strings.Contains(b.String(), "From:") {
		t.Errorf("%v\n%s", err, &b)
	}
	for _, bad := range []string{"", "x\nBcc: y@example.net", "a@", "a@example.net,", "a@example.net b@example.net"} {
		err := New(from, to).Mail(io.Discard, 10, "", bad, "gate")
		if err == nil || !strings.HasPrefix(err.Error(), "To: ") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestZones: lines with times of several zones count in the same hours, those of the report's zone, also where that is half an hour off
// and where summer time ends; and long reports show days.
func TestZones(t *testing.T) {
	india := time.FixedZone("IST", 5*3600+1800)
	r := New(from, to.In(india))
	for _, stamp := range []string{"2026-11-27T10:00:00Z", "2026-11-27T11:00:00+01:00", "2026-11-27T15:30:00+05:30", "2026-11-27T10:29:59Z"} {
		at, err := time.Parse(time.RFC3339, stamp)
		if err != nil {
			t.Fatal(err)
		}
		r.count(at, logread.Quiet, 1)
	}
	if rows := r.verdicts().Rows; len(rows) != 2 || rows[0][0] != "2026-11-27 15:00" || rows[0][1] != "4" {
		t.Errorf("%v", rows)
	}
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	r = New(time.Date(2026, 10, 24, 12, 0, 0, 0, berlin), time.Date(2026, 10, 25, 12, 0, 0, 0, berlin))
	for h := range 24 {
		r.count(r.From.Add(time.Duration(h)*time.Hour), logread.Quiet, 1)
	}
	if rows := r.verdicts().Rows; len(rows) != 25 || rows[14][0] != "2026-10-25 02:00" || rows[15][0] != "2026-10-25 02:00" || rows[15][1] != "1" {
		t.Errorf("%v", rows)
	}
	r.count(r.From.Add(-20*24*time.Hour), logread.HangUp, 1)
	if v := r.verdicts(); v.Title != "Verdicts by day" || len(v.Rows) != 23 || v.Rows[22][0] != "all" || v.Rows[20][1] != "12" || v.Rows[0][3] != "1" {
		t.Errorf("%s %v", v.Title, v.Rows)
	}
}
