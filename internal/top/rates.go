package top

import (
	"maps"
	"slices"
	"time"
)

// Rates are what happened in a second, on average since the look before.
type Rates struct {
	Seconds  float64            `json:"seconds"` // between the two looks
	SYNs     float64            `json:"syns"`    // connections begun
	Opened   float64            `json:"opened"`  // handshakes completed
	Cookies  float64            `json:"cookies"` // SYNs answered with a cookie
	Lost     float64            `json:"frames_lost"`
	Segments float64            `json:"segments"` // translated and forwarded
	Verdicts map[string]float64 `json:"verdicts"` // connections that have ended
	ToClient float64            `json:"octets_to_client"`
	ToServer float64            `json:"octets_to_server"`
	// Load is the part of its time in which each shard worked, from 0 to 1.
	Load map[string]float64 `json:"load"`
	// WholeOctets is false if the octets are those of ended connections alone, because there are too many present ones to ask for.
	WholeOctets bool `json:"octets_of_present_connections"`
}

// octets are the sums that only grow.
type octets struct {
	toClient, toServer uint64
	whole              bool // present connections are among them
}

// octetsOf adds up the octets of connections that have ended and, if all are known, of the present ones.
func octetsOf(v *Look) (o octets) {
	for i := range v.Frontends {
		o.toClient += v.Frontends[i].BytesToClient
		o.toServer += v.Frontends[i].BytesToServer
	}
	if o.whole = !v.More; o.whole {
		for i := range v.Connections {
			if c := &v.Connections[i]; !over(c) {
				o.toClient += c.BytesToClient
				o.toServer += c.BytesToServer
			}
		}
	}
	return o
}

// ratesOf compares two looks at the same process. before and now are the octets of the two; what is smaller now, because a connection
// ended between two questions, becomes as large as before.
func ratesOf(a, b *Look, before octets, now *octets) *Rates {
	seconds := b.At.Sub(a.At).Seconds()
	if a.Status.PID != b.Status.PID || !a.Status.Started.Equal(b.Status.Started) || seconds <= 0 {
		return nil
	}
	per := func(x, y uint64) float64 {
		if y < x {
			return 0
		}
		return float64(y-x) / seconds
	}
	count := func(name string) float64 { return per(a.Counters[name], b.Counters[name]) }
	r := &Rates{
		Seconds: seconds, SYNs: count("syns"), Opened: count("opened"), Cookies: count("stateless"), Lost: per(lostFrames(a), lostFrames(b)),
		Segments: count("forwarded"), Verdicts: map[string]float64{}, WholeOctets: now.whole,
		Load: map[string]float64{},
	}
	for shard, busy := range b.Busy {
		if before, ok := a.Busy[shard]; ok {
			r.Load[shard] = min(1, per(uint64(before), uint64(busy))/float64(time.Second))
		}
	}
	old := map[string]map[string]uint64{}
	for i := range a.Frontends {
		old[a.Frontends[i].Name] = a.Frontends[i].Verdicts
	}
	for i := range b.Frontends {
		f := &b.Frontends[i]
		for _, name := range slices.Sorted(maps.Keys(f.Verdicts)) {
			r.Verdicts[name] += per(old[f.Name][name], f.Verdicts[name])
		}
	}
	if before.whole == now.whole {
		now.toClient, now.toServer = max(now.toClient, before.toClient), max(now.toServer, before.toServer)
		r.ToClient, r.ToServer = per(before.toClient, now.toClient), per(before.toServer, now.toServer)
	}
	return r
}

func lostFrames(v *Look) uint64 { return v.Status.Losses.ReceiveQueueFull + v.Status.Losses.NotSent }

// kinds are the verdicts that have a curve of their own; the others share one.
var kinds = []string{"quiet", "early-talker", "hang-up", "other"}

// of returns the rate of a kind.
func (r *Rates) of(kind string) (sum float64) {
	for name, n := range r.Verdicts {
		if name == kind || kind == "other" && !slices.Contains(kinds, name) {
			sum += n
		}
	}
	return sum
}
