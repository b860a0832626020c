package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"hushgate/internal/admin"
	"hushgate/internal/console"
)

func newWatchCommand() *cobra.Command {
	var a apiFlags
	var o console.WatchOptions
	cmd := &cobra.Command{
		Use: "watch", Short: "Show connections as they end, with their verdicts", Args: cobra.NoArgs,
		Long: "Show connections as they end, one line each, with verdict, client, frontend, server and what the client said first.\n" +
			"It goes on over an upgrade or a restart of the gateway, and says when it has missed some.",
		Example: "  hushgate watch --verdict early-talker --client 198.18.0.0/15\n" +
			"  hushgate watch --json | jq -r .signature",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Count < 0 {
				return fmt.Errorf("--count: expected 0 or more, found %d", o.Count)
			}
			o.JSON = a.json
			return a.connect().Watch(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), &o)
		},
	}
	a.flags(cmd)
	f := cmd.Flags()
	f.StringSliceVar(&o.Verdicts, "verdict", nil, "only this `VERDICT`, such as early-talker or quiet; several with commas")
	f.StringVar(&o.Client, "client", "", "only of this `ADDRESS` or network")
	f.StringVar(&o.Frontend, "frontend", "", "only of this frontend")
	f.IntVar(&o.Count, "count", 0, "end after `N` connections; 0: go on")
	must(cmd.RegisterFlagCompletionFunc("frontend", a.completeWith((*console.Client).FrontendNames)))
	must(cmd.RegisterFlagCompletionFunc("client", cobra.NoFileCompletions))
	must(cmd.RegisterFlagCompletionFunc("verdict", func(_ *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
		return listOf(admin.VerdictNames, begun), cobra.ShellCompDirectiveNoFileComp
	}))
	return cmd
}
