package health

import (
	"context"
	"net"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Dialer connects to a server; *net.Dialer is one.
type Dialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// Report is one check and what it changed.
type Report struct {
	Result  Result
	Up      bool // the server's state now
	Changed bool // by this check
	Counter int  // how settled the state is, for Config.Counter
}

// lookEvery is how often a server is asked for its keywords, and how often one is looked at that is not checked.
const lookEvery = 5 * time.Minute

// Probe checks one server until ctx is done, and reports each check. The first comes at once: until it has come nobody
// knows what the server grants. The second is put off by spread, so that the checks of many servers do not go on going
// out together.
func Probe(ctx context.Context, c *Config, spread time.Duration, dial Dialer, report func(Report)) {
	status := NewStatus(c.Rise, c.Fall)
	switch {
	case c.Down:
		status.health = min(max(c.Counter, 0), c.Rise-1)
	case c.Counter > 0:
		status.health = min(max(c.Counter, c.Rise), c.Rise+c.Fall-1)
	}
	wait := time.Duration(0)
	var w watch
	for {
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
		also := w.next(c, time.Now())
		r := Check(ctx, c, dial, also)
		if ctx.Err() != nil {
			return
		}
		w.note(also, &r, time.Now())
		if c.Observe {
			report(Report{Result: r, Up: true})
			wait = lookEvery
			continue
		}
		changed := status.Note(r.OK())
		report(Report{Result: r, Up: status.Up(), Changed: changed, Counter: status.health})
		wait = status.Wait(c) + spread
		spread = 0
	}
}

// watch is when checks last went beyond what they are for.
type watch struct {
	looked, patient time.Time // zero: never
	silent          bool      // the last check got no greeting in time
}

// next says what a check does that begins now. The first one is patient, and so is one behind a check that got no greeting,
// but seldom: a server behind postscreen, which knows this machine for a day, would be taken for down each day, for good
// if nobody waited; one that hangs is to be found out soon.
func (w *watch) next(c *Config, now time.Time) Beyond {
	return Beyond{
		Look:    w.looked.IsZero() || c.SMTP && now.Sub(w.looked) >= lookEvery,
		Patient: w.patient.IsZero() || w.silent && now.Sub(w.patient) >= lookEvery,
	}
}

func (w *watch) note(also Beyond, r *Result, now time.Time) {
	if also.Look && r.OK() {
		w.looked = now
	}
	if also.Patient {
		w.patient = now
	}
	w.silent = r.Silent
}

// Options of struct tcp_info's tcpi_options.
const (
	infoTimestamps = 1
	infoSACK       = 2
	infoScale      = 4
	// infoScalesAt is where tcp_info has the peer's window shift, in the low four bits: a bit field, which Go's
	// mirror of the struct leaves out.
	infoScalesAt = 6
)

// granted reads from the kernel what the server's TCP granted it; not Known if the connection is not the kernel's.
func granted(conn net.Conn) (g Granted) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return g
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return g
	}
	_ = raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.SOL_TCP, unix.TCP_INFO)
		if err != nil {
			return
		}
		g = Granted{
			Known: true, MSS: uint16(min(info.Snd_mss, 65535)), WindowScale: -1,
			SACK: info.Options&infoSACK != 0, Timestamps: info.Options&infoTimestamps != 0,
		}
		if info.Options&infoScale != 0 {
			g.WindowScale = int8((*[8]byte)(unsafe.Pointer(info))[infoScalesAt] & 0x0f)
		}
		if g.Timestamps {
			g.MSS += 12 // the kernel has taken the option's room off
		}
	})
	return g
}
