package runtimeapi

import (
	"encoding/json"
	"fmt"
	"strings"

	"hushgate/internal/printable"
)

// values are the values of fields, by name. A field without one is empty in CSV and left out elsewhere.
type values map[string]any

// object says what values belong to; the zero value means the process.
type object struct {
	kind       string // "Frontend", "Backend", "Server"
	proxy, sid int
}

// The words of tags.
var (
	origins = map[byte]string{'M': "Metric", 'S': "Status", 'K': "Key", 'C': "Config", 'P': "Product"}
	natures = map[byte]string{
		'G': "Gauge", 'L': "Limit", 'm': "Min", 'M': "Max", 'R': "Rate", 'C': "Counter", 'D': "Duration", 'A': "Age", 'T': "Time",
		'N': "Name", 'O': "Output", 'a': "Avg", 'P': "Output", 'S': "Output",
	}
	scopes = map[byte]string{'C': "Cluster", 'P': "Process", 'S': "Service", 'Y': "System"}
)

// writeCSV writes a line of `show stat`. As in HAProxy, it ends with a comma.
func writeCSV(b *strings.Builder, v values) {
	for _, f := range statFields {
		if x, ok := v[f.name]; ok {
			b.WriteString(quoted(fmt.Sprint(x)))
		}
		b.WriteByte(',')
	}
	b.WriteByte('\n')
}

// quoted writes a value for CSV (RFC 4180).
func quoted(s string) string {
	s = printable.Text(s)
	if !strings.ContainsAny(s, ",\"") {
		return s
	}
	return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
}

// writeTyped writes values in the format `typed`.
func writeTyped(b *strings.Builder, fields []field, of object, v values) {
	for _, f := range fields {
		x, ok := v[f.name]
		if !ok || f.tags == "" {
			continue
		}
		if of.kind != "" {
			fmt.Fprintf(b, "%c.%d.%d.", of.kind[0], of.proxy, of.sid)
		}
		fmt.Fprintf(b, "%d.%s.1:%s:%s\n", f.pos, f.name, f.tags, printable.Text(fmt.Sprint(x)))
	}
}

// The members of a value in the format `json`, in HAProxy's order.
type (
	jsonField struct {
		Pos  int    `json:"pos"`
		Name string `json:"name"`
	}
	jsonTags struct {
		Origin string `json:"origin"`
		Nature string `json:"nature"`
		Scope  string `json:"scope"`
	}
	jsonValue struct {
		Type  string `json:"type"`
		Value any    `json:"value"`
	}
	jsonItem struct {
		Type    string    `json:"objType,omitempty"`
		Proxy   *int      `json:"proxyId,omitempty"`
		ID      *int      `json:"id,omitempty"`
		Field   jsonField `json:"field"`
		Process int       `json:"processNum"`
		Tags    jsonTags  `json:"tags"`
		Value   jsonValue `json:"value"`
	}
)

// items lists values for the format `json`.
func items(fields []field, of object, v values) (list []jsonItem) {
	for _, f := range fields {
		x, ok := v[f.name]
		if !ok || f.tags == "" {
			continue
		}
		i := jsonItem{
			Field: jsonField{f.pos, f.name}, Process: 1, Tags: jsonTags{origins[f.tags[0]], natures[f.tags[1]], scopes[f.tags[2]]},
			Value: jsonValue{f.tags[4:], x},
		}
		if of.kind != "" {
			i.Type, i.Proxy, i.ID = of.kind, &of.proxy, &of.sid
		}
		list = append(list, i)
	}
	return list
}

func toJSON(v any) (string, error) {
	text, err := json.Marshal(v)
	return string(text) + "\n", err
}
