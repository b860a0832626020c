package debian

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hushgate/internal/lab"
)

// TestReproducible: the same commit makes the same package from another directory and at another time.
func TestReproducible(t *testing.T) {
	ctx := need(t, "dpkg-deb", "git")
	first := filepath.Join(packages(t), "hushgate.deb")
	sources, dist := t.TempDir(), t.TempDir()
	list := run(t, ctx, "git", "-C", "../..", "ls-files", "--cached", "--others", "--exclude-standard", "-z")
	tar := exec.CommandContext(ctx, "sh", "-c", `tar -C ../.. --null --files-from=- -c | tar -C "$0" -x -m`, sources)
	tar.Stdin = strings.NewReader(list)
	if out, err := tar.CombinedOutput(); err != nil {
		t.Fatalf("copy the sources: %v: %s", err, out)
	}
	cmd := exec.CommandContext(ctx, filepath.Join(sources, "internal/debian/build"), "v1.0.0", dist)
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1700000000", "MAINTAINER=hushgate <hushgate@example.net>")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build again: %v: %s", err, out)
	}
	if a, b := sum(t, first), sum(t, filepath.Join(dist, "hushgate.deb")); a != b {
		t.Errorf("two builds differ: %s, %s", a, b)
	}
}

func sum(t *testing.T, file string) string {
	t.Helper()
	octets, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.Sum256(octets)
	return hex.EncodeToString(h[:])
}

// TestLint: lintian and shellcheck have no complaints, and the version is the one from git.
func TestLint(t *testing.T) {
	ctx := need(t, "lintian", "shellcheck")
	file := filepath.Join(packages(t), "hushgate.deb")
	if out := run(t, ctx, "lintian", "--allow-root", "--fail-on", "error,warning,info", "--no-tag-display-limit", file); strings.Contains(out, ": hushgate: ") {
		t.Error(out)
	}
	if v := strings.TrimSpace(run(t, ctx, "dpkg-deb", "-f", file, "Version")); v != "1.0.0" {
		t.Errorf("version %q, want 1.0.0", v)
	}
	scripts := []string{"build", "postinst", "prerm", "postrm"}
	vagrant, err := filepath.Glob("../lab/vagrant/*")
	if err != nil || len(vagrant) == 0 {
		t.Fatalf("no provisioning scripts: %v", err)
	}
	run(t, ctx, "shellcheck", append(scripts, vagrant...)...)
}

// TestUnit: systemd finds no error in the unit, and its exposure does not grow.
func TestUnit(t *testing.T) {
	ctx := need(t, "systemd-analyze")
	dir := t.TempDir()
	run(t, ctx, "dpkg-deb", "-x", filepath.Join(packages(t), "hushgate.deb"), dir)
	units := filepath.Join(dir, "lib/systemd/system")
	unit := filepath.Join(units, "hushgate.service")
	if out := run(t, ctx, "systemd-analyze", "verify", "--man=no", "--recursive-errors=no", units+"/hushgate-report.service", units+"/hushgate-report.timer"); out != "" {
		t.Error(out)
	}
	// The program is not installed here, so the unit has to name the unpacked one.
	text, err := os.ReadFile(unit)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(unit, []byte(strings.ReplaceAll(string(text), "/usr/sbin/", dir+"/usr/sbin/")), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := run(t, ctx, "systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit); out != "" {
		t.Error(out)
	}
	const exposure = 18 // tenths
	run(t, ctx, "systemd-analyze", "security", "--offline=true", fmt.Sprintf("--threshold=%d", exposure), unit)
}

// TestWithoutSystemd: where systemd does not run, as in a chroot or while an image is built, the package can be installed, makes
// its user, and can be removed. It needs no systemd-sysusers either.
func TestWithoutSystemd(t *testing.T) {
	ctx := need(t, "systemd-nspawn", "mmdebstrap")
	for _, prepare := range []string{"true", "rm /bin/systemd-sysusers /bin/systemctl /bin/systemd-tmpfiles"} {
		name := fmt.Sprintf("hushgate-%d-chroot", os.Getpid())
		out := run(t, ctx, "systemd-nspawn", "--quiet", "--directory="+root(t), "--volatile=overlay", "--register=no",
			"--keep-unit", "--pipe", "--bind-ro="+packages(t)+":/dist", "--private-network", "--machine="+name,
			"sh", "-ec", prepare+`
			dpkg --install /dist/hushgate.deb
			getent passwd hushgate
			hushgate check --offline -f /etc/hushgate/hushgate.yaml
			! hushgate run --user hushgate -f /etc/hushgate/hushgate.yaml
			dpkg --install /dist/hushgate.deb
			dpkg --remove hushgate
			test -e /etc/hushgate/hushgate.yaml
			dpkg --purge hushgate
			! test -e /etc/hushgate`)
		for _, want := range []string{":/run/hushgate:/usr/sbin/nologin", "configuration is valid", "no route to the server 10.0.0.11"} {
			if !strings.Contains(out, want) {
				t.Errorf("after %q: no %q in:\n%s", prepare, want, out)
			}
		}
	}
}

// site is a lab in which two servers take mail, with a machine for its gateway.
func site(t *testing.T, ctx context.Context) (*lab.Lab, *machine) {
	t.Helper()
	l, err := lab.New(ctx, lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	for i, a := range []string{lab.Server4a, lab.Server4b} {
		mta, err := lab.NewMTA(l.Servers[i], net.JoinHostPort(a, "25"), nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = mta.Stop() })
	}
	return l, boot(t, ctx, l.Gateway, packages(t)+":/dist")
}

// works checks that a mail is delivered and a bot is reset.
func works(t *testing.T, ctx context.Context, l *lab.Lab) {
	t.Helper()
	vip := net.JoinHostPort(lab.VIP4, "25")
	if _, err := l.Deliver(ctx, lab.ClientAddr4(1), vip, strings.NewReader("Subject: x\r\n\r\nx\r\n")); err != nil {
		t.Error(err)
	}
	seen, err := l.Bot(ctx, lab.ClientAddr4(2), vip, 0, "EHLO bot\r\n", 10*time.Second)
	if err != nil || seen.End != lab.EndReset || seen.Text != "" {
		t.Errorf("the bot: %+v, %v; want RST", seen, err)
	}
}

// greeted returns a connection that has received the server's banner.
func greeted(t *testing.T, ctx context.Context, l *lab.Lab) net.Conn {
	t.Helper()
	c, err := l.Client.Dial(ctx, lab.ClientAddr4(1), net.JoinHostPort(lab.VIP4, "25"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(2 * time.Minute))
	var banner []byte
	for b := make([]byte, 1); !bytes.HasSuffix(banner, []byte("\n")); banner = append(banner, b[0]) {
		if _, err := c.Read(b); err != nil {
			t.Fatalf("no banner: %v", err)
		}
	}
	return c
}

// rules is how many lines about hushgate the machine's firewall rules have.
func (m *machine) rules(t *testing.T, ctx context.Context) int {
	t.Helper()
	return strings.Count(strings.ToLower(m.sh(t, ctx, "iptables-save; ip6tables-save")), "hushgate")
}

// pid is the service's process id in the machine.
func (m *machine) pid(t *testing.T, ctx context.Context) string {
	t.Helper()
	return strings.TrimPrefix(m.sh(t, ctx, "systemctl show -p MainPID hushgate"), "MainPID=")
}

// reports lets the timer's service send a report from the journal, and one from a file that names a capture, to a sendmail that may
// change its group, as Postfix's does.
func (m *machine) reports(t *testing.T, ctx context.Context) {
	t.Helper()
	m.sh(t, ctx, `install -d -m 1777 /var/sent && printf '%s\n' '#!/bin/sh' 'echo "$@" >/var/sent/args; cat >/var/sent/mail; grep NoNewPrivs /proc/self/status >/var/sent/status' \
		>/usr/sbin/sendmail && chmod 755 /usr/sbin/sendmail && systemctl enable --now hushgate-report.timer && systemctl start hushgate-report.service`)
	sent := m.sh(t, ctx, "cat /var/sent/args /var/sent/status /var/sent/mail")
	for _, want := range []string{"-t -oi\n", "NoNewPrivs:\t0\n", "To: postmaster\n", "4 rejected, 4 passed"} {
		if !strings.Contains(sent, want) {
			t.Errorf("no %q in what was sent:\n%s", want, sent)
		}
	}
	m.sh(t, ctx, "rm /var/sent/mail; echo 'REPORT_TO=ops@example.net REPORT_FILES=/nonexistent' | tr ' ' '\\n' >/etc/default/hushgate-report")
	if out, err := m.try(ctx, "systemctl start hushgate-report.service"); err == nil {
		t.Errorf("a report about a file that does not exist succeeds: %s", out)
	}
	if sent := m.sh(t, ctx, "systemctl reset-failed hushgate-report.service; cat /var/sent/mail"); !strings.Contains(sent, "To: <ops@example.net>") {
		t.Errorf("what was sent: %s", sent)
	}
	if next := m.sh(t, ctx, "systemctl show -p NextElapseUSecRealtime --value hushgate-report.timer"); !strings.Contains(next, "06:0") {
		t.Errorf("the timer elapses next at %q", next)
	}
}

// TestPackage takes the package through its life on a machine with systemd: installation, configuration, start, reload,
// takeover by a new process, crash, upgrade with a changed configuration, which a connection survives, removal and purge. Mail
// goes through a gateway that runs as its own user, with two capabilities, in the sandbox of the unit.
func TestPackage(t *testing.T) {
	ctx := need(t, "systemd-nspawn", "mmdebstrap", "nsenter", "dpkg-deb")
	l, m := site(t, ctx)

	m.sh(t, ctx, "dpkg --install /dist/hushgate.deb")
	if state, _ := m.try(ctx, "systemctl is-enabled hushgate; systemctl is-active hushgate"); strings.Join(strings.Fields(state), " ") != "disabled inactive" {
		t.Errorf("installed, the service is %q, want disabled and inactive", state)
	}
	m.sh(t, ctx, "sed -i 's/192.0.2.25/"+lab.VIP4+"/; s/20s/1s/' /etc/hushgate/hushgate.yaml")
	m.sh(t, ctx, "echo 'firewall: {sysctls: true}' >>/etc/hushgate/hushgate.yaml")
	m.sh(t, ctx, "sysctl -w net.ipv4.ip_forward=0 && hushgate check -f /etc/hushgate/hushgate.yaml && systemctl enable --now hushgate")
	works(t, ctx, l)
	if v := m.sh(t, ctx, "sysctl -n net.ipv4.ip_forward"); v != "1" {
		t.Errorf("firewall.sysctls: ip_forward is %s, want 1", v)
	}
	m.confined(t, ctx, m.pid(t, ctx), 2)
	if m.rules(t, ctx) == 0 {
		t.Error("no rules are installed")
	}

	before := m.pid(t, ctx)
	m.sh(t, ctx, "sed -i 's/inspect-delay: 1s/inspect-delay: 1500ms/' /etc/hushgate/hushgate.yaml && systemctl reload hushgate")
	if now := m.pid(t, ctx); now != before {
		t.Errorf("reload: the process was %s, is %s", before, now)
	}
	if text := m.sh(t, ctx, "systemctl show -p StatusText --value hushgate"); !strings.Contains(text, "servers take new connections; ") {
		t.Errorf("systemctl status says %q", text)
	}
	works(t, ctx, l)

	m.sh(t, ctx, "hushgate upgrade")
	waitFor(t, "another process to be the service", func() bool {
		now := m.pid(t, ctx)
		return now != before && now != "0"
	})
	if state := m.sh(t, ctx, "systemctl show -p ActiveState -p NRestarts hushgate | sort"); state != "ActiveState=active\nNRestarts=0" {
		t.Errorf("hushgate upgrade: %q", state)
	}
	before = m.pid(t, ctx)
	m.confined(t, ctx, before, 2)
	works(t, ctx, l)

	m.sh(t, ctx, "kill -9 "+before)
	waitFor(t, "the service to come back", func() bool { // asked at once: a moment ago it was active, with no process now
		state := strings.Fields(m.sh(t, ctx, "systemctl show -p ActiveState -p MainPID hushgate"))
		return slices.Contains(state, "ActiveState=active") && !slices.Contains(state, "MainPID=0") && !slices.Contains(state, "MainPID="+before)
	})
	works(t, ctx, l)

	m.reports(t, ctx)

	before = m.pid(t, ctx)
	c := greeted(t, ctx, l)
	out := m.upgrade(t, ctx)
	waitFor(t, "the new release to be the service", func() bool {
		now := m.pid(t, ctx)
		return now != before && now != "0"
	})
	_, err := io.WriteString(c, "QUIT\r\n")
	if line, e := bufio.NewReader(c).ReadString('\n'); err != nil || e != nil || !strings.HasPrefix(line, "221") {
		t.Errorf("a connection across the upgrade got %q, %v, %v; dpkg said:\n%s", line, err, e, out)
	}
	_ = c.Close() // nothing is left to drain
	if text := m.sh(t, ctx, "cat /etc/hushgate/hushgate.yaml"); !strings.Contains(text, "1500ms") || strings.Contains(text, "# a new line") {
		t.Errorf("upgrade: the changed configuration was not kept:\n%s", text)
	}
	m.sh(t, ctx, "grep '# a new line' /etc/hushgate/hushgate.yaml.dpkg-dist")
	works(t, ctx, l)

	m.sh(t, ctx, "systemctl stop hushgate")
	if state := m.sh(t, ctx, "systemctl show -p ActiveState -p Result hushgate | sort"); state != "ActiveState=inactive\nResult=success" {
		t.Errorf("stopped: %q", state)
	}
	if n := m.rules(t, ctx); n != 0 {
		t.Errorf("stopped: %d lines of rules are left", n)
	}
	m.sh(t, ctx, "systemctl start hushgate && dpkg --remove hushgate")
	if n := m.rules(t, ctx); n != 0 {
		t.Errorf("removed: %d lines of rules are left", n)
	}
	m.sh(t, ctx, "test -e /etc/hushgate/hushgate.yaml && dpkg --purge hushgate && ! test -e /etc/hushgate")
	if out, _ := m.try(ctx, "find /etc/systemd /var/lib/systemd /lib/systemd -name 'hushgate*'"); out != "" {
		t.Errorf("purged: left over:\n%s", out)
	}
	m.sh(t, ctx, "test -z \"$(systemctl --failed --no-legend)\"")
}

// TestUser: root starts the gateway as another user without systemd, and upgrades it. It uses the older iptables, whose lock file
// belongs to root; the package gives the user access to it.
func TestUser(t *testing.T) {
	ctx := need(t, "systemd-nspawn", "mmdebstrap", "nsenter")
	l, m := site(t, ctx)
	m.sh(t, ctx, "update-alternatives --set iptables /usr/sbin/iptables-legacy && update-alternatives --set ip6tables /usr/sbin/ip6tables-legacy")
	m.sh(t, ctx, "dpkg --install /dist/hushgate.deb && sed -i 's/192.0.2.25/"+lab.VIP4+"/; s/20s/1s/' /etc/hushgate/hushgate.yaml")
	m.sh(t, ctx, "setsid hushgate run --user hushgate -f /etc/hushgate/hushgate.yaml >/tmp/log 2>&1 </dev/null & echo $! >/tmp/pid")
	waitFor(t, "hushgate to be ready", func() bool {
		_, err := m.try(ctx, "grep msg=ready /tmp/log || ! kill -0 $(cat /tmp/pid)")
		return err == nil
	})
	works(t, ctx, l)
	m.confined(t, ctx, m.sh(t, ctx, "cat /tmp/pid"), 0)
	if out := m.sh(t, ctx, "iptables --version; cat /tmp/log"); strings.Count(out, "(legacy)") < 2 || m.rules(t, ctx) == 0 {
		t.Errorf("no rules of iptables-legacy:\n%s", out)
	}
	m.sh(t, ctx, "hushgate upgrade && tail --pid=$(cat /tmp/pid) -f /dev/null && pgrep -x hushgate >/tmp/pid")
	works(t, ctx, l)
	m.confined(t, ctx, m.sh(t, ctx, "cat /tmp/pid"), 0)
	m.sh(t, ctx, "kill $(cat /tmp/pid) && tail --pid=$(cat /tmp/pid) -f /dev/null")
	if n := m.rules(t, ctx); n != 0 {
		t.Errorf("%d lines of rules are left:\n%s", n, m.sh(t, ctx, "cat /tmp/log"))
	}
}

// confined checks the privileges of a process.
func (m *machine) confined(t *testing.T, ctx context.Context, pid string, seccomp int) {
	t.Helper()
	status := m.sh(t, ctx, "cat /proc/"+pid+"/status; id -u hushgate")
	var lines []string
	for line := range strings.Lines(status) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	uid := lines[len(lines)-1]
	two := "0000000000003000"
	for _, want := range []string{
		"Uid: " + strings.Join(slices.Repeat([]string{uid}, 4), " "), "CapInh: " + two, "CapPrm: " + two, "CapEff: " + two,
		"CapBnd: " + two, "CapAmb: " + two, "NoNewPrivs: 1", fmt.Sprintf("Seccomp: %d", seccomp),
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("the service's process: no line %q in\n%s", want, status)
		}
	}
	if uid == "0" {
		t.Error("the service runs as root")
	}
}

// upgrade makes a next version with another configuration, and installs it as apt does when it may not ask questions.
func (m *machine) upgrade(t *testing.T, ctx context.Context) (out string) {
	t.Helper()
	return m.sh(t, ctx, `set -e
		dpkg-deb -R /dist/hushgate.deb /tmp/next
		sed -i 's/^Version: .*/Version: 1.0.1/' /tmp/next/DEBIAN/control
		echo '# a new line' >>/tmp/next/etc/hushgate/hushgate.yaml
		dpkg-deb -Znone -b /tmp/next /tmp/next.deb
		dpkg --force-confdef --force-confold --install /tmp/next.deb`)
}
