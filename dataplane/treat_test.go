package dataplane

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"hushgate/internal/policy"
	"hushgate/internal/wire"
)

// TestTreatedByAnOlderRelease: an older release does not save how clients in the delay are treated. They are treated as the
// configuration says, while replies that had been started are completed unchanged.
func TestTreatedByAnOlderRelease(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		d := newDriverOf(t, v6, func(c *Config) { c.Frontends[0].Action = ActionReply })
		saying := d.hold(0)
		d.fromClient(0, wire.PSH|wire.ACK, 1001, saying+1, "EHLO")
		said := string(d.last().Payload)
		held := d.hold(1)
		d.rewriteState(func(v *ShardState) {
			v.asOfOlderRelease(said)
			v.Treatments = nil
		}, func(c *Config) { c.Frontends[0].RejectText = "554 later\r\n" })
		d.shard.Advance(d.now.Add(firstRTO))
		if again := string(d.last().Payload); again != said {
			t.Errorf("the reply was %q, and then %q", said, again)
		}
		d.fromClient(1, wire.PSH|wire.ACK, 1001, held+1, "EHLO")
		if got := string(d.last().Payload); got != "554 later\r\n" {
			t.Errorf("a client in the delay gets the reply %q", got)
		}
	})
}

// rewriteState replaces the shard by one that resumes from a changed state with a changed configuration.
func (d *driver) rewriteState(change func(*ShardState), configure func(*Config)) {
	d.tb.Helper()
	v, err := save(d.shard)
	if err != nil {
		d.tb.Fatal(err)
	}
	var state ShardState
	if err := json.Unmarshal(v.state, &state); err != nil {
		d.tb.Fatal(err)
	}
	change(&state)
	if v.state, err = json.Marshal(&state); err != nil {
		d.tb.Fatal(err)
	}
	cfg := *d.shard.cfg
	cfg.Frontends = append([]Frontend(nil), cfg.Frontends...)
	configure(&cfg)
	if d.shard, err = resume(&cfg, []saved{v}, nil); err != nil {
		d.tb.Fatal(err)
	}
}

// asOfOlderRelease gives a state the form of the release that knew one treatment of each service.
func (v *ShardState) asOfOlderRelease(reject string) {
	services := len(v.Services)
	v.Treated, v.Texts, v.Treatments = nil, [][][]string{make([][]string, services)}, [][]GenerationState{make([]GenerationState, services)}
	for i := range services {
		v.Texts[0][i] = []string{"", reject, "421 none\r\n"}
		v.Treatments[0][i] = GenerationState{Talk: ActionReply}
	}
}

// TestManyTreatments: however often the configuration changes, a client that was in the delay all the while is treated as was
// decided when it came, and nothing is left of what no client has any more.
func TestManyTreatments(t *testing.T) {
	d := newDriver(t, func(c *Config) { c.Frontends[0].Action = ActionReply })
	iss := d.hold(0)
	first := string(d.shard.treatment(d.shard.flows.At(1)).Reject)
	for n := range 100 {
		cfg := *d.shard.cfg
		cfg.Frontends = append([]Frontend(nil), cfg.Frontends...)
		cfg.Frontends[0].RejectText = "554 " + strings.Repeat("x", n) + "\r\n"
		d.shard.Apply(Reload{&cfg})
		if n := len(d.shard.treatments.slots); n > 4 {
			t.Fatalf("%d treatments after one change more", n)
		}
	}
	d.shard.Drain()
	d.fromClient(0, wire.PSH|wire.ACK, 1001, iss+1, "EHLO")
	if got := string(d.last().Payload); got != first {
		t.Errorf("the client gets %q, want %q", got, first)
	}
	d.shard.audit(t)
}

// TestResumeRefusesTreatments: Resume refuses treatments that do not match the texts or are unknown to this release.
func TestResumeRefusesTreatments(t *testing.T) {
	base := saveOne(t)
	older := func(change func(*ShardState)) func(*ShardState) {
		return func(v *ShardState) {
			v.asOfOlderRelease("554 no\r\n")
			change(v)
		}
	}
	for _, c := range []struct {
		change func(*ShardState)
		want   string
	}{
		{func(v *ShardState) {}, ""},
		{func(v *ShardState) { v.Treated[1].Talk = 9 }, "no client is treated by talk 9"},
		{func(v *ShardState) { v.Treated[1].Refusal = 9 }, "refusal 9"},
		{func(v *ShardState) { v.Treated[1].Pass = 9 }, "pass 9"},
		{func(v *ShardState) { v.Treated = make([]TreatedState, maxTreated+2) }, "does not fit"},
		{older(func(v *ShardState) {}), ""},
		{older(func(v *ShardState) { v.Treatments = nil }), ""},
		{older(func(v *ShardState) { v.Treatments = v.Treatments[1:] }), "not of the same services"},
		{older(func(v *ShardState) { v.Treatments[0] = nil }), "not of the same services"},
		{older(func(v *ShardState) { v.Treatments[0][0].Talk = 9 }), "no answer number 9"},
		{older(func(v *ShardState) { v.Texts[0][0] = make([]string, numWords+1) }), "texts of a service"},
	} {
		v := base.state(t)
		c.change(v)
		_, err := Resume(testConfig(false), v)
		if err == nil && c.want != "" || err != nil && (c.want == "" || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}

// TestStateOfTheFirstRelease: every member that the first release writes is known, and Resume takes them. A takeover refuses members
// that it does not know.
func TestStateOfTheFirstRelease(t *testing.T) {
	base := saveOne(t)
	v := base.state(t)
	v.asOfOlderRelease("554 no\r\n")
	v.Treatments, v.UsedCookies, v.Counts = nil, nil, policy.Counts{}
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		t.Fatal(err)
	}
	members["texted"] = json.RawMessage("1")
	first := map[string]json.RawMessage{}
	for _, name := range []string{"now", "flood", "secret", "old_secret", "clock_secret", "texts", "texted", "services", "backends", "ports", "counters"} {
		first[name] = members[name]
	}
	if text, err = json.Marshal(first); err != nil {
		t.Fatal(err)
	}
	var got ShardState
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&got); err != nil {
		t.Fatal(err)
	}
	if _, err := Resume(testConfig(false), &got); err != nil {
		t.Error(err)
	}
}
