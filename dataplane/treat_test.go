package dataplane

import (
	"encoding/json"
	"strings"
	"testing"

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
			v.Treatments = nil
			v.Texted = 7 // the generation of clients in the delay had no texts
			v.Texts[7] = v.Texts[0]
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

// TestManyTreatments: after more changes than are remembered, a client that was in the delay all the while is still treated as
// one of the remembered configurations says.
func TestManyTreatments(t *testing.T) {
	d := newDriver(t, nil)
	iss := d.hold(0)
	for n := range 2*generations + 1 {
		cfg := *d.shard.cfg
		cfg.Frontends = append([]Frontend(nil), cfg.Frontends...)
		cfg.Frontends[0].Action = ActionReply
		cfg.Frontends[0].RejectText = "554 " + strings.Repeat("x", n) + "\r\n"
		d.shard.Apply(Reload{&cfg})
		before := d.shard.treated
		d.shard.Apply(Reload{&cfg})
		if d.shard.treated != before {
			t.Fatal("an unchanged configuration started a new generation")
		}
	}
	d.shard.Drain()
	d.fromClient(0, wire.PSH|wire.ACK, 1001, iss+1, "EHLO")
	if got := string(d.last().Payload); !strings.HasPrefix(got, "554 xxx") {
		t.Errorf("the client gets %q", got)
	}
}

// TestResumeRefusesTreatments: Resume refuses treatments that do not match the texts or are unknown to this release.
func TestResumeRefusesTreatments(t *testing.T) {
	base := saveOne(t)
	for _, c := range []struct {
		change func(*ShardState)
		want   string
	}{
		{func(v *ShardState) {}, ""},
		{func(v *ShardState) { v.Treatments = nil }, ""},
		{func(v *ShardState) { v.Treatments = v.Treatments[1:] }, "not of the same services"},
		{func(v *ShardState) { v.Treatments[0] = nil }, "not of the same services"},
		{func(v *ShardState) { v.Treatments[0][0].Talk = 9 }, "no answer number 9"},
		{func(v *ShardState) { v.Texts[0][0] = make([]string, numWords+1) }, "texts of a service"},
	} {
		v := base.state(t)
		c.change(v)
		_, err := Resume(testConfig(false), v)
		if err == nil && c.want != "" || err != nil && (c.want == "" || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}
