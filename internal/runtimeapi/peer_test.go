package runtimeapi

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// peerConfig has the same servers as newFake.
const peerConfig = `global
    stats socket {user} level user
    stats socket {operator} level operator
    stats socket {admin} level admin
defaults
    mode tcp
    timeout connect 1s
    timeout client 1m
    timeout server 1m
frontend smtp
    bind fd@3
    bind fd@4
    default_backend mail
backend mail
    server mx1 MX1 weight 3 check inter 1h
    server mx2 127.0.0.1:27
    server mx3 127.0.0.1:28 backup disabled
`

// peer is a running HAProxy.
type peer struct {
	sockets [Admin + 1]string
	fronts  [2]string // addresses of the frontend
}

// startPeer runs HAProxy with a configuration, in which MX1 stands for a server's address.
func startPeer(t *testing.T, config, mx1 string) (p peer) {
	t.Helper()
	program, err := exec.LookPath("haproxy")
	if err != nil {
		if os.Getenv("HUSHGATE_LAB") == "1" {
			t.Fatal("haproxy is not installed")
		}
		t.Skip("SKIPPED: haproxy is not installed, so nothing was compared with it")
	}
	dir := t.TempDir()
	text := strings.ReplaceAll(config, "MX1", mx1)
	for l := range p.sockets {
		p.sockets[l] = filepath.Join(dir, Level(l).String())
		text = strings.ReplaceAll(text, "{"+Level(l).String()+"}", p.sockets[l])
	}
	file := filepath.Join(dir, "cfg")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "-D", "-p", filepath.Join(dir, "pid"), "-f", file) // it returns when HAProxy listens
	for i, at := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		p.fronts[i] = l.Addr().String()
		f, err := l.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
		defer func() { _, _ = f.Close(), l.Close() }()
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() {
		pid, err := os.ReadFile(filepath.Join(dir, "pid"))
		if err != nil {
			t.Error(err)
			return
		}
		if err := exec.Command("kill", strings.TrimSpace(string(pid))).Run(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// TestLikeHAProxy: the same commands have the same answers and effects as in HAProxy.
func TestLikeHAProxy(t *testing.T) {
	mx1, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts HAProxy's check
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = mx1.Close() }()
	theirs := startPeer(t, peerConfig, mx1.Addr().String()).sockets
	f := newFake()
	f.servers[0].Address = mx1.Addr().String()
	ours, _ := start(t, f, usual)
	for l, commands := range map[Level][]string{
		Admin: {
			"disable server", "disable server mail", "disable server mail/nope", "disable server nope/x", "disable server smtp/mx1",
			"enable server mail/nope", "set server mail/mx1", "set server mail/mx1 state", "set server mail/mx1 state foo",
			"set server mail/mx1 weight", "set server mail/mx1 weight 300", "set server mail/mx1 weight -1", "set server mail/mx1 weight abc",
			"set server mail/mx1 weight 5x", "set server mail/mx1 weight 0x1", "set server mail/mx1 weight -5%", "set server mail/mx1 weight %",
			"set server mail/mx1 weight 99999999999999999999", "set server mail/mx1 weight +7; get weight mail/mx1",
			"set server mail/mx1 weight 50%; get weight mail/mx1", "set server mail/mx1 weight 99999999%; get weight mail/mx1",
			"set weight mail/mx1 12;get weight mail/mx1", "set weight mail/mx1", "set weight mail/mx1 100%; get weight mail/mx1",
			`get weight mail\/mx1`, "get weight\tmail/mx1\r", "get weight", "enable health mail/mx2", "disable health mail/mx2", "enable health",
			"disable server mail/mx1; show servers state", "enable server mail/mx1 and more; show servers state mail",
			"set server mail/mx2 state drain; show servers state", "enable server mail/mx2; show servers state",
			"set server mail/mx2 state maint; show servers state", "set server mail/mx2 state ready; show servers state",
			"disable server mail/mx1; show stat", "enable server mail/mx1; set server mail/mx2 state drain; show stat no-maint",
			"set server mail/mx2 state ready; show stat up", "show stat -1 4 -1", "show stat smtp 1 -1", "show stat 3 2 -1", "show stat 2 -1 -1",
			"show stat mail 4 2", "show servers state nope", "show backend", "show backend\nshow cli level", "quit; show backend", "show cli level",
			"operator; disable server mail/mx1; show cli level", "user; operator", "set timeout cli", "set timeout cli x",
			"set timeout foo", "set timeout cli 20", "prompt\nshow backend\n\tshow cli level ; show backend\nprompt\nshow backend\nquit",
			"set server mail/mx1 health", "set server mail/mx1 health foo", "set server mail/mx2 health down; show servers state mail", "show stat mail 4 2",
			"set server mail/mx2 health up; show servers state", "set server mail/mx2 agent up", "set server mail/mx2 agent", "set server mail/mx2 addr",
			"set server mail/mx2 addr foo", "set server mail/mx2 fqdn", "set server mail/mx2 fqdn foo", "disable agent mail/mx2", "enable agent mail/mx2",
			"enable agent", "disable agent mail/nope", "clear counters", "clear counters all", "clear counters foo",
			"disable frontend", "disable frontend nope", "disable frontend mail", "enable frontend smtp", "disable frontend smtp; show stat smtp 1 -1",
			"disable frontend smtp", "show stat -1 1 -1", "enable frontend", "enable frontend nope", "enable frontend smtp; show stat smtp 1 -1",
			"show sess 0x1", "shutdown session", "shutdown session x", "shutdown session 0x1", "shutdown sessions server",
			"shutdown sessions server mail", "shutdown sessions server mail/nope", "shutdown sessions server nope/x", "shutdown sessions server mail/mx2",
			"show stat typed", "show stat json", "disable server mail/mx1; show stat typed 2 1 -1",
		},
		Operator: {"disable server mail/mx1", "set server mail/nope state ready", "enable health mail/mx1", "set weight mail/mx1 1", "get weight mail/mx1", "show cli level", "show sess 0x1", "shutdown session 0x1", "shutdown sessions server mail/mx1", "clear counters", "clear counters all"},
		User:     {"disable server mail/mx1", "show cli sockets", "operator", "user;show cli level", "show backend", "show sess", "show sess 0x1", "shutdown session 0x1", "clear counters", "clear counters all"},
	} {
		for _, text := range commands {
			want, got := ask(t, theirs[l], text+"\n"), ask(t, ours[l], text+"\n")
			if want, got = comparable(want), comparable(got); want != got {
				t.Errorf("%v: %q\nHAProxy:\n%s\nhushgate:\n%s", l, text, want, got)
			}
		}
	}
}

var (
	// stateTimes finds what the two have to differ in: how long ago a server changed, and its checks, for HAProxy's are real.
	stateTimes = regexp.MustCompile(`(?m)^(\d+ mail \d .*? \d+ \d+ \d+ \d+) \d+ \d+ \d+ \d+ (\d+) `)
	socketPath = regexp.MustCompile(`unix@.*/`)
	usage      = regexp.MustCompile(`(?m)^usage: .*$`)
)

// compared are the columns of `show stat` that do not depend on traffic, time or checks.
var compared = strings.Fields("pxname svname act bck pid iid sid type addr mode algo -")

// comparable leaves out what has to differ.
func comparable(text string) string {
	text = stateTimes.ReplaceAllString(text, "$1 $2 ")
	text = socketPath.ReplaceAllString(text, "unix@")
	text = usage.ReplaceAllString(text, "usage")
	if strings.HasPrefix(text, "[[") || strings.Contains(text, ".pxname.") {
		return typedNames(text)
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		if cells := strings.Split(line, ","); len(cells) == len(statFields)+1 && !strings.HasPrefix(line, "#") {
			for i, f := range statFields {
				for _, name := range compared {
					if f.name == name {
						b.WriteString(name + "=" + cells[i] + " ")
					}
				}
			}
			line = strings.TrimSpace(cells[17]) + "\n"
		}
		b.WriteString(line)
	}
	return b.String()
}

// typedNames keeps the two names of each object.
func typedNames(text string) string {
	found := regexp.MustCompile(`[FSB]\.\d+\.\d+\.[01]\.(?:px|sv)name\.1:KNS:str:\S+|`+
		`"objType":"\w+","proxyId":\d+,"id":\d+,"field":\{"pos":[01],[^{]*\{[^{]*\{[^}]*\}\}`).FindAllString(text, -1)
	return strings.Join(found, "\n")
}
