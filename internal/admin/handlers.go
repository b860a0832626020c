package admin

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// The bounds of values in requests.
const (
	usualLimit   = 100
	explainLimit = 20
	maxLimit     = 1000
	maxWeight    = 256
	maxDelay     = (1<<31 - 1) * time.Millisecond // the longest time that a configuration can say
	maxOffender  = 366 * 24 * time.Hour
)

// pageParams are the parameters of every list that comes in parts.
var pageParams = []string{"cursor", "limit"}

func (q *query) page() (cursor string, limit int) {
	cursor, _ = q.text("cursor")
	return cursor, q.number("limit", 1, maxLimit, usualLimit)
}

// serverName reads "backend/server". Neither name has a slash in it.
func serverName(s string) (n ServerName, err error) {
	var ok bool
	if n.Backend, n.Name, ok = strings.Cut(s, "/"); !ok || n.Backend == "" || n.Name == "" || strings.Contains(n.Name, "/") {
		return n, fmt.Errorf("expected backend/server, found %q", clip(s))
	}
	return n, nil
}

// parseAddrPort reads an address and port.
func parseAddrPort(s string) (netip.AddrPort, error) {
	a, err := netip.ParseAddrPort(s)
	if err != nil || a.Addr().Zone() != "" || a.Port() == 0 {
		return netip.AddrPort{}, fmt.Errorf("expected an address and port such as 192.0.2.25:25 or [2001:db8::25]:25, found %q", clip(s))
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), nil
}

// parseClient reads an address, an address and port, or a network.
func parseClient(s string) (n netip.Prefix, port uint16, err error) {
	if a, err := parseAddrPort(s); err == nil {
		return netip.PrefixFrom(a.Addr(), a.Addr().BitLen()), a.Port(), nil
	}
	n, err = parseNetwork(s)
	return n, 0, err
}

// parseHost reads the address of one client.
func parseHost(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() {
		return netip.Addr{}, Invalid("client", fmt.Sprintf("client: expected the address of a client, found %q", clip(s)))
	}
	return a.Unmap(), nil
}

func connections(ctx context.Context, s *API, r *request) (any, error) {
	var c ConnectionQuery
	c.Cursor, c.Limit = r.query.page()
	c.Phases = r.query.words("phase", s.gateway.Phases())
	c.Frontend, _ = r.query.text("frontend")
	if text, ok := r.query.text("id"); ok {
		var err error
		if c.ID, err = parseID(text); err != nil {
			r.query.fail("id", "id: "+err.Error())
		}
	}
	if text, ok := r.query.text("client"); ok {
		var err error
		if c.Client, c.Port, err = parseClient(text); err != nil {
			r.query.fail("client", "client: "+err.Error())
		}
	}
	if text, ok := r.query.text("server"); ok {
		var err error
		if c.Server, err = serverName(text); err != nil {
			r.query.fail("server", "server: "+err.Error())
		}
	}
	if r.query.wrong != nil {
		return nil, r.query.wrong
	}
	return s.gateway.Connections(ctx, c)
}

func history(ctx context.Context, s *API, r *request) (any, error) {
	after := r.query.number("after", 0, math.MaxInt, 0)
	if r.query.wrong != nil {
		return nil, r.query.wrong
	}
	return s.gateway.History(ctx, uint64(after))
}

func kill(ctx context.Context, s *API, r *request) (any, error) {
	var k KillRequest
	if err := r.decode(&k); err != nil {
		return nil, err
	}
	f, err := k.filter(s.gateway.Phases())
	if err != nil {
		return nil, err
	}
	n, err := s.gateway.Kill(ctx, f, k.How != "reset")
	return Ended{n}, err
}

// filter checks a request to end connections. It must say which one, or of which client, service, frontend or server.
func (k *KillRequest) filter(phases []string) (f ConnectionFilter, err error) {
	if k.ID+k.Client+k.Service+k.Frontend+k.Server == "" {
		return f, Invalid("", "expected id, client, service, frontend or server: otherwise every connection would end")
	}
	for _, p := range k.Phases {
		if !slices.Contains(phases, p) {
			return f, Invalid("phases", fmt.Sprintf("phases: expected %s, found %q", strings.Join(phases, ", "), clip(p)))
		}
	}
	if k.How != "" && k.How != "reply" && k.How != "reset" {
		return f, Invalid("how", fmt.Sprintf("how: expected reply or reset, found %q", clip(k.How)))
	}
	f.Phases, f.Frontend = k.Phases, k.Frontend
	if k.ID != "" {
		if f.ID, err = parseID(k.ID); err != nil {
			return f, Invalid("id", "id: "+err.Error())
		}
	}
	if k.Client != "" {
		if f.Client, f.Port, err = parseClient(k.Client); err != nil {
			return f, Invalid("client", "client: "+err.Error())
		}
	}
	if k.Service != "" {
		if f.Service, err = parseAddrPort(k.Service); err != nil {
			return f, Invalid("service", "service: "+err.Error())
		}
	}
	if k.Server != "" {
		if f.Server, err = serverName(k.Server); err != nil {
			return f, Invalid("server", "server: "+err.Error())
		}
	}
	return f, nil
}

func setServer(ctx context.Context, s *API, r *request) (any, error) {
	var c ServerChange
	if err := r.decode(&c); err != nil {
		return nil, err
	}
	switch {
	case c.State != nil && *c.State != ServerReady && *c.State != ServerDrain && *c.State != ServerMaint:
		return nil, Invalid("state", fmt.Sprintf("state: expected ready, drain or maint, found %q", clip(string(*c.State))))
	case c.Weight.Value != nil && (*c.Weight.Value < 0 || *c.Weight.Value > maxWeight):
		return nil, Invalid("weight", fmt.Sprintf("weight: expected 0 to %d, or null, found %d", maxWeight, *c.Weight.Value))
	case c.State == nil && !c.Weight.Set && c.Checks == nil && c.Up == nil:
		return nil, Invalid("", "expected state, weight, checks or up")
	}
	name := ServerName{r.path("backend"), r.path("server")}
	if err := s.gateway.SetServer(ctx, name, c); err != nil {
		return nil, err
	}
	return s.one(ctx, name)
}

// one returns a server after a change.
func (s *API) one(ctx context.Context, name ServerName) (any, error) {
	list, err := s.gateway.Servers(ctx)
	for i := range list {
		if v := &list[i]; v.Backend == name.Backend && v.Name == name.Name && !v.Removed {
			return v, err
		}
	}
	return nil, cause(err, NotFound(fmt.Sprintf("there is no server %s/%s", clip(name.Backend), clip(name.Name))))
}

// cause returns an error, or another one if there is none.
func cause(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

func getServer(ctx context.Context, s *API, r *request) (any, error) {
	return s.one(ctx, ServerName{r.path("backend"), r.path("server")})
}

func setFrontend(ctx context.Context, s *API, r *request) (any, error) {
	var c FrontendChange
	if err := r.decode(&c); err != nil {
		return nil, err
	}
	if !c.DelayMs.Set && c.Disabled == nil {
		return nil, Invalid("", "expected delay_ms or disabled")
	}
	var delay *time.Duration
	if ms := c.DelayMs.Value; ms != nil {
		if *ms < 0 || *ms > maxDelay.Milliseconds() {
			return nil, Invalid("delay_ms", fmt.Sprintf("delay_ms: expected 0 to %d, or null, found %d", maxDelay.Milliseconds(), *ms))
		}
		d := time.Duration(*ms) * time.Millisecond
		delay = &d
	}
	if c.DelayMs.Set {
		if err := s.gateway.SetDelay(ctx, r.path("frontend"), delay); err != nil {
			return nil, err
		}
	}
	if c.Disabled != nil {
		if err := s.gateway.EnableFrontend(ctx, r.path("frontend"), !*c.Disabled); err != nil {
			return nil, err
		}
	}
	return getFrontend(ctx, s, r)
}

func getFrontend(ctx context.Context, s *API, r *request) (any, error) {
	list, err := s.gateway.Frontends(ctx)
	for i := range list {
		if v := &list[i]; v.Name == r.path("frontend") {
			return v, err
		}
	}
	return nil, cause(err, NotFound(fmt.Sprintf("there is no frontend %q", clip(r.path("frontend")))))
}

// clientQuery reads the parameters of a list of clients.
func clientQuery(r *request) (c ClientQuery, err error) {
	c.Cursor, c.Limit = r.query.page()
	c.Client = r.query.network("client")
	return c, r.query.wrong
}

// listOf makes the handler of a list of clients.
func listOf[T any](get func(s *API, ctx context.Context, q ClientQuery) (T, error)) func(context.Context, *API, *request) (any, error) {
	return func(ctx context.Context, s *API, r *request) (any, error) {
		q, err := clientQuery(r)
		if err != nil {
			return nil, err
		}
		return get(s, ctx, q)
	}
}

func explain(ctx context.Context, s *API, r *request) (any, error) {
	n, err := parseNetwork(r.path("address"))
	if err != nil {
		return nil, Invalid("address", "address: "+err.Error())
	}
	limit := r.query.number("limit", 1, maxLimit, explainLimit)
	if r.query.wrong != nil {
		return nil, r.query.wrong
	}
	return s.gateway.Explain(ctx, n, limit)
}

func grantPass(ctx context.Context, s *API, r *request) (any, error) {
	var c ClientRequest
	if err := r.decode(&c); err != nil {
		return nil, err
	}
	a, err := parseHost(c.Client)
	if err != nil {
		return nil, err
	}
	return nil, s.gateway.GrantPass(ctx, a)
}

func listOffender(ctx context.Context, s *API, r *request) (any, error) {
	var c OffenderRequest
	if err := r.decode(&c); err != nil {
		return nil, err
	}
	who, err := parseWho(c.Client)
	if err != nil {
		return nil, err
	}
	if c.ForMs != 0 && c.ForMs < 1000 || c.ForMs > maxOffender.Milliseconds() {
		return nil, Invalid("for_ms", fmt.Sprintf("for_ms: expected 0, or 1000 to %d, found %d", maxOffender.Milliseconds(), c.ForMs))
	}
	client, err := s.gateway.ListOffender(ctx, who, time.Duration(c.ForMs)*time.Millisecond)
	return ClientName{client.String()}, err
}

func forgiveOffender(ctx context.Context, s *API, r *request) (any, error) {
	who, err := parseWho(r.path("client"))
	if err != nil {
		return nil, err
	}
	client, found, err := s.gateway.ForgiveOffender(ctx, who)
	if err == nil && !found {
		err = NotFound(fmt.Sprintf("%v is no offender", plainPrefix(client)))
	}
	return ClientName{client.String()}, err
}

// parseWho reads the address of a client, or the network that a client is.
func parseWho(s string) (netip.Prefix, error) {
	if !strings.Contains(s, "/") {
		a, err := parseHost(s)
		return netip.PrefixFrom(a, a.BitLen()), err
	}
	n, err := parseNetwork(s)
	if err != nil {
		return n, Invalid("client", "client: "+err.Error())
	}
	return n, nil
}

// plainPrefix writes the network of one address as the address.
func plainPrefix(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// forget makes the handler that has the gateway forget something of a client.
func forget(what string, do func(s *API, ctx context.Context, a netip.Addr) (bool, error)) func(context.Context, *API, *request) (any, error) {
	return func(ctx context.Context, s *API, r *request) (any, error) {
		a, err := parseHost(r.path("client"))
		if err != nil {
			return nil, err
		}
		found, err := do(s, ctx, a)
		if err == nil && !found {
			err = NotFound(fmt.Sprintf("%v %s", a, what))
		}
		return nil, err
	}
}
