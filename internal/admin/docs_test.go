package admin

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

var update = flag.Bool("update", false, "rewrite the generated part of docs/api.md")

const (
	page = "../../docs/api.md"
	mark = "<!-- generated -->\n"
)

// TestReference: docs/api.md has what the description says.
func TestReference(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	own, was, ok := strings.Cut(string(text), mark)
	if !ok {
		t.Fatalf("%s has no %s", page, mark)
	}
	now := reference(t)
	if *update {
		if err := os.WriteFile(page, []byte(own+mark+now), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if was != now {
		t.Errorf("%s differs from openapi.yaml: -update rewrites it", page)
	}
}

// reference writes the description as tables.
func reference(t *testing.T) string {
	t.Helper()
	var doc struct {
		Paths      yaml.MapSlice `yaml:"paths"`
		Components struct {
			Schemas yaml.MapSlice `yaml:"schemas"`
		} `yaml:"components"`
	}
	if err := yaml.UnmarshalWithOptions(Description, &doc, yaml.UseOrderedMap()); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("\n## Operations\n\n| operation | level | | body | answer |\n|---|---|---|---|---|\n")
	for _, p := range doc.Paths {
		for _, o := range p.Value.(yaml.MapSlice) {
			method := strings.ToUpper(fmt.Sprint(o.Key))
			if method == "PARAMETERS" {
				continue
			}
			op := o.Value.(yaml.MapSlice)
			level := ReadOnly.String()
			if get(op, "x-level") == Admin.String() {
				level = Admin.String()
			}
			fmt.Fprintf(&b, "| `%s %v` | %s | %v%s | %s | %s |\n", method, p.Key, level, get(op, "summary"), parameters(op),
				link(find(op, "requestBody")), link(answer(op)))
		}
	}
	for _, s := range doc.Components.Schemas {
		fmt.Fprintf(&b, "\n### %v\n\n| member | type | |\n|---|---|---|\n", s.Key)
		members(&b, "", s.Value.(yaml.MapSlice))
	}
	return b.String()
}

func get(m yaml.MapSlice, key string) any {
	i := slices.IndexFunc(m, func(v yaml.MapItem) bool { return v.Key == key })
	if i < 0 {
		return nil
	}
	return m[i].Value
}

func find(m yaml.MapSlice, key string) yaml.MapSlice {
	v, _ := get(m, key).(yaml.MapSlice)
	return v
}

// answer returns the response of an operation that succeeds.
func answer(op yaml.MapSlice) yaml.MapSlice {
	for _, r := range find(op, "responses") {
		if strings.HasPrefix(fmt.Sprint(r.Key), "20") {
			v, _ := r.Value.(yaml.MapSlice)
			return v
		}
	}
	return nil
}

// link returns a link to the schema of a body.
func link(body yaml.MapSlice) string {
	content := find(body, "content")
	if len(content) == 0 {
		return ""
	}
	c := content[0] // each body has one type
	if ref, ok := get(find(c.Value.(yaml.MapSlice), "schema"), "$ref").(string); ok {
		return linkTo(ref)
	}
	return fmt.Sprint(c.Key)
}

func linkTo(ref string) string {
	name := ref[strings.LastIndexByte(ref, '/')+1:]
	return fmt.Sprintf("[%s](#%s)", name, strings.ToLower(name))
}

// parameters lists the parameters of a query.
func parameters(op yaml.MapSlice) string {
	list, _ := get(op, "parameters").([]any)
	var names []string
	for _, p := range list {
		m := p.(yaml.MapSlice)
		name := fmt.Sprint(get(m, "name"))
		if ref, ok := get(m, "$ref").(string); ok {
			name = ref[strings.LastIndexByte(ref, '/')+1:]
		}
		about := ""
		if d := get(m, "description"); d != nil {
			about = fmt.Sprintf(" (%v)", d)
		}
		names = append(names, "`"+name+"`"+about)
	}
	if names == nil {
		return ""
	}
	return " Parameters: " + strings.Join(names, "; ")
}

// members writes a row for each member of an object, and of the objects in it.
func members(b *strings.Builder, under string, schema yaml.MapSlice) {
	for _, p := range find(schema, "properties") {
		m := p.Value.(yaml.MapSlice)
		kind, inner := typeOf(m)
		about := get(m, "description")
		if about == nil {
			about = ""
		}
		fmt.Fprintf(b, "| `%s%v` | %s | %v |\n", under, p.Key, kind, about)
		if inner != nil {
			members(b, fmt.Sprintf("%s%v.", under, p.Key), inner)
		}
	}
}

// typeOf names a member's type. inner is the object in it, if that has no name of its own.
func typeOf(m yaml.MapSlice) (name string, inner yaml.MapSlice) {
	if ref, ok := get(m, "$ref").(string); ok {
		return linkTo(ref), nil
	}
	if words, ok := get(m, "enum").([]any); ok {
		var list []string
		for _, w := range words {
			list = append(list, fmt.Sprintf("`%q`", w))
		}
		return strings.Join(list, ", "), nil
	}
	if either, ok := get(m, "oneOf").([]any); ok {
		name, inner = typeOf(either[len(either)-1].(yaml.MapSlice))
		return name + " or null", inner
	}
	switch kind := get(m, "type").(type) {
	case []any:
		return fmt.Sprintf("%v or %v", kind[0], kind[1]), nil
	case string:
		if kind == "array" {
			name, inner = typeOf(find(m, "items"))
			return "list of " + name, inner
		}
		if kind == "object" && find(m, "properties") != nil {
			return kind, m
		}
		if f := get(m, "format"); f != nil {
			return fmt.Sprint(f), nil
		}
		return kind, nil
	}
	return "", nil
}
