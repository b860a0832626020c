package dnsbl

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/miekg/dns"
)

// udpSize is the size of answers that we take over UDP: what passes every path unfragmented.
const udpSize = 1232

// resolve asks the resolvers, one after the other, for the A records of name until one says something that counts. A resolver that did not
// answer is asked a second time after the others. It reports each failure to complain.
func (c *Client) resolve(ctx context.Context, name string, complain func(*resolver, error)) (outcome, bool) {
	order, err := c.resolvers.inOrder()
	if err != nil {
		complain(nil, err)
	}
	const rounds = 2
	each := max(c.config.Timeout/time.Duration(rounds*len(order)), 100*time.Millisecond)
	final := make([]bool, len(order))
	for range rounds {
		for i, one := range order {
			if final[i] || ctx.Err() != nil {
				continue
			}
			o, err := c.askOne(ctx, one, name, each)
			if c.context.Err() != nil {
				return outcome{}, false
			}
			silent := err != nil && isSilence(err)
			c.resolvers.note(one, !silent)
			if err == nil {
				return o, true
			}
			final[i] = !silent
			complain(one, err)
		}
	}
	return outcome{}, false
}

// errSilence says that a resolver did not answer.
var errSilence = errors.New("no answer")

func isSilence(err error) bool { return errors.Is(err, errSilence) }

// askOne asks one resolver within a time: over UDP with EDNS0, over TCP if the answer did not fit, without EDNS0 if the
// resolver does not know it.
func (c *Client) askOne(ctx context.Context, one *resolver, name string, within time.Duration) (outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	q := new(dns.Msg)
	q.SetQuestion(name, dns.TypeA)
	q.SetEdns0(udpSize, false)
	o, err := c.exchange(ctx, one.addr, q)
	if errors.Is(err, errEDNS) {
		q = new(dns.Msg)
		q.SetQuestion(name, dns.TypeA)
		o, err = c.exchange(ctx, one.addr, q)
	}
	return o, err
}

// exchange asks over UDP and, where that is too small, over TCP.
func (c *Client) exchange(ctx context.Context, to netip.AddrPort, q *dns.Msg) (outcome, error) {
	m, err := c.converse(ctx, "udp", to, q)
	if err == nil && m.Truncated {
		c.count(func(s *Stats) { s.Truncated++ })
		if m, err = c.converse(ctx, "tcp", to, q); err == nil && m.Truncated {
			err = fmt.Errorf("%w: truncated over TCP", errSilence)
		}
	}
	if err != nil {
		return outcome{}, err
	}
	return judge(m, q)
}

// converse sends q from a port of its own and returns the first message that answers it. What else comes over UDP may come
// from anybody and is ignored.
func (c *Client) converse(ctx context.Context, network string, to netip.AddrPort, q *dns.Msg) (*dns.Msg, error) {
	var dialer net.Dialer
	socket, err := dialer.DialContext(ctx, network, to.String())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errSilence, err)
	}
	conn := &dns.Conn{Conn: socket, UDPSize: udpSize}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if err := conn.WriteMsg(q); err != nil {
		return nil, fmt.Errorf("%w: %w", errSilence, err)
	}
	for range maxStrays {
		raw, err := conn.ReadMsgHeader(nil)
		var transport net.Error
		if errors.As(err, &transport) || err != nil && (network == "tcp" || ctx.Err() != nil) {
			return nil, fmt.Errorf("%w: %w", errSilence, cause(ctx, err))
		}
		m := new(dns.Msg)
		if err == nil {
			err = m.Unpack(raw)
		}
		// A truncated message may end within a record: the header and the question are enough.
		if (err == nil || m.Truncated) && answers(m, q) {
			return m, nil
		}
		c.count(func(s *Stats) { s.Strays++ })
		if network == "tcp" {
			break
		}
	}
	return nil, fmt.Errorf("%w but messages that are none", errSilence)
}

// maxStrays bounds the messages that are read while waiting for the answer.
const maxStrays = 100

// cause returns why a read ended: the time is over, or what the system said.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
