package oracle

import (
	"errors"
	"flag"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "rewrite testdata/differences.txt and docs/differential.md")

// The results, as text and as a page. Both are generated, and reviewed like code.
const (
	goldenFile = "testdata/differences.txt"
	pageFile   = "../../docs/differential.md"
)

// TestAgainstLinux runs every script with both targets. The differences must be those of the golden file, and each must have an
// argument.
func TestAgainstLinux(t *testing.T) {
	onOneProcessor(t)
	linux, hushgate := newTargets(t)
	for i := range families {
		learn(t, hushgate, &families[i])
	}
	scripts, err := scripts()
	must(t, err)
	r := &runner{linux: linux, hushgate: hushgate, port: 10000}
	found := &outcome{kernel: kernelRelease(t)}
	golden, err := os.ReadFile(goldenFile)
	must(t, err)
	expected := strings.Split(strings.TrimSuffix(string(golden), "\n"), "\n\n")
	tries := surprises
	if *update || !found.sameKernel(t) {
		tries = 1
	}
	for _, x := range scripts {
		part := &outcome{}
		for range tries {
			*part = outcome{}
			must(t, r.compare(x, part))
			if part.is(x, expected) {
				break
			}
		}
		found.add(part)
	}
	t.Logf("%d scripts, %d differences, Linux %s", found.scripts, len(found.differences), found.kernel)
	if found.segments < 1000 || len(found.differences) > found.scripts/2 {
		t.Errorf("%d segments were sent: something is wrong with the comparison itself", found.segments)
	}
	missing, unused := found.argue()
	for _, d := range missing {
		t.Errorf("no argument for\n%s", d)
	}
	if !*update && !found.sameKernel(t) {
		t.Logf("%s was written with another kernel than Linux %s: only the arguments count", goldenFile, found.kernel)
		return
	}
	for _, a := range unused {
		t.Errorf("no difference for the argument %s", a)
	}
	if *update && !t.Failed() {
		must(t, os.WriteFile(goldenFile, []byte(found.text()), 0o644))
		must(t, os.WriteFile(pageFile, []byte(found.page()), 0o644))
	}
	expect(t, goldenFile, found.text())
	expect(t, pageFile, found.page())
}

// surprises is how often a script is run until its result is that of the golden file: a few answers depend on timers, and so
// on the load of the machine.
const surprises = 5

// scripts combines each state with each probe for it.
func scripts() (all []*script, err error) {
	for i := range states {
		for j := range probes {
			s, p := &states[i], &probes[j]
			if p.states != nil && !slices.Contains(p.states, s.name) {
				continue
			}
			x, err := s.write(p)
			if err != nil {
				return nil, err
			}
			all = append(all, x)
		}
	}
	return all, nil
}

// onOneProcessor keeps this test, and the gateway that it starts, on one processor, so that the kernel's queues do not
// change the order of frames.
func onOneProcessor(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	var all unix.CPUSet
	must(t, unix.SchedGetaffinity(0, &all))
	one := oneOf(&all)
	must(t, unix.SchedSetaffinity(0, &one))
	t.Cleanup(func() {
		if err := unix.SchedSetaffinity(0, &all); err != nil {
			t.Error(err)
		}
	})
}

func oneOf(all *unix.CPUSet) (one unix.CPUSet) {
	for i := 0; ; i++ {
		if all.IsSet(i) {
			one.Set(i)
			return one
		}
	}
}

func kernelRelease(t *testing.T) string {
	t.Helper()
	var u unix.Utsname
	must(t, unix.Uname(&u))
	parts := strings.SplitN(unix.ByteSliceToString(u.Release[:]), ".", 3)
	if len(parts) < 2 {
		t.Fatalf("%q: not a kernel's release", parts)
	}
	return parts[0] + "." + parts[1]
}

// learn waits until hushgate has learnt from a health check what its server grants, and offers that.
func learn(t *testing.T, x *target, f *family) {
	t.Helper()
	script, err := states[0].write(&probe{name: "SYN", lines: []string{richSYN, "< R 1:1(0) win 0"}})
	must(t, err)
	deadline := time.Now().Add(30 * time.Second)
	for port := uint16(2000); time.Now().Before(deadline); port++ {
		out, _, err := converse(x, f, script, port)
		must(t, err)
		if strings.Contains(strings.Join(out[0].answers, ""), "TS ecr") {
			return
		}
		time.Sleep(10 * time.Millisecond) // no event reports it
	}
	t.Fatal("hushgate has not learnt that its server grants timestamps")
}

// runner runs scripts.
type runner struct {
	linux, hushgate *target
	port            uint16 // the client's port in the last conversation
	second          time.Time
	limited         int // answers of hushgate in this second that count for its rate limit
}

// maxTries is how often a script may be run until it is fast enough.
const maxTries = 100

// compare runs a script with both targets, over both address families that it exists in, and records the differences.
func (r *runner) compare(x *script, found *outcome) error {
	found.scripts++
	var last *difference
	for i := range families {
		f := &families[i]
		if x.only != "" && x.only != f.name {
			continue
		}
		linux, hushgate, err := r.both(f, x)
		if err != nil {
			return err
		}
		found.segments += len(linux)
		d := &difference{script: x, families: []string{f.name}, linux: linux, hushgate: hushgate}
		switch {
		case reflect.DeepEqual(linux, hushgate):
		case last != nil && reflect.DeepEqual(last.linux, linux) && reflect.DeepEqual(last.hushgate, hushgate):
			last.families = append(last.families, f.name)
		default:
			found.differences = append(found.differences, d)
			last = d
		}
	}
	return nil
}

// both runs a script with both targets. A difference counts only if it occurs twice in a row, because on a busy machine a
// timer of either may have fired.
func (r *runner) both(f *family, x *script) (linux, hushgate []exchange, err error) {
	for range maxTries {
		wasLinux, wasHushgate := linux, hushgate
		if linux, err = r.play(r.linux, f, x); err != nil {
			return nil, nil, err
		}
		if hushgate, err = r.play(r.hushgate, f, x); err != nil {
			return nil, nil, err
		}
		if reflect.DeepEqual(linux, hushgate) || reflect.DeepEqual(linux, wasLinux) && reflect.DeepEqual(hushgate, wasHushgate) {
			return linux, hushgate, nil
		}
	}
	return nil, nil, errors.New(x.name + ": no two answers are alike")
}

func (r *runner) play(t *target, f *family, x *script) ([]exchange, error) {
	for range maxTries {
		r.pace()
		r.port++
		out, inTime, err := converse(t, f, x, r.port)
		if err != nil {
			return nil, err
		}
		if t == r.hushgate {
			for _, e := range out {
				r.limited += len(e.answers)
			}
		}
		if inTime {
			return out, nil
		}
	}
	return nil, errors.New(x.name + ": the machine is too slow: answers may be retransmissions")
}

// pace stays below hushgate's rate limit for RSTs and challenge ACKs, which is at least 500 a second. Two of our seconds may
// overlap one of its own.
func (r *runner) pace() {
	if r.limited >= 240 {
		time.Sleep(time.Until(r.second.Add(time.Second)))
	}
	if time.Since(r.second) >= time.Second {
		r.second, r.limited = time.Now(), 0
	}
}
