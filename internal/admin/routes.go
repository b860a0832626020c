package admin

import (
	"context"
	_ "embed" // for the description
	"net/http"
	"slices"
	"strings"
	"time"
)

// Description is the OpenAPI document of the API.
//
//go:embed openapi.yaml
var Description []byte

// route is one operation of the API.
type route struct {
	method, path string
	level        Level
	patience     time.Duration // for carrying it out, if that is more than usual
	slow         bool          // it waits for others, and works little itself
	params       []string      // of the query
	do           func(ctx context.Context, s *API, r *request) (any, error)
}

// reloadPatience covers a change of the firewall rules. upgradePatience covers the whole start of the new process.
const (
	reloadPatience  = time.Minute
	upgradePatience = 3 * time.Minute
)

// table lists every operation.
func table() []route {
	return []route{
		{method: "GET", path: "/v1/openapi.yaml", do: func(context.Context, *API, *request) (any, error) {
			return document{"application/yaml", Description}, nil
		}},
		{method: "GET", path: "/v1/status", do: func(ctx context.Context, s *API, _ *request) (any, error) {
			return s.gateway.Status(ctx)
		}},
		{method: "GET", path: "/v1/frontends", do: func(ctx context.Context, s *API, _ *request) (any, error) {
			list, err := s.gateway.Frontends(ctx)
			return Frontends{listed(list)}, err
		}},
		{method: "GET", path: "/v1/servers", do: func(ctx context.Context, s *API, _ *request) (any, error) {
			list, err := s.gateway.Servers(ctx)
			return Servers{listed(list)}, err
		}},
		{method: "GET", path: "/v1/counters", do: func(ctx context.Context, s *API, _ *request) (any, error) {
			list, err := s.gateway.Counters(ctx)
			return Counters{listed(list)}, err
		}},
		{method: "POST", path: "/v1/counters/log", level: Admin, do: func(ctx context.Context, s *API, _ *request) (any, error) {
			return nil, s.gateway.LogCounters(ctx)
		}},
		{
			method: "POST", path: "/v1/reload", level: Admin, patience: reloadPatience, slow: true,
			do: func(ctx context.Context, s *API, _ *request) (any, error) {
				warnings, err := s.gateway.Reload(ctx)
				return Warnings{listed(warnings)}, err
			},
		},
		{
			method: "POST", path: "/v1/upgrade", level: Admin, patience: upgradePatience, slow: true,
			do: func(ctx context.Context, s *API, _ *request) (any, error) { return nil, s.gateway.Upgrade(ctx) },
		},
	}
}

// listed makes an empty list of nil, which JSON would write as null.
func listed[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// routes returns the handler of all operations. Whatever it does not know is answered in the one form of errors.
func (s *API) routes() *http.ServeMux {
	mux := http.NewServeMux()
	methods := map[string][]string{}
	for _, t := range table() {
		mux.HandleFunc(t.method+" "+t.path, s.handle(&t))
		methods[t.path] = append(methods[t.path], t.method)
		if t.method == "GET" {
			methods[t.path] = append(methods[t.path], "HEAD")
		}
	}
	for path, known := range methods {
		slices.Sort(known)
		allow := strings.Join(known, ", ")
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", allow)
			kind(http.StatusMethodNotAllowed, "method", "expected "+allow+", found "+clip(r.Method)).write(w)
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		NotFound("there is nothing at " + clip(r.URL.Path) + ": GET /v1/openapi.yaml describes what there is").write(w)
	})
	return mux
}
