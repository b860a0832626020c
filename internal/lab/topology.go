package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// The lab's addresses. Clients and the gateway's outside share a network, as do servers and its inside.
const (
	VIP4, VIP6         = "198.18.0.1", "2001:db8:1::1"
	Inside4, Inside6   = "10.0.0.1", "2001:db8:2::1"
	Server4a, Server4b = "10.0.0.11", "10.0.0.12"
	Server6a, Server6b = "2001:db8:2::11", "2001:db8:2::12"
)

// ClientAddr4 and ClientAddr6 are the addresses of client n, from 1 to Clients, all on one host.
func ClientAddr4(n int) string { return fmt.Sprintf("198.18.0.%d", 10+n) }

// ClientAddr6 is ClientAddr4 for IPv6.
func ClientAddr6(n int) string { return fmt.Sprintf("2001:db8:1::%d", 10+n) }

// Clients is how many addresses the client host has.
const Clients = 9

// Options are the properties of a lab. The zero value is the usual lab.
type Options struct {
	MTU        int  // of all links; 0 means 1500
	NoOffloads bool // TSO, GSO and GRO off on all links, as on the plainest of cards

	// The links before and behind the gateway; nil means Connect. InsideMTU is that of the links behind it, 0 for MTU.
	Outside, Inside Joiner
	InsideMTU       int
}

// Joiner joins two hosts by a link, whose ends get the names given.
type Joiner func(a *Host, aName string, b *Host, bName string, mtu int) error

// Lab is the site: client - gateway - (switch) - servers.
type Lab struct {
	Client, Gateway *Host
	Servers         [2]*Host
	sw              *Host
	Emulated        string // what this kernel lacks, and what the site has instead
	others          []*Host
	dirs            []string // of gateways' configurations
	env             []string // for gateways, besides this process's
}

// New builds a lab; the caller closes it.
func New(ctx context.Context, o Options) (*Lab, error) {
	l := &Lab{}
	if err := l.build(ctx, o); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (l *Lab) build(ctx context.Context, o Options) (err error) {
	if o.MTU == 0 {
		o.MTU = 1500
	}
	if o.InsideMTU == 0 {
		o.InsideMTU = o.MTU
	}
	if o.Outside == nil {
		o.Outside = Connect
	}
	if o.Inside == nil {
		o.Inside = Connect
	}
	for _, h := range []struct {
		host **Host
		name string
	}{{&l.Client, "client"}, {&l.Gateway, "gateway"}, {&l.sw, "switch"}, {&l.Servers[0], "smtp1"}, {&l.Servers[1], "smtp2"}} {
		if *h.host, err = NewHost(h.name); err != nil {
			return err
		}
	}
	if err := errors.Join(
		o.Outside(l.Client, "eth0", l.Gateway, "outside", o.MTU),
		o.Inside(l.Gateway, "inside", l.sw, "up", o.InsideMTU),
		Connect(l.Servers[0], "eth0", l.sw, "port1", o.InsideMTU),
		Connect(l.Servers[1], "eth0", l.sw, "port2", o.InsideMTU),
		bridge(l.sw, "up", "port1", "port2"),
	); err != nil {
		return err
	}
	if err := l.address(); err != nil {
		return err
	}
	if o.NoOffloads {
		return l.offloads(ctx, false)
	}
	return nil
}

func (l *Lab) address() error {
	var errs []error
	for n := 1; n <= Clients; n++ {
		errs = append(errs, l.Client.Addr("eth0", ClientAddr4(n)+"/24"), l.Client.Addr("eth0", ClientAddr6(n)+"/64"))
	}
	errs = append(errs,
		l.Gateway.Addr("outside", VIP4+"/24"), l.Gateway.Addr("outside", VIP6+"/64"),
		l.Gateway.Addr("inside", Inside4+"/24"), l.Gateway.Addr("inside", Inside6+"/64"),
		l.Gateway.Sysctl("net/ipv4/ip_forward", "1"), l.Gateway.Sysctl("net/ipv6/conf/all/forwarding", "1"),
	)
	for i, a := range [2][2]string{{Server4a, Server6a}, {Server4b, Server6b}} {
		s := l.Servers[i]
		errs = append(errs, s.Addr("eth0", a[0]+"/24"), s.Addr("eth0", a[1]+"/64"))
	}
	for _, w := range []struct {
		h      *Host
		ifname string
	}{{l.Client, "eth0"}, {l.Gateway, "outside"}, {l.Gateway, "inside"}, {l.Servers[0], "eth0"}, {l.Servers[1], "eth0"}} {
		errs = append(errs, w.h.WaitUp(w.ifname))
	}
	for _, s := range l.Servers {
		errs = append(errs, s.Default(Inside4), s.Default(Inside6))
	}
	return errors.Join(errs...)
}

// offloads turns the offloads of every link on or off.
func (l *Lab) offloads(ctx context.Context, on bool) error {
	v := map[bool]string{true: "on", false: "off"}[on]
	var errs []error
	for _, w := range []struct {
		h      *Host
		ifname string
	}{
		{l.Client, "eth0"},
		{l.Gateway, "outside"},
		{l.Gateway, "inside"},
		{l.sw, "up"},
		{l.sw, "port1"},
		{l.sw, "port2"},
		{l.Servers[0], "eth0"},
		{l.Servers[1], "eth0"},
	} {
		_, err := w.h.Run(ctx, "ethtool", "-K", w.ifname, "tso", v, "gso", v, "gro", v)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Close ends all programs and removes all namespaces.
func (l *Lab) Close() error {
	var errs []error
	for _, d := range l.dirs {
		errs = append(errs, os.RemoveAll(d))
	}
	for _, h := range append(l.others, l.Client, l.Gateway, l.Servers[0], l.Servers[1], l.sw) {
		if h != nil {
			errs = append(errs, h.Close())
		}
	}
	return errors.Join(errs...)
}
