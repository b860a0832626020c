package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"hushgate/internal/console"
)

func newExplainCommand() *cobra.Command {
	var a apiFlags
	var logs, captures []string
	var ports []uint
	var most int
	cmd := &cobra.Command{
		Use: "explain ADDRESS|NETWORK", Short: "Say why a sender was refused, or delayed", Args: cobra.ExactArgs(1),
		Long: "Say everything that is known of a sender: what became of its latest connections, with the time, the reason, what it said\n" +
			"first, the rule or list that decided, the lines in the log and the capture that has its packets; what its next\n" +
			"connection would get; its pass, offences, limits and lists. The running gateway remembers the latest connections\n" +
			"(recall). With --log the answer comes from log files alone, and no gateway need run: tcplog, JSON and postscreen's\n" +
			"lines, gzipped or not; files that logrotate has made of them are read too. With --capture it comes from captures: those that\n" +
			"hushgate keeps of rejected clients (with the older files), or any others.",
		Example: "  hushgate explain 198.18.0.7\n  hushgate explain 2001:db8::/64 --json\n" +
			"  hushgate explain --log /var/log/hushgate/mail.log 198.18.0.7\n" +
			"  hushgate explain --capture /var/lib/hushgate/rejected.pcapng 198.18.0.7",
		RunE: func(cmd *cobra.Command, args []string) error {
			who, err := parseClient(args[0])
			switch {
			case err != nil:
				return err
			case most < 1 || most > 1000:
				return fmt.Errorf("--last: expected 1 to 1000, found %d", most)
			case (len(logs) > 0 || len(captures) > 0) && a.socket != "":
				return errors.New("expected files (--log, --capture) or --socket, which asks a gateway; found both")
			case len(logs) > 0 && len(captures) > 0:
				return errors.New("expected one of --log and --capture, because both have the same connections; found both")
			case len(logs) > 0:
				return console.SenderInLogs(cmd.OutOrStdout(), a.json, logs, who, most)
			case len(captures) > 0:
				services, err := portNumbers(ports)
				if err != nil {
					return err
				}
				return console.SenderInCaptures(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), a.json, captures, services, who, most)
			}
			return a.connect().Sender(cmd.Context(), cmd.OutOrStdout(), a.json, who, most)
		},
	}
	a.flags(cmd)
	cmd.Flags().StringArrayVar(&logs, "log", nil, "answer from this log `FILE`; may be repeated")
	cmd.Flags().StringArrayVar(&captures, "capture", nil, "answer from this capture `FILE`; may be repeated")
	cmd.Flags().UintSliceVar(&ports, "port", []uint{25}, "ports of services in captures")
	cmd.Flags().IntVar(&most, "last", 20, "how many connections, and offender lines of logs, are shown")
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	return cmd
}
