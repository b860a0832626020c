package top

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	tea "charm.land/bubbletea/v2"
)

// Run shows the screen on a terminal until the person quits or ctx is done. Its first question decides whether it begins at all.
func Run(ctx context.Context, s Source, o Options, in io.Reader, out io.Writer, environ []string) error {
	first, err := s.Look(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m := newModel(ctx, s, o, &first)
	_, err = tea.NewProgram(m, tea.WithContext(ctx), tea.WithInput(in), tea.WithOutput(out), tea.WithEnvironment(environ), tea.WithoutSignalHandler()).Run() // signals end ctx
	if err != nil && ctx.Err() == nil && !errors.Is(err, tea.ErrInterrupted) {
		return fmt.Errorf("draw the screen: %w", err)
	}
	return nil
}

// DressFor returns what a terminal can show, as its environment says. dumb reports that it cannot have a screen at all.
func DressFor(getenv func(string) string) (d Dress, dumb bool) {
	locale := ""
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} { // the first that is set decides (POSIX)
		if locale = getenv(name); locale != "" {
			break
		}
	}
	locale = strings.ToLower(locale)
	d.ASCII = !strings.Contains(locale, "utf-8") && !strings.Contains(locale, "utf8")
	term := getenv("TERM")
	dumb = term == "" || term == "dumb"
	d.Plain = dumb
	d.Color = !dumb && getenv("NO_COLOR") == "" && !strings.HasPrefix(term, "vt1") && !strings.HasPrefix(term, "vt2") // VT100 and its like have none
	return d, dumb
}
