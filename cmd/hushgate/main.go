// Hushgate is an early-talker gateway for SMTP: it keeps silent for a while before the banner, resets who talks into
// the silence, and hands who waits to a mail server, which sees the client's own address.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/lmittmann/tint"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"hushgate/internal/replay"
)

// version is set by the build; a binary of `go install` knows its module's.
var version = ""

// errReported ends a command whose error has been written already.
var errReported = errors.New("reported")

func main() {
	os.Exit(run())
}

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := newRootCommand().ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case !errors.Is(err, errReported):
		report(os.Stderr, err)
	}
	if errors.Is(err, replay.ErrPartial) {
		return 2
	}
	return 1
}

// extraCommands are those of a build with tags.
var extraCommands []func() *cobra.Command

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "hushgate",
		Short:         "An early-talker gateway for SMTP",
		Long:          "hushgate stands before mail servers as their default gateway, answers TCP for the service address\nitself, stays silent for a while, resets who talks before the banner, and hands who waits to a server.",
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       versionString(),
	}
	root.AddCommand(newRunCommand(), newReloadCommand(), newUpgradeCommand(), newFailCommand(), newCheckCommand(), newRulesCommand(),
		newReplayCommand(), newLabCommand(), newVersionCommand())
	for _, c := range extraCommands {
		root.AddCommand(c())
	}
	return root
}

func versionString() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) { fmt.Fprintln(cmd.OutOrStdout(), "hushgate", versionString()) },
	}
}

// newLogger returns the log of everything but connections. It writes to w, which is standard error or a queue before it: for
// people on a terminal in colour.
func newLogger(w io.Writer, verbose bool) *slog.Logger {
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	if ok, err := journal.StderrIsJournalStream(); ok && err == nil {
		return slog.New(newJournalHandler(w, level))
	}
	if term.IsTerminal(int(os.Stderr.Fd())) && os.Getenv("NO_COLOR") == "" {
		return slog.New(tint.NewTextHandler(w, &tint.Options{Level: level, TimeFormat: "15:04:05.000"}))
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}
