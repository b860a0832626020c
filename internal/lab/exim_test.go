package lab

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"hushgate/internal/needroot"
)

// exim is an Exim with a configuration and a spool of its own.
type exim struct {
	host *Host
	dir  string
	args []string // of unshare, up to Exim's own
}

// newExim prepares an Exim on a host. The program is unpacked, not installed, because Debian takes one mail server at a time:
// a user of its name is there in its own view of the files alone.
func newExim(t *testing.T, h *Host, dir, program, config string) *exim {
	t.Helper()
	must(t, errorsJoin(os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(dir, 0o755), os.Mkdir(filepath.Join(dir, "spool"), 0o750),
		os.Chown(filepath.Join(dir, "spool"), mailID, mailID)))
	for _, file := range []string{"passwd", "group"} {
		text, err := os.ReadFile("/etc/" + file)
		must(t, err)
		text = append(text, map[string]string{"passwd": "Debian-exim:x:8:8::/:/bin/false\n", "group": "Debian-exim:x:8:\n"}[file]...)
		must(t, os.WriteFile(filepath.Join(dir, file), text, 0o644))
	}
	config = fmt.Sprintf("exim_path = %s\nspool_directory = %s/spool\nlog_file_path = %[2]s/spool/%%slog\nkeep_environment =\n"+
		"pid_file_path = %[2]s/spool/pid\n%[3]s", program, dir, config)
	must(t, os.WriteFile(filepath.Join(dir, "conf"), []byte(config), 0o644))
	return &exim{h, dir, []string{
		"unshare", "-m", "sh", "-c", "mount --bind $0/passwd /etc/passwd && mount --bind $0/group /etc/group && exec \"$@\"", dir,
		program, "-C", filepath.Join(dir, "conf"),
	}}
}

const mailID = 8 // the user and group `mail` of every Debian

// serve starts it as a server.
func (e *exim) serve(ctx context.Context, t *testing.T, addr string) {
	t.Helper()
	args := append(e.args[1:len(e.args):len(e.args)], "-bdf", "-oX", "<; ["+addr+"]:25")
	cmd := exec.Command(e.args[0], args...)
	must(t, e.host.Start(cmd))
	waitFor(t, "Exim to listen on "+addr, func() bool {
		c, err := e.host.Dial(ctx, "", net.JoinHostPort(addr, "25"))
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

// retry runs the queue once, and returns what Exim's log says of it.
func (e *exim) retry(ctx context.Context, t *testing.T) string { return e.run(ctx, t, "", "-qff") }

// send tries to deliver one mail at once, and returns what Exim's log says of it.
func (e *exim) send(ctx context.Context, t *testing.T) string {
	return e.run(ctx, t, "Subject: x\n\nx\n", "-odf", "-f", "a@example.org", "b@example.com")
}

func (e *exim) run(ctx context.Context, t *testing.T, input string, args ...string) string {
	t.Helper()
	before := len(e.log(t))
	cmd := exec.CommandContext(ctx, e.args[0], append(e.args[1:len(e.args):len(e.args)], args...)...)
	cmd.Stdin = strings.NewReader(input)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := <-e.host.Go(cmd.Run); err != nil {
		t.Fatalf("exim: %v: %s", err, &out)
	}
	return e.log(t)[before:]
}

func (e *exim) log(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(e.dir, "spool/mainlog"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(text)
}

// TestPipeconnect has Exim deliver to Exim. A server that advertises PIPECONNECT makes the client talk before the banner at
// its second delivery, which hushgate rejects: the mail waits in the client's queue until its next attempt. With
// hide-pipeconnect each mail is delivered at once.
func TestPipeconnect(t *testing.T) {
	program, err := filepath.Abs("../../.ci/peers/exim4/usr/sbin/exim4")
	must(t, err)
	needroot.Skip(t, "tests of the whole gateway")
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("%v: make install-deps unpacks it", err)
	}
	for i, f := range families {
		for _, hide := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/hide-pipeconnect=%v", f.name, hide), func(t *testing.T) {
				dirs := [2]string{t.TempDir(), t.TempDir()} // removed after the lab has ended what writes there
				ctx, l := site(t, Options{NoOffloads: i == 0})
				server := newExim(t, l.Servers[0], dirs[0], program, "primary_hostname = mx.example.com\n"+
					"pipelining_connect_advertise_hosts = *\ntls_advertise_hosts =\nhost_lookup =\nrfc1413_hosts =\nacl_smtp_rcpt = accept\n"+
					"acl_smtp_data = accept\nbegin routers\nall:\n  driver = accept\n  transport = null\nbegin transports\n"+
					"null:\n  driver = appendfile\n  file = /dev/null\n  user = mail\n")
				server.serve(ctx, t, f.a)
				client := newExim(t, l.Client, dirs[1], program, "primary_hostname = client.example.org\nlog_selector = +pipelining\nbegin routers\n"+
					"all:\n  driver = manualroute\n  route_data = "+strings.ReplaceAll(f.vip, ":", "::")+"\n  transport = smtp\nbegin transports\n"+
					"smtp:\n  driver = smtp\n  hosts_pipe_connect = *\n  hosts_try_fastopen =\n  hosts_avoid_tls = *\n  interface = <; "+f.client+"\nbegin retry\n* * F,1h,1m\n")
				g := gateway(ctx, t, l, fmt.Appendf(nil, `#yaml
pass-ttl: 0s
frontends:
  - {name: ft, bind: "%s", inspect-delay: 1s, hide-pipeconnect: %v, log-format: json, default_backend: bk}
backends:
  - {name: bk, smtpchk: EHLO gateway, timeout: {check: 10s}, servers: [{name: mx1, address: "%s", check: true}]}
`, net.JoinHostPort(f.vip, "25"), hide, net.JoinHostPort(f.a, "25")))
				waitFor(t, "the first check", func() bool { return g.Count("TCP options learnt") > 0 })
				for n := range 3 {
					said := client.send(ctx, t)
					if strings.Contains(said, " L* ") {
						t.Errorf("delivery %d was pipelined before the banner, through the gateway: %s", n, said)
					}
					switch deferred := strings.Contains(said, " == b@example.com "); {
					case deferred && !hide && n > 0:
						said = client.retry(ctx, t)
						fallthrough
					default:
						if !strings.Contains(said, " => b@example.com ") {
							t.Errorf("delivery %d: %s", n, said)
						}
					}
				}
				early := g.Count(`"verdict":"early-talker"`)
				if hide && early > 0 || !hide && early == 0 {
					t.Errorf("%d connections were early talkers", early)
				}
				if n := g.Count(`"verdict":"quiet"`); n < 3 {
					t.Errorf("%d connections were quiet, want 3", n)
				}
				if warned := g.Count("advertises PIPECONNECT"); warned > 0 == hide {
					t.Errorf("%d warnings", warned)
				}
			})
		}
	}
}
