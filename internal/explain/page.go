package explain

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"hushgate/internal/admin"
	"hushgate/internal/printable"
)

const clockTime = "2006-01-02 15:04:05.000"

// page is text for people. What clients, servers and logs say is in it, so that nothing in a line can be an order to a terminal.
type page struct{ strings.Builder }

func (p *page) line(format string, args ...any) {
	p.WriteString(printable.Text(fmt.Sprintf(format, args...)))
	p.WriteByte('\n')
}

// Source is where an explanation comes from.
type Source string

// The sources. Files know only what became of connections.
const (
	Gateway      Source = ""
	FromLogs     Source = "logs"
	FromCaptures Source = "captures"
)

// Write writes an explanation for people.
func Write(w io.Writer, v *admin.Explanation, from Source) error {
	var p page
	p.line("%s", v.Client)
	p.remembered(v, from)
	if from == Gateway {
		p.known(v)
		p.next(v)
	}
	p.became(v)
	for i := range v.Connections {
		p.past(&v.Connections[i])
	}
	_, err := io.WriteString(w, p.String())
	return err
}

func (p *page) remembered(v *admin.Explanation, from Source) {
	var all uint64
	var kinds []string
	for _, verdict := range slices.Sorted(maps.Keys(v.Verdicts)) {
		all += v.Verdicts[verdict]
		kinds = append(kinds, fmt.Sprintf("%d %s", v.Verdicts[verdict], verdict))
	}
	text, since := "", ""
	if t := v.Remembered.Since; t != nil {
		since = " since " + t.Local().Format(clockTime)
	}
	switch {
	case from == FromCaptures:
		text = fmt.Sprintf("%d connections in the captures%s", all, since)
	case from == FromLogs:
		text = fmt.Sprintf("%d of %d connections in the logs%s", all, v.Remembered.Connections, since)
	case v.Remembered.Size == 0:
		text = "connections that have ended are not remembered: recall is 0"
	default:
		text = fmt.Sprintf("%d of %d remembered connections%s", all, v.Remembered.Connections, since)
	}
	if len(kinds) > 0 {
		text += ": " + strings.Join(kinds, ", ")
	}
	p.line("  %s", text)
	if n := v.Remembered.Unnamed; n > 0 {
		p.line("  the logs only count %d more connections, without the clients' addresses", n)
	}
	if file := v.Remembered.Capture; file != "" {
		p.line("  rejected connections of before are in the captures: hushgate explain --capture %s %s", quoted(file), v.Client)
	}
}

// known writes what is known of the client apart from its connections.
func (p *page) known(v *admin.Explanation) {
	if len(v.Passes) == 0 {
		p.line("  pass: none")
	}
	for _, e := range v.Passes {
		p.line("  pass: %s, %s old, good for another %s", e.Client, period(e.AgeMs), period(e.LeftMs))
	}
	for _, o := range v.Offenders {
		text := fmt.Sprintf("%s, %s ago", o.Client, periods(o.OffenceAgesMs))
		if len(o.OffenceAgesMs) == 0 {
			text = o.Client + ", none remembered"
		}
		switch {
		case o.Listed && o.LeftMs == nil:
			text += "; an offender for ever"
		case o.Listed:
			text += fmt.Sprintf("; an offender for another %s", period(*o.LeftMs))
		}
		if o.Kernel {
			text += ", whose SYNs the kernel drops"
		}
		p.line("  early talk: %s", text)
	}
	for _, c := range v.Clients {
		p.line("  limits: %s has %d connections open, and %d new ones in the rate-window", c.Client, c.Connections, c.Rate)
	}
	if v.Partial {
		p.line("  and more of these: see the control API's /v1/passes, /v1/offenders and /v1/clients")
	}
	if len(v.Lists) > 0 {
		p.line("  in the access lists %s", strings.Join(v.Lists, ", "))
	}
	for i := range v.DNSAnswers {
		p.dnsAnswer(&v.DNSAnswers[i])
	}
}

// became writes what logs say of when the client became an offender. Logs do not say when later early talk made that time longer.
func (p *page) became(v *admin.Explanation) {
	for i := range v.BecameOffender {
		b := &v.BecameOffender[i]
		text := fmt.Sprintf("became an offender at an unknown time, for %s", period(b.ForMs))
		if !b.Time.IsZero() {
			until := b.Time.Add(time.Duration(b.ForMs) * time.Millisecond)
			text = fmt.Sprintf("became an offender %s, until %s", b.Time.Local().Format(clockTime), until.Local().Format(clockTime))
		}
		if b.Frontend != "" {
			text += ", frontend " + b.Frontend
		}
		p.line("  early talk: %s %s", b.Client, text)
	}
	if len(v.BecameOffender) > 0 && v.Partial {
		p.line("  and earlier: --last shows more")
	}
}

func (p *page) dnsAnswer(a *admin.DNSAnswer) {
	text := a.Answer
	if len(a.Codes) > 0 {
		text += " as " + strings.Join(a.Codes, ", ")
	}
	switch {
	case a.Answer == "silent" && len(a.Codes) > 0:
		text += ": it lists everybody, and does not count"
	case a.Answer == "silent":
		text += ": no answer that counts"
	case a.Answer == "listed":
		text += fmt.Sprintf(", weight %d", a.Weight)
	}
	p.line("  DNS list %s: %s, kept for another %s", a.List, text, period(a.LeftMs))
}

// next writes what the next connection would get.
func (p *page) next(v *admin.Explanation) {
	if len(v.Next) == 0 {
		return
	}
	p.WriteString("\n  its next connection would get:\n")
	t := tabwriter.NewWriter(p, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "  FRONTEND\tAT ONCE\tDELAY\tEARLY TALK\tPASS\tDECIDED BY")
	for i := range v.Next {
		o := &v.Next[i]
		fmt.Fprintf(t, "  %s\t%s\t%s\t%s\n", printable.Text(o.Frontend), columns(&o.Treatment), o.Pass, printable.Text(decides(o)))
		if o.AfterDNS != nil {
			fmt.Fprintf(t, "  \t%s\t\t%s\n", columns(o.AfterDNS), "then DNS lists: "+o.DNSEffect)
		}
	}
	_ = t.Flush() // to a builder
}

// columns are the cells of a treatment.
func columns(t *admin.Treatment) string {
	if t.Refusal != "none" {
		return t.Refusal + "\t-\t-"
	}
	return "-\t" + period(t.DelayMs) + "\t" + t.OnEarlyTalk
}

// decides names who decides about a connection.
func decides(o *admin.Outlook) string {
	by := cmp.Or(o.Rule, "the frontend")
	if o.Refusal == "kernel-drop" {
		by = "offender"
	}
	if o.Stress {
		by += ", in stress"
	}
	switch {
	case !o.AsksDNSLists || o.AfterDNS != nil:
	case o.DNSEffect == "undecided":
		by += ", then DNS lists, which would be asked"
	default:
		by += ", then DNS lists, which change nothing"
	}
	return by
}

// past writes what became of a connection.
func (p *page) past(v *admin.PastConnection) {
	c := &v.Connection
	at := "at an unknown time"
	if !c.Time.IsZero() {
		at = c.Time.Local().Format(clockTime)
	}
	head := fmt.Sprintf("%s  %s from %s port %d", at, c.Verdict, c.Client, c.ClientPort)
	for _, part := range [][2]string{{" to ", c.Service}, {", frontend ", c.Frontend}, {", server ", c.Server}} {
		if part[1] != "" {
			head += part[0] + part[1]
		}
	}
	p.WriteByte('\n')
	p.line("  %s", head)
	say := func(name, text string) {
		if text != "" {
			p.line("    %-10s %s", name, text)
		}
	}
	say("cause", c.Cause)
	say("waited", millis(c.HeldMs))
	say("spoke", spoke(c))
	say("treatment", treatment(v))
	say("decided by", c.Rule)
	say("pass", c.Pass)
	if len(v.DNSLists) > 0 || v.DNSRank != 0 {
		say("DNS lists", strings.TrimPrefix(fmt.Sprintf("%s, rank %d", strings.Join(v.DNSLists, ", "), v.DNSRank), ", "))
	}
	say("signature", c.Signature)
	say("packets", packets(v))
	for _, l := range v.Lines {
		say("log", l)
	}
}

// treatment says what the client was to get.
func treatment(v *admin.PastConnection) string {
	t := v.Treatment
	switch {
	case v.Accepted:
		return "let in without a delay"
	case t == nil:
		return ""
	case t.Refusal != "none":
		return "refused at once: " + t.Refusal
	}
	return fmt.Sprintf("a delay of %s, early talk gets %s", period(t.DelayMs), t.OnEarlyTalk)
}

// packets says how the packets of a connection are seen.
func packets(v *admin.PastConnection) string {
	if v.Capture == "" {
		return ""
	}
	return fmt.Sprintf("tcpdump -nvr %s host %s and port %d", quoted(v.Capture), v.Connection.Client, v.Connection.ClientPort)
}

// quoted quotes a name for a shell.
func quoted(name string) string { return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'" }

// spoke says when the client first spoke, and what it said before the banner.
func spoke(c *admin.Verdict) string {
	var parts []string
	if after := millis(c.FirstByteMs); after != "" {
		parts = append(parts, "after "+after)
	}
	if c.TalkBytes > 0 {
		parts = append(parts, fmt.Sprintf("%d octets", c.TalkBytes))
	}
	text := strings.Join(parts, ", ")
	if c.Talk != "" {
		text = cmp.Or(text, "it said") + ": " + c.Talk
	}
	if c.Observed {
		text += " (observed: it went on)"
	}
	return text
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

// name returns a network as it is asked about.
func name(of netip.Prefix) string {
	if of.IsSingleIP() {
		return of.Addr().String()
	}
	return of.String()
}
