package dataplane

import (
	"errors"
	"testing"
	"time"

	"hushgate/internal/policy"
	"hushgate/internal/wire"
)

const someTeaser = "220-mx.example.net ESMTP\r\n"

func withTeaser(cfg *Config) { cfg.Frontends[0].Teaser = someTeaser }

// acknowledge has client n acknowledge so many octets of ours, and returns what it gets, octet by octet.
func (d *driver) acknowledge(n int, iss wire.Seq, octets int) string {
	d.fromClient(n, wire.ACK, 1001, iss+1+wire.Seq(octets), "")
	return d.said()
}

// said returns the payload of the frames that the shard has sent to clients since the last Drain.
func (d *driver) said() (text string) {
	for _, o := range d.shard.Drain().Out {
		if o.Side == wire.Outside && d.dec.Decode(o.Frame) == wire.KindTCP {
			text += string(d.dec.Segment.Payload)
		}
	}
	return text
}

// TestTeaserOfPolicy: by the policy too a client gets the teaser, with its address in it, unless it has a pass; and who acknowledged
// it and waited gets a pass.
func TestTeaserOfPolicy(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		d := newDriverOf(t, v6, withPolicy(t, func(p *policy.Config) {
			p.Frontends[0].Teaser, p.Frontends[0].PassDelay = "220-{client} waits\r\n", time.Second
		}))
		a, _ := d.peer(0)
		want := "220-" + a.String() + " waits\r\n"
		iss := d.hold(0)
		if got := d.said(); got != want {
			t.Fatalf("the teaser is %q, want %q", got, want)
		}
		d.acknowledge(0, iss, len(want))
		d.greeted(0)
		if d.shard.stats.PassesGranted != 1 {
			t.Error("the client got no pass")
		}
		d.hold(1)
		if got := d.said(); got != "" {
			t.Errorf("with a pass the client got %q", got)
		}
		d.now = d.now.Add(time.Second)
		d.shard.Advance(d.now)
		d.phase(PhaseConnecting, 1)
	})
}

// greeted lets the delay of client n end and its server send the banner.
func (d *driver) greeted(n int) {
	d.tb.Helper()
	d.now = d.now.Add(31 * time.Second)
	d.shard.Advance(d.now)
	server := d.last().Dst
	d.fromServer(n, server, wire.SYN|wire.ACK, 5000, 1001, "")
	d.fromServer(n, server, wire.ACK|wire.PSH, 5001, 1001, "220 ready\r\n")
}

// TestTeaserStream: what a client receives is the teaser and then the server's greeting, or our reply, octet by octet, through a
// window that is smaller than both.
func TestTeaserStream(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		for _, talks := range []bool{false, true} {
			d := newDriverOf(t, v6, func(cfg *Config) {
				withTeaser(cfg)
				cfg.Frontends[0].Action = ActionReply
				cfg.Servers[0].Options.WindowScale = wire.NoScale
			})
			d.fromClient(0, wire.SYN, 1000, 0, "")
			iss := d.last().Seq
			got, ack := "", func(flags wire.Flags, payload string) {
				h := wire.Header{
					Dst: d.shard.cfg.Services[0].Addr, DstPort: 25, Flags: flags, Seq: 1001, Wnd: 5,
					Timestamps: true, TSval: uint32(int64(d.now) / 1e6),
				}
				h.Src, h.SrcPort = d.peer(0)
				h.Ack = iss + 1 + wire.Seq(len(payload))
				d.input(wire.Outside, &h, "")
			}
			ack(wire.ACK, "")
			want := someTeaser + "220 ready\r\n"
			for range 100 {
				more := d.said()
				if more == "" {
					break
				}
				got += more
				if talks && len(got) > 10 {
					d.fromClient(0, wire.ACK|wire.PSH, 1001, iss+1+wire.Seq(len(got)), "EHLO\r\n")
					talks, want = false, someTeaser+d.shard.cfg.Frontends[0].RejectText
					continue
				}
				ack(wire.ACK, got)
			}
			if want == someTeaser+"220 ready\r\n" {
				d.greeted(0)
				got += d.said()
			}
			if got != want {
				t.Errorf("the client received %q, want %q", got, want)
			}
		}
	})
}

// TestTeaserElsewhere: a connection that goes on in another machine, which has another teaser or none, is sent the rest of the one
// that was begun, and a reply after it.
func TestTeaserElsewhere(t *testing.T) {
	const reject = "554 5.5.1 Protocol error\r\n"
	eachFamily(t, func(t *testing.T, v6 bool) {
		for _, acked := range []int{0, 7, len(someTeaser)} {
			for _, teaser := range []string{"", someTeaser, "220-another\r\n"} {
				for _, delay := range []time.Duration{7 * time.Second, 30 * time.Second} {
					d := newDriverOf(t, v6, withTeaser)
					iss := d.hold(0)
					d.acknowledge(0, iss, acked)
					v, err := elsewhere(new(d.saved(0, AnotherMachine)))
					if err != nil {
						t.Fatal(err)
					}
					e := newDriverOf(t, v6, func(cfg *Config) {
						cfg.Names = namedConfig(v6).Names
						cfg.Frontends[0].Teaser, cfg.Frontends[0].Delay, cfg.Frontends[0].Action = teaser, delay, ActionReply
					})
					if a := e.shard.adoption(&v, e.now, 0); a.Err != nil {
						t.Fatal(a.Err)
					}
					e.shard.treatments.slots[e.shard.flows.At(1).treated].Talk = policy.TalkReply
					e.now = e.now.Add(time.Second)
					e.shard.Advance(e.now)
					if got := e.said(); got != someTeaser[acked:] {
						t.Errorf("%d acknowledged, teaser %q: sent again %q", acked, teaser, got)
					}
					e.acknowledge(0, iss, len(someTeaser))
					e.phase(PhaseHeld, 1)
					e.fromClient(0, wire.ACK|wire.PSH, 1001, iss+1+wire.Seq(len(someTeaser)), "EHLO\r\n")
					if got := e.said(); got != reject {
						t.Errorf("%d acknowledged, teaser %q: the reply is %q", acked, teaser, got)
					}
					e.shard.audit(t)
				}
			}
		}
	})
}

// TestTeaserAfterReload: who has not acknowledged the teaser when the configuration changes, or another process takes over, waits for
// the delay that was decided before.
func TestTeaserAfterReload(t *testing.T) {
	for name, change := range map[string]func(*driver, func(*Config)){
		"reload": func(d *driver, to func(*Config)) {
			cfg := *d.shard.cfg
			cfg.Frontends = append([]Frontend(nil), cfg.Frontends...)
			to(&cfg)
			if err := d.shard.CanReload(&cfg); err != nil {
				t.Fatal(err)
			}
			d.shard.Apply(Reload{&cfg})
		},
		"another process": func(d *driver, to func(*Config)) { d.rewriteState(func(*ShardState) {}, to) },
	} {
		eachFamily(t, func(t *testing.T, v6 bool) {
			d := newDriverOf(t, v6, withTeaser)
			iss := d.hold(0)
			change(d, func(cfg *Config) { cfg.Frontends[0].Teaser, cfg.Frontends[0].Delay = "", 3*time.Second })
			d.shard.Drain()
			d.now = d.now.Add(time.Second)
			d.shard.Advance(d.now)
			if got := d.said(); got != someTeaser {
				t.Errorf("%s: sent again %q", name, got)
			}
			d.acknowledge(0, iss, len(someTeaser))
			if left := d.shard.NextDeadline().Sub(d.now); left != 30*time.Second {
				t.Errorf("%s: the delay ends in %v", name, left)
			}
			d.hold(1)
			if left := d.shard.NextDeadline().Sub(d.now); left != 3*time.Second {
				t.Errorf("%s: the delay of another client ends in %v", name, left)
			}
			d.shard.audit(t)
		})
	}
}

// TestManyDelaysWithTeasers: a configuration whose delays leave no room for those of connections that still acknowledge their teaser
// is refused, and changes nothing.
func TestManyDelaysWithTeasers(t *testing.T) {
	d := newDriver(t, withTeaser)
	for n := range 300 {
		d.hold(n)
		d.shard.Drain()
		cfg := *d.shard.cfg
		cfg.Frontends = append([]Frontend(nil), cfg.Frontends...)
		cfg.Frontends[0].Delay = time.Minute + time.Duration(n)*time.Millisecond
		before := counts(d.shard)
		err := d.shard.CanReload(&cfg)
		if err == nil {
			d.shard.Apply(Reload{&cfg})
			continue
		}
		if n < 150 || !errors.Is(err, ErrTooManyWaits) || counts(d.shard) != before {
			t.Errorf("after %d reloads: %v", n, err)
		}
		d.shard.audit(t)
		return
	}
	t.Error("300 delays have room")
}

// TestTeaserCosts: no allocation for a connection with a teaser, from its SYN to the hold.
func TestTeaserCosts(t *testing.T) {
	d := newDriver(t, withTeaser)
	for n := range 4000 {
		d.acknowledge(n, d.hold(n), len(someTeaser))
	}
	n := 4000
	if got := testing.AllocsPerRun(1000, func() {
		iss := d.hold(n)
		d.shard.Drain()
		d.fromClient(n, wire.ACK, 1001, iss+1+wire.Seq(len(someTeaser)), "")
		d.shard.Drain()
		n++
	}); got != 0 {
		t.Errorf("%v allocations", got)
	}
	d.phase(PhaseHeld, int64(n))
}
