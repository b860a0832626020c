package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"hushgate/dataplane"
	"hushgate/dataplane/port"
	"hushgate/internal/handover"
	"hushgate/internal/instance"
	"hushgate/internal/mono"
	"hushgate/internal/netenv"
	"hushgate/internal/plan"
	"hushgate/internal/wire"
)

// successor is the state of a process that takes over, until it has done so. It is nil in a process that starts on its own.
type successor struct {
	socket  *net.UnixConn
	conn    *handover.Conn
	release func()
	head    head
	old     *plan.Tables
	used    plan.Uses
	configs []*dataplane.Config // configurations of the shards
	sockets []*port.Inherited
	apis    map[string]net.Listener // of the control API, by path; those that nobody has taken are removed
	memory  *os.File                // what the other process remembers of connections that have ended; nil if it sends none
	state   state
	count   int // number of connections

	move func(*dataplane.FlowState) // prepares a connection for another shard than it was in; nil if all stay where they are
}

// askForAll starts the conversation with the running gateway. It returns nil if there is none.
func (g *gateway) askForAll(ctx context.Context) (h *successor, err error) {
	socket, err := instance.Begin(ctx, takeOverCommand)
	if errors.Is(err, instance.ErrNone) {
		g.log.Info("no hushgate runs here to take over from: ordinary start")
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("take over: %w", err)
	}
	h = &successor{socket: socket}
	h.conn, h.release = handover.New(ctx, socket)
	if err := h.listen(g.cfg.Global.Firewall.Manage); err != nil {
		return nil, errors.Join(fmt.Errorf("take over: %w", err), h.end(err))
	}
	g.adoptHead(&h.head)
	g.adoptPrefix(h)
	g.log.Info("taking over", "from", instance.PID(socket))
	return h, nil
}

// adoptHead takes over what must be the same before anything is opened: the clock, and how clients are distributed among
// shards.
func (g *gateway) adoptHead(h *head) {
	g.clock = mono.NewClockFrom(h.Clock.Now.Add(time.Duration(monotonic() - h.Clock.Monotonic)))
	g.delays, g.shut = h.Delays, h.Shut
	if h.Spread != [2]uint64{} { // an older hushgate has none
		g.spread = h.Spread
	}
}

// listen receives what the process must know to get ready. managed says whether this process manages firewall rules.
func (h *successor) listen(managed bool) (err error) {
	if err := h.conn.Within(readyPatience); err != nil {
		return err
	}
	if err := h.conn.SendJSON(handover.Hello, newHello(), nil); err != nil {
		return err
	}
	if err := h.conn.ReceiveJSON(handover.Head, &h.head); err != nil {
		return err
	}
	if h.head.Version != handover.Version {
		return fmt.Errorf("the running hushgate hands over in version %d, this one takes over in version %d", h.head.Version, handover.Version)
	}
	if _, err := dataplane.NewRecordReader(h.head.Records); err != nil {
		return err
	}
	if h.head.Clock.Now < 0 || h.head.Clock.Monotonic > monotonic() {
		return errors.New("the running hushgate's clock is ahead of this one's")
	}
	if h.head.Managed && !managed {
		return errors.New("firewall.manage is off, so the firewall rules of the running hushgate would be left unmanaged: restart hushgate instead")
	}
	h.old, h.used, err = h.head.Tables.Tables()
	return err
}

// end ends the conversation. why is the reason if there was no takeover.
func (h *successor) end(why error) error {
	if h == nil {
		return nil
	}
	if why != nil {
		h.conn.Refuse(why)
	}
	h.release()
	errs := []error{h.socket.Close()}
	if h.memory != nil {
		errs = append(errs, h.memory.Close())
	}
	for _, l := range h.apis {
		errs = append(errs, l.Close())
	}
	for _, s := range h.sockets {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// extend numbers a plan like the configuration that connections refer to, as a reload does.
func (h *successor) extend(p *plan.Plan) error {
	if h == nil {
		return nil
	}
	return p.Inherit(h.old, h.used)
}

// note records the configuration of a shard that will continue from another one.
func (h *successor) note(cfg *dataplane.Config) {
	if h != nil {
		h.configs = append(h.configs, cfg)
	}
}

// takeOver stops the other process and continues in its place. If an error occurs before the other process has sent "yours",
// that process continues as before.
func (g *gateway) takeOver() error {
	h := g.successor
	err := g.receive(h)
	if err == nil {
		err = h.take()
	}
	if err != nil {
		return fmt.Errorf("take over: %w", err)
	}
	g.successor = nil // this process has everything from here on
	_ = h.leaveSockets()
	if err := errors.Join(g.lock.Claim(), g.goOn(h)); err != nil {
		return errors.Join(fmt.Errorf("continue after a takeover: %w", err), h.end(nil))
	}
	if h.state.Passes == nil { // only now: it may take longer than the other process waits
		g.readPasses()
	}
	g.log.Info("taken over", "connections", h.count, "shards", len(h.state.Shards),
		"stood_still", g.clock.Now().Sub(h.state.Stopped).Round(time.Microsecond))
	var rest sync.WaitGroup
	if from := h.memory; from != nil {
		h.memory = nil
		rest.Go(func() { g.inheritBygone(from) })
	}
	rest.Go(func() { // closing a packet socket takes the kernel some time, and connections wait
		if err := h.end(nil); err != nil {
			g.log.Debug("closing the old packet sockets failed", "err", err)
		}
	})
	go func() {
		rest.Wait()
		debug.FreeOSMemory() // memory that the conversation used
	}()
	return nil
}

// receive receives all that the other process knows, and changes nothing outside this process.
func (g *gateway) receive(h *successor) error {
	if err := h.conn.Within(readyPatience); err != nil {
		return err
	}
	if err := h.conn.Send(handover.Ready, nil, nil); err != nil {
		return err
	}
	if err := h.conn.ReceiveJSON(handover.State, &h.state); err != nil {
		return err
	}
	if err := h.state.check(); err != nil {
		return err
	}
	if err := g.resume(h); err != nil {
		return err
	}
	if err := g.receiveFiles(h); err != nil {
		return err
	}
	if err := g.openSockets(h.apis); err != nil {
		return err
	}
	spread := g.spreading()
	n, err := h.conn.ReadFlows(h.head.Records, func(f *dataplane.FlowState) error {
		if h.move != nil {
			h.move(f)
		}
		return g.loops[spread.Shard(f.Client, len(g.loops))].Shard.Restore(f)
	})
	if err != nil {
		return err
	}
	h.count = n
	for _, l := range g.loops {
		l.Shard.Settle()
	}
	if h.state.Passes != nil {
		g.inheritMemory(h.state.Passes)
	}
	g.tally.add(h.state.Tally)
	if h.state.Cleared != nil { // an older hushgate has none
		g.cleared = h.state.Cleared
	}
	g.state.restore(h.old, h.state.Servers)
	g.state.set(h.old, g.plan.Tables)
	return nil
}

// check finds what can be wrong in a state apart from its shards, while the other process can still continue.
func (v *state) check() error {
	for _, s := range v.Sysctls {
		if !filepath.IsLocal(s.Path) {
			return fmt.Errorf("%q is not the path of a sysctl", s.Path)
		}
	}
	return nil
}

// resume gives each loop a shard that continues from an old one. There may be more or fewer old ones. What all shards share,
// such as secrets, each takes from its own old shard.
func (g *gateway) resume(h *successor) error {
	if len(h.state.Shards) == 0 {
		return errors.New("the running hushgate sent no shards")
	}
	var now, flood mono.Time
	for _, v := range h.state.Shards {
		if v == nil {
			return errors.New("the running hushgate sent an empty shard")
		}
		now, flood = max(now, v.Now), max(flood, v.Flood)
	}
	moved := len(g.loops) != len(h.state.Shards) || !g.prefix.Same(h.head.Prefix)
	if moved {
		h.move = h.mover()
	}
	for i, l := range g.loops {
		v := *h.state.Shards[i%len(h.state.Shards)]
		v.Now, v.Flood = now, flood
		shard, err := dataplane.Resume(h.configs[i], &v)
		if err != nil {
			return err
		}
		l.Shard = shard
		if !moved {
			continue
		}
		for _, other := range h.state.Shards { // its clients may belong to this shard now
			if err := shard.Remember(other.UsedCookies); err != nil {
				return err
			}
		}
	}
	for i, v := range h.state.Shards {
		g.loops[i%len(g.loops)].Shard.Count(v)
	}
	return nil
}

// mover returns what prepares connections for other shards. The shard that a connection was in follows from its client's address.
func (h *successor) mover() func(*dataplane.FlowState) {
	if h.head.Spread == [2]uint64{} {
		return nil // an older hushgate that does not tell how it distributed them
	}
	was, renumber := port.NewSpread(h.head.Spread, h.head.Prefix), dataplane.ShareTreatments(h.state.Shards)
	return func(f *dataplane.FlowState) { renumber(was.Shard(f.Client, len(h.state.Shards)), f) }
}

// receiveFiles receives the packet sockets and the lock.
func (g *gateway) receiveFiles(h *successor) error {
	for {
		_, body, file, err := h.conn.Receive(handover.File)
		if err != nil {
			return err
		}
		if file == nil {
			return errors.New("the running hushgate announced a file and sent none")
		}
		var note fileNote
		if err := handover.Decode(body, &note); err != nil {
			return errors.Join(err, file.Close())
		}
		switch {
		case note.Socket != "":
			if err := h.inherit(note.Socket, file); err != nil {
				return err
			}
			continue
		case note.Memory:
			h.memory = file
			continue
		case note.Interface == "":
			return g.adopt(file)
		}
		s, err := port.Inherit(file, note.Interface, note.Side)
		if err != nil {
			return err
		}
		h.sockets = append(h.sockets, s)
	}
}

// inherit takes a socket of the control API.
func (h *successor) inherit(path string, file *os.File) error {
	l, err := net.FileListener(file)
	if err != nil {
		return errors.Join(fmt.Errorf("take the API's socket %s: %w", path, err), file.Close())
	}
	if h.apis == nil {
		h.apis = map[string]net.Listener{}
	}
	h.apis[path] = l
	return file.Close()
}

func (g *gateway) adopt(lock *os.File) (err error) {
	g.lock, err = instance.Adopt(lock)
	return errors.Join(err, lock.Close())
}

// take makes the other process give up its connections. It waits as long as that process exists. Giving up before the answer
// could leave the connections unowned.
func (h *successor) take() error {
	if err := errors.Join(h.conn.Commit(), h.conn.Within(24*time.Hour)); err != nil {
		return err
	}
	if err := h.conn.Send(handover.Take, nil, nil); err != nil {
		return err
	}
	_, _, _, err := h.conn.Receive(handover.Yours)
	return err
}

// goOn puts our sockets in the place of the other process's. It first reads the frames that the kernel has queued there
// since that process stopped. For a moment both sockets receive; frames from that moment are read from the old sockets and
// left out when they come again.
func (g *gateway) goOn(h *successor) error {
	for _, s := range h.state.Sysctls {
		g.restore = append(g.restore, sysctl{netenv.Sysctl{Path: s.Path}, s.Was})
	}
	for i, p := range h.state.Parked {
		if len(p.Frame) < wire.PacketAt {
			continue
		}
		g.loops[i%len(g.loops)].Inherit(p)
	}
	r := &reader{g: g, dec: wire.NewDecoder(), filters: map[wire.Side]port.Filter{}}
	for _, s := range h.sockets {
		r.filters[s.Side()] = g.plan.Tables.Filter(s.Side(), g.spreading())
	}
	if err := r.readAll(h.sockets); err != nil {
		return err
	}
	if err := g.setFilters(g.plan.Tables); err != nil {
		return err
	}
	for _, s := range h.sockets {
		if err := s.Deafen(); err != nil {
			g.log.Debug("take over", "err", err) // its interface is gone
		}
	}
	now := time.Now()
	for _, w := range g.watched {
		for _, s := range w.List {
			s.ExpectEchoes(now)
		}
	}
	return r.readAll(h.sockets)
}

// reader passes the frames of inherited sockets to the loops, which have not started yet.
type reader struct {
	g       *gateway
	dec     *wire.Decoder
	filters map[wire.Side]port.Filter
	frames  [port.Batch][]byte
}

func (r *reader) readAll(sockets []*port.Inherited) error {
	for _, s := range sockets {
		for {
			n, err := s.Read(r.frames[:])
			if errors.Is(err, port.ErrGone) {
				n, err = 0, nil
			}
			if err != nil {
				return err
			}
			if n == 0 {
				break
			}
			if err := r.give(s, r.frames[:n]); err != nil {
				return err
			}
		}
	}
	return nil
}

// give passes frames to their shards, before they are overwritten.
func (r *reader) give(from *port.Inherited, frames [][]byte) error {
	now := r.g.clock.Now()
	for _, f := range frames {
		one, all := r.shardOf(from, f)
		for i, l := range r.g.loops {
			if i != one && !all {
				continue
			}
			if s := r.g.watched[i].Named(from.Name()); s != nil {
				s.NoteEcho(f)
			}
			frame := f
			if all {
				frame = append([]byte(nil), f...) // each shard may change it
			}
			l.Shard.Input(now, from.Side(), frame)
		}
	}
	for _, l := range r.g.loops {
		if err := l.Drain(now); err != nil {
			return err
		}
	}
	return nil
}

// shardOf returns the shard of a frame. A frame that is no TCP segment, such as an ICMP error, goes to all shards: one of
// them knows the connection.
func (r *reader) shardOf(from *port.Inherited, frame []byte) (one int, all bool) {
	if r.dec.Decode(frame) != wire.KindTCP {
		return 0, true
	}
	seg := &r.dec.Segment
	return r.filters[from.Side()].Shard(seg.Src, seg.Dst, seg.DstPort, len(r.g.loops)), false
}
