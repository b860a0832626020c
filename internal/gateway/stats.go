package gateway

import (
	"log/slog"
	"os"

	"hushgate/internal/config"
	"hushgate/internal/runtimeapi"
)

// The sockets of `stats socket` serve HAProxy's commands. They live as those of the control API do.

// statsSockets lists the sockets that a configuration asks for.
func statsSockets(c *config.Stats) (list []*apiSocket) {
	for i := range c.Sockets {
		s := &c.Sockets[i]
		level, err := runtimeapi.ParseLevel(s.Level)
		if err != nil {
			continue // the configuration has none such
		}
		list = append(list, &apiSocket{path: s.Path, user: s.User, group: s.Group, mode: s.Mode, stats: true, statsLevel: level})
	}
	return list
}

// optional reports whether the gateway can do without the socket, and logs the error then. A file that was written for HAProxy names
// paths of HAProxy's, which may not exist here or be in use: that must not keep mail from coming in.
func (s *apiSocket) optional(log *slog.Logger, err error) bool {
	if !s.stats {
		return false
	}
	if s.l != nil {
		_ = s.l.Close()
		s.l = nil
	}
	log.Warn("a stats socket is not served", "socket", s.path, "err", err)
	return true
}

// statsListeners returns the open sockets for HAProxy's commands.
func (g *gateway) statsListeners() (list []*runtimeapi.Listener) {
	for _, s := range g.sockets {
		if s.stats && s.l != nil {
			list = append(list, &runtimeapi.Listener{Listener: s.l, Level: s.statsLevel})
		}
	}
	return list
}

// statsServer returns the server of HAProxy's commands.
func (g *gateway) statsServer() *runtimeapi.Server {
	var sockets []runtimeapi.Socket
	for _, s := range g.sockets {
		if s.stats && s.l != nil {
			sockets = append(sockets, runtimeapi.Socket{Path: s.path, Level: s.statsLevel})
		}
	}
	node, err := os.Hostname()
	if err != nil {
		node = "localhost"
	}
	c := &g.cfg.Global.Stats
	return runtimeapi.New(runtimeapi.Options{
		Gateway: control{g}, Log: g.log, Timeout: c.Timeout, MaxConn: c.MaxConn, Sockets: sockets, Node: node, Cleared: g.cleared,
	})
}
