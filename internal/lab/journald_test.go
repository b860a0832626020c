package lab

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// journald is a systemd-journald in a mount namespace of its own, whose sockets and files are in a directory.
type journald struct {
	*testing.T
	l   *Lab
	dir string
	cmd *exec.Cmd
}

// startJournald puts nothing of the machine's own journal at risk: what the program reads and writes is private to it.
const startJournald = `set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journal /run/log/journal
mount --bind "$0/sockets" /run/systemd/journal
mount --bind "$0/files" /run/log/journal
mount --bind "$0/journald.conf" /etc/systemd/journald.conf
! test -d /var/log/journal || mount -t tmpfs tmpfs /var/log/journal
exec /lib/systemd/systemd-journald
`

func newJournald(t *testing.T, l *Lab) *journald {
	t.Helper()
	dir, err := os.MkdirTemp("", "hushgate-journald") // the path of a socket must be short
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	j := &journald{T: t, l: l, dir: dir}
	must(t, os.Mkdir(filepath.Join(dir, "sockets"), 0o755), os.Mkdir(filepath.Join(dir, "files"), 0o755),
		os.WriteFile(filepath.Join(dir, "journald.conf"), []byte("[Journal]\nStorage=volatile\nAudit=no\nReadKMsg=no\nForwardToWall=no\nRateLimitBurst=0\n"), 0o600))
	j.start()
	return j
}

func (j *journald) socket() string { return filepath.Join(j.dir, "sockets/socket") }

func (j *journald) start() {
	j.Helper()
	j.cmd = exec.Command("unshare", "--mount", "sh", "-c", startJournald, j.dir)
	j.cmd.Stderr = os.Stderr
	must(j.T, j.l.Gateway.Start(j.cmd))
	j.Cleanup(func() { Kill(j.cmd) })
	waitFor(j.T, "the journal", func() bool {
		c, err := net.Dial("unixgram", j.socket())
		if err != nil {
			return false
		}
		_ = c.Close()
		return true
	})
}

// entries are what journalctl finds of hushgate, each by its fields. A field that an entry has several times is a list.
func (j *journald) entries(match ...string) (all []map[string]any) {
	j.Helper()
	args := append([]string{"--directory", filepath.Join(j.dir, "files"), "--quiet", "-o", "json", "SYSLOG_IDENTIFIER=hushgate"}, match...)
	out, err := exec.CommandContext(j.Context(), "journalctl", args...).Output()
	if err != nil {
		j.Fatal(err)
	}
	for line := range bytes.Lines(out) {
		var e map[string]any
		must(j.T, json.Unmarshal(line, &e))
		all = append(all, e)
	}
	return all
}

// lost is how many lines entries say were lost.
func (j *journald) lost() (n int) {
	for _, e := range j.entries() {
		var lines int
		if _, err := fmt.Sscanf(e["MESSAGE"].(string), "%d log lines were lost", &lines); err == nil {
			n += lines
		}
	}
	return n
}

// fieldsOf are the fields that the JSON line of a connection has in the journal.
func fieldsOf(t *testing.T, line string) map[string]any {
	t.Helper()
	var members map[string]any
	d := json.NewDecoder(strings.NewReader(line))
	d.UseNumber()
	must(t, d.Decode(&members))
	fields := map[string]any{"MESSAGE": line}
	for name, v := range members {
		if v != nil && name != "time" {
			fields["HUSHGATE_"+strings.ToUpper(name)] = fmt.Sprint(v)
		}
	}
	return fields
}

// TestJournald: systemd-journald takes hushgate's entries, journalctl finds connections by their fields, and each field has the value
// that the JSON line has. The journal is killed and comes back: each line is there or counted by an entry.
func TestJournald(t *testing.T) {
	beside(t)
	ctx, l := site(t, Options{})
	j := newJournald(t, l)
	var frontends []string
	for _, f := range families {
		mtas(t, l, f)
		frontends = append(frontends, fmt.Sprintf("{name: ft_%s, bind: %q, inspect-delay: 1s, log-format: json, log: [{to: stdout, format: raw}, {to: journal@%s}], default_backend: bk_%[1]s}",
			f.name, net.JoinHostPort(f.vip, "25"), j.socket()))
	}
	g := gateway(ctx, t, l, fmt.Appendf(nil, "#yaml\nfrontends: [%s]\nbackends: [{name: bk_ipv4, servers: [{name: a, address: \"%s:25\"}]}, {name: bk_ipv6, servers: [{name: a, address: \"[%s]:25\"}]}]\n",
		strings.Join(frontends, ", "), Server4a, Server6a))
	for _, f := range families {
		vip := net.JoinHostPort(f.vip, "25")
		_, err := l.Bot(ctx, f.talker, vip, 0, "EHLO \"x\"\r\nMESSAGE=forged\nPRIORITY=0\n\n\xff\x1b[31m", 5*time.Second)
		must(t, err, l.HangUp(ctx, f.client, vip, 50*time.Millisecond, true))
		_, err = l.Deliver(ctx, f.client, vip, strings.NewReader("hello"))
		must(t, err)
	}
	waitFor(t, "all entries", func() bool { return len(sentLines(g)) == 6 && len(j.entries()) == 6 })
	for _, f := range families {
		for match, want := range map[string]int{"HUSHGATE_VERDICT=early-talker": 1, "HUSHGATE_VERDICT=quiet": 1, "HUSHGATE_SERVER=a": 1, "MESSAGE_ID=e34b00dc89d14e92b99ac629c1e76d94": 3} {
			if found := j.entries("HUSHGATE_FRONTEND=ft_"+f.name, match); len(found) != want {
				t.Errorf("%s finds %d entries of %s: %v", match, len(found), f.name, found)
			}
		}
	}
	Kill(j.cmd)
	bot := func() {
		_, err := l.Bot(ctx, families[0].talker, net.JoinHostPort(VIP4, "25"), 0, "EHLO x\r\n", 5*time.Second)
		must(t, err)
	}
	for range 5 {
		bot()
	}
	waitFor(t, "the lines of those who came without a journal", func() bool { return len(sentLines(g)) == 11 })
	j.start()
	waitFor(t, "all lines, or how many were lost", func() bool {
		bot()
		return j.lost() > 0 && len(j.connections())+j.lost() == len(sentLines(g))
	})
	must(t, g.Stop())
	sent, entries := sentLines(g), j.connections()
	t.Logf("%d lines were sent, %d are in the journal, %d are counted as lost", len(sent), len(entries), j.lost())
	j.reported(len(entries), j.lost())
	for _, e := range entries {
		line, _ := e["MESSAGE"].(string)
		if !slices.Contains(sent, line) || e["PRIORITY"] != "6" || e["_PID"] != fmt.Sprint(g.PID()) {
			t.Errorf("an entry that was not sent: %v", e)
			continue
		}
		for name, want := range fieldsOf(t, line) {
			if e[name] != want {
				t.Errorf("%s is %v, want %v", name, e[name], want)
			}
		}
	}
}

// reported checks the report from what journalctl prints for people: it has all entries, and knows how many lines were lost.
func (j *journald) reported(connections, lost int) {
	j.Helper()
	text, err := exec.CommandContext(j.Context(), "journalctl", "--directory", filepath.Join(j.dir, "files"), "--quiet").Output()
	must(j.T, err)
	cmd := exec.CommandContext(j.Context(), binary, "report", "--since", "1h", "-")
	cmd.Stdin = bytes.NewReader(text)
	out, err := cmd.CombinedOutput()
	all := fmt.Sprintf("all 2 %d 2 0 0 0", connections-4)
	if err != nil || !strings.Contains(strings.Join(strings.Fields(string(out)), " "), all) || !strings.Contains(string(out), fmt.Sprintf("* %d lines were lost", lost)) {
		j.Errorf("%v: want %q, %d lost:\n%s", err, all, lost, out)
	}
}

// connections are the entries about connections.
func (j *journald) connections() []map[string]any {
	j.Helper()
	return slices.DeleteFunc(j.entries(), func(e map[string]any) bool { return e["HUSHGATE_CLIENT"] == nil })
}
