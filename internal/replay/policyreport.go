package replay

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"hushgate/dataplane"
	"hushgate/internal/connlog"
	"hushgate/internal/policy"
)

// What a policy did is reported in the words of the live log: the same names of fields, the same words for verdicts, causes,
// rules and passes.

const policyRow = "%7s  %-21s %-21s  %9s %9s  %-32s  %-6s  %s%-30s  %s\n"

// deed writes how a policy treated a connection.
func (r *report) deed(d *deed) {
	switch r.format {
	case JSON:
		r.deedJSON(d)
	case CSV:
		r.deedCSV(d)
	case Table:
		r.deedTable(d)
	}
	r.rows++
}

func (r *report) deedTable(d *deed) {
	if r.rows == 0 {
		_, err := fmt.Fprintf(r.w, policyRow, "conn", "client", "service", "waited", "1st byte", "verdict", "pass",
			r.sign("signature"), "rule", "talk")
		r.keep(err)
	}
	verdict := string(d.verdict())
	if d.untested >= 0 {
		verdict += ", not tested beyond " + brief(d.untested)
	}
	line := fmt.Sprintf(policyRow, strconv.Itoa(d.id), d.client, d.service, elapsed(d.held()), elapsed(d.talkedAfter()), verdict, d.pass("-"),
		r.sign(d.signature.String()), ruleName(d.rule), d.talk())
	_, err := io.WriteString(r.w, strings.TrimRight(line, " \n")+"\n")
	r.keep(err)
}

func elapsed(d time.Duration) string {
	if d < 0 {
		return "-"
	}
	return fmt.Sprintf("%.3f s", d.Seconds())
}

func ruleName(rule string) string {
	if rule == "" {
		return delayRule
	}
	return rule
}

// delayRule stands in tables where no rule decided: the client waits the frontend's delay.
const delayRule = "delay"

// held is how long a client waited until a server was chosen, or to its end.
func (d *deed) held() time.Duration {
	if d.Connect != 0 {
		return d.Connect.Sub(d.Established)
	}
	return d.Closed.Sub(d.Established)
}

// talkedAfter is the time from the handshake to the client's first payload that was passed on; -1 if there was none.
func (d *deed) talkedAfter() time.Duration {
	if d.FirstByte == 0 {
		return -1
	}
	return d.FirstByte.Sub(d.Established)
}

func (d *deed) pass(unused string) string {
	if d.Pass == policy.PassUnused {
		return unused
	}
	return d.Pass.String()
}

func (d *deed) talk() string {
	return string(connlog.AppendEscaped(nil, d.TalkHead[:min(d.TalkLen, dataplane.TalkSample)]))
}

// The bounds of the summary's parts, in tables and in JSON. Of rules and lists JSON has all.
const (
	shownRules, shownRefused, shownStress = 200, 20, 20
	jsonRefusedN                          = 1_000
)

var policyColumns = columns{[]Verdict{EarlyTalker, HangUp, Quiet, Refused, NoServer}, "other"}

// policySummary writes what a policy did.
func (r *report) policySummary(b *strings.Builder, h *rehearsal, t *Tally, remarks []remark) {
	d := h.deeds
	fmt.Fprintf(b, "\n%d connections: %d treated by %s, %d begun before the capture, %d without a handshake\n", t.Results, d.all.connections,
		h.file.cfg.File, t.Outcomes[Unjudged], t.Outcomes[NoHandshake])
	for _, m := range remarks {
		fmt.Fprintln(b, m)
	}
	if d.untested > 0 {
		fmt.Fprintf(b, "%d quiet connections are not tested: the capture shows them silent for less than their delay\n", d.untested)
	}
	if h.trials[0].trial == nil {
		return
	}
	h.writeRules(b)
	h.writeLists(b)
	h.writeRefused(b)
	h.writeStress(b)
	h.writeShares(b)
	if r.signed {
		d.stacks.write(b, "signature", &policyColumns)
	}
}

// ruleIDs lists the rules to be shown: those that have decided, and all configured ones.
func (h *rehearsal) ruleIDs() (ids []policy.RuleID) {
	for i, info := range h.trials[0].tables.Shard.Policy.Rules() {
		if id := policy.RuleID(i); info.Where != "" || h.deeds.rules[id] != nil {
			ids = append(ids, id)
		}
	}
	return ids
}

// matched returns how often each rule and list of the policy matched.
func (h *rehearsal) matched() policy.Counts { return h.trials[0].shard.PolicyCounts() }

// decided returns what came of the connections that a rule decided about.
func (h *rehearsal) decided(id policy.RuleID) *ruleDeeds {
	if done := h.deeds.rules[id]; done != nil {
		return done
	}
	return &ruleDeeds{}
}

func (h *rehearsal) writeRules(b *strings.Builder) {
	ids, matched := h.ruleIDs(), h.matched()
	rows := make([]counted, 0, len(ids))
	for _, id := range ids[:min(shownRules, len(ids))] {
		done := h.decided(id)
		rows = append(rows, counted{
			h.trials[0].tables.Names.Rules[id], &done.verdictCounts, fmt.Sprintf("  %7d  %s", matched.Rules[id].Decided, delayWords(done.delays)),
		})
	}
	policyColumns.write(b, "rule that decided", rows, "  matched  delays")
	if more := len(ids) - shownRules; more > 0 {
		fmt.Fprintf(b, "%d more rules: see JSON\n", more)
	}
}

// delayWords lists delays with the number of connections, the shortest first.
func delayWords(delays map[time.Duration]int) string {
	if len(delays) == 0 {
		return "-"
	}
	words := make([]string, 0, len(delays))
	for _, d := range slices.Sorted(maps.Keys(delays)) {
		text := "0s"
		if d > 0 {
			text = brief(d)
		}
		words = append(words, fmt.Sprintf("%s: %d", text, delays[d]))
	}
	return strings.Join(words, ", ")
}

func (h *rehearsal) writeLists(b *strings.Builder) {
	lists := h.matched().Lists
	if len(lists) == 0 {
		return
	}
	shown := lists[:min(shownRules, len(lists))]
	width := len(slices.MaxFunc(shown, func(a, b policy.ListCount) int { return len(a.Name) - len(b.Name) }).Name)
	fmt.Fprintf(b, "\n%-*s  %7s\n", width, "list", "matched")
	for _, l := range shown {
		fmt.Fprintf(b, "%-*s  %7d\n", width, l.Name, l.Matches)
	}
	if more := len(lists) - len(shown); more > 0 {
		fmt.Fprintf(b, "%d more lists: see JSON\n", more)
	}
}

const clock = "2006-01-02T15:04:05Z07:00"

func (h *rehearsal) writeRefused(b *strings.Builder) {
	list := h.deeds.refusedMost()
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%-40s  %11s  %-20s  %-20s  %s\n", "client refused by a limit", "refusals", "first", "last", "rule")
	for _, k := range list[:min(shownRefused, len(list))] {
		c := h.deeds.refused[k]
		fmt.Fprintf(b, "%-40s  %11d  %-20s  %-20s  %s\n", k.client, c.n, c.first.Format(clock), c.last.Format(clock), h.trials[0].tables.Names.Rules[k.rule])
	}
	if more := len(list) - shownRefused; more > 0 {
		fmt.Fprintf(b, "%d%s more clients\n", more, plus(h.deeds.more))
	}
}

func plus(more bool) string {
	if more {
		return "+"
	}
	return ""
}

func (h *rehearsal) writeStress(b *strings.Builder) {
	if h.deeds.stressed == 0 {
		return
	}
	fmt.Fprintf(b, "\n%-22s  %-22s  %11s\n", "stress begins", "ends", "connections")
	for _, p := range h.deeds.stress[:min(shownStress, len(h.deeds.stress))] {
		end := "-"
		if !p.end.IsZero() {
			end = p.end.Format(clock)
		}
		fmt.Fprintf(b, "%-22s  %-22s  %11d\n", p.begin.Format(clock), end, p.connections)
	}
	if more := h.deeds.stressed - shownStress; more > 0 {
		fmt.Fprintf(b, "%d more times\n", more)
	}
}

// shares returns the shares of all trials, those without passes first.
func (h *rehearsal) shares() (list []*share) {
	for _, v := range h.trials {
		list = append(list, v.share)
	}
	slices.SortStableFunc(list, func(a, b *share) int { return int(a.ttl/time.Second) - int(b.ttl/time.Second) })
	return list
}

func (h *rehearsal) writeShares(b *strings.Builder) {
	const row = "%-10s  %11s  %9s  %6s  %9s  %9s  %9s  %9s\n"
	fmt.Fprintf(b, "\ngood senders, whom a server greeted: would they have waited?\n\n"+row, "pass-ttl", "connections", "waited", "share",
		"mean wait", "senders", "waited", "again")
	for _, s := range h.shares() {
		more := plus(s.more)
		mean := "-"
		if s.connections > 0 {
			mean = brief(s.mean().Round(time.Millisecond))
		}
		fmt.Fprintf(b, row, ttlWord(s), strconv.Itoa(s.connections), strconv.Itoa(s.waited), percent(s.waited, s.connections), mean,
			strconv.Itoa(s.sendersThat(0))+more, strconv.Itoa(s.sendersThat(1))+more, strconv.Itoa(s.sendersThat(2))+more)
	}
	d := h.deeds
	fmt.Fprintf(b, "* as in the file: %d passes given, %d taken for early talk", d.granted, d.lost)
	if h.saved != "" {
		fmt.Fprintf(b, "; %d were there before, from %s", d.restored, h.saved)
	}
	fmt.Fprintf(b, "\n")
	if d.offences > 0 {
		fmt.Fprintf(b, "%d early talks made their client an offender, or kept it one\n", d.offences)
	}
	if span := h.now.Sub(h.begin); span < whatIf[len(whatIf)-1] {
		fmt.Fprintf(b, "the capture spans %s: a pass that is good for longer than that shows no further gain here\n", word(span.Round(time.Second)))
	}
}

// ttlWord is a duration of passes in the words of the configuration.
func ttlWord(s *share) string {
	text := "none"
	if s.ttl > 0 {
		text = word(s.ttl)
	}
	if s.configured {
		text += " *"
	}
	return text
}

// word formats a duration as in configurations, in the largest unit that divides it.
func word(d time.Duration) string {
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}} {
		if d >= u.unit && d%u.unit == 0 {
			return fmt.Sprintf("%d%s", d/u.unit, u.name)
		}
	}
	return d.String()
}

func percent(n, of int) string {
	if of == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f%%", 100*float64(n)/float64(of))
}

// summarisePolicy writes the summary in the chosen format. CSV has no place for it, so that it goes to notes.
func (r *report) summarisePolicy(h *rehearsal, t *Tally, remarks []remark, notes io.Writer) error {
	if r.format == JSON {
		err := json.NewEncoder(r.w).Encode(map[string]jsonPolicy{"summary": policyJSON(h, t, remarks)})
		if err != nil {
			return fmt.Errorf("write the summary: %w", err)
		}
		return nil
	}
	var b strings.Builder
	r.policySummary(&b, h, t, remarks)
	to := r.w
	if r.format == CSV {
		to = notes
	}
	if _, err := io.WriteString(to, b.String()); err != nil {
		return fmt.Errorf("write the summary: %w", err)
	}
	return nil
}
