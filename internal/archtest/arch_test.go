// Package archtest holds the code to its architecture: which package may know which, and what the core never does.
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

// core are the packages that do no I/O: the same inputs give the same bytes.
var core = []string{"dataplane", "internal/flowtab", "internal/proxyproto", "internal/wire", "nat", "tcpstate"}

// pure is all that the core may import from outside the project: none of it opens, waits, locks, logs or throws dice.
var pure = strings.Fields(`bytes cmp encoding/binary errors fmt iter maps math math/bits net/netip reflect slices strconv
	strings time unsafe github.com/dchest/siphash github.com/google/gopacket github.com/google/gopacket/layers`)

// planned is all that a plan may import from outside the project: it looks at nothing that it was not given.
var planned = strings.Fields("cmp fmt errors net/netip slices strings time")

// rule says which packages of ours a package may import, and why no others.
type rule struct{ imports, why string }

var rules = map[string]rule{
	"internal/mono":     {"", "time knows nothing"},
	"internal/wire":     {"", "bytes know no connections"},
	"internal/flowtab":  {"internal/mono", "tables do not know what a record is"},
	"tcpstate":          {"internal/mono internal/wire", "TCP knows no servers: the shard introduces nat"},
	"nat":               {"internal/wire", "arithmetic knows no states: the shard introduces tcpstate"},
	"dataplane":         {"internal/flowtab internal/mono internal/proxyproto internal/wire nat tcpstate", "the core knows no I/O, no configuration and no log"},
	"dataplane/port":    {"internal/wire", "a port moves frames and decides nothing"},
	"health":            {"internal/proxyproto", "a check knows no clients"},
	"internal/config":   {"", "a configuration does not know the machine, nor what will be made of it"},
	"internal/firewall": {"", "rules know addresses alone"},
	"internal/instance": {"", "who there is knows nothing of what is done"},
	"internal/handover": {"dataplane", "a conversation carries connections and does not know what becomes of them"},
	"internal/netenv":   {"internal/announce internal/wire", "the network knows no connections"},
	"internal/connlog":  {"dataplane internal/logqueue internal/mono internal/wire", "a log knows events"},
	"internal/logqueue": {"", "a queue does not know what it holds"},
	"internal/lists":    {"", "a list does not know what a match means"},
	"internal/gateway": {
		"dataplane dataplane/port health internal/announce internal/config internal/connlog internal/drive internal/evidence internal/firewall internal/handover internal/instance internal/logqueue internal/mono internal/netenv internal/plan internal/privilege internal/wire",
		"the gateway wires parts together: what TCP says and what a segment becomes is the shard's",
	},
	"internal/drive": {
		"dataplane dataplane/port internal/mono internal/netenv internal/wire",
		"the loop knows no configuration, no log of connections, and no servers",
	},
	"internal/plan": {
		"dataplane dataplane/port health internal/config internal/connlog internal/firewall internal/netenv internal/policyroute internal/proxyproto internal/wire",
		"a plan says what is to be done, and does nothing",
	},
	"internal/privilege": {"", "privileges know the kernel alone"},

	"internal/policyroute": {"", "routes know addresses alone"},

	"internal/proxyproto": {"", "a header is addresses alone"},

	"internal/needroot":  {"", "what every test may use knows nothing"},
	"internal/segscript": {"internal/wire", "a script is text"},
	"internal/netsim":    {"internal/mono internal/wire", "a network of models judges the gateway and shares nothing with it"},
	"internal/lab":       {"internal/config", "the lab runs the real binary, not its parts"},
	"internal/announce":  {"", "neighbours know no connections"},
	"internal/capture":   {"internal/wire", "a file of packets knows no connections"},
	"internal/evidence":  {"dataplane internal/capture internal/mono internal/wire", "evidence is packets and a reason"},
	"internal/replay":    {"dataplane internal/capture internal/mono internal/wire", "what is judged offline is judged by the core"},
	"internal/debian":    {"", "the package is made of files, and of tests"},
	"internal/oracle":    {"", "the comparison with the kernel is made of tests alone"},
	"cmd/hushgate":       {"internal/config internal/gateway internal/instance internal/lab internal/logqueue internal/netenv internal/plan internal/policyroute internal/privilege internal/replay", "main parses flags and calls one function"},
}

// sources calls f for every file of the program, tests left out, with its package's directory.
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
				t.Errorf("%s: %s may not import %s: the core does no I/O, throws no dice, waits for nothing and logs nothing",
					fset.Position(spec.Pos()), dir, path)
			} else if dir == "internal/plan" && !slices.Contains(planned, path) {
				t.Errorf("%s: %s may not import %s: what a plan is made of, it is given", fset.Position(spec.Pos()), dir, path)
			}
		}
	})
	for dir := range rules {
		if !seen[dir] {
			t.Errorf("there is a rule for %s, and no such package", dir)
		}
	}
}

// TestRooms: a stranger finds each package in the table of docs/architecture.md, and no package there that is none.
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
	delete(described, "internal/archtest") // it is made of tests alone, and no rule is about it
	for name := range described {
		if strings.HasPrefix(name, "internal/") || strings.HasPrefix(name, "cmd/") {
			t.Errorf("docs/architecture.md has a line on %s, which is no package", name)
		}
	}
}

// TestWhoKnowsTheConfiguration: every other package has a small, already valid configuration of its own.
func TestWhoKnowsTheConfiguration(t *testing.T) {
	for what, by := range map[string][]string{
		"internal/config":  {"cmd/hushgate", "internal/gateway", "internal/lab", "internal/plan", "internal/replay"},
		"internal/gateway": {"cmd/hushgate"},
	} {
		for dir, r := range rules {
			if slices.Contains(strings.Fields(r.imports), what) && !slices.Contains(by, dir) {
				t.Errorf("%s may import %s: that is for %v alone", dir, what, by)
			}
		}
	}
}

// clocks are the functions that look at a clock or wait for one, by package.
var clocks = map[string][]string{
	"time": {"After", "AfterFunc", "NewTicker", "NewTimer", "Now", "Since", "Sleep", "Tick", "Until"},
	"mono": {"NewClock", "NewClockAt", "NewClockFrom"},
}

// TestCoreIsPure: no goroutine, no channel, no look at the clock.
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
					t.Errorf("%s: the core does not look at the clock: the time is an argument", fset.Position(n.Pos()))
				}
			}
			return true
		})
	})
}
