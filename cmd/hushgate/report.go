package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	pages "hushgate/internal/report"
)

func newReportCommand() *cobra.Command {
	var since time.Duration
	var format string
	var most int
	cmd := &cobra.Command{
		Use: "report FILE...", Short: "Summarise logs of connections", Args: cobra.MinimumNArgs(1),
		Long: "Summarise logs of connections: verdicts by hour, networks and signatures of clients, when early talkers talk, what\n" +
			"that means for the delay, servers that were down, and who gave up while waiting. The logs may be in tcplog, JSON,\n" +
			"or postscreen's lines with a header that has the time, and gzipped; files that logrotate has made of them are read too.\n\n" +
			"The exit status is 1 if a file could not be read to its end; the rest is reported.",
		Example: "  hushgate report --since 24h /var/log/hushgate/mail.log\n" +
			"  hushgate report --since 168h --output html /var/log/hushgate/mail.log > week.html",
		RunE: func(cmd *cobra.Command, args []string) error {
			if since <= 0 || most < 1 {
				return fmt.Errorf("--since and --top must be more than 0, found %v and %d", since, most)
			}
			if format != "text" && format != "html" {
				return fmt.Errorf("--output: expected text or html, found %q", format)
			}
			now := time.Now()
			r := pages.New(now.Add(-since), now)
			_, failed := r.Read(args, time.Local)
			write := r.Text
			if format == "html" {
				write = r.HTML
			}
			if err := write(cmd.OutOrStdout(), most); err != nil {
				return fmt.Errorf("write the report: %w", err)
			}
			return failed
		},
	}
	cmd.Flags().DurationVar(&since, "since", 24*time.Hour, "how far the report goes back")
	cmd.Flags().StringVarP(&format, "output", "o", "text", "text or html, a page without anything from elsewhere")
	cmd.Flags().IntVar(&most, "top", 10, "how many networks and signatures are listed")
	return cmd
}
