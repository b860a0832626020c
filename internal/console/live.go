package console

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"hushgate/internal/admin"
	"hushgate/internal/printable"
)

// What a screen that is drawn again and again needs of the gateway: answers as they are, and no text.

// Overview asks for the state of the gateway, its frontends and its servers.
func (c *Client) Overview(ctx context.Context) (Overview, error) { return c.overview(ctx) }

// Counters asks for the counters.
func (c *Client) Counters(ctx context.Context) ([]admin.Counter, error) {
	var all admin.Counters
	err := c.get(ctx, "/v1/counters", &all)
	return all.Counters, err
}

// SomeConnections asks for about so many connections at most. more reports that there are others.
func (c *Client) SomeConnections(ctx context.Context, most int) (list []admin.Connection, more bool, err error) {
	q := url.Values{"limit": {strconv.Itoa(min(most, partSize))}}
	for {
		var p admin.ConnectionPage
		if err := c.ask(ctx, http.MethodGet, "/v1/connections", q, nil, &p); err != nil {
			return nil, false, err
		}
		list = append(list, p.Connections...)
		if p.Next == "" || len(list) >= most {
			return list, p.Next != "", nil
		}
		q.Set("cursor", p.Next)
	}
}

// Level asks what this user may do. known is false if the gateway, of an older release, does not tell.
func (c *Client) Level(ctx context.Context) (l admin.Level, known bool, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, askPatience, errLate)
	defer cancel()
	l, known, err = c.api.Level(ctx)
	if err != nil && ctx.Err() != nil {
		return l, false, context.Cause(ctx)
	}
	return l, known, c.explain(err)
}

// SetServerState sets the state of a server.
func (c *Client) SetServerState(ctx context.Context, name string, state admin.ServerState) error {
	path, err := serverPath(name)
	if err != nil {
		return err
	}
	return c.ask(ctx, http.MethodPatch, path, nil, changeOf(&admin.ServerChange{State: &state}), nil)
}

// KillClient ends the connections of an address, an address and port, or a network. Those that wait for a server are told 421.
func (c *Client) KillClient(ctx context.Context, client string) (int, error) {
	var done admin.Ended
	err := c.ask(ctx, http.MethodPost, "/v1/connections/kill", nil, &admin.KillRequest{Client: client, How: "reply"}, &done)
	return done.Ended, err
}

// ErrStreamEnded reports that the gateway sends no more: it ends, or another process takes its place.
var ErrStreamEnded = errors.New("the gateway has ended the stream of verdicts")

// Verdicts tells of every connection that ends, until ctx is done, the gateway ends the stream, or tell returns an error. v is nil where
// verdicts were missed: lost says how many.
func (c *Client) Verdicts(ctx context.Context, tell func(v *admin.Verdict, lost uint64) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stream, err := c.open(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	alive := time.AfterFunc(silence, func() { cancel(errSilent) })
	defer alive.Stop()
	err = events(stream, alive, func(_ []byte, v *admin.Verdict, lost uint64) error { return tell(v, lost) })
	if err == nil {
		err = ErrStreamEnded
	}
	return err
}

// Span writes a time in the two largest units.
func Span(ms int64) string { return span(ms) }

// Size writes a number of octets.
func Size(n uint64) string { return size(n) }

// Safe replaces what a terminal could take for an order.
func Safe(s string) string { return printable.Text(s) }

// ServerState says in a word or two whether a server gets new connections.
func ServerState(s *admin.Server) string { return stateOf(s) }

// CheckResult says how a server's last health check ended.
func CheckResult(c *admin.Check) string { return checkOf(c) }

// PhasesInOrder lists phases in the order of a connection's life.
func PhasesInOrder(all map[string]int64) []string { return inOrder(all) }
