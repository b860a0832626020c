// Package archtest holds the code to its architecture: which package may know which, and what the core never does.
package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

// core are the packages that do no I/O.
var core = []string{"dataplane", "tcpstate", "nat", "internal/wire", "internal/flowtab"}

// allowed says which packages of ours each package may import, and why it is so few.
var allowed = map[string]struct {
	imports []string
	why     string
}{
	"internal/mono":      {nil, "time knows nothing"},
	"internal/wire":      {nil, "bytes know no connections"},
	"internal/flowtab":   {[]string{"internal/mono"}, "tables do not know what a record is"},
	"internal/segscript": {[]string{"internal/wire"}, "a script is text"},
	"tcpstate":           {[]string{"internal/mono", "internal/wire"}, "TCP knows no servers: the shard introduces nat"},
	"nat":                {[]string{"internal/wire"}, "arithmetic knows no states: the shard introduces tcpstate"},
	"dataplane":          {[]string{"internal/flowtab", "internal/mono", "internal/wire", "nat", "tcpstate"}, "the core knows no I/O, no configuration and no log"},
	"dataplane/port":     {[]string{"internal/wire"}, "a port moves frames and decides nothing"},
	"health":             {nil, "a check knows no clients"},
	"internal/config":    {nil, "a configuration does not know the machine"},
	"internal/firewall":  {nil, "rules know addresses alone"},
	"internal/netenv":    {[]string{"internal/wire"}, "the network knows no connections"},
	"internal/connlog":   {[]string{"dataplane", "internal/mono", "internal/wire"}, "a log knows events"},
	"internal/lab":       {[]string{"internal/config"}, "the lab runs the real binary, not its parts"},
}

// forbidden is what the core may not import: no I/O, no chance, no waiting, no log.
var forbidden = []string{"bufio", "io", "io/fs", "log", "log/slog", "math/rand", "math/rand/v2", "net", "os", "sync", "sync/atomic", "syscall"}

// sources calls f for every file of the program, tests left out, with its package's directory.
func sources(t *testing.T, f func(dir string, fset *token.FileSet, file *ast.File)) {
	t.Helper()
	seen := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
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
		seen++
		f(filepath.ToSlash(dir), fset, file)
		return nil
	})
	if err != nil || seen < 50 {
		t.Fatalf("read %d files: %v", seen, err)
	}
}

func TestImports(t *testing.T) {
	sources(t, func(dir string, fset *token.FileSet, file *ast.File) {
		for _, spec := range file.Imports {
			path, _ := strconv.Unquote(spec.Path.Value)
			if slices.Contains(core, dir) && slices.Contains(forbidden, path) {
				t.Errorf("%s: the core may not import %s", fset.Position(spec.Pos()), path)
			}
			ours, found := strings.CutPrefix(path, "hushgate/")
			rule, ruled := allowed[dir]
			if found && ruled && !slices.Contains(rule.imports, ours) {
				t.Errorf("%s: %s may not import %s: %s", fset.Position(spec.Pos()), dir, ours, rule.why)
			}
		}
	})
}

// TestCoreIsPure: no goroutine, no channel operation, no look at the clock.
func TestCoreIsPure(t *testing.T) {
	sources(t, func(dir string, fset *token.FileSet, file *ast.File) {
		if !slices.Contains(core, dir) {
			return
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt, *ast.SelectStmt, *ast.SendStmt:
				t.Errorf("%s: the core starts nothing and waits for nothing", fset.Position(n.Pos()))
			case *ast.SelectorExpr:
				x, ok := n.X.(*ast.Ident)
				if ok && x.Name == "time" && slices.Contains([]string{"Now", "Since", "Until", "Sleep", "After", "Tick", "NewTimer", "NewTicker"}, n.Sel.Name) {
					t.Errorf("%s: the core does not look at the clock", fset.Position(n.Pos()))
				}
			}
			return true
		})
	})
}
