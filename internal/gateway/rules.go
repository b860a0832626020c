package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"hushgate/internal/config"
	"hushgate/internal/firewall"
)

// rules keeps the kernel from the packets that hushgate serves: with firewall rules and, while this process lives, a guard
// besides. The programs that change the rules may hang, or wait for another program's lock. So each operation on the rules
// has a time limit, and nothing else in the gateway waits for it: g.mu is not held meanwhile.
type rules struct {
	log   *slog.Logger
	turn  chan struct{} // who has sent to it may use fw
	fw    *firewall.Firewall
	guard *firewall.Guard // nil if this kernel has none
	blind bool            // the missing rules about ICMP errors were already reported
}

// Time limits of changes of the rules.
const (
	installPatience = 15 * time.Second // at the start, and in a reload: another iptables may be running
	repairPatience  = 10 * time.Second // while hushgate runs, and at its end
)

// errSlow is the error of a change that exceeds its time limit.
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

// within calls do while no other change of the rules runs, with a time limit.
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

// install puts the rules in place at the start, the guard first.
func (r *rules) install(ctx context.Context, c firewall.Config) error {
	r.beginGuard(c)
	if err := r.within(ctx, installPatience, r.fw.Install); err != nil {
		return fmt.Errorf("install the firewall rules: %w", err)
	}
	r.tellBlind()
	return nil
}

func (r *rules) beginGuard(c firewall.Config) {
	guard, err := firewall.NewGuard()
	if err == nil {
		if err = guard.Set(c); err == nil {
			r.guard = guard
			r.log.Info("firewall guard", "nft_table", guard.Name())
			return
		}
		err = errors.Join(err, guard.Close())
	}
	r.log.Warn("no guard beside the firewall rules: a flush of the rules breaks connections until the rules are repaired a moment later", "err", err)
}

// tellBlind logs once what is missing where iptables has no match u32.
func (r *rules) tellBlind() {
	err := r.fw.Blind()
	switch {
	case err == nil || r.blind:
	case r.guard != nil:
		r.log.Info("iptables has no match u32 (kernel module xt_u32): the guard alone keeps ICMP errors about connections from the kernel", "err", err)
	default:
		r.log.Warn("iptables has no match u32 (kernel module xt_u32): the kernel forwards ICMP errors about connections to clients, "+
			"with the server's address in them, in addition to the errors that hushgate translates", "err", err)
	}
	r.blind = r.blind || err != nil
}

// replace replaces the rules in force with those of another plan. After an error the old ones stay.
func (r *rules) replace(ctx context.Context, patience time.Duration, p firewall.Plan, c firewall.Config) error {
	err := r.within(ctx, patience, func(ctx context.Context) error { return r.fw.Replace(ctx, p) })
	if err != nil {
		return fmt.Errorf("install the firewall rules: %w", err)
	}
	r.tellBlind()
	if r.guard != nil {
		if err := r.guard.Set(c); err != nil {
			r.log.Warn("the guard beside the firewall rules still has the rules of the previous configuration", "err", err)
		}
	}
	return nil
}

// repair puts missing rules back, unless they belong to another process after a takeover.
func (r *rules) repair(ctx context.Context, given func() bool) (repaired bool, err error) {
	err = r.within(ctx, repairPatience, func(ctx context.Context) (err error) {
		if !given() {
			repaired, err = r.fw.Repair(ctx)
		}
		return err
	})
	return repaired, err
}

// leave removes the rules at the end, or replaces them with rules that send clients directly to the servers.
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
			return fmt.Errorf("remove the firewall rules: %w (`hushgate fail --as off` removes them)", err)
		}
		return nil
	})
}

// close removes the guard.
func (r *rules) close() error {
	if r == nil {
		return nil
	}
	return r.guard.Close()
}

// listen reports changes of nftables, which may affect our rules, by the name of the program that made them. It returns at
// once. The channel is never closed, and keeps only the latest change.
func (r *rules) listen(ctx context.Context) <-chan string {
	changed := make(chan string, 1)
	c, err := firewall.Listen()
	if err != nil {
		r.log.Info("changes of the firewall rules are noticed late, by regular checks", "every", verifyEvery, "err", err)
		return changed
	}
	follow(ctx, r.log, c, changed)
	return changed
}

// follow passes the latest change on until ctx is done.
func follow(ctx context.Context, log *slog.Logger, c *firewall.Changes, changed chan string) {
	context.AfterFunc(ctx, func() { _ = c.Close() })
	go func() {
		for {
			by, err := c.Next()
			switch {
			case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
				return
			case err != nil:
				log.Warn("changes of the firewall rules are noticed late from now on, by regular checks", "every", verifyEvery, "err", err)
				_ = c.Close()
				return
			}
			select {
			case <-changed:
			default:
			}
			changed <- by // there is room: this is the only sender
		}
	}()
}

// verifyEvery is how often the rules are checked without a reported change.
const verifyEvery = 10 * time.Second

// After each check of the rules there is a pause of several times the duration of the check, so that a storm of changes by
// other programs does not make this machine busy with checks.
const (
	leastPause  = 20 * time.Millisecond
	pauseFactor = 5
)

// keep restores rules that another program has removed: at once if a change is reported, otherwise at the next check.
func (r *rules) keep(ctx context.Context, changed <-chan string, repair func(context.Context) (bool, error)) {
	var told mending
	everyOr(ctx, verifyEvery, changed, func(by *string) {
		began := time.Now()
		repaired, err := repair(ctx)
		took := time.Since(began)
		if ctx.Err() != nil {
			return
		}
		name := ""
		if by != nil {
			name = *by
		}
		told.note(r.log, began, repaired, name, took, err)
		select {
		case <-ctx.Done():
		case <-time.After(min(max(leastPause, pauseFactor*took), verifyEvery)):
		}
	})
}

// mending limits the log lines about repairs: the first one at once, further ones together in one line after a while.
type mending struct {
	times        int
	said, failed time.Time
	by           string
}

func (m *mending) note(log *slog.Logger, now time.Time, repaired bool, by string, took time.Duration, err error) {
	if errors.Is(err, firewall.ErrChanged) { // the change is reported too, and checked again
		return
	}
	if err != nil && now.Sub(m.failed) >= verifyEvery {
		log.Error("the firewall rules cannot be verified", "err", err)
		m.failed = now
	}
	if repaired && err == nil {
		m.times++
		if by != "" {
			m.by = by
		}
	}
	if m.times > 0 && now.Sub(m.said) >= verifyEvery {
		log.Warn("firewall rules were missing and have been installed again", "times", m.times, "changed_by", m.by,
			"took", took.Round(100*time.Microsecond))
		*m = mending{said: now, failed: m.failed}
	}
}

// repairRules puts missing rules back.
func (g *gateway) repairRules(ctx context.Context) (bool, error) {
	return g.rules.repair(ctx, func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.given
	})
}

// leaveRules removes the rules, or replaces them with rules that send clients directly to the servers.
func (g *gateway) leaveRules() error {
	err := g.rules.leave(context.Background(), g.cfg.Global.Fail, g.plan.Open)
	if err == nil && g.cfg.Global.Fail == config.FailOpen {
		g.restore = nil // forwarding to the servers needs them
	}
	return err
}
