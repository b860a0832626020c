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

// How long writing to standard error may take at the end of a service: altogether, and without progress.
const (
	messagesStall = time.Second
	messagesAll   = 5 * time.Second
)

// service runs a command whose messages may not be read. Standard error may have no reader, its disk may be full, or its
// reader may go away; the command must still run and end. It writes its messages to a queue, which do receives; do may
// return nil.
func service(cmd *cobra.Command, do func(messages *logqueue.Queue) error) error {
	// If a standard stream has no reader any more, the Go runtime ends a process that does not ask for SIGPIPE. Ignoring the
	// signal instead would be inherited by every program that this process starts.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	messages := logqueue.New(logqueue.Options{
		Out: logqueue.NewStream(int(os.Stderr.Fd())), Batch: logqueue.PipeBatch,
		Lost: func(b []byte, lines uint64) []byte {
			return fmt.Appendf(b, "hushgate: %d lines of this log were lost: standard error was read too slowly or not at all\n", lines)
		},
	})
	cmd.SetErr(messages)
	err := do(messages)
	if err != nil && !errors.Is(err, errReported) {
		report(messages, err)
		err = errReported
	}
	_ = messages.Close(messagesStall, messagesAll) // an error cannot be reported anywhere
	return err
}

// report writes an error in the form in which every command ends.
func report(w io.Writer, err error) { fmt.Fprintln(w, "hushgate:", err) }
