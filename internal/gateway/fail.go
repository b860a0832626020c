package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"hushgate/internal/config"
	"hushgate/internal/firewall"
	"hushgate/internal/instance"
	"hushgate/internal/kernelset"
	"hushgate/internal/netenv"
	"hushgate/internal/plan"
	"hushgate/internal/privilege"
)

// Fail installs the rules for the time without a gateway: see config.Fail. It fails if a gateway runs.
func Fail(ctx context.Context, cfg *config.Config, log *slog.Logger) error {
	return absent(ctx, cfg, log, func(ctx context.Context, p *plan.Plan, rules *firewall.Firewall) error {
		if cfg.Global.Fail != config.FailOpen {
			if err := rules.Install(ctx); err != nil {
				return fmt.Errorf("keep clients out: %w", err)
			}
			// The kernel's set of offenders stays: nobody gets in anyway, and the next start takes it over.
			log.Info("fail closed: clients are kept out until hushgate runs")
			return nil
		}
		if err := rules.Replace(ctx, p.Open); err != nil {
			return fmt.Errorf("let clients pass: %w", err)
		}
		if err := letOffendersIn(log); err != nil { // nobody would let in who is no offender
			return err
		}
		for _, s := range p.Sysctls {
			if err := forwards(cfg, s, log); err != nil {
				return err
			}
		}
		log.Warn("fail open: clients reach the servers without hushgate until it runs")
		return nil
	})
}

// forwards sets a sysctl to the value that forwarding clients needs.
func forwards(cfg *config.Config, s netenv.Sysctl, log *slog.Logger) error {
	if cfg.Global.Firewall.Sysctls {
		return s.Set(s.Want)
	}
	for _, w := range netenv.Warnings([]netenv.Sysctl{s}) {
		log.Warn("network", "warning", w)
	}
	return nil
}

// RemoveRules removes all rules of a gateway that no longer runs. It needs no configuration, interfaces or routes, which may
// be gone: it finds the rules by the names of their chains.
func RemoveRules(ctx context.Context, log *slog.Logger) (err error) {
	return alone(ctx, func(ctx context.Context) error {
		removed, err := firewall.RemoveAll(ctx)
		if len(removed) > 0 {
			log.Info("firewall rules removed", "chains", removed)
		}
		if err != nil {
			err = fmt.Errorf("remove the firewall rules: %w", err)
		}
		return errors.Join(err, letOffendersIn(log))
	})
}

// letOffendersIn removes the kernel's set of offenders that a process has left.
func letOffendersIn(log *slog.Logger) error {
	removed, err := kernelset.Clear()
	if err != nil {
		return fmt.Errorf("let offenders in: %w", err)
	}
	if removed {
		log.Info("the kernel's set of offenders removed", "table", "netdev "+kernelset.TableName)
	}
	return nil
}

// alone calls do while holding the lock, so that no gateway runs meanwhile.
func alone(ctx context.Context, do func(context.Context) error) (err error) {
	if err := privilege.Check(); err != nil {
		return err
	}
	lock, err := instance.Acquire()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	ctx, cancel := context.WithTimeoutCause(ctx, installPatience, errSlow)
	defer cancel()
	return do(ctx)
}

// ErrNotManaged reports rules that hushgate may not change.
var ErrNotManaged = errors.New("firewall.manage is off, so hushgate does not change the rules")

// absent is alone, with the plan of a configuration.
func absent(ctx context.Context, cfg *config.Config, log *slog.Logger, do func(context.Context, *plan.Plan, *firewall.Firewall) error) (err error) {
	if !cfg.Global.Firewall.Manage {
		return ErrNotManaged
	}
	return alone(ctx, func(ctx context.Context) error {
		m, err := netenv.NewMirror(ctx, log, nil)
		if err != nil {
			return fmt.Errorf("read the network: %w", err)
		}
		p, err := plan.New(cfg, netenv.NewMachine(m))
		if err != nil {
			return err
		}
		rules, err := firewall.New(ctx, p.Firewall)
		if err != nil {
			return err
		}
		return do(ctx, p, rules)
	})
}
