package plan

import (
	"hushgate/dataplane"
	"hushgate/health"
	"hushgate/internal/netenv"
)

// Dialer returns how the checks of a server connect: from its server-side address, if it has one.
func Dialer(s *dataplane.Server) health.Dialer {
	if (s.Source == dataplane.Source{}) {
		return health.NewDialer()
	}
	return health.NewSourceDialer(s.Source.Addr.Netip(), s.Source.First, s.Source.Last, netenv.OwnPorts)
}
