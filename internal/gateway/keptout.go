package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"hushgate/dataplane"
	"hushgate/internal/firewall"
	"hushgate/internal/kernelset"
	"hushgate/internal/mono"
	"hushgate/internal/plan"
	"hushgate/internal/policy"
)

// keptOut has the kernel drop the SYNs of offenders. A shard only names them: changes of the set, which wait for the kernel, are made by
// a goroutine of their own, many at a time. As long as an offender is not in the set, its shard drops its connections.
type keptOut struct {
	*gateway
	turn  chan struct{} // who has sent to it may change the set
	asked chan struct{} // the same for its counters
	open  func(kernelset.Config) (kernelSet, error)
	wipe  func() (bool, error)

	mu      sync.Mutex
	set     kernelSet // nil while the kernel keeps nobody out
	wrong   bool      // it is not what the plan says
	pending map[policy.Network]mono.Time
	behind  bool          // there was no room in pending
	news    chan struct{} // there is something in pending
}

// kernelSet is what is used of a kernelset.Set.
type kernelSet interface {
	AddAll([]kernelset.Entry) error
	Remove(netip.Prefix) (bool, error)
	List() []kernelset.Entry
	Update(kernelset.Config) error
	Repair() (bool, error)
	Stats() (kernelset.Stats, error)
	Close() error
	Leave() error
}

// maxPending bounds the offenders that wait to be put into the set. If there are more, all are compared with it.
const maxPending = 1 << 16

func newKeptOut(g *gateway) *keptOut {
	return &keptOut{
		gateway: g, turn: make(chan struct{}, 1), asked: make(chan struct{}, 1), pending: map[policy.Network]mono.Time{}, news: make(chan struct{}, 1),
		open: func(c kernelset.Config) (kernelSet, error) { return kernelset.New(c) }, wipe: kernelset.Clear,
	}
}

// within calls do while nothing else changes the set. It does not after another process has taken over.
func (k *keptOut) within(ctx context.Context, do func() error) error {
	select {
	case k.turn <- struct{}{}:
	case <-ctx.Done():
		return errEnding
	}
	defer func() { <-k.turn }()
	k.gateway.mu.Lock()
	given := k.given
	k.gateway.mu.Unlock()
	if given {
		return errEnding
	}
	return do()
}

// now returns the set, or nil.
func (k *keptOut) now() kernelSet {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.set
}

// inForce returns the plan in force.
func (k *keptOut) inForce() *plan.Plan {
	k.gateway.mu.Lock()
	defer k.gateway.mu.Unlock()
	return k.plan
}

func (k *keptOut) put(s kernelSet) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.set = s
}

// note remembers an offender. It never waits.
func (k *keptOut) note(e *dataplane.Event) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.set == nil && (len(k.loops) == 1 || e.Offender.Whole()) { // its shard knows it, and nobody else needs to
		return
	}
	if _, known := k.pending[e.Offender]; !known && len(k.pending) >= maxPending {
		k.behind = true
	} else {
		k.pending[e.Offender] = e.Until
	}
	select {
	case k.news <- struct{}{}:
	default:
	}
}

// begin is called when the shards know their offenders, before they serve.
func (k *keptOut) begin() {
	if !k.plan.Managed {
		return
	}
	_ = k.within(context.Background(), func() error { // nothing else runs yet
		k.follow(k.plan, atOnce)
		return nil
	})
}

// reloaded puts a new plan in force.
func (k *keptOut) reloaded(ctx context.Context) {
	if !k.plan.Managed {
		return
	}
	_ = k.within(ctx, func() error { // if the process ends, so does the set
		k.follow(k.plan, between(ctx))
		return nil
	})
}

// follow makes the set what a plan says, or removes it. A kernel that has none is no reason not to serve.
func (k *keptOut) follow(p *plan.Plan, do order) {
	var err error
	set := k.now()
	switch {
	case p.KeptOut == nil && set == nil: // a process before may have left one
		_, err = k.wipe()
	case p.KeptOut == nil:
		k.put(nil)
		err = set.Close()
	default:
		k.establish(p, do)
		return
	}
	if err != nil {
		k.log.Warn("the kernel's set of offenders was not removed", "err", err)
	}
}

// establish opens the set, or changes where it drops, and has it agree with the shards.
func (k *keptOut) establish(p *plan.Plan, do order) {
	set := k.now()
	var err error
	if set != nil {
		err = set.Update(*p.KeptOut)
	} else if set, err = k.open(*p.KeptOut); err == nil {
		k.put(set)
	}
	if err == nil {
		err = k.agree(do)
	}
	if k.wrong = err != nil; k.wrong {
		k.trouble(err)
	}
}

// trouble reports that the set is not what it should be: at once, and then once a minute.
func (k *keptOut) trouble(err error) {
	if err == nil || errors.Is(err, errEnding) {
		return
	}
	k.lines.often.note(topic{level: slog.LevelWarn, message: notKeptOut}, "times", []any{"err", err})
}

const notKeptOut = "offenders are not dropped by the kernel, or not all: hushgate drops their connections itself"

// agree makes the shards and the set know the same offenders: what is in the set alone was left by a process that crashed before it saved
// them. Whom a rule favours, or who has a pass, is taken out.
func (k *keptOut) agree(do order) error {
	set, table := k.now(), k.inForce().Tables.Shard.Policy
	known, ok := k.offendersKnown(do)
	if !ok {
		return errEnding
	}
	var out []netip.Prefix
	for _, e := range set.List() {
		n := networkOf(e.Prefix)
		if table.Client(n.Addr) != n || table.Favours(n) {
			out = append(out, e.Prefix)
		} else if o := known[n]; e.Left > o.Left {
			known[n] = policy.Offender{Addr: n.Addr, Bits: n.Bits, Left: e.Left}
		}
	}
	var list []policy.Offender
	for _, o := range known {
		if o.Left > 0 {
			list = append(list, o)
		}
	}
	late, err := k.keep(do, list)
	for _, p := range append(out, late...) {
		_, failed := set.Remove(p)
		err = errors.Join(err, failed)
	}
	return err
}

// keep makes clients offenders in all their shards, and puts those into the set that may be there. It returns the others.
func (k *keptOut) keep(do order, list []policy.Offender) (others []netip.Prefix, err error) {
	passes, ok := k.tellOffenders(do, list, false)
	if !ok {
		return nil, errEnding
	}
	table := k.inForce().Tables.Shard.Policy
	var entries []kernelset.Entry
	for i := range list {
		n := policy.Network{Addr: list[i].Addr, Bits: list[i].Bits}
		if passes[n] || table.Favours(n) {
			others = append(others, prefixOf(n))
			continue
		}
		entries = append(entries, kernelset.Entry{Prefix: prefixOf(n), Left: min(list[i].Left, kernelset.MaxTime)})
	}
	return others, k.add(entries)
}

// add puts clients into the set, if there is one.
func (k *keptOut) add(list []kernelset.Entry) error {
	set := k.now()
	if set == nil || len(list) == 0 {
		return nil
	}
	return set.AddAll(list)
}

// remove takes a client out of the set.
func (k *keptOut) remove(p netip.Prefix) (found bool, err error) {
	if set := k.now(); set != nil {
		return set.Remove(p)
	}
	return false, nil
}

// list returns what is in the set.
func (k *keptOut) list() []kernelset.Entry {
	if set := k.now(); set != nil {
		return set.List()
	}
	return nil
}

// run puts offenders into the set as shards name them, and repairs the set when others change it.
func (k *keptOut) run(ctx context.Context) {
	changed := k.listen(ctx)
	tick := time.NewTicker(verifyEvery)
	defer tick.Stop()
	for {
		by := ""
		select {
		case <-ctx.Done():
			return
		case <-k.news:
			k.trouble(k.within(ctx, func() error { return k.takeIn(between(ctx)) }))
			continue
		case by = <-changed:
		case <-tick.C:
		}
		began := time.Now()
		k.trouble(k.within(ctx, func() error { return k.mend(between(ctx), by) }))
		select { // so that a storm of changes does not keep this machine busy, as with the rules
		case <-ctx.Done():
		case <-time.After(min(max(leastPause, pauseFactor*time.Since(began)), verifyEvery)):
		}
	}
}

// takeIn puts those into the set that wait.
func (k *keptOut) takeIn(do order) error {
	k.mu.Lock()
	pending, behind := k.pending, k.behind
	k.pending, k.behind = map[policy.Network]mono.Time{}, false
	k.mu.Unlock()
	if behind && k.now() != nil {
		return k.agree(do)
	}
	now := k.clock.Now()
	var list []policy.Offender
	for n, until := range pending {
		if left := until.Sub(now); left > 0 {
			list = append(list, policy.Offender{Addr: n.Addr, Bits: n.Bits, Left: left})
		}
	}
	_, err := k.keep(do, list)
	return err
}

// mend repairs the set. If there should be another one, it tries again to make it.
func (k *keptOut) mend(do order, by string) error {
	p, set := k.inForce(), k.now()
	switch {
	case p.KeptOut != nil && (set == nil || k.wrong):
		if by == "" { // not at each change of others: a kernel that has no nftables for interfaces will not get it
			k.establish(p, do)
		}
		return nil
	case set == nil:
		return nil
	}
	repaired, err := set.Repair()
	if err == nil && repaired {
		k.lines.often.note(topic{level: slog.LevelWarn, message: setRepaired}, "times", []any{"changed_by", by})
	}
	return err
}

const setRepaired = "the kernel's set of offenders was changed or missing, and has been made again"

// listen reports changes of the table in nftables, by the name of the program that made them. Without it they are noticed by regular
// checks.
func (k *keptOut) listen(ctx context.Context) <-chan string {
	changed := make(chan string, 1)
	c, err := firewall.ListenTo(kernelset.TableName)
	if err != nil {
		return changed
	}
	follow(ctx, k.log, c, changed)
	return changed
}

// end removes the set, unless another process has it. The loops have ended.
func (k *keptOut) end() error {
	set := k.now()
	if set == nil {
		return nil
	}
	k.put(nil)
	if k.given || k.successor != nil {
		return set.Leave()
	}
	if err := set.Close(); err != nil {
		return fmt.Errorf("remove the kernel's set of offenders: %w (`hushgate fail --as off` removes it)", err)
	}
	return nil
}

// stats returns the counters of the set; nil if there is none. It waits for the kernel, and for changes of the set that do, no longer
// than ctx.
func (k *keptOut) stats(ctx context.Context) (*kernelset.Stats, error) {
	set := k.now()
	if set == nil {
		return nil, nil
	}
	select { // one at a time: nobody is left waiting behind those who gave up
	case k.asked <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	type answer struct {
		stats kernelset.Stats
		err   error
	}
	answers := make(chan answer, 1)
	go func() {
		s, err := set.Stats()
		<-k.asked
		answers <- answer{s, err}
	}()
	select {
	case a := <-answers:
		return &a.stats, a.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
