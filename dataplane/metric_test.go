package dataplane

import (
	"os"
	"reflect"
	"regexp"
	"testing"
)

// TestEveryCounterIsDeclared: each number in Stats has a unique name and a help text, and Each yields its value.
func TestEveryCounterIsDeclared(t *testing.T) {
	var s Stats
	n, fields, gauges := uint64(0), reflect.ValueOf(&s).Elem(), map[string]bool{"flows": true}
	for i := range fields.NumField() { // give every number a different value
		f := fields.Field(i)
		if f.Kind() == reflect.Uint64 {
			n++
			f.SetUint(n)
			continue
		}
		if f.CanInt() {
			n++
			f.SetInt(int64(n))
			gauges[fields.Type().Field(i).Tag.Get("name")] = true
			continue
		}
		for j := range f.Len() {
			n++
			if f.Index(j).CanInt() {
				f.Index(j).SetInt(int64(n))
			} else {
				f.Index(j).SetUint(n)
			}
		}
	}

	name := regexp.MustCompile(`^[a-z][a-z_]*$`)
	seen, told := map[string]bool{}, uint64(0)
	for m := range s.Each() {
		told++
		key := m.Name
		for _, l := range m.Labels {
			key += "/" + l.Value
			if l.Name == "" || l.Value == "" || l.Value == "unknown" {
				t.Errorf("%s: label %+v", m.Name, l)
			}
		}
		switch {
		case m.Value != told:
			t.Errorf("%s: %d, want %d", key, m.Value, told)
		case !name.MatchString(m.Name) || m.Help == "":
			t.Errorf("field %d: incomplete: %+v", told, m)
		case seen[key]:
			t.Errorf("%s is declared twice", key)
		case m.Gauge != gauges[m.Name]:
			t.Errorf("%s: gauge is %v", key, m.Gauge)
		}
		seen[key] = true
	}
	if told != n {
		t.Errorf("Each yielded %d of %d numbers", told, n)
	}
}

// TestEveryDropIsExplained: every drop reason has a help text, and a row in docs/operations.md.
func TestEveryDropIsExplained(t *testing.T) {
	page, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for d := range Drops {
		reason := Drop(d)
		if reason.Help() == "" {
			t.Errorf("%v: no help", reason)
		}
		if !regexp.MustCompile("(?m)^\\| [^|]*`" + reason.String() + "`").Match(page) {
			t.Errorf("%v: no row in docs/operations.md", reason)
		}
	}
}
