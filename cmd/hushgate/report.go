package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hushgate/internal/config"
	"hushgate/internal/console"
	pages "hushgate/internal/report"
)

// reportOptions are the flags of `hushgate report`.
type reportOptions struct {
	since    time.Duration
	format   string
	most     int
	ports    []uint
	from, to string
	config   string // the configuration that says where the log is
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

// records returns the files that the report is about: those given, or those that the configuration has hushgate write, and
// then the ports of captures are those of its services.
func (o *reportOptions) records(cmd *cobra.Command, args []string) ([]string, error) {
	switch {
	case len(args) > 0 && o.config != "":
		return nil, fmt.Errorf("expected logs or captures, or a configuration (-f %s) that names them; found both", o.config)
	case len(args) > 0:
		return args, nil
	}
	s := configFlags{file: o.config}
	if s.file == "" {
		file, err := console.Connect("").ConfigurationFile(cmd.Context())
		if err != nil {
			return nil, fmt.Errorf("expected logs or captures: hushgate report FILE..., because the running gateway's are not known: %w", err)
		}
		s.file = file
	}
	cfg, _, err := s.read()
	if err != nil {
		fmt.Fprintln(cmd.ErrOrStderr(), err)
		return nil, errReported
	}
	files, err := recordsOf(cfg)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.file, err)
	}
	if !cmd.Flags().Changed("port") {
		o.ports = nil
		for _, f := range cfg.Frontends {
			for _, b := range f.Binds {
				o.ports = append(o.ports, uint(b.Port))
			}
		}
	}
	return files, nil
}

// recordsOf returns where a gateway keeps what a report is made of: the first file that each frontend logs to or, if there is
// none, the capture. A frontend that logs to several has the same connections in each.
func recordsOf(cfg *config.Config) (files []string, err error) {
	journal := false
	for _, f := range cfg.Frontends {
		i := slices.IndexFunc(f.Log, func(t config.LogTarget) bool { return strings.HasPrefix(t.Address, "file@") })
		if i >= 0 && !slices.Contains(files, f.Log[i].Address[len("file@"):]) {
			files = append(files, f.Log[i].Address[len("file@"):])
		}
		journal = journal || slices.ContainsFunc(f.Log, func(t config.LogTarget) bool { return t.Address == "journal" })
	}
	switch {
	case len(files) > 0:
		return files, nil
	case journal:
		return nil, errors.New("the log is in the journal: journalctl -t hushgate --since -24h | hushgate report -")
	case cfg.Global.Capture.File != "":
		return []string{cfg.Global.Capture.File}, nil
	}
	return nil, errors.New("it names neither a log file nor a capture: give the file that your syslog writes, hushgate report FILE")
}

func newReportCommand() *cobra.Command {
	var o reportOptions
	cmd := &cobra.Command{
		Use: "report [FILE...]", Short: "Summarise logs of connections, or captures",
		Long: "Summarise logs of connections, or captures: verdicts by hour, networks and signatures of clients, when early talkers talk,\n" +
			"what that means for the delay, offenders, rules and DNS lists, servers that were down, and who gave up while waiting.\n\n" +
			"The logs may be in tcplog, JSON, or postscreen's lines with a header that has the time, and gzipped; files that logrotate\n" +
			"has made of them are read too. \"-\" is a log on standard input. Captures are pcap or pcapng: those that hushgate keeps of\n" +
			"rejected clients (with the older files), any others, or a directory of them. Give logs or captures, not both: they have the\n" +
			"same connections. Without FILE they are the log files of the running gateway or, if it has none, its capture.\n\n" +
			"The exit status is 1 if a file could not be read to its end; the rest is reported.",
		Example: "  hushgate report --since 24h\n" +
			"  hushgate report --since 24h /var/log/hushgate/mail.log\n" +
			"  hushgate report --since 168h --output html /var/log/hushgate/mail.log > week.html\n" +
			"  hushgate report /var/lib/hushgate/rejected.pcapng\n" +
			"  journalctl -t hushgate --since -24h | hushgate report -\n" +
			"  hushgate report --output mail --mail-to postmaster /var/log/hushgate/mail.log | sendmail -t -oi",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(); err != nil {
				return err
			}
			files, err := o.records(cmd, args)
			if err != nil {
				return err
			}
			ports, err := portNumbers(o.ports)
			if err != nil {
				return err
			}
			now := time.Now()
			r := pages.New(now.Add(-o.since), now)
			_, failed := r.Read(cmd.Context(), files, ports, time.Local)
			if err := o.write(cmd.OutOrStdout(), r); err != nil {
				return err
			}
			return failed
		},
	}
	cmd.Flags().DurationVar(&o.since, "since", 24*time.Hour, "how far the report goes back")
	cmd.Flags().StringVarP(&o.format, "output", "o", "text", "text, html (a page without anything from elsewhere) or mail (a message for sendmail -t)")
	cmd.Flags().IntVar(&o.most, "top", 10, "how many networks, signatures and so on are listed")
	cmd.Flags().UintSliceVar(&o.ports, "port", []uint{25}, "ports of services in captures (without FILE: those of the configuration)")
	cmd.Flags().StringVarP(&o.config, "file", "f", "", "the configuration that says where the log is (default: the running gateway's)")
	must(cmd.MarkFlagFilename("file", "cfg", "yaml", "yml"))
	must(cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "html", "mail"}, cobra.ShellCompDirectiveNoFileComp)))
	cmd.Flags().StringVar(&o.to, "mail-to", "", "the addresses that get the report, with commas between them")
	cmd.Flags().StringVar(&o.from, "mail-from", "", "the sender's address; without it sendmail chooses one")
	return cmd
}
