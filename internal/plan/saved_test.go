package plan

import (
	"encoding/json"
	"reflect"
	"testing"

	"hushgate/dataplane"
	"hushgate/internal/plan/plantest"
)

// TestSaved: a process that takes over gets the tables of the process before it.
func TestSaved(t *testing.T) {
	b, err := Build(plantest.Parse(t, plantest.TwoFrontends), plantest.Chosen())
	if err != nil {
		t.Fatal(err)
	}
	b.RetiredServices, b.RetiredServers = map[dataplane.ServiceID]bool{1: true}, map[dataplane.ServerID]bool{2: true}
	used := Uses{[]bool{false, true, false}, []bool{true, false, true}}
	text, err := json.Marshal(b.Save(used))
	if err != nil {
		t.Fatal(err)
	}
	var heard Saved
	if err := json.Unmarshal(text, &heard); err != nil {
		t.Fatal(err)
	}
	old, stillUsed, err := heard.Tables()
	if err != nil {
		t.Fatal(err)
	}
	for what, pair := range map[string][2]any{
		"services":  {old.Shard.Services, b.Shard.Services},
		"frontends": {old.Shard.Frontends, b.Shard.Frontends},
		"backends":  {old.Shard.Backends, b.Shard.Backends},
		"servers":   {old.Shard.Servers, b.Shard.Servers},
		"names":     {[]any{old.Names.Services, old.Names.Servers}, []any{b.Names.Services, b.Names.Servers}}, // rules are the successor's own
		"retired":   {[]any{old.RetiredServices, old.RetiredServers}, []any{b.RetiredServices, b.RetiredServers}},
		"used":      {stillUsed, used},
		"keys":      {[]any{old.serviceKeys(), old.serverKeys()}, []any{b.serviceKeys(), b.serverKeys()}},
	} {
		if !reflect.DeepEqual(pair[0], pair[1]) {
			t.Errorf("%s: %+v\nwant %+v", what, pair[0], pair[1])
		}
	}
	heard.Services[0].Frontend = 99
	if _, _, err := heard.Tables(); err == nil {
		t.Error("a service without a frontend was taken")
	}
}
