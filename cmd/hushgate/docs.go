//go:build docs

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"text/template"
	"time"

	"github.com/cpuguy83/go-md2man/v2/md2man"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A build with the tag docs adds a command that writes the manual pages and the shells' completions (internal/debian/build).
func init() { extraCommands = append(extraCommands, newDocsCommand) }

func newDocsCommand() *cobra.Command {
	var configuration string
	var date int64
	cmd := &cobra.Command{
		Use: "docs DIRECTORY", Short: "Write manual pages and completions", Args: cobra.ExactArgs(1), Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			at := time.Unix(date, 0).UTC().Format(time.DateOnly)
			return errors.Join(writePages(cmd.Root(), args[0], configuration, at), writeCompletions(cmd.Root(), args[0]))
		},
	}
	cmd.Flags().StringVar(&configuration, "configuration", "docs/configuration.md", "source of hushgate.yaml(5)")
	cmd.Flags().Int64Var(&date, "date", 0, "the pages' date, in seconds since 1970")
	return cmd
}

func writeCompletions(root *cobra.Command, dir string) error {
	return errors.Join(
		root.GenBashCompletionFileV2(filepath.Join(dir, "hushgate.bash"), true),
		root.GenZshCompletionFile(filepath.Join(dir, "_hushgate")),
		root.GenFishCompletionFile(filepath.Join(dir, "hushgate.fish"), true),
	)
}

func writePages(root *cobra.Command, dir, configuration, date string) error {
	commands, err := commandsPage(root, date)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(configuration)
	if err != nil {
		return fmt.Errorf("read the source of hushgate.yaml(5): %w", err)
	}
	for file, page := range map[string]string{
		"hushgate.8": commands, "hushgate.yaml.5": configurationPage(string(text), date),
	} {
		if err := os.WriteFile(filepath.Join(dir, file), md2man.Render([]byte(page)), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// commandsTemplate is hushgate(8), in the markdown that md2man reads.
var commandsTemplate = template.Must(template.New("").Funcs(template.FuncMap{
	"options": options, "example": example, "subcommands": available, "join": func(words []string) string { return strings.Join(words, ", ") },
}).Parse(
	`hushgate 8 "{{.Date}}" "hushgate {{.Root.Version}}" "System Manager's Manual"
==================================================

# NAME

hushgate - {{.Root.Short}}

# SYNOPSIS

{{range .Commands}}**hushgate** {{.Use}} [options]

{{end -}}
# DESCRIPTION

{{.Root.Long}}

# COMMANDS
{{range .Commands}}
## hushgate {{.Use}}

{{with .Long}}{{.}}{{else}}{{.Short}}.{{end}}
{{options .}}{{example .}}
{{range subcommands .}}
### {{.Parent.CommandPath}} {{.Use}}

{{with .Long}}{{.}}{{else}}{{.Short}}.{{end}}{{with .Aliases}} Also called {{join .}}.{{end}}
{{options .}}{{example .}}
{{end}}{{end}}
# FILES

**/etc/hushgate/hushgate.yaml**
: the configuration of the service, see hushgate.yaml(5)

**/etc/default/hushgate**
: ` + "`CONFIG=`" + `, another configuration for the service, and ` + "`OPTIONS=`" + `, options for its ` + "`hushgate run`" + `

**/usr/share/doc/hushgate/**
: deployment, operations, security and examples

# SIGNALS

SIGTERM and SIGINT end ` + "`hushgate run`" + `, SIGUSR1 has it log its counters. The operations page says more.

# EXIT STATUS

0 if all went well, 1 after an error, which is on standard error. These have a meaning of their own:

` + "`hushgate status --check`" + `
: 0 OK, 1 warning, 2 critical, also if no gateway runs, 3 unknown: it may not be asked, does not answer, or the options are wrong

` + "`hushgate status --wait-ready`" + `
: 1 if the gateway is not ready within ` + "`--timeout`" + `

` + "`hushgate servers drain --wait`" + `
: 1 if a server still has connections then

` + "`hushgate pass remove`, `hushgate offenders remove`" + `
: 1 if the client had no pass, or was no offender

` + "`hushgate doctor`" + `
: 1 if something is wrong

` + "`hushgate replay`" + `
: 2 if a capture could be read only in part

# SEE ALSO

hushgate.yaml(5), iptables(8), systemctl(1)
`))

func commandsPage(root *cobra.Command, date string) (string, error) {
	var page bytes.Buffer
	err := commandsTemplate.Execute(&page, map[string]any{"Root": root, "Commands": available(root), "Date": date})
	return page.String(), err
}

// available lists the commands below a command.
func available(parent *cobra.Command) (commands []*cobra.Command) {
	for _, c := range parent.Commands() {
		if c.IsAvailableCommand() && c.Name() != "help" && c.Name() != "completion" {
			commands = append(commands, c)
		}
	}
	return commands
}

// example returns a command's examples as they are.
func example(c *cobra.Command) string {
	if c.Example == "" {
		return ""
	}
	return "\nExamples:\n\n```\n" + c.Example + "\n```\n"
}

// options returns a command's flags, one paragraph each. The usual ones are described with the command above it.
func options(c *cobra.Command) string {
	var b strings.Builder
	var above []string
	c.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		if usual := f.Name == "json" || f.Name == "socket"; usual && c.Parent().Flags().Lookup(f.Name) != nil {
			above = append(above, "**--"+f.Name+"**")
			return
		}
		kind, usage := pflag.UnquoteUsage(f)
		b.WriteString("\n")
		if f.Shorthand != "" {
			fmt.Fprintf(&b, "**-%s**, ", f.Shorthand)
		}
		fmt.Fprintf(&b, "**--%s**", f.Name)
		if kind != "" {
			fmt.Fprintf(&b, " *%s*", kind)
		}
		fmt.Fprintf(&b, "\n: %s\n", usage)
	})
	if len(above) > 0 {
		fmt.Fprintf(&b, "\n%s\n: as above\n", strings.Join(above, ", "))
	}
	return b.String()
}

var (
	heading = regexp.MustCompile(`(?m)^#(#+ )`)
	link    = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	table   = regexp.MustCompile(`(?m)(^\|.*\n)+`)
	bar     = regexp.MustCompile(`(\\\|)|\|`) // one that separates cells, or an escaped one in a cell
)

// configurationPage makes hushgate.yaml(5) from the page of the documentation. The title becomes the manual page's, each
// heading moves up one level, and each table becomes a list.
func configurationPage(text, date string) string {
	_, text, _ = strings.Cut(text, "\n")
	text = table.ReplaceAllStringFunc(text, list)
	text = link.ReplaceAllString(heading.ReplaceAllString(text, "$1"), "$1")
	return fmt.Sprintf("hushgate.yaml 5 %q %q \"File Formats Manual\"\n%s\n\n# NAME\n\n"+
		"hushgate.yaml, hushgate.cfg - configuration of hushgate\n\n# DESCRIPTION\n%s\n# SEE ALSO\n\nhushgate(8)\n",
		date, "hushgate "+versionString(), strings.Repeat("=", 40), text)
}

// list turns a table into a list of definitions, as manual pages have them. Each row becomes a term, its meaning, and the
// other columns with their titles.
func list(table string) string {
	rows := strings.Split(strings.TrimSpace(table), "\n")
	titles := cells(rows[0])
	var b strings.Builder
	for _, row := range rows[2:] { // the second row has the dashes
		c := cells(row)
		fmt.Fprintf(&b, "%s\n:", c[0])
		separator := " "
		for i, text := range c[1:] {
			if text == "" {
				continue
			}
			if i > 0 {
				text = titles[i+1] + ": " + text
			}
			b.WriteString(separator + text)
			separator = "; "
		}
		b.WriteString("\n\n")
	}
	return b.String()
}

func cells(row string) (list []string) {
	row = bar.ReplaceAllStringFunc(strings.Trim(row, "|"), func(s string) string {
		return map[string]string{`\|`: "|", "|": "\x00"}[s]
	})
	for cell := range strings.SplitSeq(row, "\x00") {
		list = append(list, strings.TrimSpace(cell))
	}
	return list
}
