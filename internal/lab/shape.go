package lab

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The addresses of the sites of docs/deployment.md. The client host is also the provider's router: the clients are
// addresses on its loopback, and on no link.
const (
	ShapeRouter4, ShapeRouter6   = "192.0.2.1", "2001:db8:1::1" // the client host's, on the outside
	ShapeGateway4, ShapeGateway6 = "192.0.2.2", "2001:db8:1::2" // the gateway's own, on the outside
	ShapeVIP4, ShapeVIP6         = "192.0.2.25", "2001:db8:1::25"
	ShapeOtherVIP4               = "192.0.2.26"
	ShapeOtherVIP6               = "2001:db8:1::26"
	ShapeRouted4, ShapeRouted6   = "203.0.113.25", "2001:db8:f::25" // on no link, but routed to the gateway
)

// ShapeClient4 and ShapeClient6 are the addresses of client n, from 1 to Clients.
func ShapeClient4(n int) string { return fmt.Sprintf("198.51.100.%d", 10+n) }

// ShapeClient6 is ShapeClient4 for IPv6.
func ShapeClient6(n int) string { return fmt.Sprintf("2001:db8:c::%d", 10+n) }

// Shape builds one of the sites of docs/deployment.md.
type Shape func(*builder)

// NewShape builds a site; the caller closes it.
func NewShape(shape Shape) (*Lab, error) {
	l := &Lab{}
	b := &builder{Lab: l}
	l.Client, l.Gateway, l.sw = b.host("client"), b.host("gateway"), b.host("switch")
	l.Servers = [2]*Host{b.host("smtp1"), b.host("smtp2")}
	if err := errors.Join(b.errs...); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	b.forwards(l.Client)
	b.addr(l.Client, "lo")
	for n := 1; n <= Clients; n++ {
		b.addr(l.Client, "lo", ShapeClient4(n)+"/32", ShapeClient6(n)+"/128")
	}
	shape(b)
	if err := errors.Join(b.errs...); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// builder collects the errors of its methods.
type builder struct {
	*Lab
	errs []error
}

func (b *builder) note(err error) { b.errs = append(b.errs, err) }

func (b *builder) host(name string) *Host {
	h, err := NewHost(name)
	b.note(err)
	return h
}

func (b *builder) addr(h *Host, ifname string, cidrs ...string) {
	for _, c := range cidrs {
		b.note(h.Addr(ifname, c))
	}
}

// join joins two hosts and waits for the link.
func (b *builder) join(h *Host, ifname string, o *Host, oname string) {
	b.note(Connect(h, ifname, o, oname, 1500))
	b.note(h.WaitUp(ifname))
	b.note(o.WaitUp(oname))
}

// defaults gives a host its default routes.
func (b *builder) defaults(h *Host, gateways ...string) {
	for _, g := range gateways {
		b.note(h.Default(g))
	}
}

// route adds routes to networks via a neighbour.
func (b *builder) route(h *Host, via string, networks ...string) {
	b.note(h.Do(func() error {
		for _, n := range networks {
			_, dst, err := net.ParseCIDR(n)
			if err != nil {
				return err
			}
			if err := netlink.RouteAdd(&netlink.Route{Dst: dst, Gw: net.ParseIP(via)}); err != nil {
				return fmt.Errorf("route %s on %s via %s: %w", n, h.Name, via, err)
			}
		}
		return nil
	}))
}

func (b *builder) forwards(h *Host) {
	b.note(h.Sysctl("net/ipv4/ip_forward", "1"))
	b.note(h.Sysctl("net/ipv6/conf/all/forwarding", "1"))
}

// provider joins the client host and the gateway's outside, and gives the gateway addresses there.
func (b *builder) provider(ifname string, cidrs ...string) {
	b.addr(b.Client, "eth0", ShapeRouter4+"/24", ShapeRouter6+"/64")
	b.addr(b.Gateway, ifname, cidrs...)
	b.defaults(b.Gateway, ShapeRouter4, ShapeRouter6)
}

// behind gives the gateway and the servers addresses in the network inside.
func (b *builder) behind(ifname string) {
	b.addr(b.Gateway, ifname, Inside4+"/24", Inside6+"/64")
	b.addr(b.Servers[0], "eth0", Server4a+"/24", Server6a+"/64")
	b.addr(b.Servers[1], "eth0", Server4b+"/24", Server6b+"/64")
}

// inside joins the gateway and the servers by a switch, and calls behind.
func (b *builder) inside() {
	b.join(b.Gateway, "eth1", b.sw, "up")
	b.join(b.Servers[0], "eth0", b.sw, "port1")
	b.join(b.Servers[1], "eth0", b.sw, "port2")
	b.note(bridge(b.sw, "up", "port1", "port2"))
	b.behind("eth1")
}

// vips are the service addresses with their networks' prefix lengths.
func vips(more ...string) []string {
	return append([]string{ShapeGateway4 + "/24", ShapeGateway6 + "/64"}, more...)
}

// TwoArms: the gateway stands between the clients, on eth0, and the servers, on eth1, whose default gateway it is.
func TwoArms(b *builder) {
	b.join(b.Client, "eth0", b.Gateway, "eth0")
	b.provider("eth0", vips(ShapeVIP4+"/24", ShapeVIP6+"/64")...)
	b.inside()
	b.forwards(b.Gateway)
	for _, s := range b.Servers {
		b.defaults(s, Inside4, Inside6)
	}
}

// SeveralServices is TwoArms with two service addresses of each family.
func SeveralServices(b *builder) {
	TwoArms(b)
	b.addr(b.Gateway, "eth0", ShapeOtherVIP4+"/24", ShapeOtherVIP6+"/64")
}

// OneArm: router, gateway and servers share one network; the servers' default gateway is the gateway.
func OneArm(b *builder) {
	b.join(b.Client, "eth0", b.sw, "up")
	b.join(b.Gateway, "eth0", b.sw, "port0")
	b.join(b.Servers[0], "eth0", b.sw, "port1")
	b.join(b.Servers[1], "eth0", b.sw, "port2")
	b.note(bridge(b.sw, "up", "port0", "port1", "port2"))
	b.provider("eth0", vips(ShapeVIP4+"/24", ShapeVIP6+"/64")...)
	for i, s := range b.Servers {
		b.addr(s, "eth0", fmt.Sprintf("192.0.2.%d/24", 11+i), fmt.Sprintf("2001:db8:1::%d/64", 11+i))
		b.defaults(s, ShapeGateway4, ShapeGateway6)
	}
}

// OtherGateway4 and OtherGateway6 are the servers' default gateways in PolicyRouting.
const OtherGateway4, OtherGateway6 = "10.0.0.254", "2001:db8:2::fe"

// PolicyRouting is TwoArms with servers that have another default gateway.
func PolicyRouting(b *builder) {
	b.join(b.Client, "eth0", b.Gateway, "eth0")
	b.provider("eth0", vips(ShapeVIP4+"/24", ShapeVIP6+"/64")...)
	b.inside()
	other := b.host("other")
	b.others = append(b.others, other)
	b.join(other, "eth0", b.sw, "port3")
	b.note(b.sw.Do(func() error { return enslave("port3", "br0") }))
	b.addr(other, "eth0", OtherGateway4+"/24", OtherGateway6+"/64")
	for _, s := range b.Servers {
		b.defaults(s, OtherGateway4, OtherGateway6)
	}
}

// Unheld is TwoArms with service addresses that are on no interface. In each family one belongs to the network outside, and
// another is routed to the gateway.
func Unheld(b *builder) {
	b.join(b.Client, "eth0", b.Gateway, "eth0")
	b.provider("eth0", vips()...)
	b.route(b.Client, ShapeGateway4, ShapeRouted4+"/32")
	b.route(b.Client, ShapeGateway6, ShapeRouted6+"/128")
	b.inside()
	b.forwards(b.Gateway)
	for _, s := range b.Servers {
		b.defaults(s, Inside4, Inside6)
	}
}

// VLANs is TwoArms over one cable: the gateway's eth0 carries VLAN 10, the outside, and VLAN 20, the inside. Where the
// kernel knows no VLANs, Lab.Emulated says what is there instead.
func VLANs(b *builder) {
	b.join(b.Client, "eth0", b.sw, "up")
	b.join(b.Servers[0], "eth0", b.sw, "port1")
	b.join(b.Servers[1], "eth0", b.sw, "port2")
	b.join(b.Gateway, "eth0", b.sw, "trunk")
	switch err := b.trunk(); {
	case errors.Is(err, unix.EOPNOTSUPP):
		b.Emulated = "this kernel has no VLANs: eth0.10 and eth0.20 are cables of their own"
		b.join(b.Gateway, "eth0.10", b.sw, "cable10")
		b.join(b.Gateway, "eth0.20", b.sw, "cable20")
		b.note(b.sw.Do(func() error {
			return errors.Join(plainBridge("br10", "up", "cable10"), plainBridge("br20", "port1", "port2", "cable20"))
		}))
	default:
		b.note(err)
	}
	b.provider("eth0.10", vips(ShapeVIP4+"/24", ShapeVIP6+"/64")...)
	b.behind("eth0.20")
	b.forwards(b.Gateway)
	for _, s := range b.Servers {
		b.defaults(s, Inside4, Inside6)
	}
}

// trunk makes a switch with VLANs, and the gateway's interfaces in them.
func (b *builder) trunk() error {
	for _, id := range []int{10, 20} {
		name := fmt.Sprintf("eth0.%d", id)
		if err := b.Gateway.Do(func() error { return addVLAN("eth0", name, id) }); err != nil {
			return err
		}
		if err := b.Gateway.WaitUp(name); err != nil {
			return err
		}
	}
	return b.sw.Do(func() error {
		return errors.Join(vlanBridge("br0"), enslave("trunk", "br0"), enslave("up", "br0"), enslave("port1", "br0"),
			enslave("port2", "br0"), members("up", 10, true), members("port1", 20, true), members("port2", 20, true),
			members("trunk", 10, false), members("trunk", 20, false))
	})
}

// plainBridge makes a switch of some interfaces.
func plainBridge(name string, ports ...string) error {
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}}
	if err := netlink.LinkAdd(br); err != nil {
		return fmt.Errorf("add the bridge %s: %w", name, err)
	}
	for _, p := range ports {
		if err := enslave(p, name); err != nil {
			return err
		}
	}
	return netlink.LinkSetUp(br)
}

func addVLAN(parent, name string, id int) error {
	p, err := netlink.LinkByName(parent)
	if err != nil {
		return err
	}
	v := &netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: name, ParentIndex: p.Attrs().Index}, VlanId: id}
	if err := netlink.LinkAdd(v); err != nil {
		return fmt.Errorf("add %s: %w", name, err)
	}
	return netlink.LinkSetUp(v)
}

// vlanBridge makes a switch with VLANs.
func vlanBridge(name string) error {
	filtering := true
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}, VlanFiltering: &filtering}
	if err := netlink.LinkAdd(br); err != nil {
		return fmt.Errorf("add the bridge: %w", err)
	}
	return netlink.LinkSetUp(br)
}

func enslave(port, name string) error {
	p, err := netlink.LinkByName(port)
	if err != nil {
		return err
	}
	br, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetMaster(p, br)
}

// members puts a port of a switch into a VLAN: an access port sends and takes frames without a tag.
func members(port string, id uint16, access bool) error {
	p, err := netlink.LinkByName(port)
	if err != nil {
		return err
	}
	if err := netlink.BridgeVlanDel(p, 1, false, false, false, true); err != nil && access {
		return fmt.Errorf("take %s out of VLAN 1: %w", port, err)
	}
	if err := netlink.BridgeVlanAdd(p, id, access, access, false, true); err != nil {
		return fmt.Errorf("put %s into VLAN %d: %w", port, id, err)
	}
	return nil
}
