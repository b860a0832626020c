package drive

import (
	"sync/atomic"
	"time"

	"hushgate/dataplane"
	"hushgate/internal/mono"
)

// load is what a loop has done. It belongs to the loop's goroutine.
type load struct {
	turns   atomic.Uint64
	reads   [batches]uint64
	began   mono.Time // of Run
	idle    time.Duration
	dropped [][dataplane.Drops]uint64 // by port: on arrival
}

// batches is how many classes of reads there are, by the number of binary digits of how many frames came: the last one is port.Batch.
const batches = 8

// batchNames are the classes of reads.
var batchNames = [batches]string{"0", "1", "2-3", "4-7", "8-15", "16-31", "32-63", "64"}

// Load is how much a shard has to do.
type Load struct {
	Frames uint64          `name:"frames" help:"frames that a shard has received"`
	Turns  uint64          `name:"turns" help:"turns of a shard's loop, each with one read of every interface"`
	Reads  [batches]uint64 `name:"reads" label:"frames" help:"reads of an interface by a shard, by how many frames came at once; 64 is the most, and means that more were waiting"`
	Busy   time.Duration   `name:"busy" help:"time in which a shard did not wait for frames: what it grows by in a second is the load"`
	Uptime time.Duration   `name:"uptime" gauge:"true" help:"time since a shard's loop began"`
	Parked int             `name:"frames_parked" help:"frames of a shard that wait for the link address of their next hop"`
}

// LabelValue implements numbers.Labeller.
func (*Load) LabelValue(_ string, i int) string { return batchNames[i] }

// Load returns how much the loop has done. It is called by the shard's goroutine.
func (l *Loop) Load() Load {
	v := Load{Frames: l.Shard.Stats().Frames, Turns: l.load.turns.Load(), Reads: l.load.reads, Parked: len(l.egress.parked)}
	if l.load.began != 0 {
		v.Uptime = l.clock.Now().Sub(l.load.began)
		v.Busy = v.Uptime - l.load.idle
	}
	return v
}

// Turns returns how often the loop has begun a turn, as Load does. Any goroutine may call it: as long as it stays the same, nothing that
// a shard knows has changed, and there is no need to wake it.
func (l *Loop) Turns() uint64 { return l.load.turns.Load() }

// Dropped returns how many frames the shard has dropped that came in by each interface, by their names. It is called by the shard's goroutine.
func (l *Loop) Dropped() map[string][dataplane.Drops]uint64 {
	all := map[string][dataplane.Drops]uint64{}
	for i, p := range l.ports {
		all[p.Name()] = l.load.dropped[i]
	}
	return all
}

// Traffic is what an interface has carried, and what was lost there.
type Traffic struct {
	Present   bool                    `name:"present" help:"1 if the interface exists and frames are read from it"`
	Received  uint64                  `name:"frames" label:"direction=in" help:"frames that were read from an interface or sent by it; segments that the kernel has merged count as one"`
	Sent      uint64                  `name:"frames" label:"direction=out"`
	OctetsIn  uint64                  `name:"octets" label:"direction=in" help:"octets of frames that were read from an interface or sent by it, from the link addresses on"`
	OctetsOut uint64                  `name:"octets" label:"direction=out"`
	QueueFull uint64                  `name:"frames_lost" label:"where=receive-queue" help:"frames of an interface that were lost on this machine"`
	NotSent   uint64                  `name:"frames_lost" label:"where=not-sent"`
	Dropped   [dataplane.Drops]uint64 `name:"frames_dropped" label:"reason" help:"frames that were dropped on arrival, by the interface they came from"`
}

// LabelValue implements numbers.Labeller.
func (*Traffic) LabelValue(_ string, i int) string { return dataplane.Drop(i).String() }

// Traffic returns what the socket has carried. What the shard has dropped is not among it: see Loop.Dropped.
func (s *Socket) Traffic() Traffic {
	st := s.Stats()
	return Traffic{
		Present: s.Port() != nil, Received: st.Received, Sent: st.Sent, OctetsIn: st.OctetsIn, OctetsOut: st.OctetsOut,
		QueueFull: st.KernelDrop, NotSent: st.SendDrop,
	}
}
