package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"hushgate/internal/admin"
	"hushgate/internal/console"
)

// apiCase is a command that asks the control API.
type apiCase struct {
	args  []string
	acts  bool // it needs the level admin
	lines bool // --json writes one value a line
	words []string
}

// apiCases has each command with a flag --socket, by its path.
var apiCases = map[string]apiCase{
	"status":           {},
	"servers":          {},
	"servers list":     {},
	"servers drain":    {args: []string{"bk/mx1"}, acts: true, words: []string{"bk/mx1"}},
	"servers ready":    {args: []string{"bk/mx1"}, acts: true, words: []string{"bk/mx1"}},
	"servers maint":    {args: []string{"bk/mx1"}, acts: true, words: []string{"bk/mx1"}},
	"servers weight":   {args: []string{"bk/mx1", "7"}, acts: true, words: []string{"bk/mx1"}},
	"servers checks":   {args: []string{"bk/mx1", "off"}, acts: true, words: []string{"bk/mx1"}},
	"set delay":        {args: []string{"ft", "5s"}, acts: true, words: []string{"ft"}},
	"set frontend":     {args: []string{"ft", "off"}, acts: true, words: []string{"ft"}},
	"conns":            {},
	"conns list":       {},
	"conns kill":       {args: []string{"198.18.0.7"}, acts: true},
	"pass":             {},
	"pass list":        {},
	"pass add":         {args: []string{"198.18.0.7"}, acts: true},
	"pass remove":      {args: []string{"198.18.0.7"}, acts: true},
	"offenders":        {},
	"offenders list":   {},
	"offenders add":    {args: []string{"198.18.0.7"}, acts: true},
	"offenders remove": {args: []string{"198.18.0.7"}, acts: true},
	"explain":          {args: []string{"198.18.0.7"}},
	"watch":            {args: []string{"--count", "1"}, lines: true},
	"top":              {args: []string{"--once", "--interval", "500ms"}, lines: true},
	"reload":           {acts: true},
	"upgrade":          {acts: true},
}

const apiState = `{
	"Status": {"state": "running", "maxconn": 10, "connections": {"held": 1, "spliced": 0}, "servers": {"usable": 1, "total": 1}},
	"Frontends": [{"name": "ft"}], "Servers": [{"backend": "bk", "name": "mx1", "up": true, "state": "ready"}],
	"Verdicts": [{"verdict": "quiet", "client": "198.18.0.7", "frontend": "ft"}]
}`

// serveFake has a gateway answer at a socket of a level.
func serveFake(t *testing.T, level admin.Level) (socket string) {
	t.Helper()
	dir := t.TempDir()
	socket = filepath.Join(dir, "s")
	if err := os.WriteFile(filepath.Join(dir, "state"), []byte(apiState), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	api := admin.New(admin.Options{Gateway: &fakeGateway{file: filepath.Join(dir, "state")}, Log: slog.New(slog.DiscardHandler)})
	go func() { ended <- api.Serve(ctx, &admin.Listener{Listener: l, Level: level}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return socket
}

// runCommand runs a command in this process.
func runCommand(t *testing.T, args ...string) (out string, err error) {
	t.Helper()
	root := newRootCommand()
	var stdout bytes.Buffer
	root.SetOut(&stdout)
	root.SetErr(io.Discard)
	root.SetArgs(args)
	err = root.ExecuteContext(t.Context())
	return stdout.String(), err
}

// apiCommands lists the commands that have a flag --socket, by their paths.
func apiCommands(c *cobra.Command) (paths []string) {
	if c.Flags().Lookup("socket") != nil {
		paths = append(paths, strings.TrimPrefix(c.CommandPath(), "hushgate "))
	}
	for _, sub := range c.Commands() {
		paths = append(paths, apiCommands(sub)...)
	}
	return paths
}

// TestAPICommands: every command that asks the control API says clearly that no gateway runs, or that a permission lacks, writes JSON,
// works at a socket of its level, and completes the names of servers and frontends.
func TestAPICommands(t *testing.T) {
	paths := apiCommands(newRootCommand())
	if len(paths) != len(apiCases) {
		t.Errorf("%d commands ask the API, and %d are tested", len(paths), len(apiCases))
	}
	look, act, nobody := serveFake(t, admin.ReadOnly), serveFake(t, admin.Admin), filepath.Join(t.TempDir(), "s")
	for _, path := range paths {
		c, known := apiCases[path]
		if !known {
			t.Errorf("%s is not tested", path)
			continue
		}
		call := func(socket string, more ...string) (string, error) {
			return runCommand(t, slices.Concat(strings.Fields(path), c.args, []string{"--socket", socket}, more)...)
		}
		if _, err := call(nobody); err == nil || !strings.HasPrefix(err.Error(), "no gateway runs: nothing answers at "+nobody) {
			t.Errorf("%s without a gateway: %v", path, err)
		}
		_, err := call(look)
		if c.acts && (!errors.Is(err, console.ErrDenied) || !strings.Contains(err.Error(), "permission denied: this client has the level read-only")) || !c.acts && err != nil {
			t.Errorf("%s of a reader: %v", path, err)
		}
		out, err := call(act, "--json")
		if c.lines {
			out, _, _ = strings.Cut(out, "\n")
		}
		if err != nil || !json.Valid([]byte(out)) {
			t.Errorf("%s --json: %v, %s", path, err, out)
		}
		completes(t, path, look, c.words)
	}
}

// completes checks what a command completes: its first argument, and its flags that take names.
func completes(t *testing.T, path, socket string, words []string) {
	t.Helper()
	command, _, err := newRootCommand().Find(strings.Fields(path))
	if err != nil {
		t.Fatal(err)
	}
	ask := func(want []string, more ...string) {
		t.Helper()
		out, err := runCommand(t, slices.Concat([]string{"__complete"}, strings.Fields(path), []string{"--socket", socket}, more)...)
		for _, w := range want {
			if !strings.Contains("\n"+out, "\n"+w) {
				t.Errorf("%s completes %q, %v, want %s", path, out, err, w)
			}
		}
		if !strings.HasSuffix(strings.TrimSpace(out), ":4") { // cobra's sign that a shell is not to complete names of files
			t.Errorf("%s %v completes files: %q", path, more, out)
		}
	}
	if command.HasSubCommands() {
		return
	}
	ask(words, "")
	for flag, want := range map[string]string{"frontend": "ft", "server": "bk/mx1", "phase": "held", "verdict": "quiet", "client": "", "sort": "age"} {
		if command.Flags().Lookup(flag) != nil {
			ask([]string{want}, "--"+flag, "")
		}
	}
}
