package admin

import (
	"context"
	_ "embed" // for the description
	"net/http"
	"net/netip"
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
	stream       func(s *API, w http.ResponseWriter, r *http.Request) // in its place: an answer without an end
}

// reloadPatience covers a change of the firewall rules. upgradePatience covers the whole start of the new process.
const (
	reloadPatience  = time.Minute
	upgradePatience = 3 * time.Minute
)

// table lists every operation.
func table() []route {
	all := rows()
	for i := range all {
		all[i].level = max(all[i].level, ReadOnly)
	}
	return all
}

// rows lists them. Those without a level need the level read-only.
func rows() []route {
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
		{method: "GET", path: "/v1/history", params: []string{"after"}, do: history},
		{method: "GET", path: "/v1/silences", do: func(ctx context.Context, s *API, _ *request) (any, error) {
			return s.gateway.Silences(ctx)
		}},
		{method: "POST", path: "/v1/counters/log", level: Admin, do: func(ctx context.Context, s *API, _ *request) (any, error) {
			return nil, s.gateway.LogCounters(ctx)
		}},
		{method: "GET", path: "/v1/frontends/{frontend}", do: getFrontend},
		{method: "PATCH", path: "/v1/frontends/{frontend}", level: Admin, patience: reloadPatience, do: setFrontend},
		{method: "GET", path: "/v1/servers/{backend}/{server}", do: getServer},
		{method: "PATCH", path: "/v1/servers/{backend}/{server}", level: Admin, patience: reloadPatience, do: setServer},
		{
			method: "GET", path: "/v1/connections", params: append([]string{"id", "phase", "client", "frontend", "server"}, pageParams...),
			do: connections,
		},
		{method: "GET", path: "/v1/verdicts", params: verdictParams, stream: (*API).watch},
		{method: "POST", path: "/v1/connections/kill", level: Admin, patience: reloadPatience, do: kill},
		{
			method: "GET", path: "/v1/passes", params: append([]string{"client"}, pageParams...),
			do: listOf(func(s *API, ctx context.Context, q ClientQuery) (PassPage, error) { return s.gateway.Passes(ctx, q) }),
		},
		{method: "POST", path: "/v1/passes", level: Admin, do: grantPass},
		{
			method: "DELETE", path: "/v1/passes/{client}", level: Admin,
			do: forget("has no pass", func(s *API, ctx context.Context, a netip.Addr) (bool, error) {
				n, err := s.gateway.TakePasses(ctx, []netip.Addr{a})
				return n > 0, err
			}),
		},
		{
			method: "GET", path: "/v1/offenders", params: append([]string{"client"}, pageParams...),
			do: listOf(func(s *API, ctx context.Context, q ClientQuery) (OffenderPage, error) {
				return s.gateway.Offenders(ctx, q)
			}),
		},
		{method: "POST", path: "/v1/offenders", level: Admin, do: listOffender},
		{method: "DELETE", path: "/v1/offenders/{client}", level: Admin, do: forgiveOffender},
		{
			method: "GET", path: "/v1/clients", params: append([]string{"client"}, pageParams...),
			do: listOf(func(s *API, ctx context.Context, q ClientQuery) (ClientPage, error) { return s.gateway.Clients(ctx, q) }),
		},
		{
			method: "DELETE", path: "/v1/clients/{client}", level: Admin,
			do: forget("has no new connections that count", func(s *API, ctx context.Context, a netip.Addr) (bool, error) {
				n, err := s.gateway.ForgetRates(ctx, []netip.Addr{a})
				return n > 0, err
			}),
		},
		{method: "GET", path: "/v1/explain/{address}", params: []string{"limit"}, do: explain},
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
		do := s.handle(&t)
		if t.stream != nil {
			do = func(w http.ResponseWriter, r *http.Request) { t.stream(s, w, r) }
		}
		mux.HandleFunc(t.method+" "+t.path, s.guard(&t, do))
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
