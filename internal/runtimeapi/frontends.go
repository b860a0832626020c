package runtimeapi

import "context"

const (
	wantFrontend = answerError("A frontend name is expected.\n")
	noFrontend   = answerError("No such frontend.\n")
	alreadyOn    = answerError("All sockets are already enabled.\n")
	alreadyOff   = answerError("All sockets are already disabled.\n")
)

// frontend finds the frontend that the first argument names.
func (v *view) frontend(args []string) (*proxy, error) {
	if len(args) == 0 {
		return nil, wantFrontend
	}
	p := v.proxy(args[0])
	if p == nil || p.front == nil || p.front.Removed {
		return nil, noFrontend
	}
	return p, nil
}

// enableFrontend is a command that has a frontend take new connections, or not.
func enableFrontend(on bool) func(context.Context, *client, []string) (string, error) {
	return func(ctx context.Context, c *client, args []string) (string, error) {
		v, err := c.server.look(ctx)
		if err != nil {
			return "", err
		}
		p, err := v.frontend(args)
		switch {
		case err != nil:
			return "", err
		case on && !p.front.Disabled:
			return "", alreadyOn
		case !on && p.front.Disabled:
			return "", alreadyOff
		}
		return "", c.server.Gateway.EnableFrontend(ctx, p.name, on)
	}
}
