// Hushgate is an early-talker gateway for SMTP. It stays silent for a while before the banner, resets clients that talk
// during the silence, and connects clients that wait to a mail server, which sees the client's own address.
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

// version is set by the build. A binary made by `go install` uses the version of its module.
var version = ""

// errReported ends a command whose error was already written.
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
	return exitStatus(err)
}

// extraCommands are added by builds with tags.
var extraCommands []func() *cobra.Command

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "hushgate",
		Short:         "An early-talker gateway for SMTP",
		Long:          "hushgate stands before mail servers as their default gateway and answers TCP for the service address\nitself. It stays silent for a while, resets clients that talk before the banner, and connects clients\nthat wait to a server.",
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       versionString(),
	}
	root.AddCommand(newRunCommand(), newReloadCommand(), newUpgradeCommand(), newFailCommand())
	root.AddCommand(newCheckCommand(), newDoctorCommand(), newRulesCommand(), newReportCommand(), newExplainCommand())
	root.AddCommand(newStatusCommand(), newServersCommand(), newSetCommand(), newConnsCommand(), newWatchCommand(), newTopCommand())
	root.AddCommand(newPassCommand(), newOffendersCommand())
	root.AddCommand(newReplayCommand(), newLabCommand(), newVersionCommand())
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

// newLogger returns the log of everything except connections. It writes to w, which is standard error or a queue before it.
// On a terminal the text has colours.
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
