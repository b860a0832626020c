package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestManual: hushgate(8) has every command, those below others too, with every flag, and says what exit statuses mean.
func TestManual(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "go", "run", "-tags", "docs", ".", "docs", "--configuration", "../../docs/configuration.md", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(dir, "hushgate.8"))
	if err != nil {
		t.Fatal(err)
	}
	page := strings.NewReplacer(`\-`, "-", `\fB`, "", `\fR`, "", `\fP`, "", `\[la]`, "<", `\[ra]`, ">", `\&`, "").Replace(string(text))
	var look func(c *cobra.Command)
	look = func(c *cobra.Command) {
		if c.HasParent() {
			part := section(page, c.CommandPath())
			if part == "" {
				t.Errorf("the manual page does not have %s", c.CommandPath())
			}
			c.LocalFlags().VisitAll(func(f *pflag.Flag) {
				if f.Name != "help" && !f.Hidden && !strings.Contains(part, "--"+f.Name) {
					t.Errorf("%s has --%s, which its part does not have:\n%s", c.CommandPath(), f.Name, part)
				}
			})
		}
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() && sub.Name() != "help" && sub.Name() != "completion" {
				look(sub)
			}
		}
	}
	look(newRootCommand())
	for _, want := range []string{"0 OK, 1 warning, 2 critical, also if no gateway runs, 3 unknown", "hushgate servers drain --wait", "hushgate replay"} {
		if _, status, _ := strings.Cut(page, ".SH EXIT STATUS"); !strings.Contains(status, want) {
			t.Errorf("EXIT STATUS does not say %q", want)
		}
	}
}

// section returns what stands below the heading that begins with a command, up to the next heading.
func section(page, command string) string {
	for _, level := range []string{".SH ", ".SS "} {
		if _, after, found := strings.Cut(page+"\n", "\n"+level+command+" "); found {
			part, _, _ := strings.Cut(after, "\n.S")
			return part
		}
		if _, after, found := strings.Cut(page, "\n"+level+command+"\n"); found {
			part, _, _ := strings.Cut(after, "\n.S")
			return "\n" + part
		}
	}
	return ""
}
