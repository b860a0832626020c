package explain

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"hushgate/internal/admin"
)

const clockTime = "2006-01-02 15:04:05.000"

// Write writes an explanation for people. One from logs knows only what became of connections.
func Write(w io.Writer, v *admin.Explanation, fromLogs bool) error {
	var b strings.Builder
	fmt.Fprintln(&b, v.Client)
	showRemembered(&b, v, fromLogs)
	if !fromLogs {
		showKnown(&b, v)
		showNext(&b, v.Next)
	}
	for i := range v.Connections {
		showPast(&b, &v.Connections[i])
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func showRemembered(b *strings.Builder, v *admin.Explanation, fromLogs bool) {
	var all uint64
	var kinds []string
	for _, verdict := range slices.Sorted(maps.Keys(v.Verdicts)) {
		all += v.Verdicts[verdict]
		kinds = append(kinds, fmt.Sprintf("%d %s", v.Verdicts[verdict], verdict))
	}
	since := ""
	if t := v.Remembered.Since; t != nil {
		since = " since " + t.Local().Format(clockTime)
	}
	switch {
	case fromLogs:
		fmt.Fprintf(b, "  %d of %d connections in the logs%s", all, v.Remembered.Connections, since)
	case v.Remembered.Size == 0:
		b.WriteString("  connections that have ended are not remembered: recall is 0")
	default:
		fmt.Fprintf(b, "  %d of %d remembered connections%s", all, v.Remembered.Connections, since)
	}
	if len(kinds) > 0 {
		b.WriteString(": " + strings.Join(kinds, ", "))
	}
	b.WriteByte('\n')
}

// showKnown writes what is known of the client apart from its connections.
func showKnown(b *strings.Builder, v *admin.Explanation) {
	if len(v.Passes) == 0 {
		fmt.Fprintln(b, "  pass: none")
	}
	for _, p := range v.Passes {
		fmt.Fprintf(b, "  pass: %s, %s old, good for another %s\n", p.Client, period(p.AgeMs), period(p.LeftMs))
	}
	for _, o := range v.Offenders {
		fmt.Fprintf(b, "  early talk: %s, %s ago", o.Client, cmp.Or(periods(o.OffenceAgesMs), "not"))
		if o.Listed {
			fmt.Fprintf(b, "; an offender for another %s", period(o.LeftMs))
		}
		if o.Kernel {
			b.WriteString(", whose SYNs the kernel drops")
		}
		b.WriteByte('\n')
	}
	for _, c := range v.Clients {
		fmt.Fprintf(b, "  limits: %s has %d connections open, and %d new ones in the rate-window\n", c.Client, c.Connections, c.Rate)
	}
	if v.Partial {
		fmt.Fprintln(b, "  and more of these: see the control API's /v1/passes, /v1/offenders and /v1/clients")
	}
	if len(v.Lists) > 0 {
		fmt.Fprintf(b, "  in the access lists %s\n", strings.Join(v.Lists, ", "))
	}
}

func showNext(b *strings.Builder, next []admin.Outlook) {
	if len(next) == 0 {
		return
	}
	fmt.Fprintln(b, "\n  its next connection would get:")
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "  FRONTEND\tAT ONCE\tDELAY\tEARLY TALK\tPASS\tDECIDED BY")
	for _, o := range next {
		atOnce, delay := o.Refusal, period(o.DelayMs)
		if atOnce == "none" {
			atOnce = "-"
		} else {
			delay = "-"
		}
		by := cmp.Or(o.Rule, "-")
		if o.AsksDNSLists {
			by += ", then DNS lists"
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\t%s\t%s\t%s\n", o.Frontend, atOnce, delay, o.OnEarlyTalk, o.Pass, by)
	}
	_ = t.Flush() // to a builder
}

// showPast writes what became of a connection.
func showPast(b *strings.Builder, p *admin.PastConnection) {
	c := &p.Connection
	at := "at an unknown time"
	if !c.Time.IsZero() {
		at = c.Time.Local().Format(clockTime)
	}
	fmt.Fprintf(b, "\n  %s  %s from %s port %d", at, c.Verdict, c.Client, c.ClientPort)
	for _, part := range [][2]string{{" to ", c.Service}, {", frontend ", c.Frontend}, {", server ", c.Server}} {
		if part[1] != "" {
			b.WriteString(part[0] + part[1])
		}
	}
	b.WriteByte('\n')
	line := func(name, text string) {
		if text != "" {
			fmt.Fprintf(b, "    %-10s %s\n", name, text)
		}
	}
	line("cause", c.Cause)
	line("waited", millis(c.HeldMs))
	line("spoke", spoke(c))
	line("rule", c.Rule)
	line("pass", c.Pass)
	if len(p.DNSLists) > 0 {
		line("DNS lists", fmt.Sprintf("%s, rank %d", strings.Join(p.DNSLists, ", "), p.DNSRank))
	}
	line("signature", c.Signature)
	line("packets", p.Capture)
	for _, l := range p.Lines {
		line("log", printable(l))
	}
}

// spoke says when the client first spoke, and what it said before the banner.
func spoke(c *admin.Verdict) string {
	text := millis(c.FirstByteMs)
	if text != "" {
		text = "after " + text
	}
	if c.TalkBytes > 0 {
		text += fmt.Sprintf(", %d octets", c.TalkBytes)
	}
	if c.Talk != "" {
		text += ": " + printable(c.Talk)
	}
	if c.Observed {
		text += " (observed: it went on)"
	}
	return text
}

// printable replaces what a terminal might obey: a log may hold anything.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f {
			return '?'
		}
		return r
	}, s)
}

func millis(ms *int64) string {
	if ms == nil {
		return ""
	}
	return fmt.Sprintf("%.3f s", float64(*ms)/1000)
}

// period writes a time without more precision than anybody needs.
func period(ms int64) string {
	d := time.Duration(ms) * time.Millisecond
	if d >= time.Minute {
		d = d.Round(time.Second)
	}
	return d.String()
}

func periods(all []int64) string {
	var list []string
	for _, ms := range all {
		list = append(list, period(ms))
	}
	return strings.Join(list, ", ")
}
