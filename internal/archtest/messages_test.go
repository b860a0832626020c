package archtest

import (
	"go/ast"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// quotes are the heads of tables whose first column quotes the program literally, with "..." for a value.
var quotes = []string{"message", "warning", "`dropped.`"}

var (
	quoted = regexp.MustCompile("`([^`]+)`")
	logged = regexp.MustCompile(`\bmsg=(?:"([^"]+)"|(\w+))`)
)

// TestDocumentedMessages checks that every message quoted in the documentation is found in the code.
func TestDocumentedMessages(t *testing.T) {
	said := literals(t)
	files, err := filepath.Glob(root + "/docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, file := range append(files, root+"/README.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, message := range messages(string(text)) {
			found++
			if !slices.ContainsFunc(said, func(s string) bool { return says(s, message) }) {
				t.Errorf("%s: no string in the code says %q", file, message)
			}
		}
	}
	if found < 80 {
		t.Errorf("only %d messages found in the documentation", found)
	}
}

// messages returns what a page quotes: in the first column of some tables, and after msg= in output.
func messages(page string) (list []string) {
	in := false
	for line := range strings.Lines(page) {
		for _, m := range logged.FindAllStringSubmatch(line, -1) {
			list = append(list, m[1]+m[2])
		}
		first, _, _ := strings.Cut(strings.TrimPrefix(line, "| "), " |")
		switch {
		case !strings.HasPrefix(line, "|"):
			in = false
		case slices.Contains(quotes, first):
			in = true
		case in:
			for _, m := range quoted.FindAllStringSubmatch(first, -1) {
				list = append(list, m[1])
			}
		}
	}
	return list
}

// says reports whether a string contains the parts of a message in order. A part does not extend over a line of the source.
func says(s, message string) bool {
	for _, part := range strings.Split(message, "...") {
		_, after, found := strings.Cut(s, strings.TrimSpace(part))
		if !found {
			return false
		}
		s = after
	}
	return true
}

// literals returns the strings of the program. Concatenated strings are joined, with a NUL octet in between.
func literals(t *testing.T) (list []string) {
	t.Helper()
	sources(t, func(_ string, _ *token.FileSet, file *ast.File) {
		ast.Inspect(file, func(n ast.Node) bool {
			if e, ok := n.(ast.Expr); ok {
				if parts := parts(e); len(parts) > 0 {
					list = append(list, strings.Join(parts, "\x00"))
				}
			}
			return true
		})
	})
	return list
}

func parts(e ast.Expr) []string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if s, err := strconv.Unquote(e.Value); e.Kind == token.STRING && err == nil {
			return []string{s}
		}
	case *ast.BinaryExpr:
		if e.Op == token.ADD {
			return append(parts(e.X), parts(e.Y)...)
		}
	}
	return nil
}

func TestSays(t *testing.T) {
	const s = "server %s/%s greets after %v: with the delay of %v that is more than \x00some wait"
	for message, want := range map[string]bool{
		"greets after ...: with the delay of ...": true,
		"server ... wait":                         true,
		"greets after 6s":                         false,
		"the delay of ... greets after":           false,
		"more than some wait":                     false,
	} {
		if says(s, message) != want {
			t.Errorf("%q: %v, want %v", message, !want, want)
		}
	}
}
