package gateway

import "hushgate/internal/netenv"

// sysctl is a sysctl and its value before.
type sysctl struct {
	netenv.Sysctl
	was string
}

// setSysctls sets the sysctls that are not as they should be, and records their old values.
func (g *gateway) setSysctls() error {
	for _, s := range g.plan.Sysctls {
		was, err := s.Get()
		if err != nil {
			return err
		}
		if was == s.Want {
			continue
		}
		if err := s.Set(s.Want); err != nil {
			return err
		}
		g.log.Info("sysctl set", "name", s.Name(), "from", was, "to", s.Want)
		g.restore = append(g.restore, sysctl{s, was})
	}
	return nil
}
