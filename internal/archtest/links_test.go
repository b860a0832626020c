package archtest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	heading   = regexp.MustCompile(`^#+ (.*)$`)
	unspoken  = regexp.MustCompile(`[^\p{L}\p{N}_\- ]`)
	reference = regexp.MustCompile(`\]\(([^()\s#]*)(?:#([^()\s]+))?\)`)
)

// anchors are the names by which links find the headings of a page, as GitHub makes them.
func anchors(text string) map[string]bool {
	all, code := map[string]bool{}, false
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "```") {
			code = !code
		}
		if m := heading.FindStringSubmatch(strings.TrimRight(line, "\n")); m != nil && !code {
			name := unspoken.ReplaceAllString(strings.ToLower(strings.TrimSpace(m[1])), "")
			all[strings.ReplaceAll(name, " ", "-")] = true
		}
	}
	return all
}

// TestLinks: each link of the documentation to a page or a heading of it leads there.
func TestLinks(t *testing.T) {
	pages, err := filepath.Glob(root + "/*.md")
	if err != nil {
		t.Fatal(err)
	}
	docs, err := filepath.Glob(root + "/docs/*.md")
	if err != nil || len(docs) == 0 {
		t.Fatal(docs, err)
	}
	texts := map[string]string{}
	for _, page := range append(pages, docs...) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		texts[filepath.Clean(page)] = string(text)
	}
	for page, text := range texts {
		for _, m := range reference.FindAllStringSubmatch(text, -1) {
			to, name := page, m[2]
			if strings.Contains(m[1], ":") {
				continue
			}
			if m[1] != "" {
				to = filepath.Join(filepath.Dir(page), m[1])
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s: %s: %v", page, m[0], err)
			} else if other, known := texts[to]; name != "" && (!known || !anchors(other)[name]) {
				t.Errorf("%s: %s: there is no such heading", page, m[0])
			}
		}
	}
}
