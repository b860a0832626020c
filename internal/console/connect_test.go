package console

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"hushgate/internal/admin"
	"hushgate/internal/instance"
	"hushgate/internal/printable"
)

// TestExplain: what goes wrong on the way to the gateway reads clearly, and is of one of two kinds if there is no gateway, or no
// permission.
func TestExplain(t *testing.T) {
	for _, c := range []struct {
		socket string
		err    error
		kind   error
		want   string
	}{
		{"", nil, nil, ""},
		{"", instance.ErrNone, ErrNone, "in this network namespace"},
		{"/s", &net.OpError{Op: "dial", Err: unix.ENOENT}, ErrNone, "nothing answers at /s"},
		{"/s", &net.OpError{Op: "dial", Err: unix.ECONNREFUSED}, ErrNone, "nothing answers at /s"},
		{"/s", &net.OpError{Op: "dial", Err: unix.EACCES}, ErrDenied, "may not connect to /s"},
		{"", &fs.PathError{Err: unix.EACCES}, ErrDenied, "api.group"},
		{"", &admin.Problem{Status: 403, Detail: "this client has the level read-only"}, ErrDenied, "level read-only; root and the group api.admin-group"},
		{"", &admin.Problem{Status: 404, Detail: "there is no server"}, nil, "there is no server"},
		{"/s", admin.ErrNoAPI, admin.ErrNoAPI, "no API"},
		{"/s", unix.ECONNRESET, unix.ECONNRESET, "too many clients"},
	} {
		err := (&Client{socket: c.socket}).explain(c.err)
		if c.want == "" && err == nil {
			continue
		}
		if c.kind != nil && !errors.Is(err, c.kind) || !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%q, %v: %v", c.socket, c.err, err)
		}
	}
}

// TestDialAsUser: the socket with more rights is used if it can be, then the other one.
func TestDialAsUser(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"api.sock", "admin.sock"} {
		l, err := net.Listen("unix", filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		conn, err := dialAsUser(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		if got := conn.RemoteAddr().String(); got != filepath.Join(dir, name) {
			t.Errorf("connected to %s, want %s", got, name)
		}
		_ = conn.Close()
	}
}

// TestSpan: the units of times.
func TestSpan(t *testing.T) {
	for ms, want := range map[int64]string{
		0: "0s", 999: "999ms", 1500: "1.5s", 61_000: "1m1s", 3_660_000: "1h1m", 90_000_000: "1d1h",
	} {
		if got := span(ms); got != want {
			t.Errorf("span(%d) = %s, want %s", ms, got, want)
		}
	}
}

// TestJSON: no string of an answer has an order to a terminal, and what is read back is the same.
func TestJSON(t *testing.T) {
	for _, want := range []string{"plain <&> \u00fc", "\x1b[2J\x7f\u009b2J\u202e\U000e0041\r\n\x00\u2028", ""} {
		var b bytes.Buffer
		if err := writeJSON(&b, map[string]string{"k": want}); err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		if err := json.Unmarshal(b.Bytes(), &got); err != nil || got["k"] != want {
			t.Errorf("%q, %v, want %q", got["k"], err, want)
		}
		if text := strings.ReplaceAll(b.String(), "\n", ""); text != printable.Text(text) {
			t.Errorf("%q", text)
		}
	}
}

// TestServerPath: a name that has signs of an address's own is one name.
func TestServerPath(t *testing.T) {
	for name, want := range map[string]string{
		"bk/mx1": "/v1/servers/bk/mx1", "b%k/m x?#1": "/v1/servers/b%25k/m%20x%3F%231", "bk/": "", "/mx1": "", "bk/a/b": "", "bk/..": "", "bk": "",
	} {
		if got, err := serverPath(name); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v, want %q", name, got, err, want)
		}
	}
}
