package lab

import (
	"bufio"
	"context"
	"net"
	"os"
	"path/filepath"
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

// user asks a gateway as a user who is not root, with the runtime directory of the service.
type user struct {
	l       *Lab
	runtime string
}

// asNobody runs in a mount namespace of its own, in which /run has nothing but the runtime directory.
const asNobody = `mount -t tmpfs tmpfs /run && mkdir -m 755 /run/hushgate && mount --bind "$1" /run/hushgate && shift && exec setpriv --reuid=65534 --regid=65534 "$@"`

// runs runs a command as a member of some groups, and returns what it says and whether it succeeds.
func (u *user) runs(ctx context.Context, groups string, args ...string) (out string, ok bool) {
	all := append([]string{"--mount", "--propagation", "private", "sh", "-c", asNobody, "sh", u.runtime, groups, binary}, args...)
	out, err := u.l.Gateway.Run(ctx, "unshare", all...)
	return out, err == nil
}

// TestUsers: a user who is not root asks at the socket of the highest level that is open to his groups, without naming it. Where a
// permission lacks, or no gateway runs, each command says so.
func TestUsers(t *testing.T) {
	beside(t)
	f := families[0]
	ctx, l := site(t, Options{})
	mtas(t, l, f)
	u := &user{l, openDir(t)}
	l.env = []string{"RUNTIME_DIRECTORY=" + u.runtime}
	g := gateway(ctx, t, l, life(f, "", "100ms", f.a))
	const stranger, member = "--clear-groups", "--groups=0" // the gateway runs as root, so that its sockets are of group 0
	expect := func(groups, want string, ok bool, args ...string) {
		t.Helper()
		if out, did := u.runs(ctx, groups, args...); !strings.HasPrefix(out, want) || did != ok {
			t.Errorf("%s, %v: %v, %q, want %q", groups, args, did, out, want)
		}
	}
	for _, line := range []string{
		"status", "status --wait-ready", "servers", "servers drain bk_smtp/smtp1", "set delay ft_smtp 1s", "conns", "conns kill 198.18.0.7", "pass",
		"pass add 198.18.0.7", "offenders", "offenders remove 198.18.0.7", "explain 198.18.0.7", "watch --count 1", "top --once", "reload", "upgrade",
	} {
		expect(stranger, "hushgate: permission denied: root, and members of the groups api.group and api.admin-group", false, strings.Fields(line)...)
	}
	expect(stranger, "HUSHGATE UNKNOWN - permission denied: ", false, "status", "--check")

	expect(member, "SERVER ", true, "servers")
	expect(member, "HUSHGATE OK - 1 of 1 servers", true, "status", "--check")
	const denied = "hushgate: permission denied: this client has the level read-only"
	expect(member, "hushgate: bk_smtp/smtp1: permission denied: this client has the level read-only", false, "servers", "drain", "bk_smtp/smtp1")
	expect(member, denied, false, "conns", "kill", "198.18.0.7")
	expect(member, denied, false, "reload")

	must(t, os.Chmod(filepath.Join(u.runtime, "admin.sock"), 0o660)) // as with api.admin-group
	expect(member, "SERVER ", true, "servers", "drain", "bk_smtp/smtp1")
	expect(member, "", true, "reload")
	expect(member, "{", true, "reload", "--json")
	waitForLine(ctx, t, g, "configuration reloaded")
	expect(stranger, "hushgate: permission denied", false, "servers")

	if out, err := l.Client.Run(ctx, binary, "status"); err == nil || !strings.HasPrefix(out, "hushgate: no gateway runs in this network namespace") {
		t.Errorf("as root, in another network namespace: %v, %q", err, out)
	}
	must(t, g.Stop())
	expect(member, "hushgate: no gateway runs in this network namespace", false, "servers")
	expect(stranger, "hushgate: no gateway runs in this network namespace", false, "reload")
	expect(stranger, "HUSHGATE CRITICAL - no gateway runs", false, "status", "--check")
}
