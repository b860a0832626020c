package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var update = flag.Bool("update", false, "rewrite the golden files and the errors at the head of the bad ones")

// testEnv is the environment for the files in testdata.
func testEnv(name string) (string, bool) {
	value, ok := map[string]string{"MX": "10.0.0.11", "EMPTY": "", "LIST": "inter 3s  rise 4"}[name]
	return value, ok
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func glob(t *testing.T, patterns ...string) []string {
	t.Helper()
	var all []string
	for _, pattern := range patterns {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: nothing found (%v)", pattern, err)
		}
		all = append(all, found...)
	}
	return all
}

// goodFiles lists the files that must be accepted.
func goodFiles(t *testing.T) []string {
	return glob(t, "testdata/good/*.cfg", "testdata/good/*.yaml", "reference.cfg", "keywords.cfg",
		"../../docs/examples/*.cfg", "../../docs/examples/*.yaml")
}

// TestGood compares the resolved configuration and the warnings with the golden files.
func TestGood(t *testing.T) {
	for _, path := range goodFiles(t) {
		base := filepath.Base(path)
		t.Run(base, func(t *testing.T) {
			cfg, warnings, err := parse(base, read(t, path), testEnv)
			if err != nil {
				t.Fatal(err)
			}
			compareGolden(t, base, map[string]any{"Config": withoutDefaults(t, cfg), "Warnings": warnings})
		})
	}
}

// TestDefaults compares the defaults with their golden file. The other golden files leave the defaults out, so that a new
// setting changes only this one.
func TestDefaults(t *testing.T) {
	compareGolden(t, "defaults", defaults())
}

// defaults returns the defaults of the tables, under the names of the lists in a Config that have such members.
func defaults() map[string]any {
	f := factory()
	return map[string]any{
		"Global": newRaw().global.Global, "Frontends": f.front, "Backends": f.back, "Servers": f.template.Server,
	}
}

func compareGolden(t *testing.T, name string, value any) {
	got, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	golden := filepath.Join("testdata", "golden", name+".json")
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(string(read(t, golden)), string(got)); diff != "" {
		t.Errorf("resolved differently from %s (-want +got):\n%s", golden, diff)
	}
}

// withoutDefaults returns what a Config has apart from the defaults.
func withoutDefaults(t *testing.T, cfg *Config) any {
	bases, _ := decoded(t, defaults()).(map[string]any)
	return difference(decoded(t, cfg), map[string]any{"Global": bases["Global"]}, bases)
}

// decoded converts a value through JSON. Numbers keep their digits.
func decoded(t *testing.T, value any) (out any) {
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

// difference returns the parts of v that differ from base. The members of a list that has a name in bases are compared with
// the entry of that name.
func difference(v, base any, bases map[string]any) any {
	keys, isMap := v.(map[string]any)
	baseKeys, _ := base.(map[string]any)
	if !isMap {
		return v
	}
	out := map[string]any{}
	for name, value := range keys {
		list, isList := value.([]any)
		switch usual, known := bases[name]; {
		case isList && known:
			members := make([]any, len(list))
			for i, member := range list {
				members[i] = difference(member, usual, bases)
			}
			out[name] = members
		case !reflect.DeepEqual(value, baseKeys[name]):
			out[name] = difference(value, baseKeys[name], bases)
		}
	}
	return out
}

// TestBad compares the errors with those at the head of each file, one comment line for each.
func TestBad(t *testing.T) {
	for _, path := range glob(t, "testdata/bad/*.cfg", "testdata/bad/*.yaml") {
		base := filepath.Base(path)
		t.Run(base, func(t *testing.T) {
			text := string(read(t, path))
			want, body := splitHead(text, base)
			if *update {
				body = rewriteHead(t, path, base, body)
				want, body = splitHead(body, base)
			}
			_, _, err := parse(base, []byte(strings.Repeat("\n", len(want))+body), testEnv)
			if err == nil {
				t.Fatal("accepted")
			}
			if diff := cmp.Diff(want, strings.Split(err.Error(), "\n")); diff != "" {
				t.Errorf("errors differ from those at the head of the file (-want +got):\n%s", diff)
			}
		})
	}
}

// splitHead separates the errors at the head of a bad file from its body.
func splitHead(text, base string) (want []string, body string) {
	for {
		line, rest, found := strings.Cut(text, "\n")
		e, isError := strings.CutPrefix(line, "# "+base)
		if !found || !isError {
			return want, text
		}
		want, text = append(want, base+e), rest
	}
}

// rewriteHead writes the errors that body gives to its head.
func rewriteHead(t *testing.T, path, base, body string) string {
	t.Helper()
	_, _, err := parse(base, []byte(body), testEnv)
	n := 0
	if err != nil {
		n = len(strings.Split(err.Error(), "\n"))
	}
	_, _, err = parse(base, []byte(strings.Repeat("\n", n)+body), testEnv)
	if err == nil {
		t.Fatal("accepted")
	}
	head := "# " + strings.ReplaceAll(err.Error(), "\n", "\n# ") + "\n"
	if err := os.WriteFile(path, []byte(head+body), 0o644); err != nil {
		t.Fatal(err)
	}
	return head + body
}

// TestErrorsAreComplete: each error has a file, a line and a keyword, errors are sorted by line, and errors.As finds them.
func TestErrorsAreComplete(t *testing.T) {
	for _, path := range glob(t, "testdata/bad/*.cfg", "testdata/bad/*.yaml") {
		cfg, _, err := Parse(filepath.Base(path), read(t, path))
		var all Errors
		var first *Error
		if cfg != nil || !errors.As(err, &all) || !errors.As(err, &first) || first != all[0] {
			t.Fatalf("%s: got %v, %v; want no Config and Errors", path, cfg, err)
		}
		for _, e := range all {
			if e.Line < 1 || e.File != filepath.Base(path) || e.Keyword == "" || e.Expected+e.Reason == "" {
				t.Errorf("%s: incomplete: %+v", path, e)
			}
		}
		if !slices.IsSortedFunc(all, func(a, b *Error) int { return a.Line - b.Line }) {
			t.Errorf("%s: not sorted by line:\n%v", path, err)
		}
	}
}

// TestTwoSyntaxesOneModel: the reference configuration written in YAML gives the same Config.
func TestTwoSyntaxesOneModel(t *testing.T) {
	haproxy, _, err := Parse("reference.cfg", Reference)
	if err != nil {
		t.Fatal(err)
	}
	native, _, err := Load("../../docs/examples/reference.yaml")
	if err != nil {
		t.Fatal(err)
	}
	sameButPlace := []cmp.Option{
		cmpopts.IgnoreFields(Config{}, "File", "SHA256"), cmpopts.IgnoreFields(Server{}, "Line"), cmpopts.EquateEmpty(),
		cmpopts.EquateComparable(haproxy.Frontends[0].Binds[0].Addr),
	}
	if diff := cmp.Diff(haproxy, native, sameButPlace...); diff != "" {
		t.Errorf("HAProxy's syntax and YAML differ (-haproxy +yaml):\n%s", diff)
	}
}

// TestKeywordsFileIsComplete: keywords.cfg shows each keyword that has a handler.
func TestKeywordsFileIsComplete(t *testing.T) {
	var lines [][]string
	for line := range strings.Lines(string(Keywords)) {
		words, err := scanLine(strings.TrimSpace(line), testEnv)
		if err != nil {
			t.Fatal(err)
		}
		if len(words) > 1 && words[0] == "no" {
			words = words[1:]
		}
		lines = append(lines, words)
	}
	shown := func(words ...string) bool {
		return slices.ContainsFunc(lines, func(line []string) bool {
			return len(line) >= len(words) && slices.Equal(line[:len(words)], words)
		})
	}
	mentioned := func(keywords []string, word string) bool {
		return slices.ContainsFunc(lines, func(line []string) bool {
			return len(line) > 0 && slices.Contains(keywords, line[0]) && slices.Contains(line, word)
		})
	}
	for _, s := range globalSettings {
		if s.word != "" && !shown(s.word) {
			t.Errorf("%s is missing", s.word)
		}
	}
	for _, s := range proxySettings {
		if s.word != "" && !s.older && !shown(strings.Fields(s.word)...) {
			t.Errorf("%s is missing", s.word)
		}
	}
	for _, name := range knownServerSettings() {
		if !mentioned([]string{"server", "default-server"}, name) {
			t.Errorf("server %s is missing", name)
		}
	}
	for _, s := range bindSettings {
		if s.word != "" && !mentioned([]string{"bind"}, s.word) {
			t.Errorf("bind %s is missing", s.word)
		}
	}
}

// TestHAProxyAcceptsThem: HAProxy accepts each file in its syntax that hushgate accepts.
func TestHAProxyAcceptsThem(t *testing.T) {
	for _, path := range goodFiles(t) {
		if filepath.Ext(path) != ".cfg" {
			continue
		}
		if accepted, messages := askHAProxy(t, string(read(t, path))); !accepted {
			t.Errorf("HAProxy refuses %s:\n%s", path, messages)
		}
	}
}

func TestLoad(t *testing.T) {
	if _, _, err := Load(filepath.Join(t.TempDir(), "none.cfg")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: got %v, want %v", err, os.ErrNotExist)
	}
	cfg, _, err := Load("reference.cfg")
	if err != nil || cfg.File != "reference.cfg" || len(cfg.Frontends) != 1 {
		t.Errorf("got %+v, %v", cfg, err)
	}
}

func TestIsYAML(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       bool
	}{
		{"a.cfg", "frontends:\n", false},
		{"a.yaml", "frontend a\n", true},
		{"a.YML", "", true},
		{"hushgate.conf", "# frontends:\n\nfrontend a\n", false},
		{"hushgate.conf", "# frontend a\n\nfrontends:\n", true},
		{"hushgate", "---\n", true},
		{"hushgate", "{frontends: []}\n", true},
		{"hushgate", "defaults\n    mode tcp\n", false},
		{"hushgate", "", false},
	} {
		if got := isYAML(c.name, []byte(c.text)); got != c.want {
			t.Errorf("isYAML(%q, %q) = %v, want %v", c.name, c.text, got, c.want)
		}
	}
}

// FuzzHAProxy and FuzzYAML: no panic; either a Config that can be used or errors that each have a line.
func FuzzHAProxy(f *testing.F) { fuzz(f, "fuzz.cfg", ".cfg") }
func FuzzYAML(f *testing.F)    { fuzz(f, "fuzz.yaml", ".yaml") }

func fuzz(f *testing.F, name, ext string) {
	for _, dir := range []string{".", "testdata/good", "testdata/bad", "../../docs/examples"} {
		paths, err := filepath.Glob(filepath.Join(dir, "*"+ext))
		if err != nil {
			f.Fatal(err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		cfg, warnings, err := parse(name, text, testEnv)
		lines := strings.Count(string(text), "\n") + strings.Count(string(text), "\r") + 1 // YAML breaks lines at both
		for _, w := range warnings {
			if w.Line < 0 || w.Line > lines || w.Text == "" {
				t.Errorf("warning %+v in a file of %d lines", w, lines)
			}
		}
		if err == nil {
			checkUsable(t, cfg)
			return
		}
		var all Errors
		if !errors.As(err, &all) || len(all) == 0 || cfg != nil {
			t.Fatalf("got %v with an error of type %T", cfg, err)
		}
		for _, e := range all {
			if e.Line < 1 || e.Line > lines || strings.ContainsAny(e.Error(), "\n\r\x00") {
				t.Errorf("in a file of %d lines: %q", lines, e.Error())
			}
		}
	})
}

// checkUsable tests what other packages rely on in a Config.
func checkUsable(t *testing.T, cfg *Config) {
	t.Helper()
	if len(cfg.Frontends) == 0 || cfg.Global.MaxConn < 1 {
		t.Errorf("nothing to serve: %+v", cfg)
	}
	for _, f := range cfg.Frontends {
		known := slices.ContainsFunc(cfg.Backends, func(b Backend) bool { return b.Name == f.Backend })
		replies := checkReply(f.RejectText) == nil && checkReply(f.NoServerText) == nil
		if !known || !replies || len(f.Binds) == 0 || f.Delay < 0 {
			t.Errorf("frontend %+v", f)
		}
		for _, b := range f.Binds {
			if !b.Addr.IsValid() || b.Port == 0 || b.AnyFamily && !b.Addr.IsUnspecified() {
				t.Errorf("bind %+v", b)
			}
		}
	}
	for _, b := range cfg.Backends {
		if len(b.Servers) == 0 || b.Connect <= 0 || b.Retries < 0 || b.Retries > maxRetries {
			t.Errorf("backend %+v", b)
		}
		for _, s := range b.Servers {
			if !s.Addr.IsValid() || s.Port == 0 || !s.CheckAddr.IsValid() || s.CheckPort == 0 || s.Inter <= 0 ||
				s.FastInter <= 0 || s.DownInter <= 0 || s.Rise < 1 || s.Fall < 1 || s.Weight < 0 || s.Weight > 256 {
				t.Errorf("server %+v", s)
			}
		}
	}
}

// TestREADME: the file that the README shows is accepted without a warning, by HAProxy too.
func TestREADME(t *testing.T) {
	_, text, _ := strings.Cut(string(read(t, "../../README.md")), "```\nfrontend ")
	text, _, found := strings.Cut(text, "```\n")
	if !found {
		t.Fatal("the README shows no file")
	}
	_, warnings, err := Parse("haproxy.cfg", []byte("frontend "+text))
	if err != nil {
		t.Error(err)
	}
	for _, w := range warnings {
		if !w.Note {
			t.Errorf("line %d: %s", w.Line, w.Text)
		}
	}
}
