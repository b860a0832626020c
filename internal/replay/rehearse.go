package replay

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"hushgate/dataplane"
	"hushgate/internal/capture"
	"hushgate/internal/passfile"
	"hushgate/internal/plan"
	"hushgate/internal/wire"
)

// rehearsal applies a policy to a capture: it lets trials of the policy, and of the same policy with other durations of
// passes, treat the captured clients.
type rehearsal struct {
	file    *policyFile
	saved   string // the file of passes to begin with; "" for none
	trials  []*variant
	deeds   *deeds                           // what the first trial did
	tap     func(time.Time, []byte)          // is shown what passes between clients and gateway in the first trial; nil for nobody
	pending []*conn                          // that have ended, and were not handled yet
	numbers map[endpoint]dataplane.ServiceID // of services
	strange map[netip.AddrPort]int           // connections to services of no frontend
	begin   time.Time
	now     time.Time

	callers, serverOnly, cutSYNs, fragments, backwards int
	many                                               int // connections to services beyond maxStrange
}

// variant is a trial with one duration of passes.
type variant struct {
	*trial
	file   *policyFile
	tables *plan.Tables
	share  *share
}

// whatIf are the durations of passes that are compared with that of the file.
var whatIf = []time.Duration{0, time.Hour, 24 * time.Hour, 7 * 24 * time.Hour}

// jitter is how much earlier than the one before it a packet may be: some captures of several interfaces are not in order.
const jitter = time.Second

// maxStrange bounds how many services are named that no bind line has.
const maxStrange = 1024

func newRehearsal(q *Request, file *policyFile, report func(*deed)) *rehearsal {
	r := &rehearsal{
		file: file, saved: q.Passes, numbers: map[endpoint]dataplane.ServiceID{}, strange: map[netip.AddrPort]int{},
		deeds: newDeeds(report),
	}
	r.trials = append(r.trials, &variant{file: file})
	for _, ttl := range whatIf {
		if ttl != file.cfg.Global.Passes.TTL {
			r.trials = append(r.trials, &variant{file: file.withPassTTL(ttl)})
		}
	}
	for i, v := range r.trials {
		v.share = newShare(v.file.cfg.Global.Passes.TTL, i == 0, v.file.cfg.Global.PrefixLength)
	}
	return r
}

// clock lets everything happen in the trials that comes before a segment. What the segment tells is not known yet.
func (r *rehearsal) clock(at time.Time) {
	if at.IsZero() {
		return
	}
	if r.begin.IsZero() {
		r.begin, r.now = at, at
	}
	if at.Add(jitter).Before(r.now) {
		r.backwards++
	}
	if at.After(r.now) {
		r.now = at
	}
	for _, t := range r.trials {
		if t.trial != nil {
			t.to(r.now)
		}
	}
}

func (r *rehearsal) segment(p *capture.Packet, f *capture.Frame, seg *wire.Segment, v view) error {
	if p.Time.IsZero() {
		return errors.New("--policy: a packet without a time (pcapng's simple packet blocks): no delay can run out")
	}
	r.settle(v.conn)
	if v.fromClient && v.accepted && f.Fragments && !seg.Src.Is4() {
		r.fragments++ // the gateway drops them
	} else if v.fromClient && v.accepted {
		if err := r.client(seg, v.conn); err != nil {
			return err
		}
	}
	r.follow(v.conn)
	r.settle(nil)
	return nil
}

func (r *rehearsal) ended(c *Result) { r.pending = append(r.pending, c.conn) }

// settle handles the ends of connections, except that of the connection whose last segment follows.
func (r *rehearsal) settle(except *conn) {
	var later []*conn
	for _, c := range r.pending {
		if c == except {
			later = append(later, c)
			continue
		}
		if c.client.segments == 0 && c.client.known {
			r.serverOnly++
		}
		if c.caller != nil {
			r.over(c.caller, c.now.at)
		}
	}
	r.pending = later
}

// client passes a client's segment to the trials.
func (r *rehearsal) client(seg *wire.Segment, c *conn) error {
	if c.caller == nil {
		if seg.Flags&(wire.SYN|wire.ACK) != wire.SYN || c.told {
			return nil
		}
		return r.open(seg, c)
	}
	k := c.caller
	if !k.blind() {
		r.complete(k)
		return nil
	}
	if seg.Flags.Has(wire.SYN) { // again
		return nil
	}
	k.window = seg.Wnd
	if seg.Options.Timestamps {
		k.tsval = seg.Options.TSval
	}
	text := seg.Payload
	if cut := bytes.TrimRight(text, "\x00"); c.cut && len(cut) > 0 { // the rest was not captured
		text = cut
	}
	for i, t := range r.trials {
		t.pass(k.actors[i], seg, text)
	}
	return nil
}

// complete ends the handshake of a client whose last ACK of it was not captured: it has seen the banner.
func (r *rehearsal) complete(k *caller) {
	for i, t := range r.trials {
		if a := k.actors[i]; a.opened && !a.decided && !a.told && !a.gone && k.conn.ready.seen() {
			t.send(a, a.acked, wire.ACK, nil)
			t.look(a)
		}
	}
}

// open begins a connection with the client's SYN.
func (r *rehearsal) open(seg *wire.Segment, c *conn) error {
	service, err := r.service(seg)
	if err != nil || service == nil {
		return err
	}
	if c.cut {
		r.cutSYNs++
	}
	r.callers++
	k := &caller{conn: c, service: *service, window: seg.Wnd, tsval: seg.Options.TSval}
	c.caller = k
	for _, t := range r.trials {
		k.actors = append(k.actors, t.join(k))
	}
	for i, t := range r.trials {
		t.syn(k.actors[i], seg)
	}
	return nil
}

// service returns the number of the service that a SYN is for, nil if it belongs to no frontend.
func (r *rehearsal) service(seg *wire.Segment) (*dataplane.ServiceID, error) {
	at := endpoint{seg.Dst, seg.DstPort}
	if id, known := r.numbers[at]; known {
		return &id, nil
	}
	a := netip.AddrPortFrom(seg.Dst.Netip(), seg.DstPort)
	if r.file.binding(a) || r.file.spare >= 0 {
		if len(r.numbers) == MaxServices {
			return nil, fmt.Errorf("--policy: more than %d services, the next is %v: choose some by --net", MaxServices, a)
		}
		id, err := r.addService(a)
		return &id, err
	}
	if _, known := r.strange[a]; known || len(r.strange) < maxStrange {
		r.strange[a]++
	} else {
		r.many++
	}
	return nil, nil
}

// addService adds a service to all trials; the first one makes them begin.
func (r *rehearsal) addService(a netip.AddrPort) (id dataplane.ServiceID, err error) {
	for _, v := range r.trials {
		if err := v.file.serve(a); err != nil {
			return 0, err
		}
		if v.tables, err = v.file.tables(v.tables); err != nil {
			return 0, err
		}
		if v.trial == nil {
			if err := r.start(v); err != nil {
				return 0, err
			}
		} else {
			v.shard.Apply(dataplane.Reload{Config: &v.tables.Shard})
		}
	}
	id, _ = serviceOf(r.trials[0].tables, wire.AddrFrom(a.Addr()), a.Port())
	r.numbers[endpoint{wire.AddrFrom(a.Addr()), a.Port()}] = id
	return id, nil
}

// start begins a trial.
func (r *rehearsal) start(v *variant) error {
	v.trial = newTrial(&v.tables.Shard, func(e *dataplane.Event, a *actor) {
		if v == r.trials[0] {
			r.deeds.event(e, a, v)
		}
		v.share.event(e)
	})
	if v == r.trials[0] && r.tap != nil {
		v.tap = func(frame []byte) { r.tap(v.now, frame) }
	}
	v.to(r.now)
	if r.saved == "" {
		return nil
	}
	taken, err := restore(v, r.saved, r.begin)
	if v == r.trials[0] {
		r.deeds.restored = taken
	}
	return err
}

// restore gives a trial the passes and offenders of a file, as they were at a time.
func restore(v *variant, file string, at time.Time) (taken int, err error) {
	saved, err := passfile.Look(file, at)
	if err != nil {
		return 0, fmt.Errorf("--passes: %w", err)
	}
	passes, offenders := saved.Earlier()
	v.shard.Apply(dataplane.RestoreMemory{
		Passes: passes, Offenders: offenders, Now: v.mono(v.now), Answer: func(passes, _ int) { taken = passes },
	})
	return taken, nil
}

// follow handles what a segment means for the trials of its connection: the captured banner, and the client's end.
func (r *rehearsal) follow(c *conn) {
	k := c.caller
	if k == nil {
		return
	}
	if !k.over && !k.blind() && (c.client.left.seen() || c.server.left.seen()) {
		r.over(k, c.now.at)
	}
	if k.answered() {
		for i, t := range r.trials {
			t.greet(k.actors[i])
		}
	}
}

// over tells the trials that nothing more will be known of a client.
func (r *rehearsal) over(k *caller, until time.Time) {
	if k.over {
		return
	}
	k.over, k.until = true, until
	for i, t := range r.trials {
		a := k.actors[i]
		if !a.decided && !a.told { // the handshake is not complete
			a.gone, a.told = true, true
			t.dismiss(a)
			continue
		}
		t.greet(a)
		t.schedule(a)
		t.dismiss(a)
	}
}

// maxIdle is how long after the end of the capture and the longest delay a trial goes on.
const maxIdle = time.Minute

func (r *rehearsal) finish() ([]remark, error) {
	r.settle(nil)
	for _, v := range r.trials {
		if v.trial == nil {
			continue
		}
		// Nobody comes any more. All that is left are delays, and connections that are silent: the longest time of either begins now.
		for until := r.now.Add(longest(v.tables.Shard.Policy) + silence(v.tables.Shard.Frontends) + maxIdle); v.now.Before(until) && !v.idle(); {
			v.to(v.now.Add(time.Second))
		}
	}
	if v := r.trials[0]; v.trial != nil {
		stats := v.shard.Stats()
		r.deeds.granted, r.deeds.lost = int(stats.PassesGranted), int(stats.PassesLost)
	}
	if err := r.unserved(); err != nil {
		return nil, err
	}
	return r.remarks(), nil
}

// silence is the longest time for which a connection may be silent before the gateway ends it.
func silence(all []dataplane.Frontend) (most time.Duration) {
	const usual = 2*time.Hour + 4*time.Minute // see dataplane.Times
	for i := range all {
		t := &all[i].Times
		most = max(most, cmp.Or(t.Idle, usual), t.ClientFIN, t.ServerFIN)
	}
	return most
}

// unserved is the error for a capture none of whose services belongs to a frontend.
func (r *rehearsal) unserved() error {
	if r.callers > 0 || len(r.strange) == 0 {
		return nil
	}
	return fmt.Errorf("--policy %s: no connection of the capture is to an address of a bind line (%s); the capture has %s: "+
		"--frontend NAME treats these as that frontend's", r.file.cfg.File, r.file.binds(), r.strangers())
}

// strangers names the services that belong to no frontend, those with most connections first.
func (r *rehearsal) strangers() string {
	const shown = 5
	list := make([]netip.AddrPort, 0, len(r.strange))
	for a := range r.strange {
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b netip.AddrPort) int {
		if d := r.strange[b] - r.strange[a]; d != 0 {
			return d
		}
		return a.Compare(b)
	})
	words := make([]string, 0, shown+1)
	for _, a := range list[:min(shown, len(list))] {
		words = append(words, fmt.Sprintf("%v (%d connections)", a, r.strange[a]))
	}
	if more := len(list) - shown; more > 0 {
		words = append(words, fmt.Sprintf("%d more", more))
	}
	return strings.Join(words, ", ")
}

func (r *rehearsal) remarks() (list []remark) {
	strange := r.many
	for _, n := range r.strange {
		strange += n
	}
	add := func(n int, what string) {
		if n > 0 {
			list = append(list, remark{n, what})
		}
	}
	if strange > 0 {
		add(strange, "connections left out because no bind line has their service's address: "+r.strangers()+" (--frontend NAME treats them as that frontend's)")
	}
	add(r.serverOnly, "connections left out of which the capture has only the server's side")
	add(r.cutSYNs, "SYNs that are truncated: rules that ask for a signature take theirs for another")
	add(r.backwards, "packets earlier than one before them, by more than a second: the clock stood still for them. Give the files in the order of their times")
	add(r.fragments, "packets from clients that the gateway drops: IPv6 fragments")
	v := r.trials[0]
	if v.trial == nil {
		return list
	}
	drops := v.shard.Stats().Dropped
	for i, n := range drops {
		switch why := dataplane.Drop(i); why {
		case dataplane.DropUnknown, dataplane.DropSilenced: // segments of connections that have ended
		default:
			add(int(n), fmt.Sprintf("packets from clients that the gateway drops (%v): %s", why, why.Help()))
		}
	}
	if asksDNS(v.tables.Shard.Policy) {
		list = append(list, remark{r.callers, "connections for which no DNS list was asked: a replay asks nobody, and takes them for lists that do not answer"})
	}
	return list
}
