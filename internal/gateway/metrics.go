package gateway

import (
	"net/netip"

	"hushgate/internal/config"
	"hushgate/internal/metrics"
)

// prepareMetrics makes what Prometheus sees, and listens where the configuration says. Nobody is answered yet.
func (g *gateway) prepareMetrics() (err error) {
	g.numbers = metrics.New(control{g})
	g.metrics = metrics.NewServer(g.numbers, g.log)
	g.scraped, err = g.metrics.Prepare(metricsAt(g.cfg))
	return err
}

// metricsAt returns where metrics are served; the zero value is nowhere.
func metricsAt(cfg *config.Config) netip.AddrPort {
	at, _ := netip.ParseAddrPort(cfg.Global.Metrics) // the configuration was checked
	return at
}
