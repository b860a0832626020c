package firewall

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Changes reports changes to some tables of nftables.
type Changes struct {
	conn     *netlink.Conn
	concerns func(*netlink.Message) bool
}

// Parts of a message about a change.
const (
	nfgenSize   = 4  // struct nfgenmsg: family, version, resource
	objectTable = 1  // NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_RULE_TABLE and so on
	genProcess  = 3  // NFTA_GEN_PROC_NAME
	newGen      = 15 // NFT_MSG_NEWGEN: the end of a transaction
	groupTables = 7  // NFNLGRP_NFTABLES
)

// changesBuffer is how many octets of messages the kernel may queue for us.
const changesBuffer = 1 << 20

// Listen reports changes to iptables' tables in nftables, made by nft or by iptables' nft variant. The kernel does not report changes
// to its older tables. It listens in the network namespace of the calling thread.
func Listen() (*Changes, error) { return listen(concernsRules) }

// ListenTo is Listen for one table of the family netdev.
func ListenTo(table string) (*Changes, error) {
	return listen(func(m *netlink.Message) bool {
		return len(m.Data) >= nfgenSize && m.Data[0] == unix.NFPROTO_NETDEV && attribute(m, objectTable) == table
	})
}

func listen(concerns func(*netlink.Message) bool) (*Changes, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	_ = conn.SetReadBuffer(changesBuffer) // with less, more messages are lost, which the kernel reports
	if err := conn.JoinGroup(groupTables); err != nil {
		return nil, errors.Join(fmt.Errorf("listen to changes of nftables: %w", err), conn.Close())
	}
	return &Changes{conn, concerns}, nil
}

// Next waits for the next change and returns the name of the program that made it. The name is empty if the kernel lost
// messages. The error is net.ErrClosed after Close.
func (c *Changes) Next() (by string, err error) {
	ours := false
	for {
		messages, err := c.conn.Receive()
		if errors.Is(err, unix.ENOBUFS) {
			return "", nil
		}
		if err != nil {
			return "", fmt.Errorf("listen to changes of nftables: %w", err)
		}
		for i := range messages {
			m := &messages[i]
			if int(m.Header.Type) != unix.NFNL_SUBSYS_NFTABLES<<8|newGen {
				ours = ours || c.concerns(m)
			} else if ours {
				return attribute(m, genProcess), nil
			}
		}
	}
}

// Close stops listening.
func (c *Changes) Close() error { return c.conn.Close() }

// concernsRules reports whether a change is to one of iptables' tables.
func concernsRules(m *netlink.Message) bool {
	if len(m.Data) < nfgenSize || (m.Data[0] != unix.NFPROTO_IPV4 && m.Data[0] != unix.NFPROTO_IPV6) {
		return false
	}
	return slices.Contains(tables, attribute(m, objectTable))
}

// attribute returns a text attribute of a message.
func attribute(m *netlink.Message, kind uint16) string {
	if len(m.Data) < nfgenSize {
		return ""
	}
	d, err := netlink.NewAttributeDecoder(m.Data[nfgenSize:])
	for err == nil && d.Next() {
		if d.Type() == kind {
			return strings.TrimRight(d.String(), "\x00")
		}
	}
	return ""
}
