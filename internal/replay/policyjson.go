package replay

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// jsonDeed is a connection as an object. All names that live lines have too mean the same there.
type jsonDeed struct {
	ID         int       `json:"id"`
	Begin      time.Time `json:"begin"`
	Time       string    `json:"time"`
	Client     string    `json:"client"`
	ClientPort uint16    `json:"client_port"`
	Service    string    `json:"service"`
	Frontend   string    `json:"frontend"`
	Verdict    Verdict   `json:"verdict"`
	Observed   bool      `json:"observed,omitempty"`
	Cause      string    `json:"cause"`
	Rule       string    `json:"rule,omitempty"`
	Pass       string    `json:"pass,omitempty"`
	Signature  string    `json:"signature,omitempty"`
	Held       int64     `json:"held_ms"`
	FirstByte  *int64    `json:"first_byte_ms"`
	TalkBytes  uint32    `json:"talk_bytes,omitempty"`
	Talk       string    `json:"talk,omitempty"`
	Untested   *float64  `json:"untested_after_ms,omitempty"`
}

func (d *deed) json() jsonDeed {
	out := jsonDeed{
		ID: d.id, Begin: d.begin, Time: d.at.Format("2006-01-02T15:04:05.000Z07:00"), Client: d.client.Addr().String(), ClientPort: d.client.Port(),
		Service: d.service, Frontend: d.frontend, Verdict: d.verdict(), Observed: d.Observed, Cause: d.Cause.String(), Rule: d.rule,
		Pass: d.pass(""), Held: d.held().Milliseconds(), TalkBytes: d.TalkLen, Talk: d.talk(),
	}
	if d.signature.Known() {
		out.Signature = d.signature.String()
	}
	if after := d.talkedAfter(); after >= 0 {
		ms := after.Milliseconds()
		out.FirstByte = &ms
	}
	if d.untested >= 0 {
		ms := millis(d.untested)
		out.Untested = &ms
	}
	return out
}

func (r *report) deedJSON(d *deed) {
	r.keep(json.NewEncoder(r.w).Encode(d.json()))
}

var deedFields = []string{
	"id", "begin", "time", "client", "client_port", "service", "frontend", "verdict", "cause", "rule", "pass", "signature", "held_ms",
	"first_byte_ms", "talk_bytes", "talk", "untested_after_ms",
}

func (r *report) deedCSV(d *deed) {
	if r.rows == 0 {
		r.keep(r.csv.Write(deedFields))
	}
	j := d.json()
	first, untested, octets := "", "", ""
	if j.FirstByte != nil {
		first = strconv.FormatInt(*j.FirstByte, 10)
	}
	if j.TalkBytes > 0 {
		octets = strconv.FormatUint(uint64(j.TalkBytes), 10)
	}
	if j.Untested != nil {
		untested = strconv.FormatFloat(*j.Untested, 'f', 3, 64)
	}
	r.keep(r.csv.Write([]string{
		strconv.Itoa(j.ID), j.Begin.Format(time.RFC3339Nano), j.Time, j.Client, strconv.Itoa(int(j.ClientPort)), j.Service, j.Frontend,
		string(j.Verdict), j.Cause, j.Rule, j.Pass, j.Signature, strconv.FormatInt(j.Held, 10), first, octets, j.Talk, untested,
	}))
}

// jsonPolicy is the summary of the JSON format.
type jsonPolicy struct {
	Policy      string          `json:"policy"`
	Connections int             `json:"connections"`
	Treated     int             `json:"treated"`
	Unjudged    int             `json:"begun_before"`
	NoHandshake int             `json:"no_handshake"`
	Verdicts    map[Verdict]int `json:"verdicts"`
	Untested    int             `json:"untested"`
	Remarks     []remark        `json:"remarks"`
	Rules       []jsonRule      `json:"rules"`
	Lists       []jsonList      `json:"lists"`
	Refused     []jsonRefused   `json:"refused_by_limits"`
	RefusedMore bool            `json:"refused_by_limits_more,omitempty"`
	Stress      []jsonStress    `json:"stress"`
	StressTimes int             `json:"stress_times"`
	Granted     int             `json:"passes_granted"`
	Lost        int             `json:"passes_lost"`
	Restored    int             `json:"passes_restored"`
	Offences    int             `json:"offenders_listed"`
	Shares      []jsonShare     `json:"pass_ttl"`
	jsonStacks
}

type jsonRule struct {
	Rule        string          `json:"rule"`
	Matches     uint64          `json:"matches"`
	Connections int             `json:"connections"`
	Verdicts    map[Verdict]int `json:"verdicts"`
	Delays      []jsonDelay     `json:"delays"`
}

type jsonDelay struct {
	Delay       float64 `json:"delay_ms"`
	Connections int     `json:"connections"`
}

type jsonList struct {
	List    string `json:"list"`
	Matches uint64 `json:"matches"`
}

type jsonRefused struct {
	Client   string    `json:"client"`
	Rule     string    `json:"rule"`
	Refusals int       `json:"refusals"`
	First    time.Time `json:"first"`
	Last     time.Time `json:"last"`
}

type jsonStress struct {
	Begin       time.Time  `json:"begin"`
	End         *time.Time `json:"end"`
	Connections int        `json:"connections"`
}

type jsonShare struct {
	TTL           string  `json:"pass_ttl"`
	Configured    bool    `json:"configured,omitempty"`
	Connections   int     `json:"connections"`
	Waited        int     `json:"waited"`
	MeanWait      float64 `json:"mean_wait_ms"`
	Senders       int     `json:"senders"`
	SendersWaited int     `json:"senders_waited"`
	SendersAgain  int     `json:"senders_waited_again"`
	More          bool    `json:"senders_more,omitempty"`
}

// policyJSON returns what a policy did.
func policyJSON(h *rehearsal, t *Tally, remarks []remark) jsonPolicy {
	d := h.deeds
	out := jsonPolicy{
		Policy: h.file.cfg.File, Connections: t.Results, Treated: d.all.connections, Unjudged: t.Outcomes[Unjudged], NoHandshake: t.Outcomes[NoHandshake],
		Verdicts: d.all.verdicts, Untested: d.untested, Remarks: remarks, RefusedMore: d.more, StressTimes: d.stressed,
		Granted: d.granted, Lost: d.lost, Restored: d.restored, Offences: d.offences, Rules: []jsonRule{}, Lists: []jsonList{}, Refused: []jsonRefused{}, Stress: []jsonStress{},
		jsonStacks: d.stacks.json(""),
	}
	if out.Remarks == nil {
		out.Remarks = []remark{}
	}
	for _, s := range h.shares() {
		out.Shares = append(out.Shares, s.json())
	}
	if h.trials[0].trial == nil {
		return out
	}
	names, matched := h.trials[0].tables.Names.Rules, h.matched()
	for _, id := range h.ruleIDs() {
		done := h.decided(id)
		rule := jsonRule{names[id], matched.Rules[id].Decided, done.connections, done.verdicts, []jsonDelay{}}
		for _, delay := range slices.Sorted(maps.Keys(done.delays)) {
			rule.Delays = append(rule.Delays, jsonDelay{millis(delay), done.delays[delay]})
		}
		out.Rules = append(out.Rules, rule)
	}
	for _, l := range matched.Lists {
		out.Lists = append(out.Lists, jsonList{l.Name, l.Matches})
	}
	most := d.refusedMost()
	for _, k := range most[:min(jsonRefusedN, len(most))] {
		c := d.refused[k]
		out.Refused = append(out.Refused, jsonRefused{k.client.String(), names[k.rule], c.n, c.first, c.last})
	}
	for _, p := range d.stress {
		one := jsonStress{Begin: p.begin, Connections: p.connections}
		if !p.end.IsZero() {
			one.End = &p.end
		}
		out.Stress = append(out.Stress, one)
	}
	return out
}

func (s *share) json() jsonShare {
	return jsonShare{
		TTL: strings.Replace(word(s.ttl), "0s", "0", 1), Configured: s.configured, Connections: s.connections, Waited: s.waited, MeanWait: millis(s.mean()),
		Senders: s.sendersThat(0), SendersWaited: s.sendersThat(1), SendersAgain: s.sendersThat(2), More: s.more,
	}
}
