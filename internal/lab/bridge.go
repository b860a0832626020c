package lab

import (
	"fmt"

	"github.com/vishvananda/netlink"
)

// bridge turns a host into an Ethernet switch.
func bridge(h *Host, ports ...string) error {
	return h.Do(func() error {
		br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
		if err := netlink.LinkAdd(br); err != nil {
			return fmt.Errorf("make a bridge on %s: %w", h.Name, err)
		}
		for _, p := range ports {
			link, err := netlink.LinkByName(p)
			if err != nil {
				return err
			}
			if err := netlink.LinkSetMaster(link, br); err != nil {
				return fmt.Errorf("put %s into the bridge on %s: %w", p, h.Name, err)
			}
		}
		return netlink.LinkSetUp(br)
	})
}
