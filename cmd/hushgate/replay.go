package main

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/progress"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"hushgate/internal/replay"
)

// replayFlags are the flags that need more than a type.
type replayFlags struct {
	q                     replay.Request
	delays, sweep, ports  string
	from, to              string
	networks              []string
	format                string
	quiet                 bool
	maxDelays, sweepSteps int
}

func newReplayCommand() *cobra.Command {
	f := replayFlags{maxDelays: 1000, sweepSteps: 60}
	cmd := &cobra.Command{
		Use: "replay FILE...", Short: "Judge captures of SMTP offline", Args: cobra.MinimumNArgs(1),
		Long: "Judge captures of ordinary SMTP traffic (pcap or pcapng, also in gzip or zstd; - is standard input): which\n" +
			"clients talked before the banner, and how soon. Nothing is sent. Several files are one capture, in the given order.\n\n" +
			"With --drive the clients' packets are fed to the gateway's own code, with the capture's clock, and its answers\n" +
			"are shown. With --extract one connection is written to a file. With --policy a configuration's access lists, passes,\n" +
			"limits and stress are applied, and what each did is reported.\n\n" +
			"The exit status is 2 if a capture could not be read to its end; the part before is reported.",
		Example: "  hushgate replay --delay 1s,5s,10s,30s port25.pcap\n" +
			"  hushgate replay --sweep 0s..60s --plot curve.svg port25.pcap.gz\n" +
			"  hushgate replay --extract 12 --anonymise -w one.pcapng port25.pcap\n" +
			"  hushgate replay --policy hushgate.yaml port25.pcap\n" +
			"  hushgate replay --drive -w answers.pcapng one.pcapng",
		RunE: func(cmd *cobra.Command, args []string) error {
			f.q.Files = args
			if err := f.parse(cmd.Flags().Changed); err != nil {
				return err
			}
			f.q.Application = "hushgate " + versionString()
			if !f.quiet && term.IsTerminal(int(os.Stderr.Fd())) {
				stop := showProgress(&f.q)
				defer stop()
			}
			return replay.Run(cmd.Context(), f.q, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	fl := cmd.Flags()
	fl.StringVarP(&f.delays, "delay", "d", "30s", "inspect-delays to compare; the table shows the first: 1s,5s,30s")
	fl.StringVar(&f.sweep, "sweep", "", "many delays: 0s..60s, in 60 steps, or 0s..60s/500ms")
	fl.StringVarP(&f.format, "output", "o", "table", "table, json (an object on each line) or csv")
	fl.StringVar(&f.q.Plot, "plot", "", "draw the cumulative curve of the time to the first octet into a .svg or .png file")
	fl.BoolVar(&f.q.Signatures, "signatures", false, "show the TCP signature of each client in the table, and what the clients of each did")
	fl.StringVarP(&f.ports, "port", "p", "25", "ports of services: 25,2525")
	fl.StringVar(&f.from, "from", "", "leave out packets before this time: 2026-01-02T15:04:05Z")
	fl.StringVar(&f.to, "to", "", "leave out packets after this time")
	fl.StringSliceVar(&f.networks, "net", nil, "leave out connections with no end in these networks: 192.0.2.0/24,2001:db8::1")
	fl.BoolVar(&f.q.IgnoreChecksums, "ignore-checksums", false, "also accept segments with wrong checksums")
	fl.IntVar(&f.q.MaxConnections, "max-connections", replay.DefaultMaxConnections, "limit of live connections, which bounds the memory")
	fl.BoolVar(&f.q.Drive, "drive", false, "feed the clients' packets to the gateway's code and show its answers")
	fl.BoolVar(&f.q.Reply, "reply", false, "with --drive: early talkers get a reply, not a reset")
	fl.StringVar(&f.q.Policy, "policy", "", "apply the policy of this configuration file: access lists, passes, limits, stress")
	fl.StringVar(&f.q.Frontend, "frontend", "", "with --policy: the frontend of all services that no bind line has")
	fl.StringVar(&f.q.Passes, "passes", "", "with --policy: begin with the passes of this file, as hushgate saves them")
	fl.StringVar(&f.q.Extract, "extract", "", "write one connection, by its number or its client's address:port, to the file of -w")
	fl.BoolVar(&f.q.Anonymise, "anonymise", false, "with --extract: change the addresses, and remove the payload after the first line")
	fl.StringVarP(&f.q.Write, "write", "w", "", "pcapng file to write: the connection of --extract, or both sides of --drive with comments")
	fl.BoolVar(&f.quiet, "no-progress", false, "no progress bar, even on a terminal")
	return cmd
}

// parse reads the flags that need more than a type; given reports whether a flag was given.
func (f *replayFlags) parse(given func(string) bool) (err error) {
	f.q.Format = replay.Format(f.format)
	if f.q.Policy != "" {
		for _, flag := range []string{"delay", "sweep"} {
			if given(flag) {
				return fmt.Errorf("--policy and --%s exclude each other: the delays are those of the file", flag)
			}
		}
	}
	if f.q.Delays, err = f.parseDelays(); err != nil {
		return err
	}
	for p := range strings.SplitSeq(f.ports, ",") {
		if f.q.Policy != "" && !given("port") {
			break // those of the bind lines
		}
		n, err := strconv.ParseUint(strings.TrimSpace(p), 10, 16)
		if err != nil || n == 0 {
			return fmt.Errorf("--port %s: expected port numbers from 1 to 65535, separated by commas", f.ports)
		}
		f.q.Ports = append(f.q.Ports, uint16(n))
	}
	for _, n := range f.networks {
		p, err := netip.ParsePrefix(n)
		if a, errAddr := netip.ParseAddr(n); err != nil && errAddr == nil {
			p, err = a.Prefix(a.BitLen())
		}
		if err != nil {
			return fmt.Errorf("--net %s: expected an address or a network such as 192.0.2.0/24", n)
		}
		f.q.Networks = append(f.q.Networks, p.Masked())
	}
	for _, t := range []struct {
		flag, text string
		to         *time.Time
	}{{"from", f.from, &f.q.From}, {"to", f.to, &f.q.To}} {
		if t.text == "" {
			continue
		}
		if *t.to, err = time.Parse(time.RFC3339, t.text); err != nil {
			return fmt.Errorf("--%s %s: expected a time such as 2026-01-02T15:04:05Z", t.flag, t.text)
		}
	}
	if f.q.MaxConnections < 1 {
		return fmt.Errorf("--max-connections %d: expected 1 or more", f.q.MaxConnections)
	}
	return nil
}

// parseDelays reads --delay, or --sweep, which replaces it except for the delay of the table.
func (f *replayFlags) parseDelays() (delays []time.Duration, err error) {
	for d := range strings.SplitSeq(f.delays, ",") {
		v, err := time.ParseDuration(strings.TrimSpace(d))
		if err != nil || v < 0 {
			return nil, fmt.Errorf("--delay %s: expected times such as 500ms or 30s, separated by commas", f.delays)
		}
		delays = append(delays, v)
	}
	if f.sweep == "" {
		return delays, nil
	}
	bad := func(why string) error {
		return fmt.Errorf("--sweep %s: %s; expected a range such as 0s..60s or 0s..60s/500ms", f.sweep, why)
	}
	bounds, stepText, stepped := strings.Cut(f.sweep, "/")
	fromText, toText, ranged := strings.Cut(bounds, "..")
	from, errFrom := time.ParseDuration(fromText)
	to, errTo := time.ParseDuration(toText)
	if !ranged || errFrom != nil || errTo != nil || from < 0 || to <= from {
		return nil, bad("no range")
	}
	step := (to - from) / time.Duration(f.sweepSteps)
	if stepped {
		if step, err = time.ParseDuration(stepText); err != nil || step <= 0 {
			return nil, bad("no step")
		}
	}
	if (to-from)/step > time.Duration(f.maxDelays) {
		return nil, bad(fmt.Sprintf("more than %d steps", f.maxDelays))
	}
	delays = delays[:1]
	for d := from; d <= to; d += step {
		if !slices.Contains(delays, d) {
			delays = append(delays, d)
		}
	}
	slices.Sort(delays[1:])
	return delays, nil
}

// showProgress draws a progress bar on standard error until the returned function is called.
func showProgress(q *replay.Request) (stop func()) {
	w := progress.NewWriter()
	w.SetOutputWriter(os.Stderr)
	w.SetAutoStop(false)
	w.SetUpdateFrequency(200 * time.Millisecond)
	tracker := &progress.Tracker{Message: "read", Units: progress.UnitsBytes}
	w.AppendTracker(tracker)
	q.Progress = func(read, total int64) {
		tracker.UpdateTotal(total)
		tracker.SetValue(read)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.Render()
	}()
	return func() {
		tracker.MarkAsDone()
		w.Stop()
		<-done
	}
}
