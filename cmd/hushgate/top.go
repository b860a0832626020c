package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"hushgate/internal/top"
)

// The bounds of the time between two looks.
const (
	leastInterval = 500 * time.Millisecond
	mostInterval  = time.Hour
)

func newTopCommand() *cobra.Command {
	var a apiFlags
	var interval time.Duration
	var once bool
	cmd := &cobra.Command{
		Use: "top", Short: "Watch the running gateway on a live screen", Args: cobra.NoArgs,
		Long: "Watch the running gateway on a live screen: how full it is, its connections by phase, how many come and how many end with\n" +
			"which verdict in a second, and tables of servers, talkers (the clients with the most connections), connections, verdicts,\n" +
			"frontends and limits, which can be sorted and filtered. ? lists the keys. Users of the level admin can drain servers, make them\n" +
			"ready, and end connections, by a key and a second one that confirms it. An upgrade or a restart of the gateway is told\n" +
			"of, and the screen goes on.\n\n" +
			"With --json it writes a line of JSON in each interval, for programs: status, frontends, servers, rates, tables and\n" +
			"talkers. With --once it writes one screen as text, or one line with --json, after one interval. A terminal that cannot move its cursor\n" +
			"(TERM=dumb) gets a screen as text in each interval. NO_COLOR is respected. Where the locale is not UTF-8, ASCII is used.",
		Example: "  hushgate top --interval 5s\n" +
			"  hushgate top --json | jq --unbuffered '.rates.verdicts[\"early-talker\"]'\n" +
			"  hushgate top --once > screen.txt",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if interval < leastInterval || interval > mostInterval {
				return fmt.Errorf("--interval: expected %v to %v, found %v", leastInterval, mostInterval, interval)
			}
			dress, dumb := top.DressFor(os.Getenv)
			host, _ := os.Hostname() // the title does without
			o := top.Options{Interval: interval, Dress: dress, Host: host, Now: time.Now}
			source := top.Live(a.connect())
			onTerminal := term.IsTerminal(int(os.Stdout.Fd()))
			switch {
			case a.json, once, onTerminal && dumb:
				if !onTerminal {
					o.Dress.Plain = true
				}
				return top.Print(cmd.Context(), source, &top.BatchOptions{Options: o, JSON: a.json, Once: once, Out: cmd.OutOrStdout(), Width: textWidth(cmd.OutOrStdout())})
			case !onTerminal, !term.IsTerminal(int(os.Stdin.Fd())):
				return errors.New("a live screen needs a terminal for its input and output: --once and --json do not")
			}
			return top.Run(cmd.Context(), source, o, os.Stdin, os.Stdout, os.Environ())
		},
	}
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	a.flags(cmd)
	cmd.Flags().DurationVar(&interval, "interval", 2*time.Second, "the `TIME` between two looks")
	cmd.Flags().BoolVar(&once, "once", false, "write one screen as text, and end")
	return cmd
}

// usualWidth is how wide text is where nothing says how wide it may be.
const usualWidth = 132

// textWidth returns how wide text may be: as the terminal is, as COLUMNS says, or as usual.
func textWidth(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			return width
		}
	}
	if n, err := strconv.Atoi(strings.TrimSpace(os.Getenv("COLUMNS"))); err == nil && n >= 20 && n <= 1000 {
		return n
	}
	return usualWidth
}
