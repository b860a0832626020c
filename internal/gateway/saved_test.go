package gateway

import (
	"encoding/json"
	"reflect"
	"testing"

	"hushgate/dataplane"
)

// TestSaved: a process that takes over has the tables that the one before it had.
func TestSaved(t *testing.T) {
	b, err := build(parse(t, twoFrontends), chosen())
	if err != nil {
		t.Fatal(err)
	}
	b.retiredServices, b.retiredServers = map[dataplane.ServiceID]bool{1: true}, map[dataplane.ServerID]bool{2: true}
	used := uses{[]bool{false, true, false}, []bool{true, false, true}}
	text, err := json.Marshal(b.tables(used))
	if err != nil {
		t.Fatal(err)
	}
	var heard tables
	if err := json.Unmarshal(text, &heard); err != nil {
		t.Fatal(err)
	}
	old, stillUsed, err := heard.built()
	if err != nil {
		t.Fatal(err)
	}
	for what, pair := range map[string][2]any{
		"services":  {old.shard.Services, b.shard.Services},
		"frontends": {old.shard.Frontends, b.shard.Frontends},
		"backends":  {old.shard.Backends, b.shard.Backends},
		"servers":   {old.shard.Servers, b.shard.Servers},
		"names":     {old.names, b.names},
		"retired":   {[]any{old.retiredServices, old.retiredServers}, []any{b.retiredServices, b.retiredServers}},
		"used":      {stillUsed, used},
		"keys":      {[]any{old.serviceKeys(), old.serverKeys()}, []any{b.serviceKeys(), b.serverKeys()}},
	} {
		if !reflect.DeepEqual(pair[0], pair[1]) {
			t.Errorf("%s: %+v\nwant %+v", what, pair[0], pair[1])
		}
	}
	heard.Services[0].Frontend = 99
	if _, _, err := heard.built(); err == nil {
		t.Error("a service without a frontend was taken")
	}
}
