package runtimeapi

import (
	"bytes"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"hushgate/internal/admin"
	"hushgate/internal/connlog"
)

// errorTimes finds what has to differ: times, the client's port, sizes of HAProxy's buffer and the lines about HTTP.
var errorTimes = regexp.MustCompile(`(?m)\[\d\d/\w+/\d{4}:[0-9:.]+\]|src .*$|, \d+ free,|wraps at \d+|position \d+|^  (H1|hushgate).*\n`)

// TestErrorsLikeHAProxy: early talk is shown as HAProxy shows an invalid request with the same octets.
func TestErrorsLikeHAProxy(t *testing.T) {
	theirs := startPeer(t, strings.Replace(peerConfig, "mode tcp", "mode http", 1), greeter(t))
	ask(t, theirs.sockets[Admin], "show errors\n")
	talk := []byte("EHLO \x01\xffx\\y\r\nMAIL\tFROM:<" + strings.Repeat("a", 300) + ">\x1b\r\nend")
	conn, err := net.Dial("tcp", theirs.fronts[0])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write(talk); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); err != nil { // it has answered and closed
		t.Fatal(err)
	}
	f := newFake()
	f.early, f.talk = 1, &admin.Verdict{Time: time.Now(), Client: "127.0.0.1", ClientPort: 4000, Talk: string(connlog.AppendEscaped(nil, talk)), TalkBytes: len(talk)}
	ours, _ := start(t, f, usual)
	for l, commands := range map[Level][]string{
		User:     {"show errors"},
		Operator: {"show errors", "show errors smtp", "show errors smtp request", "show errors smtp response", "show errors mail", "show errors nope", "show errors 2", "show errors 77"},
	} {
		for _, command := range commands {
			want, got := ask(t, theirs.sockets[l], command+"\n"), ask(t, ours[l], command+"\n")
			if want, got = errorTimes.ReplaceAllString(want, ""), errorTimes.ReplaceAllString(got, ""); want != got {
				t.Errorf("%v: %s\nHAProxy:\n%s\nhushgate:\n%s", l, command, want, got)
			}
		}
	}
}

// FuzzDump: the octets of a talk come back whole from how the control API escapes them, and their lines are printable and short.
func FuzzDump(f *testing.F) {
	f.Add([]byte("EHLO x\r\n\\7\\"))
	f.Add([]byte(strings.Repeat("\xff", 300)))
	f.Fuzz(func(t *testing.T, talk []byte) {
		if got := unescape(string(connlog.AppendEscaped(nil, talk))); !bytes.Equal(got, talk) {
			t.Errorf("%q became %q", talk, got)
		}
		unescape(string(talk))
		var b strings.Builder
		dump(&b, talk)
		for line := range strings.Lines(b.String()) {
			if len(line) > lineWidth || strings.ContainsFunc(strings.TrimSuffix(line, "\n"), func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Errorf("%q", line)
			}
		}
	})
}
