package dataplane

import (
	"testing"
	"time"

	"hushgate/internal/wire"
	"hushgate/tcpstate"
)

// FuzzAdopt offers arbitrary records, for this machine or another, to a shard with connections of its own. The shard either
// refuses a record and stays unchanged, or adopts it and keeps its tables consistent. It is empty after a long silence.
func FuzzAdopt(f *testing.F) {
	adoptSeeds(f)
	own, err := NewRecordReader(RecordSchema())
	if err != nil {
		f.Fatal(err)
	}
	other, err := portableReader()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, abroad bool, records, program []byte) {
		cfg := namedConfig(false)
		cfg.Limits.Flows = 16
		cfg.Servers[1].Proxy = 1
		if len(program) > 0 && program[0]&0x40 != 0 {
			cfg.Frontends[0].Teaser = someTeaser
		}
		z := newFuzzed(t, cfg)
		d := &driver{tb: t, stage: z.stage}
		d.hold(3)
		d.splice(4)
		z.now = d.now
		reader := own
		if abroad {
			reader = other
		}
		opened := 0
		for len(records) > 0 {
			var v FlowState
			if records, err = reader.Read(records, &v); err != nil {
				break
			}
			before := counts(z.shard)
			switch a := z.shard.adoption(&v, z.now, time.Duration(len(program))*time.Second); {
			case a.Outcome != Adopted:
				z.shard.stats.Adoptions[a.Outcome]--
				if now := counts(z.shard); a.Err == nil || now != before {
					t.Fatalf("%v, %v: the shard's counters were\n%s\nand are\n%s", a.Outcome, a.Err, before, now)
				}
			case v.Phase != PhaseHalfOpen && !v.Told:
				opened++
			}
			z.shard.audit(t)
		}
		z.shard.stats.Opened += uint64(opened) // their ends are logged here
		z.run(program)
	})
}

// adoptSeeds adds connections in all phases to the corpus, also with teasers.
func adoptSeeds(f *testing.F) {
	d := newDriver(f, func(cfg *Config) {
		cfg.Names = namedConfig(false).Names
		cfg.Frontends[0].Action = ActionReply
	})
	d.splice(0)
	d.splice(1)
	a, port := d.peer(1)
	h := wire.Header{Src: d.shard.cfg.Servers[1].Addr, SrcPort: 25, Dst: a, DstPort: port, Flags: wire.RST, Seq: 5012}
	d.input(wire.Inside, &h, "")
	d.hold(2)
	iss := d.hold(3)
	d.fromClient(3, wire.ACK|wire.PSH, 1001, iss+1, "EHLO")
	d.fromClient(4, wire.SYN, 1000, 0, "")
	d.hold(5)
	d.now = d.now.Add(30 * time.Second)
	d.shard.Advance(d.now)
	d.shard.Drain()
	d.hold(6)
	d.addSeeds(f)

	d = newDriver(f, func(cfg *Config) {
		cfg.Names = namedConfig(false).Names
		cfg.Frontends[0].Action = ActionReply
		withTeaser(cfg)
	})
	d.acknowledge(0, d.hold(0), len(someTeaser))
	d.greeted(0)
	d.hold(1)
	d.acknowledge(2, d.hold(2), 5)
	d.acknowledge(3, d.hold(3), len(someTeaser))
	iss = d.hold(4)
	d.fromClient(4, wire.ACK|wire.PSH, 1001, iss+1, "EHLO")
	d.addSeeds(f)
}

// addSeeds adds the connections of the shard to the corpus.
func (d *driver) addSeeds(f *testing.F) {
	err := d.shard.SaveFlows(func(v *FlowState) error {
		program := []byte{0, 16, 1, 1, 0, 0, 0, 0, 31, 0, 0, 0, 0, 0, 0, 0}
		f.Add(false, AppendRecord(nil, v), program)
		f.Add(false, AppendRecord(nil, v), append([]byte{0x40}, program[1:]...)) // with a teaser here
		var w FlowState
		svc := &d.shard.cfg.Services[v.Service]
		of := tcpstate.Tuple{Client: v.Client, ClientPort: v.ClientPort, Service: svc.Addr, ServicePort: svc.Port}
		if d.shard.SaveFlow(d.now, &of, AnotherMachine, &w) {
			f.Add(true, AppendRecord(nil, &w), program)
			f.Add(true, AppendRecord(nil, &w), append([]byte{0x40}, program[1:]...))
			w.ClientPort += 100
			once := AppendRecord(nil, &w)
			f.Add(true, append(once, once...), program)
		}
		return nil
	})
	if err != nil {
		f.Fatal(err)
	}
}
