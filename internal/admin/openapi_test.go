package admin

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
)

// described reads the description into a validator.
func described(t testing.TB) validator.Validator {
	t.Helper()
	doc, err := libopenapi.NewDocument(Description)
	if err != nil {
		t.Fatal(err)
	}
	v, errs := validator.NewValidator(doc)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if ok, wrong := v.ValidateDocument(); !ok {
		for _, w := range wrong {
			t.Error(w)
		}
		t.FailNow()
	}
	return v
}

// conform checks an answer against the description.
func conform(t testing.TB, v validator.Validator, method, path, body string, a *http.Response, text string) {
	t.Helper()
	q, err := http.NewRequest(method, "http://hushgate"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		q.Header.Set("Content-Type", "application/json")
	}
	a.Body = io.NopCloser(bytes.NewReader([]byte(text)))
	if ok, wrong := v.ValidateHttpResponse(q, a); !ok {
		for _, w := range wrong {
			t.Errorf("%s %s, %s: %v %v\n%s", method, path, a.Status, w, w.SchemaValidationErrors, text)
		}
	}
}

// operations lists the operations of the description as "GET /v1/status", with the level of each.
func operations(t testing.TB) map[string]Level {
	t.Helper()
	var doc struct {
		Paths map[string]map[string]any `yaml:"paths"`
	}
	if err := yaml.Unmarshal(Description, &doc); err != nil {
		t.Fatal(err)
	}
	all := map[string]Level{}
	for path, methods := range doc.Paths {
		for method, o := range methods {
			if method == "parameters" {
				continue
			}
			l := ReadOnly
			if o.(map[string]any)["x-level"] == Admin.String() {
				l = Admin
			}
			all[strings.ToUpper(method)+" "+path] = l
		}
	}
	return all
}

// TestEveryRouteIsDescribed: the table of routes and the description have the same operations, and levels.
func TestEveryRouteIsDescribed(t *testing.T) {
	all := operations(t)
	for _, r := range table() {
		name := r.method + " " + r.path
		if l, ok := all[name]; !ok || l != r.level {
			t.Errorf("%s needs %v; described: %v, with %v", name, r.level, ok, l)
		}
		delete(all, name)
	}
	for name := range all {
		t.Errorf("%s is described, and there is no route", name)
	}
}

// calls are requests of every operation, with the status of the answer.
var calls = []struct {
	method, path, body string
	status             int
}{
	{"GET", "/v1/openapi.yaml", "", 200},
	{"GET", "/v1/status", "", 200},
	{"GET", "/v1/frontends", "", 200},
	{"GET", "/v1/servers", "", 200},
	{"GET", "/v1/counters", "", 200},
	{"GET", "/v1/history?after=7", "", 200},
	{"GET", "/v1/silences", "", 200},
	{"POST", "/v1/counters/log", "", 204},
	{"GET", "/v1/frontends/ft", "", 200},
	{"PATCH", "/v1/frontends/ft", `{"delay_ms": 1000}`, 200},
	{"GET", "/v1/servers/bk/a", "", 200},
	{"PATCH", "/v1/servers/bk/a", `{"state": "drain", "weight": null, "checks": false}`, 200},
	{"GET", "/v1/connections?phase=held,spliced&client=198.18.0.7:4000&frontend=ft&server=bk/a&limit=1000&cursor=0.3", "", 200},
	{"POST", "/v1/connections/kill", `{"client": "198.18.0.0/15", "phases": ["held"], "how": "reset"}`, 200},
	{"GET", "/v1/passes?client=2001:db8::/32&limit=1", "", 200},
	{"POST", "/v1/passes", `{"client": "198.18.0.7"}`, 204},
	{"DELETE", "/v1/passes/198.18.0.7", "", 204},
	{"DELETE", "/v1/clients/198.18.0.7", "", 204},
	{"GET", "/v1/offenders", "", 200},
	{"POST", "/v1/offenders", `{"client": "2001:db8::7", "for_ms": 60000}`, 200},
	{"DELETE", "/v1/offenders/198.18.0.7", "", 200},
	{"GET", "/v1/clients?cursor=", "", 200},
	{"GET", "/v1/explain/198.18.0.7?limit=3", "", 200},
	{"POST", "/v1/reload", "", 200},
	{"POST", "/v1/upgrade", "", 204},
}

// TestAnswersConform: each answer is as the description says, and so is each error: with a wrong parameter, without the level
// and when the gateway fails.
func TestAnswersConform(t *testing.T) {
	v, r := described(t), newRig(t)
	seen := map[string]bool{}
	for _, c := range calls {
		path, _, _ := strings.Cut(c.path, "?")
		seen[c.method+" "+template(path)] = true
		a, text := r.ask(t, Admin, c.method, c.path, c.body)
		if a.StatusCode != c.status {
			t.Errorf("%s %s: %s, want %d\n%s", c.method, c.path, a.Status, c.status, text)
		}
		conform(t, v, c.method, c.path, c.body, a, text)
		a, text = r.ask(t, Admin, c.method, path+"?nonsense=1", c.body)
		if a.StatusCode != 400 || !strings.Contains(text, "nonsense") {
			t.Errorf("%s %s with a parameter that does not exist: %s %s", c.method, path, a.Status, text)
		}
		conform(t, v, c.method, path, c.body, a, text)
	}
	for _, o := range table() {
		if !seen[o.method+" "+o.path] && o.stream == nil {
			t.Errorf("no call of %s %s in this test", o.method, o.path)
		}
	}
	r.gateway.fail = Refused("the file has an error")
	for _, c := range calls {
		if strings.HasPrefix(c.path, "/v1/openapi") {
			continue
		}
		a, text := r.ask(t, Admin, c.method, c.path, c.body)
		if a.StatusCode != 422 || !strings.Contains(text, "the file has an error") || a.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s: %s %s", c.method, c.path, a.Status, text)
		}
		conform(t, v, c.method, c.path, c.body, a, text)
	}
}

// template returns the path of the route that serves a path.
func template(path string) string {
	for _, o := range table() {
		want, got := strings.Split(o.path, "/"), strings.Split(path, "/")
		same := len(want) == len(got)
		for i := range want {
			same = same && (want[i] == got[i] || strings.HasPrefix(want[i], "{"))
		}
		if same {
			return o.path
		}
	}
	return path
}
