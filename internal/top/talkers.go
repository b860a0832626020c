package top

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"hushgate/internal/admin"
)

// Talkers are counted over the last five minutes, in slots of half a minute. Of many clients those with the fewest connections are
// forgotten: what is kept does not grow with the number of clients.
const (
	slotLength = 30 * time.Second
	slots      = 10
	maxTalkers = 1024
)

// tally counts connections that have ended.
type tally struct {
	Ended  uint64 `json:"ended"`
	Quiet  uint64 `json:"quiet"`
	Early  uint64 `json:"early_talker"`
	HangUp uint64 `json:"hang_up"`
	Other  uint64 `json:"other"`
	Octets uint64 `json:"octets"`
}

func (t *tally) count(v *admin.Verdict) {
	t.Ended++
	t.Octets += v.BytesToClient + v.BytesToServer
	switch v.Verdict {
	case "quiet":
		t.Quiet++
	case "early-talker":
		t.Early++
	case "hang-up":
		t.HangUp++
	default:
		t.Other++
	}
}

func (t *tally) add(o *tally) {
	t.Ended += o.Ended
	t.Quiet += o.Quiet
	t.Early += o.Early
	t.HangUp += o.HangUp
	t.Other += o.Other
	t.Octets += o.Octets
}

// Talker is a client, or a network, with its present connections and those that have ended of late.
type Talker struct {
	Client      netip.Prefix `json:"client"`
	Connections int          `json:"connections"`
	tally
	Last time.Time `json:"last,omitzero"` // when a connection of it ended
}

// history has the slots of one client.
type history struct {
	slots [slots]struct {
		number int64
		tally  tally
	}
	last time.Time
}

// talkers counts by client.
type talkers struct {
	clients   map[netip.Prefix]*history
	forgotten uint64
}

// clientOf returns the client that an address belongs to, as the gateway does by default: an IPv4 address, or a /64.
func clientOf(a netip.Addr) netip.Prefix { return within(a, 32, 64) }

// networkOf returns the network that an address belongs to.
func networkOf(a netip.Addr) netip.Prefix { return within(a, 24, 48) }

func within(a netip.Addr, bits4, bits6 int) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := bits6
	if a.Is4() {
		bits = bits4
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

func slotOf(t time.Time) int64 { return t.UnixNano() / int64(slotLength) }

// count takes verdicts that came at a moment.
func (t *talkers) count(list []admin.Verdict, at time.Time) {
	if t.clients == nil {
		t.clients = map[netip.Prefix]*history{}
	}
	now := slotOf(at)
	for i := range list {
		a, err := netip.ParseAddr(list[i].Client)
		if err != nil {
			continue
		}
		c := clientOf(a)
		h := t.clients[c]
		if h == nil {
			if len(t.clients) >= 2*maxTalkers {
				t.prune(now)
			}
			h = &history{}
			t.clients[c] = h
		}
		s := &h.slots[now%slots]
		if s.number != now {
			s.number, s.tally = now, tally{}
		}
		s.tally.count(&list[i])
		h.last = list[i].Time
	}
}

// sum adds up the slots that are not too old.
func (h *history) sum(now int64) (all tally) {
	for i := range h.slots {
		if s := &h.slots[i]; s.number > now-slots && s.number <= now {
			all.add(&s.tally)
		}
	}
	return all
}

// prune forgets clients: those of which nothing is left, and then those with the fewest connections.
func (t *talkers) prune(now int64) {
	type sized struct {
		client netip.Prefix
		ended  uint64
	}
	var list []sized
	for c, h := range t.clients {
		if n := h.sum(now).Ended; n == 0 {
			delete(t.clients, c)
		} else {
			list = append(list, sized{c, n})
		}
	}
	if len(list) <= maxTalkers {
		return
	}
	slices.SortFunc(list, func(a, b sized) int { return cmp.Or(cmp.Compare(b.ended, a.ended), a.client.Compare(b.client)) })
	for _, s := range list[maxTalkers:] {
		delete(t.clients, s.client)
		t.forgotten++
	}
}

// list returns the talkers, with their present connections, by client and in the order of their addresses.
func (t *talkers) list(at time.Time, present []admin.Connection) []Talker {
	all := map[netip.Prefix]*Talker{}
	get := func(c netip.Prefix) *Talker {
		if all[c] == nil {
			all[c] = &Talker{Client: c}
		}
		return all[c]
	}
	now := slotOf(at)
	for c, h := range t.clients {
		if sum := h.sum(now); sum.Ended > 0 {
			v := get(c)
			v.tally, v.Last = sum, h.last
		}
	}
	for i := range present {
		if a, err := netip.ParseAddrPort(present[i].Client); err == nil && !over(&present[i]) {
			v := get(clientOf(a.Addr()))
			v.Connections++
			v.Octets += present[i].BytesToClient + present[i].BytesToServer
		}
	}
	return sorted(all)
}

// byNetwork adds up talkers of one network.
func byNetwork(list []Talker) []Talker {
	all := map[netip.Prefix]*Talker{}
	for i := range list {
		n := networkOf(list[i].Client.Addr())
		v := all[n]
		if v == nil {
			v = &Talker{Client: n}
			all[n] = v
		}
		v.Connections += list[i].Connections
		v.add(&list[i].tally)
		if list[i].Last.After(v.Last) {
			v.Last = list[i].Last
		}
	}
	return sorted(all)
}

func sorted(all map[netip.Prefix]*Talker) []Talker {
	list := make([]Talker, 0, len(all))
	for _, v := range all {
		list = append(list, *v)
	}
	slices.SortFunc(list, func(a, b Talker) int { return a.Client.Compare(b.Client) })
	return list
}
