// Package archtest checks the code against its architecture: which package may import which, and what the core never does.
package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

// core are the packages that do no I/O: equal inputs give equal output.
var core = []string{"dataplane", "internal/ehlo", "internal/flowtab", "internal/numbers", "internal/policy", "internal/proxyproto", "internal/wire", "nat", "tcpstate"}

// pure lists what the core may import from outside the project: nothing that does I/O, waits, locks, logs or uses randomness.
var pure = strings.Fields(`bytes cmp encoding/binary errors fmt iter maps math math/bits net/netip reflect slices strconv
	strings time unsafe github.com/dchest/siphash github.com/google/gopacket github.com/google/gopacket/layers`)

// planned lists what a plan may import from outside the project: a plan sees only what it is given.
var planned = strings.Fields("cmp fmt errors net/netip slices strings time")

// rule says which of our packages a package may import, and why no others.
type rule struct{ imports, why string }

var rules = map[string]rule{
	"internal/mono":       {"", "time depends on nothing"},
	"internal/numbers":    {"", "numbers do not know what they count"},
	"internal/wire":       {"", "octets know no connections"},
	"internal/flowtab":    {"internal/mono", "tables do not know what a record is"},
	"internal/policy":     {"internal/flowtab internal/mono internal/wire", "policy knows addresses, and neither TCP nor where lists come from"},
	"tcpstate":            {"internal/mono internal/wire", "TCP knows no servers: the shard introduces nat"},
	"nat":                 {"internal/wire", "arithmetic knows no states: the shard introduces tcpstate"},
	"dataplane":           {"internal/ehlo internal/flowtab internal/mono internal/numbers internal/policy internal/proxyproto internal/wire nat tcpstate", "the core knows no I/O, no configuration and no log"},
	"dataplane/port":      {"internal/wire", "a port moves frames and decides nothing"},
	"health":              {"internal/proxyproto", "a check knows no clients"},
	"internal/config":     {"internal/dnsbl internal/lists internal/logformat internal/policy", "a configuration knows neither the machine nor its own use; rules and lists are in the words of their packages"},
	"internal/firewall":   {"", "rules know only addresses"},
	"internal/instance":   {"", "finding other instances needs to know nothing of their work"},
	"internal/handover":   {"dataplane", "the handover carries connections and does not interpret them"},
	"internal/netenv":     {"internal/announce internal/wire", "the network knows no connections"},
	"internal/connlog":    {"dataplane internal/logformat internal/logqueue internal/mono internal/policy internal/wire", "the log renders events"},
	"internal/explain":    {"internal/admin internal/connlog internal/evidence internal/logread internal/printable internal/replay", "an explanation has what the API or a log tells, and asks nobody"},
	"internal/recall":     {"dataplane internal/connlog internal/mono internal/policy internal/wire", "a memory of events answers in events"},
	"internal/logqueue":   {"", "a queue does not know what it holds"},
	"internal/lists":      {"", "a list does not know what a match means"},
	"internal/unusedport": {"", "a port for a test is for any test"},
	"internal/testcert":   {"", "a certificate for a test is for any test"},
	"internal/printable":  {"", "a text is printable whoever wrote it"},
	"internal/crowd":      {"", "a crowd does not know what its clients ask"},
	"internal/admin":      {"internal/crowd", "the API knows the gateway by an interface of its own"},
	"internal/console":    {"internal/admin internal/explain internal/instance internal/printable", "commands know the gateway by its API alone"},

	"internal/top":  {"internal/admin internal/console", "the screen knows the gateway by its API alone"},
	"internal/page": {"", "the page is files; it knows the gateway by its API alone, from the browser"},

	"internal/runtimeapi": {"internal/admin internal/crowd internal/printable", "HAProxy's commands know the gateway by the interface of the control API"},

	"internal/logformat": {"", "a format knows names, and not where their values come from"},

	"internal/gateway": {
		"dataplane dataplane/port health internal/admin internal/announce internal/config internal/connlog internal/dnsbl internal/drive internal/evidence internal/firewall internal/handover internal/instance internal/kernelset internal/logqueue internal/metrics internal/mono internal/netenv internal/numbers internal/page internal/passfile internal/plan internal/policy internal/printable internal/privilege internal/recall internal/runtimeapi internal/wire",
		"the gateway wires parts together; TCP and translation are the shard's work",
	},
	"internal/doctor": {
		"dataplane dataplane/port health internal/firewall internal/instance internal/netenv internal/plan internal/privilege internal/wire",
		"an examination reads a plan and the machine, and changes neither",
	},
	"internal/metrics": {"dataplane internal/admin internal/crowd internal/mono", "metrics are what the control API shows, in other words"},
	"internal/drive": {
		"dataplane dataplane/port internal/mono internal/netenv internal/wire tcpstate",
		"the loop knows no configuration, no log of connections, and no servers",
	},
	"internal/plan": {
		"dataplane dataplane/port health internal/config internal/connlog internal/firewall internal/kernelset internal/lists internal/netenv internal/policy internal/policyroute internal/proxyproto internal/wire",
		"a plan describes what is to be done, and does nothing itself",
	},
	"internal/plan/plantest": {"internal/config internal/netenv", "tests start from a configuration and a machine"},
	"internal/privilege":     {"", "privileges know only the kernel"},

	"internal/logread": {"", "a log is text, and its reader does not know who wrote it"},

	"internal/report": {"internal/evidence internal/logread internal/printable internal/replay", "a report is made from records, of whatever log, and from judged captures"},

	"internal/kernelset": {"", "a set in the kernel knows only addresses"},

	"internal/policyroute": {"", "routes know only addresses"},

	"internal/ehlo":       {"", "replies know no connections"},
	"internal/proxyproto": {"", "a header consists of addresses"},

	"internal/needroot":  {"", "a helper for all tests depends on nothing"},
	"internal/segscript": {"internal/wire", "a script is text"},
	"internal/netsim":    {"internal/mono internal/wire", "the simulated network judges the gateway and shares no code with it"},
	"internal/lab":       {"internal/config", "the lab runs the real binary, not its parts"},
	"internal/announce":  {"", "neighbours know no connections"},
	"internal/capture":   {"internal/wire", "a file of packets knows no connections"},
	"internal/dnsbl":     {"", "DNS lists know addresses alone"},
	"internal/passfile":  {"internal/policy internal/wire", "a file of passes knows no clients but those in it"},
	"internal/evidence":  {"dataplane internal/capture internal/mono internal/wire", "evidence is packets and a reason"},
	"internal/replay":    {"dataplane internal/capture internal/config internal/connlog internal/mono internal/netenv internal/passfile internal/plan internal/policy internal/wire", "captures are judged by the core itself, as a configuration has it"},
	"internal/debian":    {"", "the Debian package consists of files and tests"},
	"internal/oracle":    {"", "the comparison with the kernel consists of tests"},
	"cmd/hushgate":       {"internal/admin internal/config internal/console internal/doctor internal/gateway internal/lab internal/logqueue internal/netenv internal/plan internal/policyroute internal/privilege internal/replay internal/report internal/top", "main parses flags and calls one function"},
}

// sources calls f for every Go file except tests, with the directory of its package.
func sources(t *testing.T, f func(dir string, fset *token.FileSet, file *ast.File)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata"):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		f(filepath.ToSlash(dir), fset, file)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestImports(t *testing.T) {
	seen := map[string]bool{}
	sources(t, func(dir string, fset *token.FileSet, file *ast.File) {
		r, ruled := rules[dir]
		if !ruled {
			t.Errorf("%s: no rule says what this package may import: add one", dir)
			return
		}
		seen[dir] = true
		for _, spec := range file.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if ours, found := strings.CutPrefix(path, "hushgate/"); found {
				if !slices.Contains(strings.Fields(r.imports), ours) {
					t.Errorf("%s: %s may not import %s: %s", fset.Position(spec.Pos()), dir, ours, r.why)
				}
			} else if slices.Contains(core, dir) && !slices.Contains(pure, path) {
				t.Errorf("%s: %s may not import %s: the core does no I/O, uses no randomness, waits for nothing and logs nothing",
					fset.Position(spec.Pos()), dir, path)
			} else if dir == "internal/plan" && !slices.Contains(planned, path) {
				t.Errorf("%s: %s may not import %s: a plan uses only what it is given", fset.Position(spec.Pos()), dir, path)
			}
		}
	})
	for dir := range rules {
		if !seen[dir] {
			t.Errorf("there is a rule for %s, but no such package", dir)
		}
	}
}

// TestRooms checks that docs/architecture.md has a line on each package, and no line on a package that does not exist.
func TestRooms(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	described := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		room, _, _ := strings.Cut(strings.TrimPrefix(line, "| "), " | ")
		if strings.HasPrefix(line, "| `") {
			for i, name := range strings.Split(room, "`") {
				if i%2 == 1 {
					described[name] = true
				}
			}
		}
	}
	for dir := range rules {
		if !described[dir] {
			t.Errorf("docs/architecture.md has no line on %s", dir)
		}
		delete(described, dir)
	}
	delete(described, "internal/archtest") // it consists of tests, and has no rule
	for name := range described {
		if strings.HasPrefix(name, "internal/") || strings.HasPrefix(name, "cmd/") {
			t.Errorf("docs/architecture.md has a line on %s, which is not a package", name)
		}
	}
}

// TestWhoKnowsTheConfiguration checks who imports the configuration: every other package has a small, already valid Config.
func TestWhoKnowsTheConfiguration(t *testing.T) {
	for what, by := range map[string][]string{
		"internal/config":  {"cmd/hushgate", "internal/gateway", "internal/lab", "internal/plan", "internal/plan/plantest", "internal/replay"},
		"internal/gateway": {"cmd/hushgate"},
	} {
		for dir, r := range rules {
			if slices.Contains(strings.Fields(r.imports), what) && !slices.Contains(by, dir) {
				t.Errorf("%s may import %s: only %v may", dir, what, by)
			}
		}
	}
}

// clocks are the functions that read a clock or wait for one, by package.
var clocks = map[string][]string{
	"time": {"After", "AfterFunc", "NewTicker", "NewTimer", "Now", "Since", "Sleep", "Tick", "Until"},
	"mono": {"NewClock", "NewClockAt", "NewClockFrom"},
}

// TestCoreIsPure checks that the core starts no goroutine, uses no channel and reads no clock.
func TestCoreIsPure(t *testing.T) {
	sources(t, func(dir string, fset *token.FileSet, file *ast.File) {
		if !slices.Contains(core, dir) {
			return
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt, *ast.SelectStmt, *ast.SendStmt, *ast.ChanType:
				t.Errorf("%s: the core starts nothing and waits for nothing", fset.Position(n.Pos()))
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && slices.Contains(clocks[x.Name], n.Sel.Name) {
					t.Errorf("%s: the core does not read the clock: the time is an argument", fset.Position(n.Pos()))
				}
			}
			return true
		})
	})
}
