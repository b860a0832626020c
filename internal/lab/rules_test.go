package lab

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// switchable puts programs before those of iptables that hang as long as a file is there, and write their names to another.
func switchable(t *testing.T, l *Lab) (hang, hanging string) {
	t.Helper()
	dir := t.TempDir()
	hang, hanging = filepath.Join(dir, "hang"), filepath.Join(dir, "hanging")
	for _, name := range []string{"iptables", "ip6tables"} {
		for _, suffix := range []string{"", "-save", "-restore"} {
			real, err := exec.LookPath(name + suffix)
			if err != nil {
				t.Fatal(err)
			}
			script := fmt.Sprintf("#!/bin/bash\ntest -e %s && { echo $0 >>%s; sleep 1000; }\nexec %s \"$@\"\n", hang, hanging, real)
			must(t, os.WriteFile(filepath.Join(dir, name+suffix), []byte(script), 0o755))
		}
	}
	l.env = []string{"PATH=" + dir + ":" + os.Getenv("PATH")}
	return hang, hanging
}

// TestHangingIPTables: while iptables hangs mail goes on; SIGTERM ends a reload that waits for it, and then the process, which
// says what it has left.
func TestHangingIPTables(t *testing.T) {
	t.Parallel()
	f := families[0]
	ctx, l := site(t, Options{})
	mtas(t, l, f)
	hang, hanging := switchable(t, l)
	g := gateway(ctx, t, l, life(f, "", "100ms", f.a))
	must(t, os.WriteFile(hang, nil, 0o600), os.WriteFile(g.File, life(f, "", "200ms", f.a, f.b), 0o600))
	type outcome struct {
		out string
		err error
	}
	reloaded := make(chan outcome, 1)
	go func() {
		out, err := l.hushgate(ctx, "reload")
		reloaded <- outcome{out, err}
	}()
	waitFor(t, "iptables to hang", func() bool { b, _ := os.ReadFile(hanging); return len(b) > 0 })
	if _, err := l.Deliver(ctx, f.client, net.JoinHostPort(f.vip, "25"), strings.NewReader("hello")); err != nil {
		t.Error(err)
	}
	must(t, g.Signal(syscall.SIGTERM))
	if r := <-reloaded; r.err == nil || !strings.Contains(r.out, "hushgate is ending") {
		t.Errorf("the reload: %v, %s", r.err, r.out)
	}
	<-g.ended
	if err := g.cmd.Wait(); err == nil {
		t.Error("the end was called a success, with rules left in place")
	}
	if g.Count("iptables-save was killed: it took too long", "left in place: iptables raw HUSHGATE-PRE-0") == 0 {
		t.Errorf("%q", g.Lines())
	}
	must(t, os.Remove(hang))
	if out, err := l.hushgate(ctx, "fail", "-f", g.File, "--as", "off"); err != nil {
		t.Errorf("%v, %s", err, out)
	}
	if s := saved(ctx, t, l); strings.Contains(s, "HUSHGATE") {
		t.Errorf("rules in the end:\n%s", s)
	}
}
