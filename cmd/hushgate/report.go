package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	pages "hushgate/internal/report"
)

// reportOptions are the flags of `hushgate report`.
type reportOptions struct {
	since    time.Duration
	format   string
	most     int
	ports    []uint
	from, to string
}

func (o *reportOptions) check() error {
	switch {
	case o.since <= 0 || o.most < 1:
		return fmt.Errorf("--since and --top must be more than 0, found %v and %d", o.since, o.most)
	case o.format != "text" && o.format != "html" && o.format != "mail":
		return fmt.Errorf("--output: expected text, html or mail, found %q", o.format)
	case o.format == "mail" && o.to == "":
		return errors.New("--output mail needs --mail-to: the address that gets the report")
	case o.format != "mail" && (o.to != "" || o.from != ""):
		return errors.New("--mail-to and --mail-from need --output mail")
	}
	return nil
}

// portNumbers checks ports that were given as --port.
func portNumbers(list []uint) (ports []uint16, err error) {
	for _, p := range list {
		if p < 1 || p > 65535 {
			return nil, fmt.Errorf("--port %d: expected 1 to 65535", p)
		}
		ports = append(ports, uint16(p))
	}
	return ports, nil
}

func (o *reportOptions) write(w io.Writer, r *pages.Report) error {
	switch o.format {
	case "html":
		return r.HTML(w, o.most)
	case "mail":
		host, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
		return r.Mail(w, o.most, o.from, o.to, host)
	}
	return r.Text(w, o.most)
}

func newReportCommand() *cobra.Command {
	var o reportOptions
	cmd := &cobra.Command{
		Use: "report FILE...", Short: "Summarise logs of connections, or captures", Args: cobra.MinimumNArgs(1),
		Long: "Summarise logs of connections, or captures: verdicts by hour, networks and signatures of clients, when early talkers talk,\n" +
			"what that means for the delay, offenders, rules and DNS lists, servers that were down, and who gave up while waiting.\n\n" +
			"The logs may be in tcplog, JSON, or postscreen's lines with a header that has the time, and gzipped; files that logrotate\n" +
			"has made of them are read too. \"-\" is a log on standard input. Captures are pcap or pcapng: those that hushgate keeps of\n" +
			"rejected clients (with the older files), any others, or a directory of them. Give logs or captures, not both: they have the\n" +
			"same connections.\n\n" +
			"The exit status is 1 if a file could not be read to its end; the rest is reported.",
		Example: "  hushgate report --since 24h /var/log/hushgate/mail.log\n" +
			"  hushgate report --since 168h --output html /var/log/hushgate/mail.log > week.html\n" +
			"  hushgate report /var/lib/hushgate/rejected.pcapng\n" +
			"  journalctl -t hushgate --since -24h | hushgate report -\n" +
			"  hushgate report --output mail --mail-to postmaster /var/log/hushgate/mail.log | sendmail -t -oi",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(); err != nil {
				return err
			}
			ports, err := portNumbers(o.ports)
			if err != nil {
				return err
			}
			now := time.Now()
			r := pages.New(now.Add(-o.since), now)
			_, failed := r.Read(cmd.Context(), args, ports, time.Local)
			if err := o.write(cmd.OutOrStdout(), r); err != nil {
				return err
			}
			return failed
		},
	}
	cmd.Flags().DurationVar(&o.since, "since", 24*time.Hour, "how far the report goes back")
	cmd.Flags().StringVarP(&o.format, "output", "o", "text", "text, html (a page without anything from elsewhere) or mail (a message for sendmail -t)")
	cmd.Flags().IntVar(&o.most, "top", 10, "how many networks, signatures and so on are listed")
	cmd.Flags().UintSliceVar(&o.ports, "port", []uint{25}, "ports of services in captures")
	cmd.Flags().StringVar(&o.to, "mail-to", "", "the addresses that get the report, with commas between them")
	cmd.Flags().StringVar(&o.from, "mail-from", "", "the sender's address; without it sendmail chooses one")
	return cmd
}
