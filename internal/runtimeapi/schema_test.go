package runtimeapi

import (
	"strings"
	"testing"

	"github.com/pb33f/jsonschema/v6"
)

// TestSchema: `show schema json` describes the answers of hushgate, and those of HAProxy.
func TestSchema(t *testing.T) {
	theirs := startPeer(t, peerConfig, greeter(t)).sockets
	ours, _ := start(t, newFake(), usual)
	parse := func(text string) any {
		t.Helper()
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		return v
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", parse(ask(t, ours[User], "show schema json\n"))); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, socket := range []string{ours[User], theirs[User]} {
		for _, command := range []string{"show info json", "show stat json"} {
			if err := s.Validate(parse(ask(t, socket, command+"\n"))); err != nil {
				t.Errorf("%s at %s: %v", command, socket, err)
			}
		}
	}
	for _, wrong := range []string{`{}`, `[{}]`, `[[{"field":{"pos":1,"name":"x"},"processNum":1,"tags":{"origin":"Key","nature":"Name","scope":"Service"},"value":{"type":"str","value":"x"}}]]`} {
		if s.Validate(parse(wrong)) == nil {
			t.Errorf("%s fits the schema", wrong)
		}
	}
}
