package dataplane

import (
	"cmp"
	"time"

	"hushgate/internal/flowtab"
	"hushgate/tcpstate"
)

// Defaults of Times and of Backend.Connect.
const (
	defaultIdle      = 2*time.Hour + 4*time.Minute // RFC 5382 REQ-5
	defaultConnect   = 5 * time.Second
	defaultHandshake = 15 * time.Second // four SYN-ACKs: at 0, 1, 3 and 7 s
	defaultTimeWait  = time.Minute      // as Linux
	defaultTarpit    = 10 * time.Minute
	patienceTeaser   = 100 * time.Second // R2 of RFC 9293 section 3.8.3
	bothFINs         = 4 * time.Minute   // both ends have sent a FIN, and one FIN is not acknowledged (RFC 5382 REQ-5)
)

// firstRTO is the initial retransmission timeout, for a path that was not measured (RFC 6298 section 2.1).
const firstRTO = time.Second

func (t Times) withDefaults() Times {
	t.Idle = cmp.Or(t.Idle, defaultIdle)
	return Times{
		HalfOpen: cmp.Or(t.HalfOpen, defaultHandshake), Idle: t.Idle, ClientFIN: cmp.Or(t.ClientFIN, t.Idle),
		ServerFIN: cmp.Or(t.ServerFIN, t.Idle), TimeWait: cmp.Or(t.TimeWait, defaultTimeWait),
		Tarpit: cmp.Or(t.Tarpit, defaultTarpit),
	}
}

// patience returns how long a splice may be silent, depending on the FINs that were sent.
func (t *Times) patience(client, server *tcpstate.Half) time.Duration {
	switch {
	case client.FIN && server.FIN:
		return min(max(t.ClientFIN, t.ServerFIN), bothFINs)
	case client.FIN:
		return t.ServerFIN
	case server.FIN:
		return t.ClientFIN
	}
	return t.Idle
}

// waits are the deadline queues: one for each distinct duration that a flow can wait.
type waits struct {
	halfOpen    [][]flowtab.QueueID // of each frontend: the waits after each SYN-ACK
	words       []flowtab.QueueID   // the same, for our last reply
	slowWords   []flowtab.QueueID   // the same, for a client whose SYN-ACK was retransmitted (RFC 6298 section 5.7)
	teaser      []flowtab.QueueID   // the same, for a teaser; nil if there is none
	slowTeaser  []flowtab.QueueID   // as slowWords
	delay       map[time.Duration]flowtab.QueueID
	times       []Times         // of each frontend, defaults filled in; the idle times are checked at each tick
	idleTick    flowtab.QueueID // see tick
	finTick     flowtab.QueueID
	queue       flowtab.QueueID   // the interval of looking for a server that is up
	retry       flowtab.QueueID   // before the same server is tried again; HAProxy pauses as long between retries
	timeWait    []flowtab.QueueID // of each frontend: TIME-WAIT and FIN-WAIT-2
	lingerReset flowtab.QueueID
	tarpit      []flowtab.QueueID // of each frontend
}

// newWaits makes the queues of a configuration. Delays are further ones that connections may still begin, see teaserDelays.
func newWaits(q *flowtab.Queues, cfg *Config, delays []time.Duration) waits {
	w := waits{
		queue: q.Queue(200 * time.Millisecond), retry: q.Queue(time.Second),
		lingerReset: q.QueueOf(finished, 5*time.Second), words: backoff(q, sayingWords, firstRTO, defaultHandshake),
		slowWords: backoff(q, sayingWords, 3*time.Second, defaultHandshake),
	}
	w.delay = map[time.Duration]flowtab.QueueID{}
	for _, d := range delays {
		w.delay[d] = q.Queue(d)
	}
	if len(delays) > 0 || cfg.teases() {
		w.setTeaser(q)
	}
	if cfg.Policy != nil {
		for i := range cfg.Policy.Treatments() {
			d := cfg.Policy.Treatments()[i].Delay
			w.delay[d] = q.Queue(d)
		}
	}
	idle, fin := defaultIdle, bothFINs
	for _, f := range cfg.Frontends {
		t := f.Times.withDefaults()
		w.times = append(w.times, t)
		w.delay[f.Delay] = q.Queue(f.Delay)
		w.halfOpen = append(w.halfOpen, backoff(q, handshaking, firstRTO, t.HalfOpen))
		w.timeWait = append(w.timeWait, q.QueueOf(finished, t.TimeWait))
		w.tarpit = append(w.tarpit, q.QueueOf(finished, t.Tarpit))
		idle, fin = min(idle, t.Idle), min(fin, t.ClientFIN, t.ServerFIN)
	}
	w.idleTick, w.finTick = q.Queue(tickFor(idle)), q.Queue(tickFor(fin))
	return w
}

// setTeaser makes the queues for teasers.
func (w *waits) setTeaser(q *flowtab.Queues) {
	w.teaser = backoff(q, living, firstRTO, patienceTeaser)
	w.slowTeaser = backoff(q, living, 3*time.Second, patienceTeaser)
}

// addTeaser makes the queues for a teaser and the delay after it, if they are not there; false if there is no room.
func (w *waits) addTeaser(q *flowtab.Queues, delay time.Duration) bool {
	wanted := flowtab.NewQueues(nil)
	(&waits{}).setTeaser(wanted)
	wanted.Queue(delay)
	if !q.Fits(wanted) {
		return false
	}
	w.setTeaser(q)
	w.delay[delay] = q.Queue(delay)
	return true
}

// tickFor is how often to check for a silence of that length: an eighth of it, at most a minute.
func tickFor(silence time.Duration) time.Duration {
	return min(time.Minute, max(silence/8, time.Millisecond))
}

// tick returns the queue for the idle checks of a splice. Only half-closed splices, which are few, use the finer interval.
func (w *waits) tick(t *tcpstate.Track) flowtab.QueueID {
	if t.Client.FIN || t.Server.FIN {
		return w.finTick
	}
	return w.idleTick
}

// backoff returns the waits after each transmission of a segment: first, twice that and so on (RFC 6298 section 5.5). The
// last one is shortened, so that together they last for timeout.
func backoff(q *flowtab.Queues, class flowtab.Class, first, timeout time.Duration) (ids []flowtab.QueueID) {
	for d := first; timeout > 0; d *= 2 {
		d = min(d, timeout)
		ids = append(ids, q.QueueOf(class, d))
		timeout -= d
	}
	return ids
}
