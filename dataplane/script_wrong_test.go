package dataplane

import (
	"slices"
	"strings"
	"testing"

	"hushgate/internal/segscript"
)

// TestWrongWords: a script with an unknown word fails with an error that lists the known words. No unknown word is ignored or
// taken for another one.
func TestWrongWords(t *testing.T) {
	for line, want := range map[string]string{
		"config dealy 30s":                   `setting "dealy": expected action, client-fin, connect, delay, dnslists, half-open,`,
		"config delay 30":                    `"30": expected a duration with its unit`,
		"config delay":                       `"delay": expected a value after it`,
		"config action drop":                 `action "drop": expected observe, reply, reset`,
		"config live yes":                    `live "yes": expected off, on`,
		"config up on":                       `up "on": expected no, yes`,
		"config service shut":                `service "shut": expected closed, open`,
		"config servers 3":                   `servers 3: expected 1 to 2`,
		"config retries many":                `"many": expected a count`,
		"config members 1":                   `server "1": expected s1, s2 or so on`,
		"config members s3":                  `server "s3": there are 2 servers`,
		"config send-proxy 2":                `send-proxy "2": expected v1, v2`,
		"config source high":                 `source "high": expected a port`,
		"0 = finished":                       `word "finished": expected answer, answers, asked, broken, closed, failed, flows, hand, kill, listed, nothing, observed, offender, opened,`,
		"0 = server s1 gone":                 `server state "gone": expected down, up`,
		"0 = server 1 down":                  `server "1": expected s1, s2 or so on`,
		"0 = shutdown soon":                  `shutdown "soon": expected now`,
		"0 = flows none":                     `"none": expected a count`,
		"config dnslists drop":               `dnslists "drop": expected delay, observe, reply, reset, tarpit`,
		"0 = answer zen":                     `expected a question`,
		"0 = answers many 1":                 `answer "many": expected neutral, allowed, listed, late, gone`,
		"0 = answers late 1":                 `0 answers were late, expected 1`,
		"0 = nothing else":                   `"else": expected no word after nothing`,
		"0 = closed quite":                   `verdict "quite": expected none, quiet, early-talker, hang-up, no-server`,
		"0 = closed quiet cause 7":           `cause "7": expected none, client-talked, client-closed, client-reset, server-reset,`,
		"0 = closed quiet because idle":      `figure "because": expected by, cause, closed-by, first-byte, for, rank, retries, talk, to-client, to-server`,
		"0 = closed quiet closed-by":         `"closed-by": expected a value after it`,
		"0 = closed quiet closed-by neither": `found both, expected neither`,
		"0 = closed quiet to-client 20":      `found 21, expected 20`,
		"0 = closed quiet cause finished closed-by both to-client 21": "",
	} {
		steps, err := segscript.Parse("x.pkt", strings.NewReader(line+"\n"))
		if err != nil {
			t.Fatal(err)
		}
		p := &player{t: t, cfg: testConfig(false), step: &steps[0]}
		if steps[0].Kind == segscript.Config {
			err = p.configure(steps[0].Words)
		} else {
			p.shard = New(p.cfg)
			p.events = []Event{{Kind: EventClosed, Verdict: VerdictQuiet, Cause: CauseFinished, ClosedBy: EndsBoth, BytesToClient: 21}}
			if slices.Contains(steps[0].Words, "nothing") {
				p.events = nil
			}
			err = p.control(steps[0].Words)
		}
		if err == nil && want != "" || err != nil && (want == "" || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
}
