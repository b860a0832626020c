package runtimeapi

import (
	"bytes"
	"context"
	_ "embed" // for the schema
	"encoding/json"
)

// schema describes the format `json`. HAProxy's own schema describes members as `pos` in the place of properties, and a list of
// objects as one object, so that it accepts nearly everything; this one is of the same format and strict.
//
//go:embed schema.json
var schema []byte

func showSchema(context.Context, *client, []string) (string, error) {
	var b bytes.Buffer
	if err := json.Compact(&b, schema); err != nil {
		return "", err
	}
	return b.String() + "\n", nil
}
