package runtimeapi

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"hushgate/internal/admin"
	"hushgate/internal/printable"
)

const (
	noChecks   = answerError("Health check was not configured on this server, cannot enable.\n")
	wantServer = answerError("Require 'backend/server'.\n")
	wantState  = answerError("'set server <srv> state' expects 'ready', 'drain' and 'maint'.\n")
	wantHealth = answerError("'set server <srv> health' expects 'up', 'stopping', or 'down'.\n")
	noStopping = answerError("hushgate has no health 'stopping': 'set server <srv> state drain' has the same effect.\n")
	noAgents   = answerError("agent checks are not enabled on this server.\n")
	wantAddr   = answerError("set server <b>/<s> addr requires an address and optionally a port.\n")
	noAddr     = answerError("hushgate changes addresses only by its configuration: change it, then 'hushgate reload'.\n")
	wantFQDN   = answerError("set server <b>/<s> fqdn requires a FQDN.\n")
	noFQDN     = answerError("set server <b>/<s> fqdn failed because no resolution is configured.\n")
	noAgent    = answerError("Agent was not configured on this server, cannot enable.\n")
	wantSet    = answerError("usage: set server <backend>/<server> addr | agent | fqdn | health | state | weight\n")
)

// find finds the server that the first argument names.
func (c *client) find(ctx context.Context, args []string) (*admin.Server, error) {
	if len(args) == 0 {
		return nil, wantServer
	}
	backend, name, two := strings.Cut(args[0], "/")
	if !two {
		return nil, wantServer
	}
	v, err := c.server.look(ctx)
	if err != nil {
		return nil, err
	}
	p := v.proxy(backend)
	if p == nil || !p.backend {
		return nil, answerError("No such backend.\n")
	}
	for i := range p.servers {
		if p.servers[i].Name == name {
			return &p.servers[i], nil
		}
	}
	return nil, answerError("No such server.\n")
}

// change has the gateway change a server.
func (c *client) change(ctx context.Context, s *admin.Server, to admin.ServerChange) error {
	if to == (admin.ServerChange{}) {
		return nil
	}
	return c.server.Gateway.SetServer(ctx, admin.ServerName{Backend: s.Backend, Name: s.Name}, to)
}

// toServer is a command that changes the server that its argument names.
func toServer(f func(*admin.Server) (admin.ServerChange, error)) func(context.Context, *client, []string) (string, error) {
	return func(ctx context.Context, c *client, args []string) (string, error) {
		s, err := c.find(ctx, args)
		if err != nil {
			return "", err
		}
		to, err := f(s)
		if err != nil {
			return "", err
		}
		return "", c.change(ctx, s, to)
	}
}

func inState(state admin.ServerState) func(*admin.Server) (admin.ServerChange, error) {
	return func(*admin.Server) (admin.ServerChange, error) { return admin.ServerChange{State: &state}, nil }
}

func checked(on bool) func(*admin.Server) (admin.ServerChange, error) {
	return func(s *admin.Server) (admin.ServerChange, error) {
		switch {
		case s.Check != nil:
			return admin.ServerChange{Checks: &on}, nil
		case on:
			return admin.ServerChange{}, noChecks
		}
		return admin.ServerChange{}, nil
	}
}

func setServer(ctx context.Context, c *client, args []string) (string, error) {
	s, err := c.find(ctx, args)
	if err != nil {
		return "", err
	}
	rest := append(args[1:len(args):len(args)], "", "")
	switch rest[0] {
	case "weight":
		return "", c.weigh(ctx, s, rest[1])
	case "state":
		switch state := admin.ServerState(rest[1]); state {
		case admin.ServerReady, admin.ServerDrain, admin.ServerMaint:
			return "", c.change(ctx, s, admin.ServerChange{State: &state})
		}
		return "", wantState
	case "health":
		return "", c.setHealth(ctx, s, rest[1])
	case "agent":
		return "", noAgents
	case "addr":
		if _, err := netip.ParseAddr(rest[1]); rest[1] == "" {
			return "", wantAddr
		} else if err != nil {
			return "", answerError(fmt.Sprintf("Invalid addr '%s' by 'stats socket command'\n", printable.Text(rest[1])))
		}
		return "", noAddr
	case "fqdn":
		if rest[1] == "" {
			return "", wantFQDN
		}
		return "", noFQDN
	}
	return "", wantSet
}

// setHealth has a server count as up or down until a check says otherwise.
func (c *client) setHealth(ctx context.Context, s *admin.Server, health string) error {
	up := health == "up"
	switch health {
	case "up", "down":
		return c.change(ctx, s, admin.ServerChange{Up: &up})
	case "stopping":
		return noStopping
	}
	return wantHealth
}

// setAgent is a command about a server's agent, which no server has here.
func setAgent(err error) func(context.Context, *client, []string) (string, error) {
	return func(ctx context.Context, c *client, args []string) (string, error) {
		if _, missing := c.find(ctx, args); missing != nil {
			return "", missing
		}
		return "", err
	}
}

func setWeight(ctx context.Context, c *client, args []string) (string, error) {
	s, err := c.find(ctx, args)
	if err != nil {
		return "", err
	}
	return "", c.weigh(ctx, s, append(args[1:len(args):len(args)], "")[0])
}

// weigh sets a server's weight. The configuration's own is set by taking back what was set.
func (c *client) weigh(ctx context.Context, s *admin.Server, text string) error {
	w, err := parseWeight(text, s.ConfiguredWeight)
	if err != nil {
		return err
	}
	to := admin.Optional[*int]{Set: true, Value: &w}
	if w == s.ConfiguredWeight {
		to.Value = nil
	}
	return c.change(ctx, s, admin.ServerChange{Weight: to})
}

// maxWeight is the largest weight there is.
const maxWeight = 256

// parseWeight reads a weight, or a part of the configured one.
func parseWeight(text string, configured int) (int, error) {
	if text == "" {
		return 0, answerError("Require <weight> or <weight%>.\n")
	}
	sign := len(text) - len(strings.TrimLeft(text, "+-"))
	digits := len(text) - len(strings.TrimLeft(text[sign:], "0123456789"))
	if digits == sign || sign > 1 {
		return 0, answerError("Empty weight string empty or preceded by garbage")
	}
	n, err := strconv.Atoi(text[:digits])
	percent := text[digits:] == "%"
	switch {
	case percent && text[0] == '-' && n != 0:
		return 0, answerError("Relative weight must be positive.\n")
	case percent && err != nil:
		return maxWeight, nil
	case percent:
		return min(min(n, 100*maxWeight)*configured/100, maxWeight), nil
	case err != nil || n < 0 || n > maxWeight:
		return 0, answerError("Absolute weight can only be between 0 and 256 inclusive.\n")
	case digits < len(text):
		return 0, answerError("Trailing garbage in weight string")
	}
	return n, nil
}

func getWeight(ctx context.Context, c *client, args []string) (string, error) {
	s, err := c.find(ctx, args)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d (initial %d)\n", s.Weight, s.ConfiguredWeight), nil
}
