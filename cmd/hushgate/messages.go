package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"hushgate/internal/logqueue"
)

// How long standard error may take at the end of a service: altogether, and without taking a line.
const (
	messagesStall = time.Second
	messagesAll   = 5 * time.Second
)

// service makes a command that people do not sit before: nobody may read what it writes to standard error, the disk behind
// it may be full, and whoever reads may go away. The command goes on all the same, and ends. What it says goes through
// messages; it may be nil.
func service(cmd *cobra.Command, do func(messages *logqueue.Queue) error) error {
	// Where a standard stream has no reader any more, the Go runtime ends a process that does not ask for SIGPIPE. To ignore it
	// would be handed on to every program that is started from here.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	messages := logqueue.New(logqueue.Options{
		Out: logqueue.NewStream(int(os.Stderr.Fd())), Batch: logqueue.PipeBatch,
		Lost: func(b []byte, lines uint64) []byte {
			return fmt.Appendf(b, "hushgate: %d lines of this log were lost: it took them too slowly, or not at all\n", lines)
		},
	})
	cmd.SetErr(messages)
	err := do(messages)
	if err != nil && !errors.Is(err, errReported) {
		report(messages, err)
		err = errReported
	}
	_ = messages.Close(messagesStall, messagesAll) // there is nobody left to tell
	return err
}

// report writes an error as every command ends with.
func report(w io.Writer, err error) { fmt.Fprintln(w, "hushgate:", err) }
