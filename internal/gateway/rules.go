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

// rules keep the kernel's hands off what hushgate serves: firewall rules, and while this process lives a guard beside them.
// The programs that change the rules may hang, or wait for a lock of others. So whatever is done with the rules has a
// bound, and nothing else of the gateway waits for it: g.mu is not held meanwhile.
type rules struct {
	log   *slog.Logger
	turn  chan struct{} // who has sent to it has fw to himself
	fw    *firewall.Firewall
	guard *firewall.Guard // nil if this kernel has none
	blind bool            // it has been said that rules about ICMP errors are not installed
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
	r.log.Warn("no guard beside the firewall rules: who flushes them breaks connections until they are repaired, a moment later", "err", err)
}

// tellBlind says once what is not as it should be where there is no match u32.
func (r *rules) tellBlind() {
	err := r.fw.Blind()
	switch {
	case err == nil || r.blind:
	case r.guard != nil:
		r.log.Info("iptables has no match u32 (kernel module xt_u32): the guard alone keeps ICMP errors about connections from the kernel", "err", err)
	default:
		r.log.Warn("iptables has no match u32 (kernel module xt_u32): the kernel forwards ICMP errors about connections to clients, "+
			"with the server's address in them, beside those that hushgate translates", "err", err)
	}
	r.blind = r.blind || err != nil
}

// replace puts the rules of another plan in the place of those in force, which stay after an error.
func (r *rules) replace(ctx context.Context, patience time.Duration, p firewall.Plan, c firewall.Config) error {
	err := r.within(ctx, patience, func(ctx context.Context) error { return r.fw.Replace(ctx, p) })
	if err != nil {
		return fmt.Errorf("install the firewall rules: %w", err)
	}
	r.tellBlind()
	if r.guard != nil {
		if err := r.guard.Set(c); err != nil {
			r.log.Warn("the guard beside the firewall rules has those of the configuration before", "err", err)
		}
	}
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
			return fmt.Errorf("remove the firewall rules: %w (hushgate fail --as off takes them away)", err)
		}
		return nil
	})
}

// close takes the guard away.
func (r *rules) close() error {
	if r == nil {
		return nil
	}
	return r.guard.Close()
}

// listen tells of changes of nftables, which may be to our rules, by the name of the program that made them. It returns at
// once; the channel is never closed, and keeps the last change alone.
func (r *rules) listen(ctx context.Context) <-chan string {
	changed := make(chan string, 1)
	c, err := firewall.Listen()
	if err != nil {
		r.log.Info("changes of the firewall rules are noticed late, by a look at them", "every", verifyEvery, "err", err)
		return changed
	}
	context.AfterFunc(ctx, func() { _ = c.Close() })
	go func() {
		for {
			by, err := c.Next()
			switch {
			case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
				return
			case err != nil:
				r.log.Warn("changes of the firewall rules are noticed late from now on, by a look at them", "every", verifyEvery, "err", err)
				_ = c.Close()
				return
			}
			select {
			case <-changed:
			default:
			}
			changed <- by // there is room: nobody else sends
		}
	}()
	return changed
}

// verifyEvery is how often the rules are looked at although nothing was heard of a change.
const verifyEvery = 10 * time.Second

// Between two looks at the rules there is a pause of some times as long as the look took, so that a storm of changes that
// others make does not keep the machine busy with ours.
const (
	leastPause  = 20 * time.Millisecond
	pauseFactor = 5
)

// keep puts rules back that someone has flushed: at once when it hears of a change, at the next look otherwise.
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

// mending is what is to be said of repairs: the first at once, of more that follow one line in a while.
type mending struct {
	times        int
	said, failed time.Time
	by           string
}

func (m *mending) note(log *slog.Logger, now time.Time, repaired bool, by string, took time.Duration, err error) {
	if errors.Is(err, firewall.ErrChanged) { // it is heard of, and looked at again
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

// repairRules puts our rules back if they are not there.
func (g *gateway) repairRules(ctx context.Context) (bool, error) {
	return g.rules.repair(ctx, func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.given
	})
}

// leaveRules takes the rules away, or lets clients go to the servers directly from now on.
func (g *gateway) leaveRules() error {
	err := g.rules.leave(context.Background(), g.cfg.Global.Fail, g.plan.Open)
	if err == nil && g.cfg.Global.Fail == config.FailOpen {
		g.restore = nil // they need to be forwarded
	}
	return err
}
