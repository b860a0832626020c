package firewall

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"hushgate/internal/lab"
	"hushgate/internal/needroot"
)

// machine makes a host for a test, which needs root.
func machine(t *testing.T, name string) *lab.Host {
	t.Helper()
	needroot.Skip(t, "firewall rules")
	h, err := lab.NewHost(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// do runs a program on a host.
func do(t *testing.T, h *lab.Host, name string, args ...string) string {
	t.Helper()
	out, err := h.Run(t.Context(), name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// in runs an operation of a Firewall on a host.
func in(t *testing.T, h *lab.Host, step func(context.Context) error) {
	t.Helper()
	if err := <-h.Go(func() error { return step(t.Context()) }); err != nil {
		t.Fatal(err)
	}
}

func newFirewall(t *testing.T, c Config) *Firewall {
	t.Helper()
	f, err := New(t.Context(), NewPlan(c))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// saved is the output of iptables-save for both families, without the lines that contain the time.
func saved(t *testing.T, h *lab.Host) string {
	t.Helper()
	var b strings.Builder
	for _, cmd := range []string{"iptables-save", "ip6tables-save"} {
		for line := range strings.Lines(do(t, h, cmd)) {
			if !strings.HasPrefix(line, "#") {
				b.WriteString(line)
			}
		}
	}
	return b.String()
}

func expectVerified(t *testing.T, h *lab.Host, f *Firewall, want bool) {
	t.Helper()
	in(t, h, func(context.Context) error {
		if ok, err := f.Verify(t.Context()); err != nil || ok != want {
			return fmt.Errorf("verified: %v (%w), want %v", ok, err, want)
		}
		return nil
	})
}

// eachVariant runs a test with each variant of iptables under the name iptables.
func eachVariant(t *testing.T, test func(t *testing.T)) {
	for _, variant := range []string{"nft", "legacy"} {
		t.Run(variant, func(t *testing.T) {
			choose(t, variant)
			for _, name := range []string{"iptables", "ip6tables"} {
				for _, table := range []string{"raw", "filter", "nat"} {
					if out, err := machine(t, "probe").Run(t.Context(), name, "-t", table, "-S"); err != nil {
						t.Skipf("this kernel has no %s for %s-%s: %s", table, name, variant, out)
					}
				}
			}
			test(t)
		})
	}
}

// choose gives a variant of iptables the name iptables during a test.
func choose(t *testing.T, variant string) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"iptables", "ip6tables"} {
		for _, suffix := range []string{"", "-save"} {
			real, err := exec.LookPath(name + "-" + variant + suffix)
			if err != nil {
				if os.Getenv("HUSHGATE_LAB") == "1" { // where every test must run
					t.Fatal(err)
				}
				t.Skip(err)
			}
			if real, err = filepath.EvalSymlinks(real); err != nil { // one program, which acts by the name it is called by
				t.Fatal(err)
			}
			if err := os.Symlink(real, filepath.Join(dir, name+suffix)); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// stranger makes a host with rules of another program in every table.
func stranger(t *testing.T) *lab.Host {
	t.Helper()
	h := machine(t, "gateway")
	for _, name := range []string{"iptables", "ip6tables"} {
		do(t, h, name, "-t", "raw", "-A", "PREROUTING", "-i", "other", "-j", "ACCEPT")
		do(t, h, name, "-t", "filter", "-A", "FORWARD", "-i", "other", "-j", "DROP")
		do(t, h, name, "-t", "nat", "-A", "POSTROUTING", "-o", "other", "-j", "MASQUERADE")
		do(t, h, name, "-t", "mangle", "-A", "FORWARD", "-i", "other", "-j", "ACCEPT")
	}
	return h
}

func TestLife(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		h := stranger(t)
		before := saved(t, h)
		f := newFirewall(t, everything())
		in(t, h, f.Check)
		if saved(t, h) != before {
			t.Error("a check changed something")
		}
		expectVerified(t, h, f, false)
		in(t, h, f.Install)
		expectVerified(t, h, f, true)
		if s := saved(t, h); strings.Count(s, "-j DROP") != 8+2 || strings.Count(s, "-j MASQUERADE") != 2+2 ||
			strings.Count(s, "hushgate: ") != len(f.plan) {
			t.Errorf("installed:\n%s", s)
		}
		in(t, h, f.Install) // again: one set of rules, not two
		if s := saved(t, h); strings.Count(s, "hushgate: ") != len(f.plan) || strings.Count(s, "--comment hushgate ") != 8 {
			t.Errorf("installed twice:\n%s", s)
		}
		expectVerified(t, h, f, true)
		in(t, h, f.Remove)
		if after := saved(t, h); after != before {
			t.Errorf("before:\n%s\nafter:\n%s", before, after)
		}
		expectVerified(t, h, f, false)
		in(t, h, f.Remove) // nothing there: no error
	})
}

// TestString: the commands that the plan prints have the same effect in a shell as Install.
func TestString(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		installed, typed := stranger(t), stranger(t)
		f := newFirewall(t, everything())
		in(t, installed, f.Install)
		do(t, typed, "sh", "-e", "-c", f.plan.String())
		if a, b := saved(t, installed), saved(t, typed); a != b {
			t.Errorf("installed:\n%s\ntyped:\n%s", a, b)
		}
	})
}

// TestRepair: every damage to our rules is noticed and repaired, and harmless changes are left alone.
func TestRepair(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		h := stranger(t)
		f := newFirewall(t, everything())
		in(t, h, f.Install)
		for _, damage := range []string{
			"iptables -t raw -F $PRE", "iptables -t raw -D $PRE 1", "iptables -t raw -F PREROUTING", "iptables -t raw -F && iptables -t raw -X",
			"iptables -t raw -I $PRE -j RETURN", "iptables -t raw -I $PRE 2 -s 192.0.2.1 -j RETURN",
			"iptables -t raw -I PREROUTING -j ACCEPT", "ip6tables -t raw -I PREROUTING -i outside -j ACCEPT",
			"ip6tables -t raw -F", "iptables -t nat -F", "iptables -t filter -F $FWD", "ip6tables -t filter -F FORWARD",
		} {
			k := chainKey{table: "raw", hook: "PREROUTING"}
			pre := k.chain(f.placed[k].generation)
			k = chainKey{table: "filter", hook: "FORWARD"}
			fwd := k.chain(f.placed[k].generation)
			do(t, h, "sh", "-e", "-c", strings.NewReplacer("$PRE", pre, "$FWD", fwd).Replace(damage))
			expectVerified(t, h, f, false)
			in(t, h, func(context.Context) error {
				if repaired, err := f.Repair(t.Context()); err != nil || !repaired {
					return fmt.Errorf("%s: repaired: %v, %w", damage, repaired, err)
				}
				return nil
			})
			expectVerified(t, h, f, true)
			if s := saved(t, h); strings.Count(s, "hushgate: ") != len(f.plan) || strings.Count(s, "--comment hushgate ") != 8 {
				t.Errorf("after %s:\n%s", damage, s)
			}
		}
		before := saved(t, h)
		for _, harmless := range []string{
			"iptables -t raw -I PREROUTING -p udp --dport 53 -j CT --notrack", "iptables -t raw -I PREROUTING -s 192.0.2.66 -j DROP",
			"iptables -t filter -I FORWARD -s 192.0.2.66 -j DROP", "iptables -t raw -A PREROUTING -j ACCEPT",
		} {
			do(t, h, "sh", "-c", harmless)
			in(t, h, func(context.Context) error {
				if repaired, err := f.Repair(t.Context()); err != nil || repaired {
					return fmt.Errorf("%s: repaired: %v, %w", harmless, repaired, err)
				}
				return nil
			})
		}
		if saved(t, h) == before {
			t.Error("someone else's rules are gone")
		}
	})
}

// TestCrash: a process that starts replaces the rules that a crashed one left, whatever its plan was and wherever it
// crashed.
func TestCrash(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		h := stranger(t)
		before := saved(t, h)
		in(t, h, newFirewall(t, everything()).Install)
		left := []string{
			"true",
			"iptables -t raw -N HUSHGATE-PRE-1; iptables -t raw -A HUSHGATE-PRE-1 -j RETURN",
			"iptables -t raw -N HUSHGATE-PRE-1; iptables -t raw -I PREROUTING -m comment --comment hushgate -j HUSHGATE-PRE-1",
			"iptables -t raw -I PREROUTING -m comment --comment hushgate -j HUSHGATE-PRE-0",
			"ip6tables -t nat -N HUSHGATE-POST-1",
		}
		for _, mess := range left {
			do(t, h, "sh", "-c", mess)
			f := newFirewall(t, twoArm())
			in(t, h, f.Install)
			expectVerified(t, h, f, true)
			s := saved(t, h)
			if strings.Count(s, "hushgate: ") != len(f.plan) || strings.Count(s, "--comment hushgate ") != 2 || strings.Contains(s, "HUSHGATE-POST") {
				t.Errorf("after %s:\n%s", mess, s)
			}
		}
		in(t, h, newFirewall(t, Config{}).Remove) // a process without any rules cleans up too
		if after := saved(t, h); after != before {
			t.Errorf("before:\n%s\nafter:\n%s", before, after)
		}
	})
}

// TestFailure: an installation that fails half-way leaves everything as it was, in particular the rules in force, in either
// generation.
func TestFailure(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		bad := NewPlan(everything())
		bad = append(bad, Rule{V6: true, Table: "nat", Hook: "POSTROUTING", Spec: []string{"-o", "outside", "-j", "NO-SUCH-TARGET"}})
		f, err := New(t.Context(), bad)
		if err != nil {
			t.Fatal(err)
		}
		h := stranger(t)
		rules := newFirewall(t, everything())
		for _, situation := range []func(context.Context) error{
			func(context.Context) error { return nil }, // no rules yet
			rules.Install, // of generation 0
			rules.Install, // of generation 1
		} {
			in(t, h, situation)
			before := saved(t, h)
			err := <-h.Go(func() error { return f.Install(t.Context()) })
			if err == nil || !strings.Contains(err.Error(), "NO-SUCH-TARGET") ||
				!strings.Contains(err.Error(), "install nat -A HUSHGATE-POST-") && !strings.Contains(err.Error(), "install the rules of the nat table: ") || strings.Contains(err.Error(), "\n") {
				t.Errorf("the error is %v", err)
			}
			if after := saved(t, h); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
		}
		// And in both: a crash during an installation, when generation 1 was in force.
		do(t, h, "iptables", "-t", "raw", "-N", "HUSHGATE-PRE-0")
		in(t, h, func(context.Context) error { _ = f.Install(t.Context()); return nil })
		expectVerified(t, h, rules, true)
	})
}

// wrap puts a script in place of each of the programs of iptables. REAL in it stands for the real program under the same
// name.
func wrap(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"iptables", "ip6tables"} {
		for _, suffix := range []string{"", "-save"} {
			real, err := exec.LookPath(name + suffix)
			if err != nil {
				t.Fatal(err)
			}
			if real, err = filepath.EvalSymlinks(real); err != nil {
				t.Fatal(err)
			}
			text := "#!/bin/bash\n" + strings.ReplaceAll(script, "REAL", "exec -a "+name+suffix+" "+real)
			if err := os.WriteFile(filepath.Join(dir, name+suffix), []byte(text), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// TestNeverWithout: at no moment of a replacement is an incomplete chain in force. The rules are read after every single
// change.
func TestNeverWithout(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		h := stranger(t)
		in(t, h, newFirewall(t, twoArm()).Install)
		watch := filepath.Join(t.TempDir(), "watch")
		save, err := exec.LookPath("iptables-save") // before it is wrapped
		if err != nil {
			t.Fatal(err)
		}
		wrap(t, fmt.Sprintf(`(REAL "$@"); status=$?
case "$0 $1" in *--version) ;; */iptables\ -t) %s -t raw | sed '/^#/d' >>%s;; esac
exit $status
`, save, watch))
		for range 2 { // from generation 0 to 1, and back
			in(t, h, newFirewall(t, twoArm()).Install)
		}
		log, err := os.ReadFile(watch)
		if err != nil {
			t.Fatal(err)
		}
		snapshots := 0
		for snapshot := range strings.SplitSeq(string(log), "*raw\n") {
			if !strings.Contains(snapshot, "PREROUTING") {
				continue
			}
			snapshots++
			covered := false
			for _, g := range []string{"0", "1"} {
				jump := strings.Contains(snapshot, "-A PREROUTING -m comment --comment hushgate -j HUSHGATE-PRE-"+g+"\n")
				complete := strings.Count(snapshot, "-A HUSHGATE-PRE-"+g+" ") == 4
				covered = covered || jump && complete
				if jump && !complete {
					t.Errorf("in force and not complete:\n%s", snapshot)
				}
			}
			if !covered {
				t.Errorf("no chain is in force:\n%s", snapshot)
			}
		}
		if snapshots < 2*2 {
			t.Errorf("the rules were read only %d times", snapshots)
		}
	})
}

func TestErrors(t *testing.T) {
	h := machine(t, "gateway")
	t.Run("the lock cannot be written", func(t *testing.T) {
		choose(t, "legacy")
		t.Setenv("XTABLES_LOCKFILE", "/nonexistent/xtables.lock")
		f := newFirewall(t, twoArm())
		err := <-h.Go(func() error { return f.Install(t.Context()) })
		if err == nil || !strings.Contains(err.Error(), "/nonexistent/xtables.lock") {
			t.Errorf("the error is %v", err)
		}
	})
	t.Run("not permitted", func(t *testing.T) {
		wrap(t, `exec setpriv --bounding-set -all --inh-caps -all --ambient-caps -all --reuid 65534 --clear-groups bash -c 'REAL "$@"' - "$@"`)
		f := newFirewall(t, twoArm())
		err := <-h.Go(func() error { return f.Check(t.Context()) })
		if err == nil || !strings.Contains(err.Error(), "CAP_NET_ADMIN") || strings.Contains(err.Error(), "\n") {
			t.Errorf("check: %v", err)
		}
		for _, step := range []func(context.Context) error{f.Install, f.Remove, func(ctx context.Context) error { f.placed = map[chainKey]placed{}; return f.Remove(ctx) }} {
			if err := <-h.Go(func() error { return step(t.Context()) }); err == nil {
				t.Error("no error where nothing is permitted")
			}
		}
	})
	t.Run("no iptables", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		if _, err := New(t.Context(), NewPlan(twoArm())); err == nil || !strings.Contains(err.Error(), "find the program ip") {
			t.Errorf("the error is %v", err)
		}
		if _, err := New(t.Context(), nil); err != nil {
			t.Errorf("nothing is needed: %v", err)
		}
	})
	t.Run("no ip6tables", func(t *testing.T) {
		dir := t.TempDir()
		for _, name := range []string{"iptables", "iptables-save"} {
			iptables, err := exec.LookPath(name)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(iptables, filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		t.Setenv("PATH", dir)
		if _, err := New(t.Context(), NewPlan(twoArm())); err == nil || !strings.Contains(err.Error(), "find the program ip6tables") {
			t.Errorf("the error is %v", err)
		}
		c := twoArm()
		c.Services, c.Servers = c.Services[:1], c.Servers[:1]
		f := newFirewall(t, c)
		in(t, h, f.Install)
		expectVerified(t, h, f, true)
		in(t, h, f.Remove)
	})
}

// TestWarnings: rules of the other variant give a warning with the command that shows them.
func TestWarnings(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		h := machine(t, "gateway")
		f := newFirewall(t, twoArm())
		var warnings []string
		look := func(context.Context) error { warnings = f.Warnings(t.Context()); return nil }
		in(t, h, f.Install)
		if in(t, h, look); len(warnings) != 0 {
			t.Errorf("there is one variant: %q", warnings)
		}
		other := "iptables-nft"
		if f.tools[false].nft() {
			other = "iptables-legacy"
		}
		do(t, h, other, "-t", "raw", "-A", "PREROUTING", "-s", "192.0.2.1", "-j", "DROP")
		in(t, h, look)
		if len(warnings) != 1 || !strings.HasPrefix(warnings[0], "1 rules of "+other+" are in force beside those of iptables v") {
			t.Errorf("warnings: %q", warnings)
		}
		if v := f.Versions(); len(v) != 2 || !strings.HasPrefix(v[1], "ip6tables v") {
			t.Errorf("versions: %q", v)
		}
	})
}
