package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"hushgate/internal/config"
	"hushgate/internal/firewall"
)

// rules keep the kernel's hands off what hushgate serves. The programs that change the rules may hang, or wait for a lock of others. So whatever is done with the rules has a
// bound, and nothing else of the gateway waits for it: g.mu is not held meanwhile.
type rules struct {
	log  *slog.Logger
	turn chan struct{} // who has sent to it has fw to himself
	fw   *firewall.Firewall

	blind bool // it has been said that rules about ICMP errors are not installed
}

// How long it may take to change the rules.
const (
	installPatience = 15 * time.Second // at the start, and in a reload: another iptables may be at work
	repairPatience  = 10 * time.Second // while hushgate runs, and at its end
)

// errSlow is what a change of the rules comes to that takes too long.
var errSlow = errors.New("it took too long: another program holds iptables' lock, or iptables hangs")

// newRules finds out whether a plan can be installed, and changes nothing.
func newRules(ctx context.Context, p firewall.Plan, log *slog.Logger) (*rules, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, installPatience, errSlow)
	defer cancel()
	fw, err := firewall.New(ctx, p)
	if err != nil {
		return nil, err
	}
	if err := fw.Check(ctx); err != nil {
		return nil, err
	}
	log.Info("firewall", "versions", fw.Versions())
	for _, w := range fw.Warnings(ctx) {
		log.Warn("firewall", "warning", w)
	}
	return &rules{log: log, turn: make(chan struct{}, 1), fw: fw}, nil
}

// within does something with the rules while nobody else does, within a time.
func (r *rules) within(ctx context.Context, patience time.Duration, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errSlow)
	defer cancel()
	select {
	case r.turn <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("wait for another change of the rules: %w", context.Cause(ctx))
	}
	defer func() { <-r.turn }()
	return do(ctx)
}

// install puts the rules in place at the start.
func (r *rules) install(ctx context.Context) error {
	if err := r.within(ctx, installPatience, r.fw.Install); err != nil {
		return fmt.Errorf("install the firewall rules: %w", err)
	}
	r.tellBlind()
	return nil
}

// tellBlind says once what is not as it should be where there is no match u32.
func (r *rules) tellBlind() {
	if err := r.fw.Blind(); err != nil && !r.blind {
		r.blind = true
		r.log.Warn("iptables has no match u32 (kernel module xt_u32): the kernel forwards ICMP errors about connections to clients, "+
			"with the server's address in them, beside those that hushgate translates", "err", err)
	}
}

// replace puts the rules of another plan in the place of those in force, which stay after an error.
func (r *rules) replace(ctx context.Context, patience time.Duration, p firewall.Plan) error {
	err := r.within(ctx, patience, func(ctx context.Context) error { return r.fw.Replace(ctx, p) })
	if err != nil {
		return fmt.Errorf("install the firewall rules: %w", err)
	}
	r.tellBlind()
	return nil
}

// repair puts our rules back if they are not there, unless they are another process's by then, behind a takeover.
func (r *rules) repair(ctx context.Context, given func() bool) (repaired bool, err error) {
	err = r.within(ctx, repairPatience, func(ctx context.Context) (err error) {
		if !given() {
			repaired, err = r.fw.Repair(ctx)
		}
		return err
	})
	return repaired, err
}

// leave takes the rules away at the end, or lets clients go to the servers directly from now on.
func (r *rules) leave(ctx context.Context, fail config.Fail, open firewall.Plan) error {
	return r.within(ctx, repairPatience, func(ctx context.Context) error {
		if fail == config.FailOpen {
			if err := r.fw.Replace(ctx, open); err != nil {
				return fmt.Errorf("let clients pass: %w", err)
			}
			r.log.Warn("fail open: clients reach the servers without hushgate from now on")
			return nil
		}
		if err := r.fw.Remove(ctx); err != nil {
			return fmt.Errorf("remove the firewall rules: %w", err)
		}
		return nil
	})
}

// verifyEvery is how often the rules are looked at.
const verifyEvery = 10 * time.Second

// keep puts rules back that someone has flushed.
func (r *rules) keep(ctx context.Context, repair func(context.Context) (bool, error)) {
	t := time.NewTicker(verifyEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		repaired, err := repair(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			r.log.Error("the firewall rules cannot be verified", "err", err)
		case repaired:
			r.log.Warn("firewall rules were missing and have been installed again")
		}
	}
}
