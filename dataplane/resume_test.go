package dataplane

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hushgate/internal/segscript"
	"hushgate/internal/wire"
)

// saved is what a shard gives to another process, as octets.
type saved struct{ state, schema, records []byte }

func save(s *Shard) (v saved, err error) {
	if v.state, err = json.Marshal(s.Save()); err != nil {
		return v, err
	}
	if v.schema, err = json.Marshal(RecordSchema()); err != nil {
		return v, err
	}
	return v, s.SaveFlows(func(f *FlowState) error {
		v.records = AppendRecord(v.records, f)
		return nil
	})
}

// resume makes a shard of what others gave; wants says which connections are its own.
func resume(cfg *Config, from []saved, wants func(*FlowState) bool) (*Shard, error) {
	var s *Shard
	for i, v := range from {
		var state ShardState
		if err := json.Unmarshal(v.state, &state); err != nil {
			return nil, err
		}
		if i == 0 {
			var err error
			if s, err = Resume(cfg, &state); err != nil {
				return nil, err
			}
		}
		s.Count(state.Counters)
	}
	for _, v := range from {
		var schema []RecordField
		if err := json.Unmarshal(v.schema, &schema); err != nil {
			return nil, err
		}
		r, err := NewRecordReader(schema)
		if err != nil {
			return nil, err
		}
		var f FlowState
		for rest := v.records; len(rest) > 0; {
			if rest, err = r.Read(rest, &f); err != nil {
				return nil, err
			}
			if wants == nil || wants(&f) {
				if err := s.Restore(&f); err != nil {
					return nil, err
				}
			}
		}
	}
	s.Settle()
	return s, nil
}

// takeOver puts a new shard in the place of the one that a script plays with.
func takeOver(p *player) {
	if p.shard.sweep.begun { // a process that ends gives nothing away
		return
	}
	v, err := save(p.shard)
	if err != nil {
		p.fatalf("save: %v", err)
	}
	cfg := *p.cfg
	cfg.HashKey = [2]uint64{p.cfg.HashKey[0] + 1, 7} // nothing that stands may depend on it
	next, err := resume(&cfg, []saved{v}, nil)
	if err != nil {
		p.fatalf("resume: %v", err)
	}
	if old, now := counts(p.shard), counts(next); old != now {
		p.fatalf("the shard counts\n%s\nand behind the takeover\n%s", old, now)
	}
	if old, now := p.shard.NextDeadline(), next.NextDeadline(); old != now {
		p.fatalf("the next deadline was %v and is %v", old, now)
	}
	p.cfg, p.shard = &cfg, next
}

// counts is what a shard counts.
func counts(s *Shard) string {
	return fmt.Sprintf("%+v\nflows %d, active %d %v %v, servers %v, settled %d, of services %v, of servers %v, index %d %d",
		s.stats, s.Flows(), s.active, s.actives, s.fronts, s.servers, s.settled, s.atSvc, s.atSrv, s.byOut.Len(), s.byIn.Len())
}

// TestScriptsTakenOver runs every script with a takeover between any two steps and deadlines: what was saved and brought
// back is all that there is to know.
func TestScriptsTakenOver(t *testing.T) {
	files, err := filepath.Glob("testdata/*/*.pkt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	takeovers := 0
	var seen [phases]bool
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		steps, err := segscript.Parse(file, bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		for _, v6 := range []bool{false, true} {
			for _, isn := range []wire.Seq{1_000_000, 0xffffffff} {
				name := fmt.Sprintf("%s/v6=%v/isn=%d", strings.TrimSuffix(strings.TrimPrefix(file, "testdata/"), ".pkt"), v6, isn)
				t.Run(name, func(t *testing.T) {
					runScript(t, file, steps, v6, isn, func(p *player) {
						takeovers++
						for i, n := range p.shard.stats.Phase {
							seen[i] = seen[i] || n > 0
						}
						takeOver(p)
					})
				})
			}
		}
	}
	t.Logf("%d takeovers in %d scripts", takeovers, len(files))
	for i, is := range seen {
		if !is {
			t.Errorf("no script is taken over while %v", Phase(i))
		}
	}
}

// TestRecordSchema: a reader tells what it does not know, and what it misses, before it reads a record; the order, the size
// and the numbers of names are the writer's.
func TestRecordSchema(t *testing.T) {
	for _, c := range []struct {
		change func([]RecordField) []RecordField
		want   string
	}{
		{func(s []RecordField) []RecordField {
			return append(s, RecordField{Name: "colour", Size: 1, Part: flowPart})
		}, `"colour" of a connection is unknown`},
		{func(s []RecordField) []RecordField { return s[1:] }, `"client.0" of a connection is missing`},
		{func(s []RecordField) []RecordField { return append(s, s[3]) }, `"service" of a connection is not what`},
		{func(s []RecordField) []RecordField { s[3].Size = 3; return s }, `"service" of a connection is not what`},
		{func(s []RecordField) []RecordField { s[3].Part = "tail"; return s }, `"service" of a connection is not what`},
		{func(s []RecordField) []RecordField { s[4].Names = nil; return s }, `"phase" of a connection is not what`},
		{func(s []RecordField) []RecordField { slices.Reverse(s); return s }, ""},
	} {
		_, err := NewRecordReader(c.change(RecordSchema()))
		if err == nil && c.want != "" || err != nil && (c.want == "" || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
	schema := RecordSchema()
	slices.Reverse(schema[4].Names)
	schema[4].Names = append([]string{"new phase"}, schema[4].Names...)
	r, err := NewRecordReader(schema)
	if err != nil {
		t.Fatal(err)
	}
	var v FlowState
	for n, want := range map[Phase]Phase{1: PhaseSaying, 2: PhaseLingering, 9: PhaseHalfOpen} {
		if _, err := r.Read(AppendRecord(nil, &FlowState{Phase: n}), &v); err != nil || v.Phase != want {
			t.Errorf("phase %d is %v, want %v (%v)", n, v.Phase, want, err)
		}
	}
	if _, err := r.Read(AppendRecord(nil, &FlowState{Phase: 0}), &v); err == nil {
		t.Error("a phase that is not known was read")
	}
	if _, err := r.Read(AppendRecord(nil, &FlowState{Phase: 1})[:40], &v); !errors.Is(err, errCut) {
		t.Errorf("a cut record: %v", err)
	}
}
