package archtest

import (
	"go/ast"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"
)

// fixed are the libraries that hushgate is required to use, and the package that uses each: to decode packets, to send and
// receive frames, and to change firewall rules.
var fixed = map[string]string{
	"github.com/google/gopacket":    "internal/wire",
	"github.com/mdlayher/packet":    "dataplane/port",
	"github.com/coreos/go-iptables": "internal/firewall",
}

// TestFixedLibraries checks that go.mod requires these libraries and that their packages import them.
func TestFixedLibraries(t *testing.T) {
	text, err := os.ReadFile(root + "/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	sources(t, func(dir string, _ *token.FileSet, file *ast.File) {
		for _, i := range file.Imports {
			path, _ := strconv.Unquote(i.Path.Value)
			for library, room := range fixed {
				if dir == room && (path == library || strings.HasPrefix(path, library+"/")) {
					used[library] = true
				}
			}
		}
	})
	for library, room := range fixed {
		required := false
		for line := range strings.Lines(string(text)) {
			required = required || strings.HasPrefix(line, "\t"+library+" ") && !strings.Contains(line, "// indirect")
		}
		if !required || !used[library] {
			t.Errorf("%s: required by go.mod: %v, imported by %s: %v", library, required, room, used[library])
		}
	}
}
