package passfile

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"hushgate/internal/mono"
	"hushgate/internal/policy"
	"hushgate/internal/wire"
)

// noon is when the files of the tests are written.
var noon = time.Unix(1_800_000_000, 0)

func addr(s string) wire.Addr { return wire.AddrFrom(netip.MustParseAddr(s)) }

var (
	somePasses = []policy.Pass{
		{Addr: addr("192.0.2.1"), Bits: 32, Age: 86000 * time.Second},
		{Addr: addr("198.51.100.0"), Bits: 24, Age: 85999 * time.Second},
		{Addr: addr("2001:db8:1:2::"), Bits: 64, Age: 10 * time.Second},
		{Addr: addr("2001:db8::1"), Bits: 128, Age: 3600 * time.Second}, // of another shard: older than the one before
		{Addr: addr("2001:db8:8000::"), Bits: 33, Age: 0},
		{Addr: addr("128.0.0.0"), Bits: 1, Age: 0},
	}
	someOffenders = []policy.Offender{
		{Addr: addr("203.0.113.9"), Bits: 32, Left: time.Hour, Ages: []time.Duration{50 * time.Minute, 5 * time.Minute, 0}},
		{Addr: addr("2001:db8:9::"), Bits: 48, Ages: []time.Duration{time.Minute}},
		{Addr: addr("203.0.113.10"), Bits: 32, Left: 24 * time.Hour}, // listed by hand
	}
)

func some() Contents {
	return Contents{Passes: slices.Values(somePasses), Offenders: slices.Values(someOffenders)}
}

func encoded(t testing.TB, c Contents) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := encode(&b, c, noon); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func written(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "passes")
	if err := Write(path, some(), noon); err != nil {
		t.Fatal(err)
	}
	return path
}

func compare(t *testing.T, s *Saved, passes []policy.Pass, offenders []policy.Offender) {
	t.Helper()
	if diff := cmp.Diff(passes, slices.Collect(s.Passes()), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("passes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(offenders, slices.Collect(s.Offenders()), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("offenders (-want +got):\n%s", diff)
	}
	if p, o := s.Counts(); p != len(passes) || o != len(offenders) {
		t.Errorf("%d passes, %d offenders", p, o)
	}
}

// TestWhatIsSavedIsRead: all values come back; only the owner may read the file.
func TestWhatIsSavedIsRead(t *testing.T) {
	path := written(t)
	s, err := Read(path, noon)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, s, somePasses, someOffenders)
	for range s.Passes() { // a reader may stop early
		break
	}
	for range s.Offenders() {
		break
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if names := list(t, path); len(names) != 1 {
		t.Errorf("left over: %v", names)
	}
}

func list(t *testing.T, path string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestNothingSaved: a file without entries is a file, and a file that does not exist is no error.
func TestNothingSaved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "passes")
	s, err := Read(path, noon)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, s, nil, nil)
	if err := Write(path, Contents{}, noon); err != nil {
		t.Fatal(err)
	}
	if s, err = Read(path, noon); err != nil {
		t.Fatal(err)
	}
	compare(t, s, nil, nil)
}

// TestFormat: the octets of version 1. If they change, the version has to.
func TestFormat(t *testing.T) {
	text := encoded(t, Contents{
		Passes: slices.Values([]policy.Pass{
			{Addr: addr("192.0.2.1"), Bits: 32, Age: 300 * time.Second}, {Addr: addr("2001:db8:1:2::"), Bits: 64, Age: 299 * time.Second},
		}),
		Offenders: slices.Values([]policy.Offender{
			{Addr: addr("203.0.113.0"), Bits: 24, Left: 2 * time.Second, Ages: []time.Duration{time.Second}},
		}),
	})
	want := hex.EncodeToString([]byte("hushgate-passes 1\n")) + "000000006b49d200" +
		"20c0000201d804" + "6120010db80001000201" + "18cb0071020101" +
		"0000000000000002" + "0000000000000001"
	if got := hex.EncodeToString(text[:len(text)-sha256.Size]); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestTimeGoesBy: what was saved gets older by the wall clock. If the clock was set back, it does not get younger.
func TestTimeGoesBy(t *testing.T) {
	text := encoded(t, some())
	for _, c := range []struct {
		later, since, back time.Duration
	}{
		{0, 0, 0},
		{90 * time.Minute, 90 * time.Minute, 0},
		{-time.Hour, 0, time.Hour},
		{200 * 365 * 24 * time.Hour, longest * time.Second, 0},
	} {
		s, err := decode(text, noon.Add(c.later))
		if err != nil {
			t.Fatal(err)
		}
		if s.Back != c.back {
			t.Errorf("%v later: back by %v, want %v", c.later, s.Back, c.back)
		}
		var passes []policy.Pass
		for _, p := range somePasses {
			p.Age += c.since
			passes = append(passes, p)
		}
		var offenders []policy.Offender
		for _, o := range someOffenders {
			o.Left = max(0, o.Left-c.since)
			o.Ages = slices.Clone(o.Ages)
			for i := range o.Ages {
				o.Ages[i] += c.since
			}
			offenders = append(offenders, o)
		}
		compare(t, s, passes, offenders)
	}
}

// TestThroughAMemory: passes and offences of a shard's memory are there again in another one, and end when they would have.
func TestThroughAMemory(t *testing.T) {
	table, err := policy.NewTable(&policy.Config{
		PassTTL: time.Hour, Offences: policy.Offences{After: 1, Within: time.Hour, For: 2 * time.Hour},
		Frontends: []policy.Frontend{{Name: "f", Delay: 20 * time.Second, Offender: policy.Outcome{Kind: policy.OutcomeTarpit}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var now mono.Time
	first := policy.NewMemory(table, [2]uint64{1, 2}, policy.Bounds{}, now)
	good, bot := addr("192.0.2.1"), addr("2001:db8::5")
	first.Passed(good, now)
	first.Talked(bot, now)
	path := filepath.Join(t.TempDir(), "passes")
	if err := Write(path, Contents{first.Passes(now), first.Offenders(now)}, noon); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		later     time.Duration
		delay     time.Duration
		isRefused bool
	}{{59 * time.Minute, 0, true}, {61 * time.Minute, 20 * time.Second, true}, {121 * time.Minute, 20 * time.Second, false}} {
		s, err := Read(path, noon.Add(c.later))
		if err != nil {
			t.Fatal(err)
		}
		m := policy.NewMemory(table, [2]uint64{3, 4}, policy.Bounds{}, now)
		m.RestorePasses(s.Passes(), now)
		m.RestoreOffenders(s.Offenders(), now)
		treat := func(a wire.Addr) *policy.Treatment {
			return table.Treatment(table.Treat(&policy.Client{Addr: a}, m, policy.Load{}, now).Treatment)
		}
		if got := treat(good).Delay; got != c.delay {
			t.Errorf("%v later the client with a pass waits %v, want %v", c.later, got, c.delay)
		}
		if got := treat(bot).Refusal == policy.RefuseTarpit; got != c.isRefused {
			t.Errorf("%v later the offender is refused: %v, want %v", c.later, got, c.isRefused)
		}
	}
}

// TestLook: who only looks is told of a file that is not there, and leaves one that is damaged where it is.
func TestLook(t *testing.T) {
	path := written(t)
	s, err := Look(path, noon.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if passes, offenders := s.Counts(); passes != len(somePasses) || offenders != len(someOffenders) {
		t.Errorf("%d passes, %d offenders", passes, offenders)
	}
	if err := os.WriteFile(path, []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, path + "none"} {
		var unusable *Unusable
		if _, err := Look(p, noon); !errors.As(err, &unusable) || unusable.Path != p || unusable.Aside != "" {
			t.Errorf("%s: %v", p, err)
		}
	}
	if text, err := os.ReadFile(path); string(text) != "rubbish" {
		t.Errorf("%q, %v", text, err)
	}
}

// TestEarlier: of a time before the file was written, only that is told which was so then.
func TestEarlier(t *testing.T) {
	s, err := Look(written(t), noon.Add(-10*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	passes, offenders := s.Earlier()
	want := []policy.Pass{
		{Addr: addr("192.0.2.1"), Bits: 32, Age: 85400 * time.Second},
		{Addr: addr("198.51.100.0"), Bits: 24, Age: 85399 * time.Second},
		{Addr: addr("2001:db8::1"), Bits: 128, Age: 3000 * time.Second},
	}
	if d := cmp.Diff(want, slices.Collect(passes)); d != "" {
		t.Error(d)
	}
	wantOffenders := []policy.Offender{{Addr: addr("203.0.113.9"), Bits: 32, Ages: []time.Duration{40 * time.Minute}}}
	if d := cmp.Diff(wantOffenders, slices.Collect(offenders)); d != "" {
		t.Error(d)
	}
	if s, err = Look(written(t), noon.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	passes, offenders = s.Earlier()
	if d := cmp.Diff(slices.Collect(s.Passes()), slices.Collect(passes)); d != "" {
		t.Error(d)
	}
	if n := len(slices.Collect(offenders)); n != len(someOffenders) {
		t.Errorf("%d offenders", n)
	}
}

// TestDamaged: any octet that is wrong, and any end that is missing, is found, and nothing is taken from the file.
func TestDamaged(t *testing.T) {
	text := encoded(t, some())
	for i := range text {
		damaged := slices.Clone(text)
		damaged[i] ^= 0x10
		if _, err := decode(damaged, noon); err == nil {
			t.Fatalf("octet %d is wrong: taken", i)
		}
		if _, err := decode(text[:i], noon); err == nil {
			t.Fatalf("%d octets of %d: taken", i, len(text))
		}
	}
	if _, err := decode(append(slices.Clone(text), 0), noon); err == nil {
		t.Fatal("an octet too many: taken")
	}
}

// TestPutAside: a file that cannot be used is renamed, which the error says, and does not stand in the way of the next one.
func TestPutAside(t *testing.T) {
	text := encoded(t, some())
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "it is not a file of passes"},
		{"of something else", "root:x:0:0::/root:/bin/sh\n", "it is not a file of passes"},
		{"of a later version", strings.Replace(string(text), "passes 1", "passes 2", 1), `it is of version "2", expected 1`},
		{"truncated", string(text[:60]), "it is damaged or not complete"},
		{"header alone", header, "it is damaged or not complete"},
	} {
		path := filepath.Join(t.TempDir(), "passes")
		for _, p := range []string{path, path + ".bad"} {
			if err := os.WriteFile(p, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s, err := Read(path, noon)
		if want := "read saved passes: " + path + ": " + c.want + "; it is now " + path + ".bad"; err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", c.name, err, want)
		}
		compare(t, s, nil, nil)
		if got := list(t, path); !slices.Equal(got, []string{"passes.bad"}) {
			t.Errorf("%s: files %v", c.name, got)
		}
		if err := Write(path, some(), noon); err != nil {
			t.Error(err)
		}
		if _, err := Read(path, noon); err != nil {
			t.Error(err)
		}
	}
}

// TestNoFile: what is not a regular file is not read, not renamed, and does not block.
func TestNoFile(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{pipe, dir} {
		s, err := Read(path, noon)
		var u *Unusable
		if !errors.As(err, &u) || u.Aside != "" || !strings.Contains(err.Error(), "it is not a regular file") {
			t.Errorf("%s: %v", path, err)
		}
		compare(t, s, nil, nil)
		if _, err := os.Lstat(path); err != nil {
			t.Error(err)
		}
	}
	if err := Write(filepath.Join(dir, "missing", "passes"), some(), noon); err == nil || !strings.HasPrefix(err.Error(), "save passes: ") {
		t.Errorf("into a directory that does not exist: %v", err)
	}
}

// TestFailedWrite: if a file cannot be replaced, it stays as it was, and no draft is left.
func TestFailedWrite(t *testing.T) {
	path := written(t)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	full := errors.New("no space left")
	if err := encode(failing{full}, some(), noon); !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
	dir := filepath.Join(filepath.Dir(path), "taken") // a directory cannot be replaced by a file
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Write(dir, some(), noon); err == nil {
		t.Error("a directory was replaced")
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the file has changed (%v)", err)
	}
	if got := list(t, path); !slices.Equal(got, []string{"passes", "taken"}) {
		t.Errorf("files %v", got)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// TestDrafts: the draft of a process that was killed disappears with the next file. One that may be written just now stays,
// and so do the files of others.
func TestDrafts(t *testing.T) {
	path := written(t)
	old := time.Now().Add(-time.Hour)
	for _, d := range []string{path + ".1.new", path + ".2.new", path + "2.1.new"} {
		if err := os.WriteFile(d, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
		if d != path+".2.new" {
			if err := os.Chtimes(d, old, old); err != nil {
				t.Fatal(err)
			}
		}
	}
	if s, err := Read(path, noon); err != nil || s.passes != len(somePasses) {
		t.Errorf("beside a draft: %v", err)
	}
	if err := Write(path, some(), noon); err != nil {
		t.Fatal(err)
	}
	if got := list(t, path); !slices.Equal(got, []string{"passes", "passes.2.new", "passes2.1.new"}) {
		t.Errorf("files %v", got)
	}
}

func TestPath(t *testing.T) {
	for _, c := range []struct{ configured, state, want string }{
		{"", "", ""},
		{"", "/var/lib/hushgate", "/var/lib/hushgate/passes"},
		{"", "/var/lib/hushgate:/var/lib/other", "/var/lib/hushgate/passes"},
		{"none", "/var/lib/hushgate", ""},
		{"/srv/p", "/var/lib/hushgate", "/srv/p"},
		{"/srv/p", "", "/srv/p"},
	} {
		if got := Path(c.configured, c.state); got != c.want {
			t.Errorf("%q, %q: %q, want %q", c.configured, c.state, got, c.want)
		}
	}
}
