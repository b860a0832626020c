package gateway

import (
	"net/netip"

	"hushgate/internal/config"
	"hushgate/internal/metrics"
)

// prepareMetrics listens where the configuration says. Nobody is answered yet.
func (g *gateway) prepareMetrics() (err error) {
	g.numbers.Set(namesOf(g.cfg))
	g.metrics = metrics.NewServer(g.numbers, g.log)
	g.scraped, err = g.metrics.Prepare(metricsAt(g.cfg))
	return err
}

// namesOf lists what durations are counted of.
func namesOf(cfg *config.Config) *metrics.Names {
	n := &metrics.Names{}
	for i := range cfg.Backends {
		b := &cfg.Backends[i]
		for j := range b.Servers {
			if b.Servers[j].Check {
				n.Servers = append(n.Servers, [2]string{b.Name, b.Servers[j].Name})
			}
		}
	}
	for _, s := range cfg.Global.DNSLists.Sites {
		n.Lists = append(n.Lists, s.Name)
	}
	return n
}

// metricsAt returns where metrics are served; the zero value is nowhere.
func metricsAt(cfg *config.Config) netip.AddrPort {
	at, _ := netip.ParseAddrPort(cfg.Global.Metrics) // the configuration was checked
	return at
}
