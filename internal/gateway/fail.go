package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"hushgate/internal/config"
	"hushgate/internal/firewall"
	"hushgate/internal/instance"
	"hushgate/internal/netenv"
	"hushgate/internal/plan"
	"hushgate/internal/privilege"
)

// Fail installs the rules for when there is no gateway: see config.Fail. It fails while there is one.
func Fail(ctx context.Context, cfg *config.Config, log *slog.Logger) error {
	return absent(ctx, cfg, log, func(ctx context.Context, p *plan.Plan, rules *firewall.Firewall) error {
		if cfg.Global.Fail != config.FailOpen {
			if err := rules.Install(ctx); err != nil {
				return fmt.Errorf("keep clients out: %w", err)
			}
			log.Info("fail closed: clients are kept out until hushgate runs")
			return nil
		}
		if err := rules.Replace(ctx, p.Open); err != nil {
			return fmt.Errorf("let clients pass: %w", err)
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

// forwards sees to it that a sysctl is as passing clients need it.
func forwards(cfg *config.Config, s netenv.Sysctl, log *slog.Logger) error {
	if cfg.Global.Firewall.Sysctls {
		return s.Set(s.Want)
	}
	for _, w := range netenv.Warnings([]netenv.Sysctl{s}) {
		log.Warn("network", "warning", w)
	}
	return nil
}

// RemoveRules takes all rules of a gateway away that is not there. It needs no configuration, and knows nothing of
// interfaces and routes, which may be gone: the rules are known by their chains' names.
func RemoveRules(ctx context.Context, log *slog.Logger) (err error) {
	return alone(ctx, func(ctx context.Context) error {
		removed, err := firewall.RemoveAll(ctx)
		if len(removed) > 0 {
			log.Info("firewall rules removed", "chains", removed)
		}
		if err != nil {
			return fmt.Errorf("remove the firewall rules: %w", err)
		}
		return nil
	})
}

// alone does something in the place of the gateway that is not there.
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

// ErrNotManaged reports rules that are not hushgate's to change.
var ErrNotManaged = errors.New("firewall.manage is off: the rules are not hushgate's to change")

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
