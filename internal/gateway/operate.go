package gateway

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"hushgate/internal/admin"
)

// The actions of the control API. All but an upgrade are carried out by live, one after the other: they never meet a reload or a
// takeover.

// inLive has live carry out f and waits for the result. If ctx ends before, f may be carried out all the same.
func inLive[T any](ctx context.Context, g *gateway, f func(context.Context, *errgroup.Group) (T, error)) (v T, err error) {
	type result struct {
		value T
		err   error
	}
	results := make(chan result, 1)
	act := func(ctx context.Context, group *errgroup.Group) {
		value, err := f(ctx, group)
		results <- result{value, err}
	}
	select {
	case g.commands <- command{act: act}:
	case <-g.ending:
		return v, errEnding
	case <-g.serving.Done():
		return v, errEnding
	case <-ctx.Done():
		return v, context.Cause(ctx)
	}
	select {
	case r := <-results:
		return r.value, r.err
	case <-g.serving.Done():
		return v, errEnding
	case <-ctx.Done():
		return v, context.Cause(ctx)
	}
}

// Reload implements admin.Operator.
func (c control) Reload(ctx context.Context) (warnings []string, err error) {
	warnings, err = inLive(ctx, c.gateway, func(ctx context.Context, group *errgroup.Group) ([]string, error) {
		return c.reload(ctx, group, "command")
	})
	err = refused(err)
	var p *admin.Problem
	if errors.As(err, &p) {
		p.Warnings = warnings
	}
	return warnings, err
}

// Upgrade implements admin.Operator. It goes on if the client goes away: the new process must not be left half-way.
func (c control) Upgrade(context.Context) error {
	return refused(c.succeed(c.serving, upgradePatience))
}

// refused is the answer to an action that was tried and failed.
func refused(err error) error {
	var p *admin.Problem
	if errors.Is(err, errEnding) {
		return admin.Ending(err.Error())
	}
	if err == nil || errors.As(err, &p) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return err
	}
	return admin.Refused(err.Error())
}

// LogCounters implements admin.Operator.
func (c control) LogCounters(ctx context.Context) error {
	c.tell(ctx)
	return nil
}
