package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"hushgate/dataplane"
	"hushgate/dataplane/port"
	"hushgate/internal/drive"
	"hushgate/internal/handover"
	"hushgate/internal/instance"
	"hushgate/internal/mono"
	"hushgate/internal/plan"
	"hushgate/internal/runtimeapi"
	"hushgate/internal/wire"
)

// takeOverCommand starts the conversation of package handover.
const takeOverCommand = "takeover"

// hello is the first message of the process that takes over.
type hello struct {
	Versions []int `json:"versions"`      // and the optional parts that it knows, see takesSockets
	API      bool  `json:"api,omitempty"` // the same as takesSockets
}

// head is what a process must know to prepare for taking over.
type head struct {
	Version int                     `json:"version"`
	Records []dataplane.RecordField `json:"records"`
	Tables  plan.Saved              `json:"tables"`
	Clock   clockReading            `json:"clock"`
	Managed bool                    `json:"managed"`         // the firewall rules were installed by the old process
	Spread  [2]uint64               `json:"spread"`          // the secret of port.Spread, so that a client's connections stay in one shard
	Prefix  port.Prefix             `json:"prefix,omitzero"` // how many bits of an address select a client's shard; an older hushgate uses all

	Delays delays `json:"delays,omitempty"` // set by hand, in ns
	Shut   shut   `json:"shut,omitempty"`   // set by hand
}

// clockReading is one moment on two clocks: the clock of connections, and the kernel's monotonic clock, which all processes
// share.
type clockReading struct {
	Now       mono.Time `json:"now"`
	Monotonic int64     `json:"monotonic"` // CLOCK_MONOTONIC, ns
}

// state is what the old process knows apart from its connections, after its loops have stopped.
type state struct {
	Stopped mono.Time               `json:"stopped"` // when the loops stopped
	Shards  []*dataplane.ShardState `json:"shards"`
	Servers []serverState           `json:"servers"` // by number
	Parked  []drive.ParkedFrame     `json:"parked"`
	Sysctls []changedSysctl         `json:"sysctls"`
	Passes  []byte                  `json:"passes,omitempty"` // a file of passes; none if hushgate is older, or if there are too many
	Tally   savedTally              `json:"tally,omitzero"`
	Cleared *runtimeapi.Cleared     `json:"cleared,omitempty"`
}

// serverState is what the health checks know of a server.
type serverState struct {
	Up      bool `json:"up"`
	Counter int  `json:"counter"` // health.Report.Counter

	Checks   uint64            `json:"checks,omitempty"`
	Failures uint64            `json:"failures,omitempty"`
	Downs    uint64            `json:"downs,omitempty"`
	Results  map[string]uint64 `json:"results,omitempty"` // checks by health.Code
	Since    int64             `json:"since,omitempty"`   // milliseconds since 1970; 0: as Up was at the start

	Hand *savedHand `json:"hand,omitempty"` // what was set by hand; none if nothing was
}

// changedSysctl is a sysctl that the old process has changed and would have restored at its end.
type changedSysctl struct {
	Path string `json:"path"`
	Was  string `json:"was"`
}

// fileNote describes a file: a packet socket of a shard on an interface, a socket of the control API or, without either, the lock. A shard has one socket
// for each protocol; one of an older hushgate is for all protocols.
type fileNote struct {
	Interface string    `json:"interface"`
	Side      wire.Side `json:"side"`
	Shard     int       `json:"shard"`
	Socket    string    `json:"socket,omitempty"` // the path of a socket of the control API, which has no interface; or see remoteScheme
	Memory    bool      `json:"memory,omitempty"` // a pipe for what is remembered of connections that have ended
}

// How long the old process waits: for the new one to get ready, while everything still runs, and for it to take over, while
// the loops are stopped.
const (
	readyPatience = time.Minute
	stopPatience  = 10 * time.Second
)

// monotonic reads the clock that all processes share.
func monotonic() int64 {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // never fails
	return now.Nano()
}

// talk passes the conversation with a new process to live, and waits for its end.
func (g *gateway) talk(ctx context.Context, conn *net.UnixConn) {
	over := make(chan struct{})
	select {
	case g.commands <- command{taker: conn, over: over}:
	case <-g.ending:
		refuse(ctx, conn, errEnding)
		return
	case <-ctx.Done():
		return
	}
	<-over
}

// giveAway lets another process take over. It returns true if that process has the connections; this process must then end.
// Otherwise everything continues here, also when this process is asked to end meanwhile.
func (g *gateway) giveAway(ctx, asked context.Context, to *net.UnixConn) (given bool) {
	err := g.kept.within(asked, func() error { // the kernel's set is not changed meanwhile
		given = g.giveRules(ctx, asked, to)
		return nil
	})
	if err != nil {
		refuse(ctx, to, err)
	}
	return given
}

// giveRules is giveAway while the kernel's set of offenders stays as it is.
func (g *gateway) giveRules(ctx, asked context.Context, to *net.UnixConn) (given bool) {
	if g.rules == nil {
		return g.give(ctx, asked, to)
	}
	err := g.rules.within(asked, 2*repairPatience, func(context.Context) error { // the rules are not repaired meanwhile
		given = g.give(ctx, asked, to)
		return nil
	})
	if err != nil {
		refuse(ctx, to, err)
		return false
	}
	if !given {
		if _, err := g.repairRules(ctx); err != nil { // the other process may have replaced them with its own
			g.log.Error("the firewall rules cannot be verified", "err", err)
		}
	}
	return given
}

// refuse tells a process that wants to take over why it cannot.
func refuse(ctx context.Context, to *net.UnixConn, why error) {
	c, release := handover.New(ctx, to)
	defer release()
	_ = c.Within(readyPatience)
	_, _, _, _ = c.Receive(handover.Hello) // it reads an answer only after it has sent its first message
	c.Refuse(why)
}

func (g *gateway) give(ctx, asked context.Context, to *net.UnixConn) (given bool) {
	g.mu.Lock() // nothing else changes meanwhile
	defer g.mu.Unlock()
	pid := instance.PID(to)
	talk, enough := context.WithCancel(ctx)
	defer enough()
	defer context.AfterFunc(asked, enough)()
	conn, release := handover.New(talk, to)
	defer release()
	err := g.converse(ctx, conn)
	if asked.Err() != nil {
		err = errors.Join(errEnding, err)
	}
	if g.given {
		g.log.Info("another process has taken over", "pid", pid)
		g.status.end()
		g.notify("MAINPID=" + strconv.Itoa(pid))
		if asked.Err() != nil && pid > 0 { // the request to end came after the takeover: pass it on
			_ = unix.Kill(pid, unix.SIGTERM)
		}
		return true
	}
	conn.Refuse(err)
	g.bequeath() // nothing: it closes the pipe
	g.log.Warn("another process failed to take over: this process keeps all connections", "pid", pid, "err", err)
	return false
}

func (g *gateway) converse(ctx context.Context, conn *handover.Conn) error {
	var h hello
	if err := errors.Join(conn.Within(readyPatience), conn.ReceiveJSON(handover.Hello, &h)); err != nil {
		return err
	}
	known := false
	for _, v := range h.Versions {
		known = known || v == handover.Version
	}
	if !known {
		return fmt.Errorf("this process hands over in version %d, the new one supports versions %v: restart hushgate instead", handover.Version, h.Versions)
	}
	about := head{
		Version: handover.Version, Records: dataplane.RecordSchema(), Tables: g.plan.Tables.Save(g.used(ctx)),
		Clock: clockReading{g.clock.Now(), monotonic()}, Managed: g.rules != nil, Spread: g.spread, Prefix: g.prefix,
		Delays: g.delays, Shut: g.shut,
	}
	if err := conn.SendJSON(handover.Head, about, nil); err != nil {
		return err
	}
	if _, _, _, err := conn.Receive(handover.Ready); err != nil {
		return err
	}
	return g.stopped(ctx, func() error { return g.hand(conn, &h) })
}

// stopped stops all loops between two batches, and calls f. If another process has the connections afterwards, the loops do
// nothing more.
func (g *gateway) stopped(ctx context.Context, f func() error) error {
	on, here := make(chan struct{}), make(chan struct{}, len(g.loops))
	defer close(on)
	for _, l := range g.loops {
		l.Do(ctx, func(*dataplane.Shard) {
			if err := l.Drain(g.clock.Now()); err != nil {
				g.log.Error("sending the last frames before a takeover failed", "err", err)
			}
			here <- struct{}{}
			<-on
			l.Given = g.given
		})
	}
	enough := time.NewTimer(stopPatience)
	defer enough.Stop()
	for range g.loops {
		select {
		case <-here:
		case <-enough.C:
			return errors.New("a shard did not stop in time")
		}
	}
	return f()
}

// hand gives everything to the new process. The loops have stopped.
func (g *gateway) hand(conn *handover.Conn, h *hello) error {
	if err := conn.Within(stopPatience); err != nil {
		return err
	}
	if err := conn.SendJSON(handover.State, g.known(), nil); err != nil {
		return err
	}
	if err := g.handFiles(conn, h); err != nil {
		return err
	}
	w := conn.NewWriter()
	for _, l := range g.loops {
		if err := l.Shard.SaveFlows(w.Write); err != nil {
			return fmt.Errorf("hand over the connections: %w", err)
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	if _, _, _, err := conn.Receive(handover.Take); err != nil {
		return err
	}
	if err := conn.Within(stopPatience); err != nil { // a request to end is obeyed up to here
		return err
	}
	if err := conn.Send(handover.Yours, nil, nil); err != nil {
		return err
	}
	g.given = true
	return nil
}

func (g *gateway) known() (v state) {
	v.Stopped = g.clock.Now()
	for _, l := range g.loops {
		v.Shards = append(v.Shards, l.Shard.Save())
		v.Parked = append(v.Parked, l.Parked()...)
	}
	v.Servers, v.Tally, v.Cleared = g.state.save(), g.tally.save(), g.cleared
	for _, s := range g.restore {
		v.Sysctls = append(v.Sysctls, changedSysctl{s.Path, s.was})
	}
	v.Passes = g.packMemory()
	return v
}

func (g *gateway) handFiles(conn *handover.Conn, h *hello) error {
	for i, w := range g.watched {
		for _, s := range w.List {
			if p := s.Port(); p != nil {
				files, err := p.Files()
				if err := errors.Join(err, handFiles(conn, fileNote{Interface: s.Name(), Side: s.Side(), Shard: i}, files...)); err != nil {
					return err
				}
			}
		}
	}
	for _, s := range g.sockets {
		l, ok := s.l.(*net.UnixListener)
		if !ok || !h.takes(takesSockets) {
			continue
		}
		f, err := l.File()
		if err != nil {
			return fmt.Errorf("hand over the API's socket: %w", err)
		}
		if err := handFiles(conn, fileNote{Socket: s.path}, f); err != nil {
			return err
		}
	}
	if h.takes(takesSockets) {
		if err := g.handRemote(conn); err != nil {
			return err
		}
	}
	if h.takes(takesMemory) {
		if err := g.handMemory(conn); err != nil {
			return fmt.Errorf("hand over: %w", err)
		}
	}
	lock, err := g.lock.File()
	if err != nil {
		return fmt.Errorf("hand over: %w", err)
	}
	return handFiles(conn, fileNote{}, lock)
}

// handFiles sends files with one note, and closes them.
func handFiles(conn *handover.Conn, note fileNote, files ...*os.File) (err error) {
	for _, f := range files {
		if err == nil {
			err = conn.SendJSON(handover.File, note, f)
		}
		err = errors.Join(err, f.Close())
	}
	return err
}
