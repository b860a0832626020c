package lab

import (
	"bufio"
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"hushgate/internal/needroot"
)

// TestOlderGateway: a gateway of a release without a control API is told to reload and to upgrade by its command strings, and what it
// refuses is reported. Other commands say what to do.
func TestOlderGateway(t *testing.T) {
	needroot.Skip(t, "tests of network namespaces")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	h, err := NewHost("older")
	must(t, err)
	defer func() { must(t, h.Close()) }()
	var older net.Listener
	must(t, h.Do(func() (err error) {
		older, err = net.Listen("unix", "@hushgate")
		return err
	}))
	defer func() { _ = older.Close() }()
	go answerAsOlder(older)
	for _, c := range []struct {
		args, want string
		fails      bool
	}{
		{"reload", "careful\n", false},
		{"reload --json", `"careful"`, false},
		{"upgrade", "hushgate: no program\n", true},
		{"status", "hushgate: no API of hushgate answers there: after `hushgate upgrade` to this release it has one\n", true},
		{"offenders", "after `hushgate upgrade` to this release", true},
	} {
		text, err := h.Run(ctx, binary, strings.Fields(c.args)...)
		if !strings.Contains(text, c.want) || (err != nil) != c.fails {
			t.Errorf("%s: %q, %v, want %q", c.args, text, err, c.want)
		}
	}
}

// answerAsOlder answers as the first release did: one line of JSON for one line of JSON.
func answerAsOlder(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		line, _ := bufio.NewReader(c).ReadString('\n')
		answer := `{"error":"expected {\"command\":\"...\"}"}`
		switch strings.TrimSpace(line) {
		case `{"command":"reload"}`:
			answer = `{"warnings":["careful"]}`
		case `{"command":"upgrade"}`:
			answer = `{"error":"no program"}`
		}
		_, _ = c.Write([]byte(answer + "\n"))
		_ = c.Close()
	}
}
